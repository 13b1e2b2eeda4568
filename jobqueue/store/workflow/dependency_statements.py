"""Filters and updates for jobs that depend on others, as named pure functions.

A waiting job names in ``waitsFor`` the jobs that have not succeeded yet; it is delayed without a date. When the job is
killed, ``unmet`` keeps their names.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from bson import ObjectId

from jobqueue.domain.attempts.states import State
from jobqueue.domain.jobs.transitions import DEPENDENCY
from jobqueue.store.documents import requeue_statements, statements
from jobqueue.store.mongo.clock import SERVER_NOW
from jobqueue.store.mongo.tolerant import array, without

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jobqueue.store.documents.statements import Document
    from jobqueue.store.mongo.clock import Now

_WAITS: Final[Document] = {"$gt": ["$waitsFor", []]}
"""The expression that tells whether a job waits for others."""


def waiting_for(job_id: str, policies: Sequence[str | None] | None = None) -> Document:
    """Match the jobs that wait for a job, with some policies or any; ``None`` is the default policy."""
    query: Document = {"waitsFor": ObjectId(job_id), "state": State.DELAYED.value}
    if policies is not None:
        query["dependencyPolicy"] = {"$in": list(policies)}
    return query


def release(job_ids: Sequence[ObjectId], now: Now = SERVER_NOW) -> list[Document]:
    """Take jobs out of ``waitsFor``; a job that waits for no other becomes pending, or delayed until its own time."""
    is_free: Any = {"$eq": ["$waitsFor", []]}
    is_early: Any = {"$gt": ["$heldTil", now]}
    branches = [
        {"case": {"$not": [is_free]}, "then": "$state"},
        {"case": is_early, "then": State.DELAYED.value},
    ]
    return [
        {"$set": {"waitsFor": without("$waitsFor", job_ids)}},
        {
            "$set": {
                "state": {"$switch": {"branches": branches, "default": State.PENDING.value}},
                "delayTil": {"$cond": [{"$and": [is_free, is_early]}, "$heldTil", None]},
                "readyAt": {"$cond": [is_free, now, "$readyAt"]},
                "waitsFor": {"$cond": [is_free, "$$REMOVE", "$waitsFor"]},
            }
        },
    ]


def fallen(job_ids: Sequence[ObjectId]) -> Document:
    """Match the jobs that were killed because one of several jobs did not succeed."""
    culprits: Any = job_ids[0] if len(job_ids) == 1 else {"$in": list(job_ids)}
    return {"unmet": culprits, "state": State.KILLED.value, "error.kind": DEPENDENCY}


def revive(gone: Sequence[str], now: Now = SERVER_NOW, *, restart: int | None = None) -> list[Document]:
    """Make an ended job wait again for its dependencies; a later check looks at these.

    Args:
        gone: dependencies that do not exist any more; the job waits for those that had not succeeded.
        now: the present, as an expression.
        restart: the restart of the whole batch to which this belongs. The batch checks the dependencies when all jobs
            are restarted; without a restart the job notes the check, and all that follows, itself.
    """
    follows: Document = requeue_statements.notes(reopen=restart is None)
    if restart is None:
        follows["$concatArrays"].append({"$cond": [_WAITS, ["check"], []]})
    met = {"$setDifference": [[ObjectId(job_id) for job_id in gone], array("$unmet")]}
    return [
        {"$set": {"waitsFor": {"$setDifference": ["$dependsOn", met]}}},
        {
            "$set": {
                **requeue_statements.restarted(now),
                "state": {"$cond": [_WAITS, State.DELAYED.value, State.PENDING.value]},
                "readyAt": {"$cond": [_WAITS, "$readyAt", now]},
                "waitsFor": {"$cond": [_WAITS, "$waitsFor", "$$REMOVE"]},
                **({} if restart is None else {"restart": restart}),
                "outbox": follows,
            }
        },
        statements.drop_empty_outbox(),
    ]
