from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given

from jobqueue.domain.errors import InvalidInputError
from jobqueue.domain.jobs.attributes import LONGEST, attributes, encode, scalars
from jobqueue.domain.jobs.job import check_content
from jobqueue.domain.search.query import JobQuery
from jobqueue.store.search.search import statement
from tests.unit.jobs.domain_strategies import metas, modest

DEEPEST_SEARCHED = 10


def searched(path: str, text: str) -> Any:
    """Return the clause that a search for a value of ``meta`` becomes."""
    found = statement(JobQuery(meta=((path, text),)).search())
    del found["insertAt"]
    return found


@pytest.mark.parametrize(
    ("meta", "expected"),
    [
        ({"user_id": 42}, ["user_id=42"]),
        ({"user": {"id": 42, "name": "Ann"}}, ["user.id=42", 'user.name="Ann"']),
        ({"tags": ["a", "b", "a"]}, ['tags="a"', 'tags="b"']),
        ({"items": [{"n": 1}, {"n": 2}, 3]}, ["items.n=1", "items.n=2", "items=3"]),
        ({"a": None, "b": True, "c": False}, ["a=null", "b=true", "c=false"]),
        ({"a": 1.0, "b": 1.5, "c": -0.0}, ["a=1", "b=1.5", "c=0"]),
        ({"a": "é", "b": '"'}, ['a="é"', 'b="\\""']),
        ({"a": "42"}, ['a="42"']),
        ({"a": [], "b": {}, "c": [[1]]}, []),
        ({}, []),
    ],
)
def test_every_scalar_becomes_one_text(meta: dict[str, Any], expected: list[str]) -> None:
    assert attributes(meta) == expected


def test_the_number_and_the_text_of_it_are_two_things() -> None:
    assert encode("a", 42) != encode("a", "42")
    assert encode("a", 42) == encode("a", 42.0)
    assert encode("a", 1) != encode("a", True)  # noqa: FBT003 - the value under test


def test_a_long_text_is_no_attribute_but_is_found_in_the_document() -> None:
    long = "x" * (LONGEST + 1)
    assert attributes({"a": long, "b": "x" * LONGEST}) == [f'b="{"x" * LONGEST}"']
    assert searched("a", long) == {"meta.a": {"$eq": long}}
    assert searched("a", json.dumps(long)) == {"meta.a": {"$eq": long}}


@modest
@given(metas)
def test_each_attribute_is_there_once(meta: dict[str, Any]) -> None:
    found = attributes(meta)
    assert len(found) == len(set(found))
    expected = {encode(path, value) for path, value in scalars(meta)} - {None}
    assert set(found) == expected


@modest
@given(metas)
def test_every_scalar_that_meta_may_hold_is_found_by_its_json(meta: dict[str, Any]) -> None:
    try:
        check_content(meta, "meta")
    except InvalidInputError:
        return
    for path, value in scalars(meta):
        if isinstance(value, list) or path.count(".") >= DEEPEST_SEARCHED:
            continue
        wanted = searched(path, json.dumps(value))["attrs"]
        assert set(wanted["$in"] if isinstance(wanted, dict) else [wanted]) & set(attributes(meta))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("42", {"$in": ['a="42"', "a=42"]}),
        ('"42"', 'a="42"'),
        ("4.0", {"$in": ['a="4.0"', "a=4"]}),
        ("true", {"$in": ['a="true"', "a=true"]}),
        ("null", {"$in": ['a="null"', "a=null"]}),
        ("Ann", 'a="Ann"'),
        ("", 'a=""'),
        ("{}", 'a="{}"'),
        ("[1", 'a="[1"'),
        ("9" * 30, f'a="{"9" * 30}"'),
    ],
)
def test_a_text_that_could_be_a_value_finds_both(text: str, expected: object) -> None:
    found = searched("a", text)
    assert found["attrs"] == expected
    assert set(found) == {"attrs", "meta.a"}


@pytest.mark.parametrize("text", ["9" * 5000, "[" * 100_000, "1e999", "NaN", "-", '"'])
def test_no_text_to_search_for_is_too_odd(text: str) -> None:
    assert searched("a", text)


def test_what_is_no_unicode_text_is_refused() -> None:
    with pytest.raises(InvalidInputError, match=r"meta\.a: has a lone surrogate"):
        searched("a", "\ud800")
