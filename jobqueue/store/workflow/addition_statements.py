"""Filters and updates for additions to a batch that are under way.

A batch lists these additions in ``adding``, each under a lease: ``{_id, until, first, count, refs, blocking, blocks,
session}``. The batch does not finish meanwhile. Two additions of the same ref take turns; so do two additions that
block present jobs.

Servers of version 0.3.0 do not know the list. For them ``additions`` is no whole number meanwhile, so that their own
compare and set never matches.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from bson import ObjectId

from jobqueue.domain.attempts.states import State
from jobqueue.store.documents.documents import numbered_ids
from jobqueue.store.mongo.clock import SERVER_NOW, is_over
from jobqueue.store.mongo.tolerant import array, unless_empty
from jobqueue.store.workflow import batch_statements
from jobqueue.store.workflow.batch_statements import ADDING, SETTLE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jobqueue.store.documents.statements import Document

LEASE_SECONDS: Final = 30.0
"""Seconds that an addition may take. Later it is dropped, unless it has been committed."""
MOST_AT_ONCE: Final = 100
MOST_BYTES: Final = 4 * 1024 * 1024
"""Bytes of the list beyond which it takes no further addition."""
CHECK: Final = "check"
_LIST: Final = array(f"${ADDING}")
_NUMBER: Final = {"$convert": {"input": {"$floor": "$additions"}, "to": "int", "onError": 0, "onNull": 0}}
_LEASE_MS: Final = round(LEASE_SECONDS * 1000)
_IS_LATE: Final[Document] = is_over("$$this.until", _LEASE_MS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Addition:
    """Jobs that are to be added to a batch.

    Attributes:
        id: of this try.
        first: the id that those of the jobs follow from.
        count: how many jobs.
        refs: of these jobs.
        blocks: ids of waiting jobs of the batch that are to wait for some of these too.
    """

    id: ObjectId
    first: str
    count: int
    refs: tuple[str, ...] = ()
    blocks: tuple[ObjectId, ...] = ()

    @property
    def job_ids(self) -> list[ObjectId]:
        """The ids of the jobs."""
        return [ObjectId(job_id) for job_id in numbered_ids(self.first, self.count)]


def addition_of(entry: Document) -> Addition:
    """Return an addition of a batch's list, without its refs."""
    return Addition(
        id=entry["_id"],
        first=str(entry["first"]),
        count=int(entry["count"]),
        blocks=tuple(entry.get("blocks") or ()),
    )


def has_room(batch_id: str, addition: Addition, *, sealed_too: bool) -> Document:
    """Match a batch that takes jobs and has no addition under way that excludes this one."""
    query = batch_statements.accepts(batch_id, sealed_too=sealed_too) | {
        f"{ADDING}.first": {"$ne": addition.first},
        f"{ADDING}.{MOST_AT_ONCE - 1}": {"$exists": False},
        "$expr": {"$lt": [{"$bsonSize": {"all": _LIST}}, MOST_BYTES]},
    }
    if addition.refs:
        query[f"{ADDING}.refs"] = {"$nin": list(addition.refs)}
    if addition.blocks:
        # Two of them could make jobs wait for each other.
        query[f"{ADDING}.blocking"] = {"$ne": True}
    return query


def reserve(addition: Addition, session: Any) -> list[Document]:
    """Begin an addition.

    Args:
        addition: the addition.
        session: the id of the server's session in which the jobs will be inserted.
    """
    entry: Document = {
        "_id": addition.id,
        "until": {"$add": [SERVER_NOW, _LEASE_MS]},
        "first": addition.first,
        "count": addition.count,
        "refs": {"$literal": list(addition.refs)},
        "blocking": bool(addition.blocks),
        "blocks": list(addition.blocks),
        "session": session,
    }
    return [
        {
            "$set": {
                ADDING: {"$concatArrays": [_LIST, [entry]]},
                "outbox": {"$setUnion": [array("$outbox"), [ADDING]]},
                "additions": {"$add": [_NUMBER, 1.5]},
            }
        }
    ]


def clear(addition_id: ObjectId) -> list[Document]:
    """End an addition; a sealed batch may have to finish now."""
    is_last: Any = {"$eq": [f"${ADDING}", []]}
    stays: Any = {"$or": [{"$ne": ["$$this", ADDING]}, {"$not": [is_last]}]}
    notes: Any = {"$filter": {"input": array("$outbox"), "cond": stays}}
    return [
        {"$set": {ADDING: {"$filter": {"input": _LIST, "cond": {"$ne": ["$$this._id", addition_id]}}}}},
        {"$set": {"outbox": {"$setUnion": [notes, {"$cond": ["$sealed", [SETTLE], []]}]}}},
        {
            "$set": {
                "additions": {"$cond": [is_last, {"$add": [_NUMBER, 1]}, {"$add": [_NUMBER, 1.5]}]},
                "outbox": unless_empty("$outbox"),
                ADDING: unless_empty(f"${ADDING}"),
            }
        },
    ]


def overdue() -> Document:
    """Match batches with an addition that has taken longer than its lease."""
    return {"outbox": ADDING, "$expr": {"$anyElementTrue": [{"$map": {"input": _LIST, "in": _IS_LATE}}]}}


def late_ones(first: str | None = None) -> Document:
    """Return the projection of the additions that are overdue, or that add the same jobs."""
    same: Document = {"$eq": ["$$this.first", {"$literal": first}]}
    return {ADDING: {"$filter": {"input": _LIST, "cond": {"$or": [_IS_LATE, same]}}}}


def blockable(batch_id: str, job_id: ObjectId) -> Document:
    """Match a job of a batch that waits for others and has no note to check these.

    The new jobs are not stored yet: a check would take them for deleted jobs.
    """
    return {
        "_id": job_id,
        "batchId": ObjectId(batch_id),
        "state": State.DELAYED.value,
        "waitsFor": {"$exists": True},
        "outbox": {"$ne": CHECK},
    }


def block(addition_id: ObjectId, job_ids: Sequence[ObjectId]) -> Document:
    """Make a job wait for new jobs too, before these are stored."""
    each = {"$each": list(job_ids)}
    return {"$addToSet": {"waitsFor": each, "dependsOn": each}, "$set": {"addition": addition_id}}


def blocked(addition: Addition) -> Document:
    """Match the jobs that an addition makes wait."""
    return {"_id": {"$in": list(addition.blocks)}, "addition": addition.id}


def forget(addition: Addition) -> Document:
    """Drop the jobs that were not added from the dependencies of other jobs."""
    gone = {"$in": addition.job_ids}
    return {"$pull": {"dependsOn": gone, "unmet": gone}, "$unset": {"addition": ""}}
