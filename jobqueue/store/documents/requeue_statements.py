"""Filters and updates that start a job anew, as named pure functions; ``now`` as in `statements`.

A requeue writes into the job, in the same update, what has to follow from it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bson import ObjectId

from jobqueue.domain.jobs.states import State
from jobqueue.domain.jobs.transitions import REOPEN, REVIVE
from jobqueue.store.documents.statements import OPERATIONS, UNREAD, drop_empty_outbox, marked, same_run
from jobqueue.store.mongo.tolerant import array, number

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jobqueue.domain.jobs.job import Job
    from jobqueue.store.documents.statements import Document
    from jobqueue.store.mongo.clock import Now


def notes(*, reopen: bool = True) -> Document:
    """Return what a job says that has to follow from its requeue: it is written together with that.

    Args:
        reopen: open its batch, if it has one and that has finished.
    """
    parts: list[Any] = [{"$cond": [{"$eq": ["$dependents", True]}, [REVIVE], []]}]
    if reopen:
        parts.insert(0, {"$cond": [{"$gt": ["$batchId", None]}, [REOPEN], []]})
    return {"$concatArrays": parts}


def asking(job: Job, note: str) -> Document:
    """Match a job whose requeue has a note that is not carried out yet."""
    return same_run(job.id, job.queue, job.run) | {"outbox": note}


def carried_out(note: str) -> list[Document]:
    """Take off a note that is carried out; what the end of the job has added meanwhile stays."""
    rest = {"$filter": {"input": array("$outbox"), "cond": {"$ne": ["$$this", note]}}}
    return [{"$set": {"outbox": rest}}, drop_empty_outbox()]


def requeued(now: Now) -> Document:
    """Return the history entry of a job that is started anew by a person's will."""
    return {
        "attempt": number("$attemptsMade", 0),
        "token": None,
        "worker": None,
        "startAt": None,
        "endAt": now,
        "outcome": "requeue",
        "error": None,
        "code": None,
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
) -> list[Document]:
    """Start a job anew by a person's will: attempts from nothing, history kept, replaced values noted in it."""
    waiting = {"$concatArrays": [notes(reopen=reopen), ["check"]]}
    entry = requeued(now)
    if operation is not None:
        entry["operation"] = ObjectId(operation)
    if was:
        entry["was"] = {name: f"${name}" for name in was}
    return [
        {
            "$set": {
                **{name: {"$literal": inner} for name, inner in changes.items()},
                **(group or {}),
                "state": (State.DELAYED if waits_for else State.PENDING).value,
                **({} if waits_for else {"readyAt": now}),
                "attemptsMade": 0,
                "crashes": "$$REMOVE",
                "retries": "$$REMOVE",
                "progress": 0,
                "error": None,
                "result": None,
                "startAt": None,
                "endAt": None,
                "delayTil": None,
                "waitsFor": [ObjectId(parent) for parent in waits_for] or "$$REMOVE",
                "unmet": "$$REMOVE",
                "heldTil": "$$REMOVE",
                "fingerprint": "$$REMOVE",
                UNREAD: "$$REMOVE",
                "run": {"$add": [number("$run", 0), 1]},
                "history": {"$concatArrays": [array("$history"), [entry]]},
                "outbox": waiting if waits_for else notes(reopen=reopen),
                **({} if operation is None else {OPERATIONS: marked(operation)}),
            }
        },
        drop_empty_outbox(),
    ]


def requeueable(job: Job, most_bytes: int) -> Document:
    """Match a job that may be requeued, nobody having done so yet, and whose document has room for what is replaced."""
    return same_run(job.id, job.queue, job.run) | {
        "state": job.state.value,
        "outbox": {"$exists": False},
        "$expr": {"$lt": [{"$bsonSize": "$$ROOT"}, most_bytes]},
    }
