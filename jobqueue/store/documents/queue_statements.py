"""Filters and updates on all jobs of a queue; ``now`` is an expression, as in `statements`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from bson import ObjectId

from jobqueue.domain.attempts.states import WAITING, Outcome, State
from jobqueue.domain.jobs.transitions import DEPENDENTS
from jobqueue.store.documents import statements
from jobqueue.store.mongo.clock import EPOCH

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from jobqueue.domain.jobs.job import Job
    from jobqueue.store.documents.statements import Document
    from jobqueue.store.mongo.clock import Now

STONE_MS: Final = 3_600_000
"""Milliseconds for which a tombstone stays."""
REMEMBERED_SECONDS: Final = 1200.0
"""Seconds after the last event of a job until the statistics have counted it for good."""
_REMEMBERED: Final = ("type", "state", "insertAt", "killedAt", "batchId", "attemptsMade")
_REMEMBERED_OF_ATTEMPTS: Final = ("token", "readyAt", "startAt", "endAt", "outcome", "last")


def waiting(queue: str) -> Document:
    """Match the waiting jobs of a queue."""
    return {"queue": queue, "state": statements.state_in(WAITING)}


def count_by_queue(states: Iterable[State]) -> list[Document]:
    """Count the jobs of each queue in each of some states; the index answers it alone."""
    return [
        # With any name of a queue the index is enough; without that the documents are read.
        {"$match": {"queue": {"$gte": ""}, "state": statements.state_in(states)}},
        {"$project": {"_id": 0, "queue": 1, "state": 1}},
        {"$group": {"_id": {"queue": "$queue", "state": "$state"}, "count": {"$sum": 1}}},
    ]


def oldest(queue: str) -> list[tuple[Document, str]]:
    """Return searches that together cover all waiting jobs of a queue, each with the field of its order.

    The field is no later than `statements.ready`. So a search ends at the first job whose field is later than the
    earliest `statements.ready` so far: at once, unless another tool or an older version has written the jobs.
    """
    pending: Document = {"queue": queue, "state": State.PENDING.value}
    return [(pending | {"readyAt": None}, "insertAt"), (pending | {"readyAt": {"$gt": EPOCH}}, "readyAt")]


def ahead_of(job: Job) -> Document:
    """Match the waiting jobs of a queue that are claimed before a job."""
    same_priority: Document = {"priority": job.priority}
    return {
        "queue": job.queue,
        "state": State.PENDING.value,
        "$or": [
            {"priority": {"$gt": job.priority}},
            same_priority | {"insertAt": {"$lt": job.insert_at}},
            same_priority | {"insertAt": job.insert_at, "_id": {"$lt": ObjectId(job.id)}},
        ],
    }


def kill_waiting(reason: str, now: Now) -> list[Document]:
    """Kill waiting jobs at a person's request; the outbox notes the work that follows."""
    follows = {
        "children": {"$or": [{"$gt": [f"${name}", None]} for name in ("onComplete", "onFailure")]},
        DEPENDENTS: {"$eq": ["$dependents", True]},
        "batch": {"$gt": ["$batchId", None]},
    }
    outbox = {"$concatArrays": [{"$cond": [condition, [name], []]} for name, condition in follows.items()]}
    return [
        {
            "$set": {
                "state": State.KILLED.value,
                "endAt": now,
                "error": {"kind": Outcome.KILL.value + "ed", "message": {"$literal": reason}},
                "outbox": statements.more_to_do(outbox),
                "unmet": "$waitsFor",
                "waitsFor": "$$REMOVE",
                # The outbox computes it: an update cannot.
                "fingerprint": "$$REMOVE",
                **statements.killed(now),
            }
        },
        statements.drop_empty_outbox(),
    ]


def over(queue: str, state: State, after: datetime, until: datetime) -> Document:
    """Match jobs that ended between two dates and have an empty outbox; a document with another id is none of them."""
    return {
        "_id": {"$type": "objectId"},
        "queue": queue,
        "state": state.value,
        "endAt": {"$gt": after, "$lte": until},
        "outbox": {"$exists": False},
    }


def tombstone(now: Now, *, remembered: bool, operation: str | None = None) -> list[Document]:
    """Replace a job by a tombstone, which keeps its id taken for an hour.

    A remembered job keeps its fields for statistics and events. An operation counts its deletions by its id in them.
    """
    stone: Document = {"_id": "$_id", "queue": "$queue", "run": 0, "expireAt": {"$add": [now, STONE_MS]}}
    known: Document = {"$ifNull": [f"${statements.OPERATIONS}", "$$REMOVE"]}
    stone[statements.OPERATIONS] = known if operation is None else statements.marked(operation)
    if remembered:
        is_list = {"$isArray": "$history"}
        entries = {"$map": {"input": "$history", "in": {name: f"$$this.{name}" for name in _REMEMBERED_OF_ATTEMPTS}}}
        stone["gone"] = {name: f"${name}" for name in _REMEMBERED} | {"history": {"$cond": [is_list, entries, []]}}
    return [{"$replaceWith": stone}]
