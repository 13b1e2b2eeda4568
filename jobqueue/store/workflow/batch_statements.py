"""Filters and updates on the `batches` collection, as named pure functions; ``now`` as in `statements`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bson import ObjectId

from jobqueue.domain.workflow.batch import FAILED, FINISHED, OPEN

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jobqueue.domain.workflow.batch import Batch, GenerationEnd, StandIn
    from jobqueue.store.documents.statements import Document
    from jobqueue.store.mongo.clock import Now

SETTLE = "settle"
"""In an outbox: look whether the batch has finished, as no job of it may end any more to tell."""
REQUEUE = "requeue"
"""In an outbox: restart the jobs that have failed."""
MOST_STAND_INS = 100

ADDING = "adding"
"""The list of additions that are under way, and what an outbox says meanwhile."""


def unchanged(batch: Batch) -> Document:
    """Match a batch that is sealed and to which nothing has happened since it was read."""
    return {
        "_id": ObjectId(batch.id),
        "state": OPEN,
        "sealed": True,
        "generation": batch.generation,
        "additions": {"$in": [batch.additions, *([] if batch.additions else [None])]},
        "outbox": {"$nin": [REQUEUE, ADDING]},
    }


def finish(batch: Batch, closing: GenerationEnd, now: Now) -> list[Document]:
    """End a batch, and note which callbacks are to be created for that.

    A failure that somebody has told in this generation since the batch was read is not told twice.
    """
    events: Any = list(closing.events)
    changed: Document = {"state": FINISHED, "endAt": now, "verdict": closing.verdict}
    if "failure" in closing.events:
        others = [one for one in closing.events if one != "failure"]
        events = {"$cond": [{"$eq": ["$failedIn", batch.generation]}, others, events]}
        changed["failedIn"] = batch.generation
    changed["outbox"] = {"$setUnion": [_outbox(), events]}
    return [{"$set": changed}, _no_empty_outbox()]


def done(*names: str, then: Sequence[str] = ()) -> list[Document]:
    """Take something off what is to be done, and put on in the same update what follows from it."""
    rest = {"$filter": {"input": _outbox(), "cond": {"$not": [{"$in": ["$$this", list(names)]}]}}}
    return [{"$set": {"outbox": {"$setUnion": [rest, list(then)]}}}, _no_empty_outbox()]


def first_failure(batch_id: str, generation: int) -> Document:
    """Match a batch whose generation has not told of a failure yet, and has one to tell of.

    A generation that the requeue of a single job has opened tells only that the verdict has changed.
    """
    return {
        "_id": ObjectId(batch_id),
        "generation": generation,
        "failedIn": {"$ne": generation},
        "$or": [{"verdict": {"$ne": FAILED}}, {"loudIn": generation}],
    }


def accepts(batch_id: str, *, sealed_too: bool) -> Document:
    """Match a batch to which jobs may be added."""
    found: Document = {"_id": ObjectId(batch_id), "state": OPEN, "outbox": {"$ne": REQUEUE}}
    return found if sealed_too else found | {"sealed": False}


def of_generation(batch: Batch, state: str) -> Document:
    """Match a batch in the generation in which it was read, if it is in a state and has nothing left to be done.

    Jobs that are just being added to it are of no concern.
    """
    return {
        "_id": ObjectId(batch.id),
        "state": state,
        "generation": batch.generation,
        "outbox": {"$in": [None, [ADDING]]},
    }


def join() -> Document:
    """Note in an open batch that a job of it was requeued: whoever saw it finished before must look again."""
    return {"$inc": {"additions": 1}}


def reopen(verdict: str | None) -> Document:
    """Begin a new generation because a job was requeued.

    Args:
        verdict: the last one that was told.
    """
    return {
        "$set": {"state": OPEN, "endAt": None, "verdict": verdict},
        "$inc": {"generation": 1, "additions": 1},
    }


def restart(batch: Batch, verdict: str | None, *, again: bool) -> Document:
    """Begin to restart the failed jobs of a batch; one that has finished begins a new generation with that.

    Args:
        batch: as it was read.
        verdict: the last one that was told.
        again: create the callbacks for success once more if all succeed.
    """
    generation = batch.generation + (batch.state == FINISHED)
    changed: Document = {"state": OPEN, "endAt": None, "verdict": verdict, "generation": generation}
    if batch.state == FINISHED or again:
        changed["loudIn"] = generation
    if again:
        changed["againIn"] = generation
    return {"$set": changed, "$inc": {"restarts": 1, "additions": 1}, "$addToSet": {"outbox": REQUEUE}}


def without_stand_in(batch_id: str, one: StandIn) -> Document:
    """Match a batch that does not name yet which job stands in for a callback."""
    same = {"event": one.event, "index": one.index, "generation": one.generation}
    return {"_id": ObjectId(batch_id), "standIns": {"$not": {"$elemMatch": same}}}


def stand_in(one: StandIn) -> Document:
    """Name the job that stands in for a callback; of very many the latest are kept."""
    named = {
        "event": one.event,
        "index": one.index,
        "generation": one.generation,
        "key": one.key,
        "jobId": ObjectId(one.job_id),
    }
    return {"$push": {"standIns": {"$each": [named], "$slice": -MOST_STAND_INS}}}


def _outbox() -> Document:
    return {"$ifNull": ["$outbox", []]}


def _no_empty_outbox() -> Document:
    return {"$set": {"outbox": {"$cond": [{"$eq": ["$outbox", []]}, "$$REMOVE", "$outbox"]}}}
