"""Filters: what is understood, what is refused, and what of them reaches the database."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime
from typing import Any

import pytest
from bson import BSON, ObjectId
from hypothesis import given, settings
from hypothesis import strategies as st

from jobqueue.domain.access.access import Scope
from jobqueue.domain.errors import InvalidInputError
from jobqueue.domain.search.filters import EVERYTHING, Comparison, Filter, Group, compile_filter
from jobqueue.domain.search.values import Id
from jobqueue.store.search.filters import FIRST_DATE, document, matching
from tests.support.data.hostile import HOSTILE, Random

HEX = "0123456789abcdef01234567"
DATE = datetime(2026, 1, 31, 12, tzinfo=UTC)
many = settings(max_examples=250, deadline=None, database=None)
EACH = 20


@pytest.mark.parametrize(
    ("asked", "stored"),
    [
        ({}, {}),
        ({"state": "failed"}, {"state": {"$eq": "failed"}}),
        ({"id": HEX}, {"_id": {"$eq": ObjectId(HEX)}}),
        ({"_id": {"$oid": HEX}}, {"_id": {"$eq": ObjectId(HEX)}}),
        ({"batchId": {"$in": [HEX, {"$oid": HEX}, None]}}, {"batchId": {"$in": [ObjectId(HEX), ObjectId(HEX), None]}}),
        ({"insertAt": {"$gte": "2026-01-31T12:00:00Z"}}, {"insertAt": {"$gte": DATE}}),
        ({"endAt": {"$lt": {"$date": "2026-01-31T13:00:00+01:00"}}}, {"endAt": {"$lt": DATE}}),
        ({"endAt": {"$date": {"$numberLong": "1769860800000"}}}, {"endAt": {"$eq": DATE}}),
        (
            {"priority": {"$gte": 5, "$lt": {"$numberLong": "9"}}},
            {"$and": [{"priority": {"$gte": 5}}, {"priority": {"$lt": 9}}]},
        ),
        ({"meta.user_id": 42}, {"attrs": "user_id=42", "meta.user_id": {"$eq": 42}}),
        (
            {"meta.user.id": {"$in": [1, "a"]}},
            {"attrs": {"$in": ["user.id=1", 'user.id="a"']}, "meta.user.id": {"$in": [1, "a"]}},
        ),
        (
            {"meta.tags": {"$all": ["a", "b"]}},
            {
                "attrs": {"$all": ['tags="a"', 'tags="b"']},
                "meta.tags": {"$all": ["a", "b"]},
            },
        ),
        (
            {"meta.tags": {"$all": ["a", HEX]}},
            {
                "attrs": {"$all": ['tags="a"', f'tags="{HEX}"']},
                "meta.tags": {"$all": ["a"]},
                "$and": [{"meta.tags": {"$in": [HEX, ObjectId(HEX)]}}],
            },
        ),
        ({"meta.owner": HEX}, {"attrs": f'owner="{HEX}"', "meta.owner": {"$in": [HEX, ObjectId(HEX)]}}),
        ({"meta.user_id": None}, {"meta.user_id": {"$eq": None}}),
        ({"meta.list.0": 1}, {"meta.list.0": {"$eq": 1}}),
        ({"meta.text": "x" * 500}, {"meta.text": {"$eq": "x" * 500}}),
        ({"meta.at": {"$date": "2026-01-31T12:00:00Z"}}, {"meta.at": {"$eq": DATE}}),
        ({"meta.user_id": {"$ne": 42}}, {"meta.user_id": {"$ne": 42}}),
        ({"data.n": {"$not": {"$gt": 5}}}, {"$nor": [{"data.n": {"$gt": 5}}]}),
        ({"$or": [{"type": "a"}, {}]}, {"$or": [{"type": {"$eq": "a"}}, {}]}),
        ({"history": {"$size": 3}}, {"history": {"$size": 3}}),
        (
            {"history": {"$elemMatch": {"worker": "w", "error.kind": "Boom"}}},
            {"history": {"$elemMatch": {"$and": [{"worker": {"$eq": "w"}}, {"error.kind": {"$eq": "Boom"}}]}}},
        ),
        ({"result.items": {"$elemMatch": {"n": 1}}}, {"result.items": {"$elemMatch": {"n": {"$eq": 1}}}}),
        ({"error": None}, {"error": {"$eq": None}}),
        ({"data.__proto__": 1}, {"data.__proto__": {"$eq": 1}}),
    ],
)
def test_a_filter_is_compiled(asked: Any, stored: Any) -> None:
    assert document(compile_filter(asked)) == stored


def test_a_regular_expression_keeps_its_options() -> None:
    (found,) = document(compile_filter({"error.message": {"$regex": "time.?out", "$options": "i"}})).values()
    assert found["$regex"].pattern == "time.?out"
    assert found["$regex"].try_compile().search("a TIMEOUT")


def test_values_are_typed_by_the_field_they_are_compared_with() -> None:
    assert compile_filter({"parentId": HEX.upper()}) == Comparison("parentId", "$eq", Id(HEX))
    assert compile_filter({"data.parent": HEX}) == Comparison("data.parent", "$eq", HEX)
    assert compile_filter({"data.parent": {"$oid": HEX}}) == Comparison("data.parent", "$eq", Id(HEX))
    assert compile_filter({}) == EVERYTHING


def test_what_lies_outside_a_scope_cannot_match() -> None:
    scope = Scope(queues=("media", "mail:*"), meta=(("tenant", "a"),))
    found = matching(compile_filter({"$or": [{"queue": "other"}, {"meta.tenant": "b"}]}), scope)
    assert found["attrs"] == 'tenant="a"'
    assert found["insertAt"] == {"$gte": FIRST_DATE}
    assert {"$or": [{"queue": "media"}, {"queue": {"$regex": "^mail:.*$"}}]} in found["$and"]


@pytest.mark.parametrize("asked", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_filters_are_refused_with_the_place_named(asked: Any) -> None:
    with pytest.raises(InvalidInputError) as caught:
        compile_filter(asked)
    assert all(path.split(".")[0] == "filter" and told for path, told in caught.value.problems.items())
    str(caught.value).encode()


KNOWN = {"$and", "$or", "$nor", "$eq", "$ne", "$gt", "$gte", "$lt", "$lte", "$in", "$nin", "$all", "$exists", "$size"}


def check(stored: Any) -> None:
    """Refuse what only a compiler with a hole would let through."""
    if isinstance(stored, dict):
        for key, inner in stored.items():
            assert not key.startswith("$") or key in KNOWN | {"$regex", "$elemMatch"}, key
            assert not key.startswith(("claim.token", "history.token", "outbox", "limitKey", "slots", "run", "$expr"))
            check(inner)
    elif isinstance(stored, list):
        for inner in stored:
            check(inner)


@many
@given(st.integers(0, 2**32))
def test_whatever_is_accepted_holds_only_known_operators_and_can_be_sent(seed: int) -> None:
    made = Random(seed)
    for asked in (made.filter() for _ in range(EACH)):
        try:
            compiled: Filter = compile_filter(asked)
        except InvalidInputError as error:
            assert error.problems  # noqa: PT017 - only some are refused
            continue
        stored = matching(compiled, Scope(queues=("media",)))
        check(stored)
        BSON.encode(stored)
        assert compile_filter(asked) == compiled


def test_about_half_of_what_is_made_at_random_is_accepted() -> None:
    accepted = 0
    for seed in range(1000):
        with contextlib.suppress(InvalidInputError):
            compile_filter(Random(seed).filter())
            accepted += 1
    assert 200 < accepted < 800, accepted


def test_a_filter_of_no_parts_is_everything() -> None:
    assert compile_filter({"$and": [{}, {}]}) == Group("$and")
