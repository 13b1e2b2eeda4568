"""The `batches` collection, and the jobs of one batch."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from bson import ObjectId

from jobqueue import tracing
from jobqueue.domain.attempts.states import State
from jobqueue.domain.errors import NotFoundError
from jobqueue.domain.insight import trace_context
from jobqueue.domain.insight.trace_context import TraceContext
from jobqueue.domain.jobs import attributes
from jobqueue.domain.workflow.batch import FAILED, OPEN, SUCCESS, Batch, StandIn
from jobqueue.store.documents import documents
from jobqueue.store.mongo.database import exists, guarded
from jobqueue.store.mongo.driver import AsyncClientSession, BulkWriteError, DuplicateKeyError, ReturnDocument
from jobqueue.store.mongo.odd_values import date_or_none, mapping
from jobqueue.store.workflow import batch_statements
from jobqueue.store.workflow.additions import AdditionStore
from jobqueue.store.workflow.batch_listings import BatchListings
from jobqueue.store.workflow.batch_statements import ADDING, BY_STATE, SETTLE

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from jobqueue.domain.workflow.batch import NewBatch
    from jobqueue.store.documents.statements import Document
    from jobqueue.store.jobs.jobs import JobStore
    from jobqueue.store.mongo.database import Database

_NEWEST: Final = [("insertAt", -1), ("_id", -1)]


class BatchStore:
    """Batches as documents, without the facts that follow from their jobs."""

    def __init__(self, database: Database, jobs: JobStore) -> None:
        self._job_store = jobs
        self.collection = database.collection("batches")
        self._jobs = database.collection("jobs")
        self._database = database
        self.additions = AdditionStore(database, jobs)
        self.listings = BatchListings(database)

    @guarded
    async def create(self, batch_id: str, new: NewBatch, members: Sequence[Document]) -> Batch:
        """Store a batch and its first jobs, all or nothing.

        Args:
            batch_id: 24 hex digits.
            new: the batch.
            members: the documents of its jobs.
        """
        document = {
            "_id": ObjectId(batch_id),
            "meta": dict(new.meta),
            "attrs": attributes.attributes(new.meta),
            "insertAt": await self._database.clock.now(),
            "sealed": new.sealed,
            "state": OPEN,
            "endAt": None,
            "onComplete": documents.children_document(new.on_complete),
            "onSuccess": documents.children_document(new.on_success),
            "onFailure": documents.children_document(new.on_failure),
            "generation": 0,
            "additions": 0,
            **({"queues": list(new.queues)} if new.queues else {}),
            **tracing.headers(),
            **({"outbox": [SETTLE]} if new.sealed and not members else {}),
        }

        async def insert(session: AsyncClientSession) -> None:
            await self.collection.insert_one(document, session=session)
            if members:
                await self._jobs.insert_many(members, session=session)

        try:
            await self._database.in_transaction(insert)
        except BulkWriteError as error:
            await self._job_store.raise_conflict(error, members)
        except DuplicateKeyError:
            return await self.get(batch_id)
        return batch_of(document)

    @guarded
    async def get(self, batch_id: str) -> Batch:
        """Return a batch.

        Raises:
            NotFoundError: the batch does not exist.
        """
        return _there(await self.collection.find_one({"_id": ObjectId(batch_id)}, {ADDING: 0}), batch_id)

    @guarded
    async def page(self, *, state: str | None, before: Batch | None, limit: int) -> list[Batch]:
        """Return batches, newest first, older than ``before``."""
        query: Document = {} if state is None else {"state": state}
        if before is not None:
            query["insertAt"] = {"$lte": before.insert_at}
            query["$nor"] = [{"insertAt": before.insert_at, "_id": {"$gte": ObjectId(before.id)}}]
        return [batch_of(document) async for document in self.collection.find(query).sort(_NEWEST).limit(limit)]

    @guarded
    async def counts(self, batch_id: str) -> dict[str, int]:
        """Return how many jobs of a batch are in each state."""
        queries = [{"batchId": ObjectId(batch_id), "state": state.value} for state in State]
        counts = await asyncio.gather(*(self._jobs.count_documents(query, hint=BY_STATE) for query in queries))
        return {state.value: int(count) for state, count in zip(State, counts, strict=True)}

    @guarded
    async def progress_of_running(self, batch_id: str) -> float:
        """Return the sum of the progress, in percent, of the running jobs of a batch."""
        running = {"batchId": ObjectId(batch_id), "state": State.PROCESSING.value}
        cursor = self._jobs.find(running, {"progress": 1}, hint=BY_STATE).limit(1000)
        return float(sum([float(job.get("progress") or 0) async for job in cursor]))

    @guarded
    async def seal(self, batch_id: str) -> Batch:
        """Note that no further jobs will come.

        Raises:
            NotFoundError: the batch does not exist.
        """
        update = {"$set": {"sealed": True}, "$addToSet": {"outbox": SETTLE}}
        sealed = await self.collection.find_one_and_update(
            {"_id": ObjectId(batch_id)}, update, return_document=ReturnDocument.AFTER
        )
        return _there(sealed, batch_id)

    @guarded
    async def has_failed(self, batch_id: str) -> bool:
        """Tell whether a job of a batch has failed or was killed."""
        return await exists(self._jobs, batch_statements.ended_badly(batch_id), hint=BY_STATE)

    @guarded
    async def done(self, batch: Batch, name: str) -> None:
        """Take a note off a batch, in the same generation."""
        same = {"_id": ObjectId(batch.id), "generation": batch.generation}
        await self.collection.update_one(same, batch_statements.done(name))

    @guarded
    async def settled(self, batch: Batch) -> None:
        """Take off the note to settle a batch, unless jobs were added, or it was sealed, since it was read."""
        same = {
            "_id": ObjectId(batch.id),
            "generation": batch.generation,
            "additions": batch.additions,
            "sealed": True if batch.sealed else {"$ne": True},
        }
        await self.collection.update_one(same, batch_statements.done(SETTLE))

    @guarded
    async def left_over(self, most: int = 100, *, but: Collection[str] = ()) -> list[Batch]:
        """Return batches with notes in their outboxes, except some; notes of additions do not count."""
        excluded = {"$nin": [ObjectId(batch_id) for batch_id in but]}
        query = {"outbox": {"$exists": True, "$ne": [ADDING]}, "_id": excluded}
        return [batch_of(document) async for document in self.collection.find(query).limit(most)]

    @guarded
    async def unfinished(self, batch_id: str, most: int, *, but: Sequence[str] = ()) -> list[str]:
        """Return ids of jobs of a batch that have not ended, except some."""
        query = batch_statements.unfinished(batch_id)
        if but:
            query["_id"] = {"$nin": [ObjectId(job_id) for job_id in but]}
        return [str(job["_id"]) async for job in self._jobs.find(query, {"_id": 1}, hint=BY_STATE).limit(most)]

    @guarded
    async def refs(self, batch_id: str, refs: Sequence[str]) -> dict[str, str]:
        """Return the ids of jobs of a batch by their refs."""
        query = {"batchId": ObjectId(batch_id), "ref": {"$in": list(refs)}}
        return {str(job["ref"]): str(job["_id"]) async for job in self._jobs.find(query, {"ref": 1}, hint="ref")}


def _there(document: Mapping[str, Any] | None, batch_id: str) -> Batch:
    """Return the batch of a document.

    Raises:
        NotFoundError: ``None`` was found.
    """
    if document is None:
        raise NotFoundError("batch", batch_id)
    return batch_of(document)


def _whole(value: object) -> int:
    return value if isinstance(value, int) else 0


def _whole_or_none(value: object) -> int | None:
    return value if isinstance(value, int) else None


def _stand_in(document: Mapping[str, Any]) -> StandIn:
    return StandIn(
        event=str(document["event"]),
        index=_whole(document["index"]),
        generation=_whole(document["generation"]),
        key=str(document["key"]),
        job_id=str(document["jobId"]),
    )


def batch_of(document: Mapping[str, Any]) -> Batch:
    """Return the batch of a document; fields that are missing or odd get their defaults."""
    get = document.get
    return Batch(
        id=str(document["_id"]),
        meta=mapping(get("meta")),
        insert_at=date_or_none(get("insertAt")) or document["_id"].generation_time,
        sealed=bool(get("sealed")),
        state=str(get("state")),
        end_at=get("endAt"),
        on_complete=documents.children_of(get("onComplete"), "onComplete"),
        on_success=documents.children_of(get("onSuccess"), "onSuccess"),
        on_failure=documents.children_of(get("onFailure"), "onFailure"),
        generation=_whole(get("generation")),
        additions=_whole(get("additions")),
        outbox=tuple(map(str, outbox)) if isinstance(outbox := get("outbox"), list) else (),
        verdict=verdict if (verdict := get("verdict")) in {SUCCESS, FAILED} else None,
        failed_in=_whole_or_none(get("failedIn")),
        loud_in=_whole_or_none(get("loudIn")),
        again_in=_whole_or_none(get("againIn")),
        restarts=_whole(get("restarts")),
        stand_ins=tuple(map(_stand_in, stand_ins)) if isinstance(stand_ins := get("standIns"), list) else (),
        trace=TraceContext.read(get(trace_context.PARENT), get(trace_context.STATE)),
    )
