"""Filters and updates of steps with awaited children, as named pure functions; ``now`` as in `statements`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from bson import ObjectId

from jobqueue.domain.attempts.states import FINAL, UNFINISHED, State
from jobqueue.domain.steps.call import HOLD
from jobqueue.domain.steps.step import MOST_STEPS
from jobqueue.store.documents import statements
from jobqueue.store.documents.sleep_statements import woken
from jobqueue.store.mongo.tolerant import array, number
from jobqueue.store.steps.step_statements import named

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jobqueue.domain.jobs.job import Job
    from jobqueue.domain.steps.call import Call, ChildFailure
    from jobqueue.domain.steps.step import Step, StepKind
    from jobqueue.store.documents.statements import Document
    from jobqueue.store.mongo.clock import Now

INDEX: Final = "awaited"
"""The index of awaited children."""
WAITING_INDEX: Final = "awaiting"
"""The index of suspended jobs that await children."""
FIELD: Final = "awaitedBy"
"""The field of a child with the id of the call that awaits it."""
_STEPS: Final = array("$steps")
_BROKEN: Final = sorted(state.value for state in FINAL - {State.SUCCESS})


def begin(name: str, now: Now, *, kind: StepKind, call: Call, count: int) -> list[Document]:
    """Note a step with children that are to be created, unless the job has such a step, or a finished one of this name.

    An unfinished step of another kind is replaced: the code of the job has changed.
    """
    made = {
        "name": {"$literal": name},
        "kind": kind.value,
        "startAt": now,
        "endAt": None,
        "attempt": "$attemptsMade",
        "tries": 1,
        "size": 0,
        "result": None,
        "jobIds": count,
        "call": {"id": ObjectId(call.id), "failures": call.failures, "created": False},
    }
    is_kept = {
        "$or": [{"$eq": [{"$type": "$$this.endAt"}, "date"]}, {"$eq": [{"$type": "$$this.call.id"}, "objectId"]}]
    }
    known = {"$gt": [{"$size": {"$filter": {"input": named(name), "cond": is_kept}}}, 0]}
    others = {"$filter": {"input": _STEPS, "cond": {"$ne": ["$$this.name", {"$literal": name}]}}}
    has_room = {"$lt": [{"$size": others}, MOST_STEPS]}
    steps = {"$cond": [{"$or": [known, {"$not": [has_room]}]}, _STEPS, {"$concatArrays": [others, [made]]}]}
    return [{"$set": {"steps": steps}}, *statements.renew(now)]


def created(call_id: str, now: Now, *, count: int) -> list[Document]:
    """Note that all children of a call exist: none is created again."""
    return [_changed(call_id, {"jobIds": count}, {"created": True}), *statements.renew(now)]


def resumed(call_id: str, now: Now) -> list[Document]:
    """Note that the failed children of a call run again."""
    entry: Document = {"error": None, "tries": {"$add": [number("$$this.tries", 1), 1]}}
    return [_changed(call_id, entry, {"again": False, "failure": None}), *statements.renew(now)]


def awaiting(job: Job, step: Step, call: Call) -> Document:
    """Match a job as long as it is suspended for the children of a call."""
    return {
        "_id": ObjectId(job.id),
        "queue": job.queue,
        "state": State.DELAYED.value,
        "wait.names": step.name,
        "wait.jobs": {"$exists": True},
        "steps": {"$elemMatch": {"call.id": ObjectId(call.id), "endAt": None}},
    }


def wake(call_id: str, now: Now, entry: Document, call: Document) -> list[Document]:
    """End the wait of a job: the step of the call has its result or its error, and the job is claimable.

    Args:
        call_id: of the call.
        now: as in `statements`.
        entry: changed fields of the step.
        call: changed fields of its call.
    """
    # The next claim counts the attempt.
    attempt = {"attempt": {"$add": ["$attemptsMade", 1]}}
    ready = {"state": State.PENDING.value, "readyAt": now, "delayTil": None, "wait": "$$REMOVE"}
    return [{"$set": {"steps": woken(now)}}, _changed(call_id, entry | attempt, call), {"$set": ready}]


def ended(now: Now, value: Document) -> Document:
    """Return the changed fields of a step that has finished; ``value`` says where its result is."""
    return {"endAt": now, "error": None, **value}


def failed(failure: ChildFailure, error: Document) -> tuple[Document, Document]:
    """Return the changed fields of a step that a failed child has left without a result, and those of its call."""
    suspended = {"$arrayElemAt": [array("$history.token"), -1]}
    return {"error": {"$literal": error}}, {"failure": {"$literal": failure.wire()}, "failedAfter": suspended}


def open_children(call: Call) -> Document:
    """Match the children of a call for which its parent goes on waiting."""
    open_states = sorted(state.value for state in UNFINISHED)
    return {FIELD: ObjectId(call.id), "state": {"$in": open_states + (_BROKEN if call.failures == HOLD else [])}}


def failed_children(call_id: str) -> Document:
    """Match the children of a call that have failed or were killed."""
    return {FIELD: ObjectId(call_id), "state": {"$in": _BROKEN}}


def ended_children(call_id: str) -> Document:
    """Match the children of a call that have ended."""
    return {FIELD: ObjectId(call_id), "state": {"$in": sorted(state.value for state in FINAL)}}


def open_calls(parents: Sequence[ObjectId]) -> Document:
    """Match jobs that may still read results of their awaited children."""
    reading = {"$exists": True, "$ne": State.SUCCESS.value}
    unread = [{"call.id": {"$exists": True}, "endAt": None}, {"call.paged": True}]
    return {"_id": {"$in": list(parents)}, "state": reading, "steps": {"$elemMatch": {"$or": unread}}}


def unread_calls() -> Document:
    """Project a job on the ids of the calls whose results it may still read."""
    is_unread = {"$or": [{"$ne": [{"$type": "$$this.endAt"}, "date"]}, {"$eq": ["$$this.call.paged", True]}]}
    kept = {
        "$filter": {"input": _STEPS, "cond": {"$and": [{"$ne": [{"$type": "$$this.call.id"}, "missing"]}, is_unread]}}
    }
    return {"calls": {"$map": {"input": kept, "in": "$$this.call.id"}}}


def _changed(call_id: str, entry: Document, call: Document) -> Document:
    """Return the stage that changes the step of a call."""
    changed = {"$mergeObjects": ["$$this", entry, {"call": {"$mergeObjects": ["$$this.call", call]}}]}
    is_call = {"$eq": ["$$this.call.id", ObjectId(call_id)]}
    mapped = {"$map": {"input": "$steps", "in": {"$cond": [is_call, changed, "$$this"]}}}
    return {"$set": {"steps": {"$cond": [{"$isArray": "$steps"}, mapped, "$$REMOVE"]}}}
