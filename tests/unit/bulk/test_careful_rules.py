"""Decisions on the course of a careful operation."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from bson import ObjectId

from jobqueue.domain.bulk import course
from jobqueue.domain.bulk.operation import Action, NewOperation, Operation, Stage
from jobqueue.domain.bulk.rules import AT_ONCE, End, Pace, Results, Rules, Watched, Why
from jobqueue.domain.insight.audit import Actor
from jobqueue.domain.merge_patch import merged
from jobqueue.store.bulk import watch_statements

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ANN = Actor(name="ann", via="cli")
ID = "a" * 24
BAD = Why.FAILED_TRIAL


def operation(rules: dict[str, Any], **fields: Any) -> Operation:
    new = NewOperation(action=Action.REQUEUE, by=ANN, all=True, rules=Rules.of(rules))
    common: dict[str, Any] = {"by": {}, "insert_at": NOW, "end_at": None, "stage": Stage.RUNNING}
    known = {"matched": 50, "is_exact": True, "is_trial": "trial" in rules}
    return Operation(id=ID, new=new, **(common | known | fields))


def watched(count: int) -> tuple[Watched, ...]:
    return tuple(Watched(id=f"{number:024x}") for number in range(count))


@pytest.mark.parametrize(
    ("target", "patch", "result"),
    [
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)
def test_patches_are_merged_as_the_examples_of_rfc_7396(target: Any, patch: Any, result: Any) -> None:
    assert merged(target, patch) == result


def test_room_is_what_the_pace_and_the_trial_leave() -> None:
    assert course.room(operation({"pace": 5}, watched=watched(2)), NOW) == 3
    assert course.room(operation({"stop_after": 1}), NOW) == AT_ONCE
    assert course.room(operation({"trial": 3, "pace": 2}), NOW) == 2
    assert course.room(operation({"trial": 3, "pace": 9}, done=1, failed=1, watched=watched(1)), NOW) == 1
    assert course.room(operation({"trial": 3}, done=3, watched=watched(1)), NOW) == 0
    assert course.room(operation({"pace": 5}, exhausted=True), NOW) == 0


def test_jobs_a_minute_come_one_after_the_other_and_lost_turns_stay_lost() -> None:
    pace = Pace.of("60/m")
    turn, times = NOW, []
    for second in range(180):
        now = NOW + timedelta(seconds=second / 2)
        if count := pace.turns(turn, now):
            times += [now] * count
            turn = pace.turn_after(turn, now, count)
    assert len(times) == 90
    late = NOW + timedelta(hours=1)
    assert pace.turns(NOW, late) == 6
    assert pace.turns(pace.turn_after(NOW, late, 6), late) == 0
    assert course.room(operation({"pace": "60/m"}, turn_at=NOW), NOW - timedelta(seconds=1)) == 0


def test_looks_become_rare_while_nothing_happens() -> None:
    pauses = [
        course.pause(operation({"pace": 1}, watched=watched(1), news_at=NOW - timedelta(seconds=since)), NOW)
        for since in (0, 4, 400)
    ]
    assert pauses == [course.SHORTEST_PAUSE, timedelta(seconds=1), course.LONGEST_PAUSE]
    waits = operation({"pace": "1/m"}, turn_at=NOW + timedelta(seconds=50), news_at=NOW)
    assert course.pause(waits, NOW) == course.LONGEST_PAUSE
    soon = operation({"pace": "60/m"}, turn_at=NOW + timedelta(seconds=1), news_at=NOW)
    assert course.pause(soon, NOW) == timedelta(seconds=1)


@pytest.mark.parametrize(
    ("rules", "fields", "stage", "why"),
    [
        ({"stop_after": 2}, {"counts": Results(failed=2), "watched": watched(1)}, Stage.STOPPED, Why.FAILURES),
        ({"stop_after": 2}, {"counts": Results(failed=3), "forgiven": 2, "watched": watched(1)}, None, None),
        ({"pace": 1}, {"exhausted": True}, Stage.FINISHED, None),
        ({"pace": 1}, {"exhausted": True, "watched": watched(1)}, None, None),
        ({"trial": 2}, {"done": 2, "counts": Results(succeeded=2)}, Stage.STOPPED, Why.TRIAL),
        ({"trial": 2, "then": True}, {"done": 2, "counts": Results(succeeded=2)}, None, None),
        ({"trial": 2}, {"done": 1, "counts": Results(succeeded=1)}, None, None),
        (
            {"trial": 2, "then": True},
            {"done": 2, "counts": Results(succeeded=1, failed=1)},
            Stage.STOPPED,
            "failedTrial",
        ),
        (
            {"trial": 2, "then": True},
            {"done": 1, "failed": 1, "counts": Results(succeeded=1)},
            Stage.STOPPED,
            "failedTrial",
        ),
        ({"trial": 1, "then": True}, {"done": 1, "counts": Results(unknown=1)}, Stage.STOPPED, BAD),
        ({"trial": 2}, {"done": 2, "matched": 2, "counts": Results(succeeded=2)}, Stage.FINISHED, None),
    ],
)
def test_an_operation_ends_by_its_rules(rules: Any, fields: Any, stage: Stage | None, why: str | None) -> None:
    ending = course.ending(operation(rules, **fields))
    assert (None if ending is None else ending[0]) == stage
    assert (None if ending is None or ending[1] is None else ending[1].why) == why


def test_the_end_of_a_run_is_read_from_the_entries_before_the_next_requeue() -> None:
    own, other = {"outcome": "requeue", "operation": ObjectId(ID)}, {"outcome": "requeue"}
    end = watch_statements.end_of_run
    assert end([{"outcome": "fail"}, own, {"outcome": "success"}, other, {"outcome": "fail"}], ID) is End.SUCCEEDED
    assert end([own, {"outcome": "retry"}, {"outcome": "fail"}, other], ID) is End.FAILED
    assert end([{"outcome": "fail"}, own, other], ID) is End.UNKNOWN
    assert end([None, 5, {"outcome": "success"}], ID) is End.UNKNOWN
    assert watch_statements.is_own({"last": True}, ID)
    assert not watch_statements.is_own({"last": False, "inOperations": [ObjectId(ID)]}, ID)
    # The history of a large job lies elsewhere.
    assert watch_statements.is_own({"last": None, "inOperations": [ObjectId(ID)]}, ID)
