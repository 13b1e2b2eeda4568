"""Updates of steps that must not run twice, as named pure functions; ``now`` as in `statements`.

A step is marked with the token of its claim before it runs. A mark without a result is a doubt: nobody knows whether
the step has happened.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from bson import ObjectId

from jobqueue.domain.attempts.states import State
from jobqueue.domain.steps.step import MOST_STEPS, StepKind
from jobqueue.store.documents.signal_statements import woken
from jobqueue.store.mongo.tolerant import array

if TYPE_CHECKING:
    from jobqueue.store.documents.statements import Document
    from jobqueue.store.mongo.clock import Now

_STEPS: Final = array("$steps")


def mark(token: str, name: str, now: Now, *, tries: int, key: str | None = None) -> list[Document]:
    """Mark a step as begun, unless it has finished or has a mark already.

    Args:
        token: of the claim.
        name: of the step.
        now: as in `statements`.
        tries: how often the step was begun in this run of the job.
        key: of the request that begins it.
    """
    made = {
        "name": {"$literal": name},
        "kind": StepKind.STEP.value,
        "startAt": now,
        "endAt": None,
        "attempt": "$attemptsMade",
        "tries": tries,
        "size": 0,
        "once": {"$literal": token},
        **({} if key is None else {"onceKey": key}),
    }
    others = {"$filter": {"input": _STEPS, "cond": {"$ne": ["$$this.name", {"$literal": name}]}}}
    is_settled = {"$and": [_is_named(name), {"$or": [_has_ended("$$this"), _is_marked("$$this")]}]}
    may_begin = {"$and": [{"$not": [_any(is_settled)]}, {"$lt": [{"$size": others}, MOST_STEPS]}]}
    return [{"$set": {"steps": {"$cond": [may_begin, {"$concatArrays": [others, [made]]}, _STEPS]}}}]


def unmark(token: str, name: str) -> list[Document]:
    """Take back the mark of a claim: the step has not happened."""
    is_own = {"$and": [_is_open(name), {"$eq": ["$$this.once", {"$literal": token}]}]}
    return [{"$set": {"steps": {"$filter": {"input": _STEPS, "cond": {"$not": [is_own]}}}}}]


def marked(job_id: str, queue: str, token: str, name: str) -> Document:
    """Match a job in which a step still has the mark of a claim, whether or not the claim is the current one."""
    mark = {"$elemMatch": {"name": name, "once": token, "endAt": None}}
    return {"_id": ObjectId(job_id), "queue": queue, "steps": mark}


def finish(name: str, entry: Document, now: Now) -> list[Document]:
    """Finish a step in doubt with a result that is known now, and wake the job if it waits for that.

    ``entry`` has the fields of the result.
    """
    literal = {field: {"$literal": value} for field, value in entry.items()}
    finished = {"$mergeObjects": ["$$this", literal, {"endAt": now, "once": None}]}
    steps = {"$map": {"input": _STEPS, "in": {"$cond": [_is_open(name), finished, "$$this"]}}}
    return [{"$set": {"steps": {"$cond": [{"$isArray": "$steps"}, steps, "$$REMOVE"]}}}, woken(now)]


def decide(name: str, entry: Document | None, now: Now) -> list[Document]:
    """Finish a step in doubt that a person knows to have happened, or take its mark back; wake the job.

    Args:
        name: of the step.
        entry: the fields of its result; ``None`` if it has not happened.
        now: as in `statements`.
    """
    doubt = {"$and": [_is_open(name), {"$not": [_runs("$$this")]}]}
    if entry is None:
        steps: Document = {"$filter": {"input": _STEPS, "cond": {"$not": [doubt]}}}
    else:
        literal = {field: {"$literal": value} for field, value in entry.items()}
        finished = {"$mergeObjects": ["$$this", literal, {"endAt": now, "once": None}]}
        steps = {"$map": {"input": _STEPS, "in": {"$cond": [doubt, finished, "$$this"]}}}
    return [{"$set": {"steps": {"$cond": [{"$isArray": "$steps"}, steps, "$$REMOVE"]}}}, woken(now)]


def found(name: str) -> Document:
    """Project a job on what a decision about a step has to know."""
    return {
        "isThere": _any(_is_named(name)),
        "isInDoubt": _any(_is_open(name)),
        "isRunning": _any({"$and": [_is_open(name), _runs("$$this")]}),
    }


def _any(cond: Document) -> Document:
    return {"$gt": [{"$size": {"$filter": {"input": _STEPS, "cond": cond}}}, 0]}


def _is_named(name: str) -> Document:
    return {"$eq": ["$$this.name", {"$literal": name}]}


def _is_open(name: str) -> Document:
    return {"$and": [_is_named(name), _is_marked("$$this"), {"$not": [_has_ended("$$this")]}]}


def _runs(step: str) -> Document:
    return {"$and": [{"$eq": ["$state", State.PROCESSING.value]}, {"$eq": [f"{step}.once", "$claim.token"]}]}


def _is_marked(step: str) -> Document:
    return {"$eq": [{"$type": f"{step}.once"}, "string"]}


def _has_ended(step: str) -> Document:
    return {"$eq": [{"$type": f"{step}.endAt"}, "date"]}
