"""Filters and updates on the `operations` collection, as named pure functions; ``now`` as in `statements`.

Whoever carries an operation on holds it under a lease, by a token. It first writes down which jobs come next, then
changes them, then counts them and crosses them off in one update: so each is counted once, whoever crashes when.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from bson import ObjectId

from jobqueue.domain.operation import MOST_FAILURES, Stage

if TYPE_CHECKING:
    from jobqueue.domain.operation import Tally
    from jobqueue.store.statements import Document, Now

LEASE_SECONDS: Final = 30.0
FREE: Final = datetime.fromtimestamp(0, UTC)
"""The end of the lease of what nobody holds."""


def free(now: Now) -> Document:
    """Match operations that are to be carried on and that nobody holds."""
    return {
        "state": Stage.RUNNING.value,
        "lease.until": {"$type": "date"},
        "$expr": {"$lte": ["$lease.until", now]},
    }


def take(token: str, now: Now) -> list[Document]:
    """Hold an operation."""
    return [{"$set": {"lease": {"token": {"$literal": token}, "until": _until(now)}}}]


def held(operation_id: str, token: str) -> Document:
    """Match an operation that is still to be carried on by whoever has this token."""
    return {"_id": ObjectId(operation_id), "state": Stage.RUNNING.value, "lease.token": token}


def choose(job_ids: list[ObjectId], position: Document, now: Now) -> list[Document]:
    """Write down which jobs come next, and where to look for those after them."""
    return [{"$set": {"chosen": job_ids, "position": {"$literal": position}, "lease.until": _until(now)}}]


def count(tally: Tally, now: Now) -> list[Document]:
    """Cross the chosen jobs off, and count what became of them."""
    added: Any = {"$literal": tally.failures}
    return [
        {
            "$set": {
                "chosen": [],
                "done": {"$add": ["$done", tally.done]},
                "skipped": {"$add": ["$skipped", tally.skipped]},
                "failed": {"$add": ["$failed", len(tally.failures)]},
                "failures": {"$slice": [{"$concatArrays": ["$failures", added]}, MOST_FAILURES]},
                "lease.until": _until(now),
            }
        }
    ]


def renew(now: Now) -> list[Document]:
    """Go on holding an operation."""
    return [{"$set": {"lease.until": _until(now)}}]


def release() -> Document:
    """Let somebody else carry an operation on."""
    return {"$set": {"lease.until": FREE}}


def end(stage: Stage, error: str | None, now: Now) -> list[Document]:
    """End an operation."""
    return [{"$set": {"state": stage.value, "endAt": now, "error": {"$literal": error}, "lease": "$$REMOVE"}}]


def running(operation_id: str) -> Document:
    """Match an operation that has not ended."""
    return {"_id": ObjectId(operation_id), "state": Stage.RUNNING.value}


def _until(now: Now) -> Document:
    return {"$add": [now, round(LEASE_SECONDS * 1000)]}
