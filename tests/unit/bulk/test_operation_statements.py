from __future__ import annotations

from datetime import UTC, datetime

import pytest
from bson import ObjectId

from jobqueue.domain.access.access import Scope
from jobqueue.domain.attempts.states import State
from jobqueue.domain.bulk.operation import Action, NewOperation, Stage, Tally
from jobqueue.domain.insight.audit import Actor
from jobqueue.domain.work.failure import FailureQuery
from jobqueue.store.bulk import failure_statements, operation_statements, selection
from jobqueue.store.mongo.tolerant import number

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ID = "a" * 24
UNTIL = {"$add": ["$$NOW", 30_000]}
ANN = Actor(name="ann", via="cli")


def test_only_what_nobody_holds_is_taken_for_half_a_minute() -> None:
    ended, _ = operation_statements.free(["kill"])["$expr"]["$or"]
    assert ended == {"$lte": ["$lease.until", "$$NOW"]}
    assert operation_statements.free(["kill"])["state"] == "running"
    assert operation_statements.take("t") == [{"$set": {"lease": {"token": {"$literal": "t"}, "until": UNTIL}}}]
    assert operation_statements.held(ID, "t") == {"_id": ObjectId(ID), "state": "running", "lease.token": "t"}
    assert operation_statements.renew() == [{"$set": {"lease.until": UNTIL}}]


def test_what_was_done_is_counted_and_crossed_off_at_once() -> None:
    failures = [{"id": ID, "reason": "$set"}]
    ((stage, changed),) = operation_statements.count(Tally(done=3, skipped=1, failures=failures))[0].items()
    assert (stage, changed["chosen"], changed["done"]) == ("$set", [], {"$add": [number("$done", 0), 3]})
    for name in ("skipped", "failed"):
        assert changed[name] == {"$add": [number(f"${name}", 0), 1]}
    assert changed["failures"]["$slice"][0]["$concatArrays"][1] == {"$literal": failures}


def test_an_operation_that_ends_is_held_by_nobody() -> None:
    (update,) = operation_statements.end(Stage.FAILED, "$why")
    assert update["$set"] == {"state": "failed", "endAt": "$$NOW", "error": {"$literal": "$why"}, "lease": "$$REMOVE"}


@pytest.mark.parametrize(
    ("action", "wanted", "states"),
    [
        (Action.REQUEUE, {"queue": "a"}, {"failed", "killed"}),
        (Action.REQUEUE, {"$or": [{"state": "success"}]}, {"failed", "killed", "success", "delayed"}),
        (Action.REQUEUE, {"meta.state": "x"}, {"failed", "killed"}),
        (Action.KILL, {}, {"pending", "processing", "delayed"}),
        (Action.DELETE, {}, set(State) - {State.PROCESSING}),
    ],
)
def test_jobs_are_taken_in_the_states_that_an_action_is_for(
    action: Action, wanted: dict[str, object], states: set[str]
) -> None:
    new = NewOperation(action=action, by=ANN, filter=wanted, all=not wanted)
    assert set(selection.selected(new, NOW)["state"]["$in"]) == states


def test_only_what_was_there_and_had_ended_before_is_requeued() -> None:
    scope = Scope(queues=("a",))
    new = NewOperation(action=Action.REQUEUE, by=ANN, fingerprint="0" * 16, scope=scope)
    found = selection.selected(new, NOW)
    assert found["insertAt"]["$lte"] == NOW
    assert found["fingerprint"] == "0" * 16
    assert found["$and"] == [{"$or": [{"endAt": None}, {"endAt": {"$lte": NOW}}]}, {"queue": "a"}]
    rest = selection.beyond(found, (NOW, ID))
    assert rest["$and"][-1] == {"$nor": [{"insertAt": NOW, "_id": {"$lte": ObjectId(ID)}}]}
    assert found["$and"] == rest["$and"][:-1]


def test_failures_are_counted_by_parts_before_groups_are_made_of_them() -> None:
    query = FailureQuery(queue="a", limit=3, after=(7, "f" * 16))
    match, parts, whole, after, order, limit, _ = failure_statements.groups(query, failure_statements.matching(query))
    assert match["$match"]["queue"] == "a"
    assert parts["$group"]["_id"] == {"f": "$fingerprint", "q": "$queue", "s": "$state"}
    assert whole["$group"]["_id"] == "$_id.f"
    assert after["$match"]["$or"] == [{"count": {"$lt": 7}}, {"count": 7, "_id": {"$gt": "f" * 16}}]
    assert (order["$sort"], limit["$limit"]) == ({"count": -1, "_id": 1}, 4)
