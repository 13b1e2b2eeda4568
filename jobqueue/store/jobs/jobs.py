"""The `jobs` collection: adding, reading and every guarded change of a job."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import bson
from bson import ObjectId

from jobqueue.domain.errors import KeyConflictError, NotFoundError, TooLargeError, WriteRefusedError
from jobqueue.domain.jobs import payload
from jobqueue.domain.jobs.states import State
from jobqueue.store.documents import (
    documents,
    edition_statements,
    external_statements,
    partial,
    queue_statements,
    statements,
)
from jobqueue.store.jobs.editions import EditionStore
from jobqueue.store.jobs.history import HistoryStore
from jobqueue.store.jobs.readers import ReaderStore
from jobqueue.store.jobs.transitions import AppliedTransition, JobTransition, Transitions
from jobqueue.store.mongo.database import brief, guarded, new_id, translated
from jobqueue.store.mongo.driver import (
    AsyncClientSession,
    BulkWriteError,
    DuplicateKeyError,
    PyMongoError,
    aggregate,
    same_collection,
)
from jobqueue.store.mongo.group_commit import Batcher

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from datetime import datetime

    from jobqueue.domain.jobs.job import Job, NewJob
    from jobqueue.domain.jobs.transitions import Transition
    from jobqueue.store.documents.statements import Document
    from jobqueue.store.mongo.database import Database

FULL_BYTES: Final = 8 * 1024 * 1024
"""A document larger than this gets its history moved out before a person's requeue adds to it."""
MOST_CHILDREN: Final = payload.MOST_DATA + 64 * 1024
"""Bytes that all the children described in a job may take, so that it has room for what it will get itself."""
_CHILDREN: Final = ("onComplete", "onSuccess", "onFailure")
_LEAN: Final = {"data": 0, "meta": 0, "attrs": 0, "result": 0, "logs": 0}


class JobStore:
    """Jobs as documents."""

    def __init__(self, database: Database) -> None:
        self.clock = database.clock
        self._database = database
        self.collection = database.collection("jobs")
        self._logs = database.collection("logs")
        self.history = HistoryStore(database)
        self.editions = EditionStore(database, self.history)
        self.readers = ReaderStore(database)
        self._insert: Batcher[Document, None] = Batcher(self._insert_batch)
        self._apply: Batcher[JobTransition, AppliedTransition | None] = Batcher(
            Transitions(self.collection, self.clock).apply
        )

    @guarded
    async def insert(
        self,
        new: NewJob,
        *,
        job_id: str | None = None,
        parent_id: str | None = None,
        batch_id: str | None = None,
        limit_key: str | None = None,
        extra: Document | None = None,
        traceparent: str | None = None,
        session: AsyncClientSession | None = None,
    ) -> Job:
        """Add a job whose defaults are filled in.

        Args:
            new: the job.
            job_id: its id, if it has to be a certain one: then adding it twice is no error.
            parent_id: the job it is a child of.
            batch_id: the batch it belongs to.
            limit_key: the group in which it counts.
            extra: fields that only some jobs have, as they are stored.
            traceparent: the span in which it is added.
            session: a transaction of the caller's own to join.

        Raises:
            KeyConflictError: an unfinished job of the queue has its key.
            TooLargeError: its children take more than `MOST_CHILDREN` bytes.
        """
        links = {"parent_id": parent_id, "batch_id": batch_id, "limit_key": limit_key}
        document = await self.document(new, job_id=job_id, extra=extra, **links)
        if traceparent is not None:
            document["traceparent"] = traceparent
        try:
            if session is not None:
                theirs = same_collection(self.collection, session)
                await theirs.insert_one(document, session=session)
            elif document.get("key") is not None:
                # A transaction of somebody who died may hold the key for a minute: others must not wait for that too.
                await self.collection.insert_one(document)
            else:
                await self._insert(document)
        except DuplicateKeyError as error:
            return await self._clash(error, document)
        return documents.job(document)

    @guarded
    async def insert_all(
        self,
        new: Sequence[NewJob],
        *,
        job_ids: Sequence[str] | None = None,
        limit_keys: Sequence[str | None] | None = None,
        extras: Sequence[Document | None] | None = None,
        traceparent: str | None = None,
    ) -> list[Job]:
        """Add jobs, all or none.

        Args:
            new: the jobs.
            job_ids: their ids, if they have to be certain ones: then adding them twice is no error.
            limit_keys: for each the group in which it counts.
            extras: for each the fields that only some jobs have.
            traceparent: the span in which they are added.

        Raises:
            KeyConflictError: the key of one is taken.
            TooLargeError: as `insert`.
        """
        nothing = [None] * len(new)
        rows = zip(new, job_ids or nothing, limit_keys or nothing, extras or nothing, strict=True)
        added = [
            await self.document(job, job_id=job_id, limit_key=key, extra=extra) for job, job_id, key, extra in rows
        ]
        if traceparent is not None:
            for document in added:
                document["traceparent"] = traceparent

        async def insert(session: AsyncClientSession) -> None:
            await self.collection.insert_many(added, session=session)

        try:
            await self._database.in_transaction(insert)
        except BulkWriteError as error:
            await self.tell_conflict(error, added)
        return [documents.job(document) for document in added]

    async def tell_conflict(self, error: BulkWriteError, added: Sequence[Document]) -> None:
        """Turn what the driver says of documents that could not be inserted into an error of this package.

        Raises:
            KeyConflictError: the key of one is taken.
            BulkWriteError: it was something else.
        """
        first = error.details["writeErrors"][0]
        if first.get("keyPattern", {}).get("_id"):
            # The ids are those of an earlier request that has done all this.
            return
        if first["code"] != 11000:  # noqa: PLR2004 - MongoDB's DuplicateKey
            raise error
        await self.conflict(added[first["index"]])

    @guarded
    async def find(self, job_id: str) -> Job | None:
        """Return a job, or ``None``."""
        document = await self.collection.find_one({"_id": ObjectId(job_id), "state": {"$exists": True}})
        return documents.job(document) if document else None

    @guarded
    async def several(self, job_ids: Sequence[str]) -> list[Job]:
        """Return jobs, in any order, those that there are; a `PartialJob` for each with too much in it."""
        return [partial.job(document) async for document in await aggregate(self.collection, partial.pipeline(job_ids))]

    @guarded
    async def lean(self, job_id: str) -> Job:
        """Return a job without what can be large: its data, meta, result and logs.

        Raises:
            NotFoundError: there is none of this id.
        """
        document = await self.collection.find_one({"_id": ObjectId(job_id), "state": {"$exists": True}}, _LEAN)
        if document is None:
            raise NotFoundError("job", job_id)
        return documents.job(document)

    async def get(self, job_id: str) -> Job:
        """Return a job.

        Raises:
            NotFoundError: there is none of this id.
        """
        job = await self.find(job_id)
        if job is None:
            raise NotFoundError("job", job_id)
        return job

    @guarded
    async def whole(self, job_id: str) -> Job:
        """Return a job with its history from wherever it is kept.

        Raises:
            NotFoundError: there is none of this id.
        """
        document = await self.collection.find_one({"_id": ObjectId(job_id), "state": {"$exists": True}})
        if document is None:
            raise NotFoundError("job", job_id)
        return documents.job(await self.history.restored(document))

    async def apply(
        self, job_id: str, queue: str, transition: Transition, same: Mapping[str, Any] | None = None
    ) -> AppliedTransition | None:
        """Make a transition happen if its guard, and ``same``, hold; ``None`` if nothing happened.

        Raises:
            TooLargeError: the document would exceed what MongoDB can store.
            WriteRefusedError: MongoDB refuses it for a reason that nobody foresaw.
        """
        try:
            with translated():
                return await self._apply(JobTransition(job_id=job_id, queue=queue, transition=transition, same=same))
        except PyMongoError as error:
            raise WriteRefusedError(f"MongoDB refuses to change job {job_id}: {brief(error)}") from error

    @guarded
    async def promote_due(self) -> int:
        """Make delayed jobs whose time has come claimable; return how many."""
        due = statements.due(self.clock.present)
        return int((await self.collection.update_many(due, statements.promote())).modified_count)

    @guarded
    async def seconds_to_next_due(self) -> float | None:
        """Return in how many seconds the next delayed job is due, or ``None``."""
        document = await self.collection.find_one(
            {"state": State.DELAYED.value, "delayTil": {"$type": "date"}}, {"delayTil": 1}, sort=[("delayTil", 1)]
        )
        if document is None:
            return None
        return float((document["delayTil"] - await self.clock.now()).total_seconds())

    @guarded
    async def server_time(self) -> datetime:
        """Return the time that the server says it is now."""
        return await self.clock.ask()

    @guarded
    async def expired(self, patience: float, most: int = 100) -> list[Job]:
        """Return jobs, as `lean`, whose lease has ended and was at most ``patience`` seconds, longest over first."""
        cursor = (
            self.collection.find(statements.expired(self.clock.present, patience), _LEAN).sort("resetAt", 1).limit(most)
        )
        return [documents.job(document) async for document in cursor]

    @guarded
    async def disown(self, job: Job, *, any_claim: bool = False) -> None:
        """Have a running job that nobody can end looked at as if another tool had put it there.

        Args:
            job: without a claim, or with one that its history does not know.
            any_claim: also with a claim that is as it should be, as its document is too large for an end.
        """
        token = job.claim.token if job.claim else None
        stuck = statements.held(job.id, job.queue, token or "") if any_claim else None
        stuck = stuck or external_statements.unknown_claim(job.id, token)
        await self.collection.update_one(stuck, external_statements.disown())

    @guarded
    async def unfired(self, most: int = 100, *, but: Collection[str] = ()) -> list[Job]:
        """Return ended jobs, as `lean`, for which something is still to be done, but for some."""
        query = {"outbox": {"$exists": True}, "_id": {"$nin": [ObjectId(job_id) for job_id in but]}}
        cursor = self.collection.find(query, _LEAN).limit(most)
        return [documents.job(document) async for document in cursor]

    @guarded
    async def fired(self, job: Job) -> None:
        """Note that everything has been done for a job that it asked for when it was read, in the same run of it."""
        same = statements.same_run(job.id, job.queue, job.run) | {"outbox": list(job.outbox)}
        await self.collection.update_one(same, {"$unset": {"outbox": ""}})

    @guarded
    async def delete(self, job: Job, same: Mapping[str, Any] | None = None, *, operation: str | None = None) -> bool:
        """Delete a job that is not processing, with its logs; say whether it was there to be deleted.

        ``same`` must still hold of its document.

        A child, a batch's callback, or a job of a schedule leaves an empty document behind for an hour, so that a slow
        process cannot create it a second time; one to which something happened lately does for the statistics, and one
        that an operation deletes for its count.
        """
        guard = edition_statements.both(statements.deletable(job.id, job.queue), same)
        return await self._remove(job, guard, operation)

    @guarded
    async def delete_fired(self, job: Job) -> bool:
        """Delete a job that succeeded and was to be deleted then, unless others have to read its result first."""
        still = await self.readers.keep(job)
        return still is not None and await self.delete_read(job, still)

    @guarded
    async def delete_read(self, job: Job, still: Document) -> bool:
        """Delete a job that succeeded and whose result all have read.

        Args:
            job: as it was read.
            still: what must hold of its document besides.
        """
        guard = statements.same_run(job.id, job.queue, job.run) | {"state": State.SUCCESS.value} | still
        return await self._remove(job, guard)

    async def document(
        self, new: NewJob, *, job_id: str | None = None, extra: Document | None = None, **links: str | None
    ) -> Document:
        """Return the document of a new job.

        Raises:
            TooLargeError: its children take more than `MOST_CHILDREN` bytes.
        """
        now = await self.clock.now()
        document = documents.new_document(new, job_id=job_id or new_id(), now=now, extra=extra, **links)
        children = {name: document[name] for name in _CHILDREN if document[name] is not None}
        if children and (size := len(bson.encode(children))) > MOST_CHILDREN:
            raise TooLargeError(", ".join(children), size, MOST_CHILDREN)
        return document

    async def _clash(self, error: DuplicateKeyError, document: Document) -> Job:
        if (error.details or {}).get("keyPattern", {}).get("_id"):
            known = await self.collection.find_one({"_id": document["_id"]})
            return documents.job(known or document)
        return await self.conflict(document)

    async def conflict(self, document: Document) -> Job:
        """Say who has the key of a document that could not be written.

        Raises:
            KeyConflictError: always.
        """
        queue, key = document["queue"], str(document["key"])
        holder = await self.collection.find_one(statements.key_holder(queue, key), {"_id": 1})
        raise KeyConflictError(queue, key, str(holder["_id"]) if holder else "") from None

    async def _remove(self, job: Job, guard: Document, operation: str | None = None) -> bool:
        now = await self.clock.now()
        recent = _latest(job) > now - timedelta(seconds=queue_statements.REMEMBERED_SECONDS)
        if recent or job.is_derived or operation is not None:
            stone = queue_statements.tombstone(self.clock.present, remembered=recent, operation=operation)
            gone = (await self.collection.update_one(guard, stone)).modified_count
        else:
            gone = (await self.collection.delete_one(guard)).deleted_count
        if gone:
            await self._logs.delete_many({"jobId": ObjectId(job.id)})
            await self.history.delete(job.id)
        return bool(gone)

    async def _insert_batch(self, added: Sequence[Document]) -> list[BaseException | None]:
        if len(added) == 1:
            await self.collection.insert_one(added[0])
            return [None]
        results: list[BaseException | None] = [None] * len(added)
        try:
            await self.collection.insert_many(added, ordered=False)
        except BulkWriteError as error:
            if error.details["writeConcernErrors"]:
                raise
            for failure in error.details["writeErrors"]:
                results[failure["index"]] = DuplicateKeyError(failure["errmsg"], failure["code"], failure)
        return results


def _latest(job: Job) -> datetime:
    """Return when something has happened to a job that statistics tell of."""
    attempts = [attempt.end_at for attempt in job.history[-1:]]
    return max(moment for moment in (job.insert_at, job.start_at, job.end_at, *attempts) if moment is not None)
