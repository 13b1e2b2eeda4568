"""Filters and updates for jobs that depend on others, as named pure functions; ``now`` as in `statements`.

A job that waits for others names those that have not succeeded yet in ``waitsFor``; it is delayed without a date. When
it is killed, ``unmet`` keeps their names.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bson import ObjectId

from jobqueue.domain.jobs.states import State
from jobqueue.domain.jobs.transitions import DEPENDENCY
from jobqueue.store.documents import requeue_statements, statements

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jobqueue.store.documents.statements import Document
    from jobqueue.store.mongo.clock import Now


def waiting_for(job_id: str, policies: Sequence[str | None] | None = None) -> Document:
    """Match the jobs that wait for one, with some policies or any; ``None`` is the default policy."""
    found: Document = {"waitsFor": ObjectId(job_id), "state": State.DELAYED.value}
    if policies is not None:
        found["dependencyPolicy"] = {"$in": list(policies)}
    return found


def release(job_ids: Sequence[ObjectId], now: Now) -> list[Document]:
    """Wait for jobs no longer; what waits for nothing else may be claimed, or is delayed until its own time."""
    rest = {"$filter": {"input": "$waitsFor", "cond": {"$not": [{"$in": ["$$this", list(job_ids)]}]}}}
    is_free: Any = {"$eq": ["$waitsFor", []]}
    is_early: Any = {"$gt": ["$heldTil", now]}
    return [
        {"$set": {"waitsFor": rest}},
        {
            "$set": {
                "state": {
                    "$switch": {
                        "branches": [
                            {"case": {"$not": [is_free]}, "then": "$state"},
                            {"case": is_early, "then": State.DELAYED.value},
                        ],
                        "default": State.PENDING.value,
                    }
                },
                "delayTil": {"$cond": [{"$and": [is_free, is_early]}, "$heldTil", None]},
                "readyAt": {"$cond": [is_free, now, "$readyAt"]},
                "waitsFor": {"$cond": [is_free, "$$REMOVE", "$waitsFor"]},
            }
        },
    ]


def fallen(job_id: str) -> Document:
    """Match the jobs that were killed because a job did not succeed."""
    return fallen_because_of([ObjectId(job_id)])


def fallen_because_of(job_ids: Sequence[ObjectId]) -> Document:
    """Match the jobs that were killed because one of several did not succeed."""
    culprits: Any = job_ids[0] if len(job_ids) == 1 else {"$in": list(job_ids)}
    return {"unmet": culprits, "state": State.KILLED.value, "error.kind": DEPENDENCY}


def revive(gone: Sequence[str], now: Now, *, restart: int | None = None) -> list[Document]:
    """Let a job that has ended wait again for what it depends on; whether it has to is looked at afterwards.

    Args:
        gone: what does not exist any more; it is waited for only if it had not succeeded.
        now: the present.
        restart: the restart of the whole batch for which that is done. Its own end looks at what is waited for, when
            all are restarted; without it the job says itself that this, and all that follows, is to be done.
    """
    follows: Document = requeue_statements.notes(reopen=restart is None)
    if restart is None:
        follows["$concatArrays"].append({"$cond": [waits_at_all(), ["check"], []]})
    met = {"$setDifference": [[ObjectId(one) for one in gone], {"$ifNull": ["$unmet", []]}]}
    waits: Any = waits_at_all()
    return [
        {"$set": {"waitsFor": {"$setDifference": ["$dependsOn", met]}}},
        {
            "$set": {
                "state": {"$cond": [waits, State.DELAYED.value, State.PENDING.value]},
                "readyAt": {"$cond": [waits, "$readyAt", now]},
                "waitsFor": {"$cond": [waits, "$waitsFor", "$$REMOVE"]},
                "unmet": "$$REMOVE",
                **({} if restart is None else {"restart": restart}),
                "attemptsMade": 0,
                "crashes": "$$REMOVE",
                "progress": 0,
                "error": None,
                "result": None,
                "startAt": None,
                "endAt": None,
                "delayTil": None,
                "fingerprint": "$$REMOVE",
                "retries": "$$REMOVE",
                "run": {"$add": [{"$ifNull": ["$run", 0]}, 1]},
                "history": {"$concatArrays": [{"$ifNull": ["$history", []]}, [requeue_statements.requeued(now)]]},
                "outbox": follows,
            }
        },
        statements.drop_empty_outbox(),
    ]


def waits_at_all() -> Document:
    """Return the expression that tells whether a job waits for others."""
    return {"$gt": ["$waitsFor", []]}
