"""Filters and updates that start a job anew, as named pure functions; ``now`` as in `statements`.

A requeue writes the work that follows from it into the job, in the same update.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bson import ObjectId

from jobqueue.domain.attempts.states import State
from jobqueue.domain.jobs.transitions import REOPEN, REVIVE
from jobqueue.store.documents import signal_statements
from jobqueue.store.documents.sleep_statements import kept
from jobqueue.store.documents.statements import OPERATIONS, UNREAD, drop_empty_outbox, marked, same_run
from jobqueue.store.mongo.tolerant import array, number, without

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from jobqueue.domain.jobs.job import Job
    from jobqueue.store.documents.statements import Document
    from jobqueue.store.mongo.clock import Now


def notes(*, reopen: bool = True) -> Document:
    """Return the notes of the work that follows from a requeue; ``reopen`` opens a finished batch of the job."""
    reopening = [{"$cond": [{"$gt": ["$batchId", None]}, [REOPEN], []]}] if reopen else []
    return {"$concatArrays": [*reopening, {"$cond": [{"$eq": ["$dependents", True]}, [REVIVE], []]}]}


def asking(job: Job, note: str) -> Document:
    """Match a job whose requeue has an open note."""
    return same_run(job.id, job.queue, job.run) | {"outbox": note}


def carried_out(note: str) -> list[Document]:
    """Remove a note that is carried out; notes of the job's end stay."""
    return [{"$set": {"outbox": without("$outbox", [note])}}, drop_empty_outbox()]


def restarted(now: Now, **noted: Any) -> Document:
    """Return the fields of a job that begins anew, with an entry in its history.

    Args:
        now: as in `statements`.
        noted: more fields of the entry.
    """
    entry = {
        "attempt": number("$attemptsMade", 0),
        "token": None,
        "worker": None,
        "startAt": None,
        "endAt": now,
        "outcome": "requeue",
        "error": None,
        "code": None,
    }
    return {
        "attemptsMade": 0,
        "crashes": "$$REMOVE",
        "retries": "$$REMOVE",
        "progress": 0,
        "error": None,
        "result": None,
        "startAt": None,
        "endAt": None,
        "delayTil": None,
        "startBefore": "$$REMOVE",
        "unmet": "$$REMOVE",
        "fingerprint": "$$REMOVE",
        "run": {"$add": [number("$run", 0), 1]},
        "history": {"$concatArrays": [array("$history"), [entry | noted]]},
    }


def requeue(
    now: Now,
    was: Document,
    changes: Document,
    operation: str | None = None,
    group: Document | None = None,
    *,
    reopen: bool = True,
    waits_for: Sequence[str] = (),
    forgotten: Collection[str] | None = (),
) -> list[Document]:
    """Start a job anew: no attempts, and the same history with an entry of the replaced values.

    ``forgotten`` are the names of the steps that run again; ``None`` for all. Other finished steps are kept.
    """
    waiting = {"$concatArrays": [notes(reopen=reopen), ["check"]]}
    noted: Document = {} if operation is None else {"operation": ObjectId(operation)}
    if forgotten is None or forgotten:
        noted["forgot"] = _forgot(forgotten)
    if was:
        noted["was"] = {name: f"${name}" for name in was}
    return [
        {
            "$set": {
                **{name: {"$literal": inner} for name, inner in changes.items()},
                **(group or {}),
                "state": (State.DELAYED if waits_for else State.PENDING).value,
                **({} if waits_for else {"readyAt": now}),
                **restarted(now, **noted),
                "steps": kept(forgotten),
                "signals": signal_statements.kept(forgotten),
                "wait": "$$REMOVE",
                "waitsFor": [ObjectId(parent) for parent in waits_for] or "$$REMOVE",
                "heldTil": "$$REMOVE",
                UNREAD: "$$REMOVE",
                "outbox": waiting if waits_for else notes(reopen=reopen),
                **({} if operation is None else {OPERATIONS: marked(operation)}),
            }
        },
        drop_empty_outbox(),
    ]


def _forgot(names: Collection[str] | None) -> Document:
    """Return the names of the steps that run again, as the history keeps them."""
    every: Document = {"$map": {"input": array("$steps"), "in": "$$this.name"}}
    return (
        every
        if names is None
        else {"$filter": {"input": every, "cond": {"$in": ["$$this", {"$literal": list(names)}]}}}
    )


def requeueable(job: Job, most_bytes: int) -> Document:
    """Match a job for a requeue: in the same run, with an empty outbox, and with room for the replaced values."""
    return same_run(job.id, job.queue, job.run) | {
        "state": job.state.value,
        "outbox": {"$exists": False},
        # Nothing is left to run of an erased job.
        "erased": None,
        "$expr": {"$lt": [{"$bsonSize": "$$ROOT"}, most_bytes]},
    }
