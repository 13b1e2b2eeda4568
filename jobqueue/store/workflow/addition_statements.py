"""Filters and updates for additions to a batch that are under way; ``now`` as in `statements`.

A batch lists these additions in ``adding``, each under a lease: ``{_id, until, first, count, refs, blocking, blocks,
session}``. The batch is not ended meanwhile. Two additions of the same ref take turns; so do two that let present jobs
wait.

Servers of version 0.3.0 do not know the list. For them ``additions`` is no whole number meanwhile, so that their own
compare and set never matches.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from bson import ObjectId

from jobqueue.domain.jobs.states import State
from jobqueue.store.documents.documents import numbered_ids
from jobqueue.store.workflow import batch_statements, dependency_statements
from jobqueue.store.workflow.batch_statements import ADDING, SETTLE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jobqueue.store.documents.statements import Document
    from jobqueue.store.mongo.clock import Now

LEASE_SECONDS: Final = 30.0
"""Seconds that an addition may take. Later it is dropped, unless it has been committed."""
MOST_AT_ONCE: Final = 100
MOST_BYTES: Final = 4 * 1024 * 1024
"""Bytes of the list beyond which it takes no further addition."""
CHECK: Final = "check"
_LIST: Final = {"$cond": [{"$isArray": f"${ADDING}"}, f"${ADDING}", []]}
_OUTBOX: Final = {"$ifNull": ["$outbox", []]}
_NUMBER: Final = {"$convert": {"input": {"$floor": "$additions"}, "to": "int", "onError": 0, "onNull": 0}}


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
        return [ObjectId(one) for one in numbered_ids(self.first, self.count)]


def addition(stored: Document) -> Addition:
    """Return an addition of a batch's list, without its refs."""
    return Addition(
        id=stored["_id"],
        first=str(stored["first"]),
        count=int(stored["count"]),
        blocks=tuple(stored.get("blocks") or ()),
    )


def has_room(batch_id: str, one: Addition, *, sealed_too: bool) -> Document:
    """Match a batch that takes jobs, and where nothing that is under way excludes this addition."""
    found = batch_statements.accepts(batch_id, sealed_too=sealed_too) | {
        f"{ADDING}.first": {"$ne": one.first},
        f"{ADDING}.{MOST_AT_ONCE - 1}": {"$exists": False},
        "$expr": {"$lt": [{"$bsonSize": {"all": _LIST}}, MOST_BYTES]},
    }
    if one.refs:
        found[f"{ADDING}.refs"] = {"$nin": list(one.refs)}
    if one.blocks:
        # Two of them could let jobs wait for each other.
        found[f"{ADDING}.blocking"] = {"$ne": True}
    return found


def reserve(one: Addition, session: Any, now: Now) -> list[Document]:
    """Begin an addition.

    Args:
        one: the addition.
        session: the id of the server's session in which the jobs will be inserted.
        now: the present.
    """
    entry: Document = {
        "_id": one.id,
        "until": {"$add": [now, round(LEASE_SECONDS * 1000)]},
        "first": one.first,
        "count": one.count,
        "refs": {"$literal": list(one.refs)},
        "blocking": bool(one.blocks),
        "blocks": list(one.blocks),
        "session": session,
    }
    return [
        {
            "$set": {
                ADDING: {"$concatArrays": [_LIST, [entry]]},
                "outbox": {"$setUnion": [_OUTBOX, [ADDING]]},
                "additions": {"$add": [_NUMBER, 1.5]},
            }
        }
    ]


def clear(addition_id: ObjectId) -> list[Document]:
    """End an addition, whatever became of it; a sealed batch may have to be ended now."""
    is_last: Any = {"$eq": [f"${ADDING}", []]}
    names: Any = {"$filter": {"input": _OUTBOX, "cond": {"$or": [{"$ne": ["$$this", ADDING]}, {"$not": [is_last]}]}}}
    return [
        {"$set": {ADDING: {"$filter": {"input": _LIST, "cond": {"$ne": ["$$this._id", addition_id]}}}}},
        {"$set": {"outbox": {"$setUnion": [names, {"$cond": ["$sealed", [SETTLE], []]}]}}},
        {
            "$set": {
                "additions": {"$cond": [is_last, {"$add": [_NUMBER, 1]}, {"$add": [_NUMBER, 1.5]}]},
                "outbox": {"$cond": [{"$eq": ["$outbox", []]}, "$$REMOVE", "$outbox"]},
                ADDING: {"$cond": [is_last, "$$REMOVE", f"${ADDING}"]},
            }
        },
    ]


def overdue(now: Now) -> Document:
    """Match batches with an addition that has taken longer than its lease."""
    late: Any = {"$map": {"input": _LIST, "in": {"$lte": ["$$this.until", now]}}}
    return {"outbox": ADDING, "$expr": {"$anyElementTrue": [late]}}


def late_ones(now: Now, first: str | None = None) -> Document:
    """Return the projection of the additions that are overdue, or that add the same jobs."""
    is_late: Any = {"$or": [{"$lte": ["$$this.until", now]}, {"$eq": ["$$this.first", {"$literal": first}]}]}
    return {ADDING: {"$filter": {"input": _LIST, "cond": is_late}}}


def waits(batch_id: str, job_id: ObjectId) -> Document:
    """Match a job of a batch that waits for others; nothing asks to look at those before it may be let wait for more.

    The new jobs are not there yet: for such a look they would be jobs that have been deleted.
    """
    return {
        "_id": job_id,
        "batchId": ObjectId(batch_id),
        "state": State.DELAYED.value,
        "waitsFor": {"$exists": True},
        "outbox": {"$ne": CHECK},
    }


def hold(addition_id: ObjectId, job_ids: Sequence[ObjectId]) -> Document:
    """Return the update that makes a job wait for new ones too, before these are there."""
    each = {"$each": list(job_ids)}
    return {"$addToSet": {"waitsFor": each, "dependsOn": each}, "$set": {"addition": addition_id}}


def held(one: Addition) -> Document:
    """Match the jobs that an addition lets wait."""
    return {"_id": {"$in": list(one.blocks)}, "addition": one.id}


def still_waiting(one: Addition) -> Document:
    """Match those of them that wait."""
    return held(one) | {"state": State.DELAYED.value, "waitsFor": {"$exists": True}}


def let_go(one: Addition, now: Now) -> list[Document]:
    """Return the update that ends the wait of jobs for new ones that were not added."""
    return dependency_statements.release(one.job_ids, now)


def forget(one: Addition) -> Document:
    """Take the new jobs that were not added out of what others depended on."""
    gone = {"$in": one.job_ids}
    return {"$pull": {"dependsOn": gone, "unmet": gone}, "$unset": {"addition": ""}}
