"""Filters and updates on all jobs of a queue; ``now`` is an expression, as in `statements`."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from bson import ObjectId

from jobqueue.domain.jobs.states import WAITING, Outcome, State
from jobqueue.domain.jobs.transitions import DEPENDENTS
from jobqueue.store.documents import statements

if TYPE_CHECKING:
    from jobqueue.domain.jobs.job import Job
    from jobqueue.store.documents.statements import Document
    from jobqueue.store.mongo.clock import Now

_EPOCH: Final = datetime.fromtimestamp(0, UTC)
STONE_MS: Final = 3_600_000
"""How long a tombstone stays."""
REMEMBERED_SECONDS: Final = 1200.0
"""A job to which something happened within this time is not in the statistics for good yet."""
_REMEMBERED: Final = ("type", "state", "insertAt", "killedAt", "batchId", "attemptsMade")
_REMEMBERED_OF_ATTEMPTS: Final = ("token", "readyAt", "startAt", "endAt", "outcome", "last")


def waiting(queue: str) -> Document:
    """Match the jobs of a queue that wait."""
    return {"queue": queue, "state": {"$in": sorted(state.value for state in WAITING)}}


def oldest(queue: str) -> list[tuple[Document, str]]:
    """Return searches that together pass all waiting jobs of a queue, each with the field that it is ordered by.

    The field is no later than `statements.ready`. So a search is over at the first job whose field is later than the
    earliest `statements.ready` so far: at once, unless another tool or an older version has written the jobs.
    """
    pending: Document = {"queue": queue, "state": State.PENDING.value}
    return [(pending | {"readyAt": None}, "insertAt"), (pending | {"readyAt": {"$gt": _EPOCH}}, "readyAt")]


def ahead_of(job: Job) -> Document:
    """Match the waiting jobs of a queue that are claimed before one."""
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
    """End waiting jobs by a person's will; those with children to be created for that are left to the completer."""
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
                # Computed afterwards: an update does not know how.
                "fingerprint": "$$REMOVE",
                **statements.killed(now),
            }
        },
        statements.drop_empty_outbox(),
    ]


def over(queue: str, state: State, after: datetime, until: datetime) -> Document:
    """Match jobs that ended between two dates and for which nothing is left to be done."""
    return {
        "queue": queue,
        "state": state.value,
        "endAt": {"$gt": after, "$lte": until},
        "outbox": {"$exists": False},
    }


def tombstone(now: Now, *, remembered: bool, operation: str | None = None) -> list[Document]:
    """Leave of a job only that its id is taken, for an hour, and what others have to know of it.

    Args:
        now: as in `statements`.
        remembered: with what statistics and events have to know.
        operation: the id of the operation that deletes it; operations tell by it what they have changed.
    """
    stone: Document = {"_id": "$_id", "queue": "$queue", "run": 0, "expireAt": {"$add": [now, STONE_MS]}}
    known: Document = {"$ifNull": [f"${statements.OPERATIONS}", "$$REMOVE"]}
    stone[statements.OPERATIONS] = known if operation is None else statements.marked(operation)
    if remembered:
        is_list = {"$isArray": "$history"}
        entries = {"$map": {"input": "$history", "in": {name: f"$$this.{name}" for name in _REMEMBERED_OF_ATTEMPTS}}}
        stone["gone"] = {name: f"${name}" for name in _REMEMBERED} | {"history": {"$cond": [is_list, entries, []]}}
    return [{"$replaceWith": stone}]
