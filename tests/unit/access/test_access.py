"""What a scope holds, in Python and as a filter."""

from __future__ import annotations

import re
from typing import Any

import pytest

from jobqueue.domain.access.access import EVERYTHING, Caller, Scope
from jobqueue.domain.access.token import check
from jobqueue.domain.errors import InvalidInputError
from jobqueue.store.documents import scope_filters


@pytest.mark.parametrize(
    ("globs", "name", "within"),
    [
        ((), "media", True),
        (("media",), "media", True),
        (("media",), "media2", False),
        (("me*",), "media", True),
        (("mail", "me?ia"), "media", True),
        (("m.*",), "media", False),
    ],
)
def test_a_scope_holds_queues_by_their_names(globs: tuple[str, ...], name: str, *, within: bool) -> None:
    assert Scope(queues=globs).has_queue(name) is within
    filters = scope_filters.clauses(Scope(queues=globs))
    assert all(_matches(one, name) for one in filters) is within


@pytest.mark.parametrize(
    ("meta", "within"),
    [
        ({"user_id": 7}, True),
        ({"user_id": 7.0}, True),
        ({"user_id": "7"}, False),
        ({"user_id": [6, 7]}, True),
        ({}, False),
    ],
)
def test_a_scope_holds_jobs_by_what_is_attached_to_them(meta: dict[str, Any], *, within: bool) -> None:
    assert Scope(meta=(("user_id", 7),)).has_meta(meta) is within


def test_a_scope_is_asked_for_by_attributes_that_have_an_index() -> None:
    assert scope_filters.clauses(Scope(meta=(("user.id", 7), ("team", "a")))) == [
        {"attrs": "user.id=7", "meta": {"$not": {"$type": "array"}}, "meta.user.id": {"$eq": 7}},
        {"attrs": 'team="a"', "meta": {"$not": {"$type": "array"}}, "meta.team": {"$eq": "a"}},
    ]
    assert scope_filters.clauses(Scope(meta=(("team", "a"),)), by_index=True) == [{"attrs": 'team="a"'}]
    assert scope_filters.clauses(EVERYTHING) == []


def test_an_administrator_has_every_role() -> None:
    assert Caller(name="a", roles=frozenset({"admin"})).may("work")
    assert not Caller(name="b", roles=frozenset({"read"})).may("work")


def _matches(clause: dict[str, Any], name: str) -> bool:
    if "$or" in clause:
        return any(_matches(one, name) for one in clause["$or"])
    wanted = clause["queue"]
    if isinstance(wanted, str):
        return wanted == name
    return name in wanted["$in"] if "$in" in wanted else re.search(wanted["$regex"], name) is not None


def test_a_token_takes_no_number_that_mongodb_does_not() -> None:
    with pytest.raises(InvalidInputError):
        check(name="", roles=["read"], queues=[], meta=[("big", 10**22)])
