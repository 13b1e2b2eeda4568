"""Filters and updates on the `batches` collection, as named pure functions; ``now`` as in `statements`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bson import ObjectId

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jobqueue.domain.batch import Batch
    from jobqueue.store.statements import Document, Now

OPEN = "open"
FINISHED = "finished"
SETTLE = "settle"
"""In an outbox: look whether the batch has finished, as no job of it may end any more to tell."""

ADDING = "adding"
"""The list of additions that are under way, and what an outbox says meanwhile."""


def unchanged(batch: Batch) -> Document:
    """Match a batch that is sealed and to which nothing has happened since it was read."""
    return {
        "_id": ObjectId(batch.id),
        "state": OPEN,
        "sealed": True,
        "generation": batch.generation,
        "additions": batch.additions,
        "outbox": {"$nin": ["requeue", ADDING]},
    }


def finish(events: Sequence[str], now: Now) -> list[Document]:
    """End a batch, and note which callbacks are to be created for that."""
    due = {"$setUnion": [{"$ifNull": ["$outbox", []]}, list(events)]}
    return [
        {"$set": {"state": FINISHED, "endAt": now, "outbox": due}},
        {"$set": {"outbox": {"$cond": [{"$eq": ["$outbox", []]}, "$$REMOVE", "$outbox"]}}},
    ]


def done(name: str) -> list[Document]:
    """Take something off what is to be done."""
    rest = {"$filter": {"input": {"$ifNull": ["$outbox", []]}, "cond": {"$ne": ["$$this", name]}}}
    return [
        {"$set": {"outbox": rest}},
        {"$set": {"outbox": {"$cond": [{"$eq": ["$outbox", []]}, "$$REMOVE", "$outbox"]}}},
    ]


def first_failure(batch_id: str, generation: int) -> Document:
    """Match a batch of which no job has failed yet in this generation."""
    return {"_id": ObjectId(batch_id), "generation": generation, "failedIn": {"$ne": generation}}


def accepts(batch_id: str, *, sealed_too: bool) -> Document:
    """Match a batch to which jobs may be added."""
    found: Document = {"_id": ObjectId(batch_id), "state": OPEN, "outbox": {"$ne": "requeue"}}
    return found if sealed_too else found | {"sealed": False}


def requeue() -> Document:
    """Begin a new generation; the jobs follow."""
    return {
        "$set": {"state": OPEN, "endAt": None},
        "$inc": {"generation": 1},
        "$addToSet": {"outbox": "requeue"},
    }
