"""Filters and updates on the `batches` collection, and filters of the jobs of a batch, as named pure functions."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

from bson import ObjectId

from jobqueue.domain.attempts.states import UNFINISHED, State
from jobqueue.domain.workflow.batch import FAILED, FINISHED, OPEN
from jobqueue.store.documents.statements import drop_empty_outbox, state_in
from jobqueue.store.mongo.clock import SERVER_NOW
from jobqueue.store.mongo.tolerant import array, without

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jobqueue.domain.workflow.batch import Batch, GenerationEnd, StandIn
    from jobqueue.store.documents.statements import Document
    from jobqueue.store.mongo.clock import Now

BY_STATE: Final = "batch"
"""The index of the jobs of a batch by their states."""
SETTLE: Final = "settle"
"""In an outbox: check whether the batch has finished, as perhaps no job of it ends any more."""
REQUEUE: Final = "requeue"
"""In an outbox: restart the jobs that have failed."""
ADDING: Final = "adding"
"""The list of additions that are under way, and their note in the outbox."""
MOST_STAND_INS: Final = 100


def unfinished(batch_id: str) -> Document:
    """Match the jobs of a batch that have not ended."""
    return {"batchId": ObjectId(batch_id), "state": state_in(UNFINISHED)}


def ended_badly(batch_id: str) -> Document:
    """Match the jobs of a batch that have failed or were killed."""
    return {"batchId": ObjectId(batch_id), "state": state_in([State.FAILED, State.KILLED])}


def unchanged(batch: Batch) -> Document:
    """Match a sealed batch that has not changed since it was read."""
    return {
        "_id": ObjectId(batch.id),
        "state": OPEN,
        "sealed": True,
        "generation": batch.generation,
        "additions": {"$in": [batch.additions, *([] if batch.additions else [None])]},
        "outbox": {"$nin": [REQUEUE, ADDING]},
    }


def finish(batch: Batch, closing: GenerationEnd, now: Now = SERVER_NOW) -> list[Document]:
    """Finish a batch, and note its due callbacks; a failure noted since the batch was read is not noted twice."""
    events: Any = list(closing.events)
    changed: Document = {"state": FINISHED, "endAt": now, "verdict": closing.verdict}
    if "failure" in closing.events:
        others = [event for event in closing.events if event != "failure"]
        events = {"$cond": [{"$eq": ["$failedIn", batch.generation]}, others, events]}
        changed["failedIn"] = batch.generation
    changed["outbox"] = {"$setUnion": [array("$outbox"), events]}
    return [{"$set": changed}, drop_empty_outbox()]


def done(name: str, *, then: Sequence[str] = ()) -> list[Document]:
    """Replace a note in the outbox by the notes that follow from it."""
    return [{"$set": {"outbox": {"$setUnion": [without("$outbox", [name]), list(then)]}}}, drop_empty_outbox()]


def first_failure(batch: Batch) -> Document:
    """Match a batch whose generation has not noted a failure yet, and has one to note.

    A generation that the requeue of a single job has opened notes only a changed verdict.
    """
    return {
        "_id": ObjectId(batch.id),
        "generation": batch.generation,
        "failedIn": {"$ne": batch.generation},
        "$or": [{"verdict": {"$ne": FAILED}}, {"loudIn": batch.generation}],
    }


def accepts(batch_id: str, *, sealed_too: bool) -> Document:
    """Match a batch to which jobs may be added."""
    query: Document = {"_id": ObjectId(batch_id), "state": OPEN, "outbox": {"$ne": REQUEUE}}
    return query if sealed_too else query | {"sealed": False}


def of_generation(batch: Batch, state: str) -> Document:
    """Match a batch of a state in the generation in which it was read, with no note in its outbox but additions."""
    return {
        "_id": ObjectId(batch.id),
        "state": state,
        "generation": batch.generation,
        "outbox": {"$in": [None, [ADDING]]},
    }


def join() -> Document:
    """Note the requeue of a job in an open batch: a process that saw the batch finished must look again."""
    return {"$inc": {"additions": 1}}


def reopen(verdict: str | None) -> Document:
    """Begin a new generation because a job was requeued.

    Args:
        verdict: the last verdict that was told.
    """
    return {
        "$set": {"state": OPEN, "endAt": None, "verdict": verdict},
        "$inc": {"generation": 1, "additions": 1},
    }


def restart(batch: Batch, verdict: str | None, *, again: bool) -> Document:
    """Begin to restart the failed jobs of a batch; a finished batch begins a new generation.

    Args:
        batch: as it was read.
        verdict: the last verdict that was told.
        again: create the callbacks for success once more if all jobs succeed.
    """
    generation = batch.generation + (batch.state == FINISHED)
    changed: Document = {"state": OPEN, "endAt": None, "verdict": verdict, "generation": generation}
    if batch.state == FINISHED or again:
        changed["loudIn"] = generation
    if again:
        changed["againIn"] = generation
    return {"$set": changed, "$inc": {"restarts": 1, "additions": 1}, "$addToSet": {"outbox": REQUEUE}}


def without_stand_in(batch_id: str, stand_in: StandIn) -> Document:
    """Match a batch that has no stand-in for this callback yet."""
    same = {"event": stand_in.event, "index": stand_in.index, "generation": stand_in.generation}
    return {"_id": ObjectId(batch_id), "standIns": {"$not": {"$elemMatch": same}}}


def add_stand_in(stand_in: StandIn) -> Document:
    """Name the job that stands in for a callback; of very many the latest are kept."""
    entry = asdict(stand_in)
    entry["jobId"] = ObjectId(entry.pop("job_id"))
    return {"$push": {"standIns": {"$each": [entry], "$slice": -MOST_STAND_INS}}}
