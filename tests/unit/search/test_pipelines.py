"""Pipelines: what is understood, what is refused, and what of them reaches the database."""

from __future__ import annotations

import re
from typing import Any

import pytest
from bson import ObjectId

from jobqueue.domain.access.access import Scope
from jobqueue.domain.errors import InvalidInputError
from jobqueue.domain.search.pipelines import compile_pipeline
from jobqueue.store.search.aggregates import MOST_ROWS, statement
from jobqueue.store.search.filters import FIRST_DATE
from tests.support.data.hostile import HOSTILE, HOSTILE_STAGES, nested

HEX = "0123456789abcdef01234567"
FIRST = {"$match": {"insertAt": {"$gte": FIRST_DATE}}}
LAST = {"$limit": MOST_ROWS + 1}


@pytest.mark.parametrize(
    ("asked", "stored"),
    [
        ([{"$sortByCount": "$type"}], [{"$sortByCount": "$type"}]),
        ([{"$sortByCount": "$id"}], [{"$sortByCount": "$_id"}]),
        ([{"$sortByCount": {"a": "$type"}}], [{"$sortByCount": {"$ifNull": [{"a": "$type"}, None]}}]),
        ([{"$count": "n"}], [{"$count": "n"}]),
        (
            [{"$group": {"_id": None, "n": {"$sum": 1}, "c": {"$count": {}}}}],
            [{"$group": {"_id": {"$literal": None}, "n": {"$sum": {"$literal": 1}}, "c": {"$count": {}}}}],
        ),
        (
            [{"$group": {"_id": {"q": "$queue"}}}, {"$match": {"_id.q": "a"}}, {"$sort": {"_id.q": -1}}],
            [{"$group": {"_id": {"q": "$queue"}}}, {"$match": {"_id.q": {"$eq": "a"}}}, {"$sort": {"_id.q": -1}}],
        ),
        (
            [{"$project": {"data.n": 1, "wait": {"$subtract": ["$startAt", "$insertAt"]}}}, {"$match": {"id": HEX}}],
            [
                {"$project": {"_id": 0, "id": "$_id", "data.n": 1, "wait": {"$subtract": ["$startAt", "$insertAt"]}}},
                {"$match": {"id": {"$eq": HEX}}},
            ],
        ),
        (
            [{"$project": {"id": 0, "n": {"$size": "$history"}, "late": {"$gt": ["$$NOW", "$resetAt"]}}}],
            [{"$project": {"_id": 0, "n": {"$size": "$history"}, "late": {"$gt": ["$$NOW", "$resetAt"]}}}],
        ),
        (
            [{"$group": {"_id": {"$ifNull": ["$parentId", {"$oid": HEX}]}}}],
            [{"$group": {"_id": {"$ifNull": ["$parentId", {"$literal": ObjectId(HEX)}]}}}],
        ),
        (
            [{"$unwind": "$meta.tags"}, {"$match": {"meta.tags": "a"}}, {"$count": "n"}],
            [
                {"$unwind": {"path": "$meta.tags", "preserveNullAndEmptyArrays": False}},
                {"$match": {"meta.tags": {"$eq": "a"}}},
                {"$count": "n"},
            ],
        ),
        (
            [{"$group": {"_id": {"$cond": {"if": {"$in": ["$type", ["a", "b"]]}, "then": "x", "else": "$queue"}}}}],
            [
                {
                    "$group": {
                        "_id": {
                            "$cond": {
                                "if": {"$in": ["$type", [{"$literal": "a"}, {"$literal": "b"}]]},
                                "then": {"$literal": "x"},
                                "else": "$queue",
                            }
                        }
                    }
                }
            ],
        ),
    ],
)
def test_a_pipeline_is_compiled(asked: Any, stored: Any) -> None:
    assert statement(compile_pipeline(asked)) == [FIRST, *stored, LAST]


def test_the_first_filters_are_one_by_index_within_the_scope() -> None:
    asked = [{"$match": {"meta.user_id": 42}}, {"$match": {"state": "failed"}}, {"$limit": 5}, {"$count": "n"}]
    (first, *rest) = statement(compile_pipeline(asked), Scope(queues=("media",)))
    assert first["$match"] == {
        "queue": "media",
        "attrs": "user_id=42",
        "meta.user_id": {"$eq": 42},
        "state": {"$eq": "failed"},
        "insertAt": {"$gte": FIRST_DATE},
    }
    assert rest == [{"$limit": 5}, {"$count": "n"}, LAST]


def test_jobs_are_shown_without_what_is_nobodys_business() -> None:
    (*_, shown, _) = statement(
        compile_pipeline([{"$limit": 5}, {"$unwind": {"path": "$logs", "includeArrayIndex": "n"}}])
    )
    names = set(shown["$project"])
    assert {"_id", "data", "meta", "logs", "claim.worker", "history.outcome", "n"} <= names
    assert not names & {"claim", "history", "claim.token", "history.token", "attrs", "outbox", "slots", "limitKey"}


@pytest.mark.parametrize("stage", HOSTILE_STAGES, ids=range(len(HOSTILE_STAGES)))
def test_hostile_stages_are_refused_with_the_place_named(stage: Any) -> None:
    with pytest.raises(InvalidInputError) as caught:
        compile_pipeline([stage])
    assert all(path.startswith("pipeline.0") and told for path, told in caught.value.problems.items())
    str(caught.value).encode()


@pytest.mark.parametrize(
    ("expression", "told"),
    [
        ({"$trim": "x"}, "takes an object of input, chars?"),
        ({"$dateTrunc": ["$insertAt", "day"]}, "takes an object of date, unit, binSize?, startOfWeek?, timezone?"),
        ({"$switch": []}, "takes an object of branches, default?"),
        ({"$function": "x"}, "is not an operator that is known here"),
    ],
)
def test_a_refusal_says_what_an_operator_takes(expression: Any, told: str) -> None:
    with pytest.raises(InvalidInputError, match=re.escape(told)):
        compile_pipeline([{"$project": {"x": expression}}])


@pytest.mark.parametrize("asked", HOSTILE, ids=range(len(HOSTILE)))
def test_what_is_refused_as_a_filter_is_refused_in_a_pipeline(asked: Any) -> None:
    with pytest.raises(InvalidInputError):
        compile_pipeline([{"$match": asked}])


@pytest.mark.parametrize(
    "asked", [[], {}, None, "x", [{"$count": "n"}] * 21, [[]], [{}], [{"$count": "n", "$limit": 1}], [nested(900)]]
)
def test_what_is_no_pipeline_is_refused(asked: Any) -> None:
    with pytest.raises(InvalidInputError):
        compile_pipeline(asked)


@pytest.mark.parametrize(
    "stages",
    [
        [{"$group": {"_id": "$type"}}, {"$match": {"queue": "a"}}],
        [{"$group": {"_id": "$type"}}, {"$sort": {"insertAt": 1}}],
        [{"$project": {"type": 1}}, {"$group": {"_id": "$claim.token"}}],
        [{"$count": "n"}, {"$project": {"x": "$history.token"}}],
    ],
)
def test_only_what_was_made_can_be_named_after_it(stages: Any) -> None:
    with pytest.raises(InvalidInputError):
        compile_pipeline(stages)
