"""Conditions of requests, as RFC 9110 (section 13) compares them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from aiohttp.test_utils import make_mocked_request
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from jobqueue.api.http.preconditions import preconditions
from jobqueue.api.http.problems import ProblemError
from jobqueue.domain.errors import ChangedMeanwhileError

if TYPE_CHECKING:
    from jobqueue.domain.access.preconditions import Preconditions


def read(*headers: tuple[str, str]) -> Preconditions:
    return preconditions(make_mocked_request("GET", "/", headers=CIMultiDict(headers)))


@pytest.mark.parametrize(
    ("value", "allowed", "excluded"),
    [
        ('"a"', True, True),
        ('"b"', False, False),
        ('"b", "a"', True, True),
        ('"b","a",', True, True),
        (', "b" ,, "a"', True, True),
        ('W/"a"', False, True),
        ('W/"b", "a"', True, True),
        ('"a,b"', False, False),
        ('"A"', False, False),
        ('""', False, False),
        ("*", True, True),
        (" * ", True, True),
    ],
)
def test_tags_are_compared_strongly_to_match_and_weakly_to_exclude(
    value: str, *, allowed: bool, excluded: bool
) -> None:
    assert read(("If-Match", value)).matches("a") is allowed
    assert read(("If-None-Match", value)).is_known("a") is excluded


def test_a_star_means_that_something_is_there() -> None:
    assert not read(("If-Match", "*")).matches("a", exists=False)
    assert not read(("If-None-Match", "*")).is_known("a", exists=False)


def test_the_lines_of_a_header_are_one_list() -> None:
    both = read(("If-Match", '"a"'), ("If-Match", '"b"'))
    assert (both.matches("a"), both.matches("b"), both.matches("c")) == (True, True, False)


def test_without_headers_there_is_no_condition() -> None:
    only = read()
    assert only.is_empty
    only.check("job", "1", "a")


def test_a_change_needs_both_conditions() -> None:
    only = read(("If-Match", '"a", "b"'), ("If-None-Match", '"b"'))
    only.check("job", "1", "a")
    for tag, text in (("b", "excludes"), ("c", "changed meanwhile")):
        with pytest.raises(ChangedMeanwhileError, match=text):
            only.check("job", "1", tag)


MALFORMED = ["a", "", ",", '"a', 'a"', '"a" "b"', '*, "a"', '"a", *', "**", 'w/"a"', 'W/ "a"', '"a b"', "'a'", "W/*"]


@pytest.mark.parametrize("name", ["If-Match", "If-None-Match"])
@pytest.mark.parametrize("value", MALFORMED)
def test_a_header_that_is_no_list_of_tags_is_refused_by_its_name(name: str, value: str) -> None:
    with pytest.raises(ProblemError) as caught:
        read((name, value))
    assert (caught.value.problem.status, name in caught.value.problem.detail) == (400, True)


@given(
    st.lists(
        st.tuples(
            st.booleans(), st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E, exclude_characters='"'))
        ),
        min_size=1,
    ),
    st.data(),
)
def test_every_list_of_tags_is_read(tags: list[tuple[bool, str]], data: Any) -> None:
    between = data.draw(st.sampled_from([",", ", ", " , ", ",,", "\t,"]))
    only = read(("If-Match", between.join(f'{"W/" * weak}"{tag}"' for weak, tag in tags)))
    assert only.match == frozenset(tag for weak, tag in tags if not weak)
