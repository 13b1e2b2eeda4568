"""Filters and updates on the `operations` collection, as named pure functions.

A process holds an operation under a lease, by a token. It repeats three steps:

* It notes the jobs that come next.
* It changes them, and notes the operation in each.
* It counts them and takes the note of them off, in one update.

So each job is counted once, whichever process crashes: the next holder finds the changed jobs that are not counted. An
operation that is to end while it has such jobs ends when they are counted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from bson import ObjectId

from jobqueue.domain.bulk.operation import MOST_FAILURES, Stage, Tally
from jobqueue.store.mongo.clock import EPOCH, SERVER_NOW, is_over
from jobqueue.store.mongo.tolerant import array, number, without

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from jobqueue.domain.bulk.rules import Stopped
    from jobqueue.store.documents.statements import Document

LEASE_SECONDS: Final = 30.0
LEASE_MS: Final = round(LEASE_SECONDS * 1000)
FREE: Final = EPOCH
"""The end of the lease of an operation that no process holds."""
NOT_ENDING: Final[dict[str, Any]] = {"ending": {"$exists": False}}
_IS_ENDING: Final[Any] = {"$eq": [{"$type": "$ending"}, "object"]}
SHOWN: Final = "shown"
"""The filter of an erasure without the values: at the end it takes the place of the filter."""
FORGET: Final[dict[str, Any]] = {"$set": {"filter": {"$ifNull": [f"${SHOWN}", "$filter"]}}}
"""The stage by which an erasure that ends, or is to end, forgets the values."""
_ENDED: Final[dict[str, Any]] = {
    "state": "$ending.state",
    "endAt": "$ending.at",
    "error": "$ending.error",
    "stopped": "$ending.stopped",
}


def free(actions: Sequence[str]) -> Document:
    """Match running operations with one of these stored actions that no process holds."""
    return {
        "action": {"$in": list(actions)},
        "state": Stage.RUNNING.value,
        "lease.until": {"$type": "date"},
        "$expr": is_over("$lease.until", LEASE_MS),
    }


def take(token: str) -> list[Document]:
    """Hold an operation."""
    return [{"$set": {"lease": {"token": {"$literal": token}, "until": _until()}}}]


def held(operation_id: str, token: str) -> Document:
    """Match a running operation that is held by this token."""
    return {"_id": ObjectId(operation_id), "state": Stage.RUNNING.value, "lease.token": token}


def going_on(operation_id: str, token: str) -> Document:
    """Match an operation as `held`, unless it is to end."""
    return held(operation_id, token) | NOT_ENDING


def choose(
    job_ids: list[ObjectId], position: Document, *, ahead: bool, soon: datetime, turn_at: datetime | None = None
) -> list[Document]:
    """Note the jobs that come next, and the place after them.

    Args:
        job_ids: the jobs.
        position: the place after them.
        ahead: they are dated ahead of the present, as in `selection`.
        soon: as in `selection`, at the search for them.
        turn_at: the time of the job after them, at so many a minute.
    """
    place = {"chosen": job_ids, "position": {"$literal": position}, "ahead": ahead, "soon": soon}
    turn = {} if turn_at is None else {"turnAt": turn_at}
    return [{"$set": place | turn | {"lease.until": _until()}}]


def choose_left(job_ids: list[ObjectId], turn_at: datetime | None) -> list[Document]:
    """Note the jobs that come next, of those that a stop has left alone; ``turn_at`` as in `choose`."""
    turn = {} if turn_at is None else {"turnAt": turn_at}
    rest = without("$left", job_ids)
    return [{"$set": {"chosen": job_ids, "left": rest, **turn, "lease.until": _until()}}]


def count(tally: Tally) -> list[Document]:
    """Count the outcomes of the chosen jobs, and take the note of these off."""
    added: Any = {"$literal": tally.failures}
    watched: Any = {"$literal": [{"id": ObjectId(job.id), "vanishes": job.vanishes} for job in tally.watched]}
    news = {"watched": {"$concatArrays": [array("$watched"), watched]}, "newsAt": SERVER_NOW} if tally.watched else {}
    left_alone = [ObjectId(job_id) for job_id in tally.left]
    left = {"left": {"$concatArrays": [left_alone, array("$left")]}} if left_alone else {}
    return [
        {
            "$set": {
                "chosen": [],
                "done": {"$add": [number("$done", 0), tally.done]},
                "skipped": {"$add": [number("$skipped", 0), tally.skipped]},
                "failed": {"$add": [number("$failed", 0), len(tally.failures)]},
                "failures": {"$slice": [{"$concatArrays": [array("$failures"), added]}, MOST_FAILURES]},
                "lease.until": _until(),
                **news,
                **left,
            }
        },
        {"$set": {name: {"$cond": [_IS_ENDING, inner, f"${name}"]} for name, inner in _ENDED.items()}},
        {"$set": {name: {"$cond": [_IS_ENDING, "$$REMOVE", f"${name}"]} for name in ("lease", "ending")}},
    ]


def renew() -> list[Document]:
    """Renew the lease of an operation."""
    return [{"$set": {"lease.until": _until()}}]


def release() -> Document:
    """Release an operation, so that another process can take it."""
    return {"$set": {"lease.until": FREE}}


def end(stage: Stage, error: str | None = None, stopped: Stopped | None = None) -> list[Document]:
    """End an operation."""
    fields = {"state": stage.value, "endAt": SERVER_NOW, "error": {"$literal": error}, "lease": "$$REMOVE"}
    return [{"$set": fields | _why(stopped)}]


def end_counted(stage: Stage, error: str | None = None, stopped: Stopped | None = None) -> list[Document]:
    """End an operation when its chosen jobs are counted, at once if there are none."""
    to_count = {"$gt": [{"$size": array("$chosen")}, 0]}
    ending = {"state": stage.value, "at": SERVER_NOW, "error": {"$literal": error}} | _why(stopped)
    (at_once,) = end(stage, error, stopped)
    return [
        FORGET,
        {"$set": {"ending": {"$cond": [to_count, ending, "$$REMOVE"]}}},
        {"$set": {name: {"$cond": [_IS_ENDING, f"${name}", inner]} for name, inner in at_once["$set"].items()}},
    ]


def give_up(why: str) -> list[Document]:
    """End an operation without a count of its chosen jobs: as it is to end, or as failed if nothing tells its end."""
    (failed,) = end(Stage.FAILED, why)
    ends = [stage.value for stage in Stage if stage is not Stage.RUNNING]
    is_left = {"$not": [{"$in": ["$state", ends]}]}
    ended = {name: {"$cond": [is_left, inner, f"${name}"]} for name, inner in failed["$set"].items()}
    return [{"$set": {"chosen": []}}, *count(Tally()), {"$set": ended}, {"$unset": "ending"}]


def running(operation_id: str) -> Document:
    """Match an operation that has not ended and is not to end."""
    return {"_id": ObjectId(operation_id), "state": Stage.RUNNING.value} | NOT_ENDING


def _why(stopped: Stopped | None) -> Document:
    if stopped is None:
        return {}
    return {"stopped": {"why": stopped.why.value, "message": {"$literal": stopped.message}}}


def _until() -> Document:
    return {"$add": [SERVER_NOW, LEASE_MS]}
