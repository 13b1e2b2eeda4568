"""Filters and updates on the `operations` collection, as named pure functions; ``now`` as in `statements`.

Whoever carries an operation on holds it under a lease, by a token. It first writes down which jobs come next, then
changes them, then counts them and crosses them off in one update: so each is counted once, whoever crashes when. Each
change notes the operation in its job: so the next holder knows which jobs are changed and not counted. An operation
that is to end while it has such jobs ends when they are counted.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from bson import ObjectId

from jobqueue.domain.bulk.operation import MOST_FAILURES, Stage
from jobqueue.store.mongo.tolerant import array

if TYPE_CHECKING:
    from jobqueue.domain.bulk.operation import Tally
    from jobqueue.store.documents.statements import Document
    from jobqueue.store.mongo.clock import Now

LEASE_SECONDS: Final = 30.0
FREE: Final = datetime.fromtimestamp(0, UTC)
"""The end of the lease of what nobody holds."""
NOT_ENDING: Final[dict[str, Any]] = {"ending": {"$exists": False}}
_IS_ENDING: Final[Any] = {"$eq": [{"$type": "$ending"}, "object"]}
_ENDED: Final[dict[str, Any]] = {"state": "$ending.state", "endAt": "$ending.at", "error": "$ending.error"}


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


def going_on(operation_id: str, token: str) -> Document:
    """Match an operation as `held`, unless it is to end."""
    return held(operation_id, token) | NOT_ENDING


def choose(job_ids: list[ObjectId], position: Document, now: Now, *, ahead: bool, soon: datetime) -> list[Document]:
    """Write down which jobs come next, and where to look for those after them.

    Args:
        job_ids: the jobs.
        position: the place after them.
        now: as in `statements`.
        ahead: they are dated ahead of the present, as in `selection`.
        soon: the end of the present at which they were looked for.
    """
    place = {"chosen": job_ids, "position": {"$literal": position}, "ahead": ahead, "soon": soon}
    return [{"$set": place | {"lease.until": _until(now)}}]


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
        },
        {"$set": {name: {"$cond": [_IS_ENDING, inner, f"${name}"]} for name, inner in _ENDED.items()}},
        {"$set": {name: {"$cond": [_IS_ENDING, "$$REMOVE", f"${name}"]} for name in ("lease", "ending")}},
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


def end_counted(stage: Stage, error: str | None, now: Now) -> list[Document]:
    """End an operation when the jobs whose turn it is are counted, at once if there are none."""
    to_count = {"$gt": [{"$size": array("$chosen")}, 0]}
    ending = {"state": stage.value, "at": now, "error": {"$literal": error}}
    (at_once,) = end(stage, error, now)
    return [
        {"$set": {"ending": {"$cond": [to_count, ending, "$$REMOVE"]}}},
        {"$set": {name: {"$cond": [_IS_ENDING, f"${name}", inner]} for name, inner in at_once["$set"].items()}},
    ]


def running(operation_id: str) -> Document:
    """Match an operation that has not ended and is not to end."""
    return {"_id": ObjectId(operation_id), "state": Stage.RUNNING.value} | NOT_ENDING


def _until(now: Now) -> Document:
    return {"$add": [now, round(LEASE_SECONDS * 1000)]}
