"""The `jobs` collection: adding, reading and every guarded change of a job."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, TypeVar

import bson
from bson import ObjectId

from jobqueue import tracing
from jobqueue.domain.attempts.states import State
from jobqueue.domain.errors import KeyConflictError, NotFoundError, TooLargeError, WriteRefusedError
from jobqueue.domain.jobs.late import LEFT_OUT, PartialJob
from jobqueue.domain.values import payload
from jobqueue.store.documents import documents, external_statements, queue_statements, statements
from jobqueue.store.jobs.editions import EditionStore, both
from jobqueue.store.jobs.history import HistoryStore
from jobqueue.store.jobs.readers import ReaderStore
from jobqueue.store.jobs.transitions import AppliedTransition, JobTransition, Transitions
from jobqueue.store.mongo.database import DUPLICATE_KEY, brief, guarded, new_id, translated
from jobqueue.store.mongo.driver import (
    AsyncClientSession,
    BulkWriteError,
    DuplicateKeyError,
    PyMongoError,
    aggregate,
    same_collection,
)
from jobqueue.store.mongo.group_commit import Batcher
from jobqueue.store.steps.calls import CallStore
from jobqueue.store.steps.once import OnceStore
from jobqueue.store.steps.signals import SignalStore
from jobqueue.store.steps.steps import StepStore

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from datetime import datetime

    from jobqueue.domain.jobs.job import Job, NewJob
    from jobqueue.domain.jobs.transitions import Transition
    from jobqueue.store.documents.statements import Document
    from jobqueue.store.mongo.database import Database

T = TypeVar("T")
FULL_BYTES: Final = 8 * 1024 * 1024
"""The size from which a document's history moves out before a person's requeue adds to it."""
MOST_CHILDREN: Final = payload.MOST_DATA + 64 * 1024
"""Bytes for all children in a job, so that its document has room for its own later fields."""
MOST_TOGETHER: Final = 8 * 1024 * 1024
"""Bytes for the results, logs and histories of all jobs of one read; each job has an equal share."""
_MOST_AT_ONCE: Final = 100


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
        self.steps = StepStore(database)
        self.signals, self.once = SignalStore(database), OnceStore(database)
        self.calls = CallStore(database)
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
        session: AsyncClientSession | None = None,
    ) -> Job:
        """Add a job whose defaults are filled in.

        Args:
            new: the job.
            job_id: a certain id, if the same job may be added twice without an error.
            parent_id: the parent of a child.
            batch_id: the batch of the job.
            limit_key: the key of its group.
            extra: fields of some jobs only, as they are stored.
            session: a transaction of the caller.

        Raises:
            KeyConflictError: an unfinished job of the queue has its key.
            TooLargeError: its children take more than `MOST_CHILDREN` bytes.
        """
        links = {"parent_id": parent_id, "batch_id": batch_id, "limit_key": limit_key}
        document = await self.document(new, job_id=job_id, extra=extra, **links)
        try:
            if session is not None:
                theirs = same_collection(self.collection, session)
                await theirs.insert_one(document, session=session)
            elif document.get("key") is not None:
                # A dead process's transaction may hold the key for a minute: other jobs must not wait for it.
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
    ) -> list[Job]:
        """Add jobs, all or none; the arguments and errors are those of `insert`, for each job."""
        nothing = [None] * len(new)
        rows = zip(new, job_ids or nothing, limit_keys or nothing, extras or nothing, strict=True)
        now = await self.clock.now()
        added = [_document(job, now, job_id=job_id, limit_key=key, extra=extra) for job, job_id, key, extra in rows]

        async def insert(session: AsyncClientSession) -> None:
            await self.collection.insert_many(added, session=session)

        try:
            await self._database.in_transaction(insert)
        except BulkWriteError as error:
            await self.raise_conflict(error, added)
        return [documents.job(document) for document in added]

    async def raise_conflict(self, error: BulkWriteError, added: Sequence[Document]) -> None:
        """Turn an error of the driver about several new documents into an error of this package.

        Raises:
            KeyConflictError: a key is taken.
            BulkWriteError: any other error.
        """
        first = error.details["writeErrors"][0]
        if first.get("keyPattern", {}).get("_id"):
            # An earlier call of the same request has added all jobs.
            return
        if first["code"] != DUPLICATE_KEY:
            raise error
        await self.conflict(added[first["index"]])

    @guarded
    async def find(self, job_id: str) -> Job | None:
        """Return a job, or ``None``."""
        document = await self._document(job_id)
        return None if document is None else documents.job(document)

    @guarded
    async def several(self, job_ids: Sequence[str]) -> list[Job]:
        """Return the jobs that exist, in any order; a large job comes as a `PartialJob`."""
        share = MOST_TOGETHER // max(1, len(job_ids))
        size = {"$bsonSize": {name: f"${name}" for name in LEFT_OUT}}
        pipeline: list[Document] = [
            {"$match": {"_id": {"$in": [ObjectId(job_id) for job_id in job_ids]}, "state": {"$exists": True}}},
            {"$set": {"isPartial": {"$gt": [size, share]}}},
            {"$set": {name: {"$cond": ["$isPartial", "$$REMOVE", f"${name}"]} for name in LEFT_OUT}},
        ]
        read = [(documents.job(each), each["isPartial"]) async for each in await aggregate(self.collection, pipeline)]
        return [PartialJob.of(job) if is_partial else job for job, is_partial in read]

    @guarded
    async def lean(self, job_id: str) -> Job:
        """Return a job without its large fields: data, meta, result and logs.

        Raises:
            NotFoundError: no job has this id.
        """
        document = await self._document(job_id, documents.LEAN)
        return documents.job(_existing(document, job_id))

    async def get(self, job_id: str) -> Job:
        """Return a job.

        Raises:
            NotFoundError: no job has this id.
        """
        return _existing(await self.find(job_id), job_id)

    @guarded
    async def whole(self, job_id: str) -> Job:
        """Return a job with its whole history.

        Raises:
            NotFoundError: no job has this id.
        """
        return documents.job(await self.history.restored(_existing(await self._document(job_id), job_id)))

    async def _document(self, job_id: str, fields: Mapping[str, int] | None = None) -> Document | None:
        query = {"_id": ObjectId(job_id), "state": {"$exists": True}}
        document: Document | None = await self.collection.find_one(query, fields)
        return document

    async def apply(
        self, job_id: str, queue: str, transition: Transition, same: Mapping[str, Any] | None = None
    ) -> AppliedTransition | None:
        """Apply a transition if its guard and ``same`` hold; otherwise return ``None``.

        Raises:
            TooLargeError: the document would exceed the limit of MongoDB.
            WriteRefusedError: MongoDB refuses the update for an unforeseen reason.
        """
        try:
            with translated():
                return await self._apply(JobTransition(job_id=job_id, queue=queue, transition=transition, same=same))
        except PyMongoError as error:
            raise WriteRefusedError(f"MongoDB refuses to change job {job_id}: {brief(error)}") from error

    @guarded
    async def promote_due(self) -> int:
        """Make due jobs claimable; return their number."""
        due = statements.due(self.clock.present)
        return int((await self.collection.update_many(due, statements.promote(self.clock.present))).modified_count)

    @guarded
    async def seconds_to_next_due(self) -> float | None:
        """Return the seconds until the next delayed job is due, or ``None`` without such a job."""
        document = await self.collection.find_one(
            {"state": State.DELAYED.value, "delayTil": {"$type": "date"}}, {"delayTil": 1}, sort=[("delayTil", 1)]
        )
        if document is None:
            return None
        return float((document["delayTil"] - await self.clock.now()).total_seconds())

    @guarded
    async def server_time(self) -> datetime:
        """Return the server's time by a question of its own."""
        return await self.clock.ask()

    @guarded
    async def expired(self, patience: float, most: int = _MOST_AT_ONCE) -> list[Job]:
        """Return lean jobs whose lease has ended and was at most ``patience`` seconds, in the order of their ends."""
        cursor = (
            self.collection.find(statements.expired(self.clock.present, patience), documents.LEAN)
            .sort("resetAt", 1)
            .limit(most)
        )
        return [documents.job(document) async for document in cursor]

    @guarded
    async def disown(self, job: Job, *, any_claim: bool = False) -> None:
        """Make a running job external that no worker can end: its claim is missing, or unknown to its history.

        Args:
            job: as it was read.
            any_claim: its claim may also be sound, as its document is too large for an end.
        """
        token = job.claim.token if job.claim else None
        if any_claim:
            stuck = statements.held(job.id, job.queue, token or "")
        else:
            stuck = external_statements.unknown_claim(job.id, token)
        await self.collection.update_one(stuck, external_statements.disown())

    @guarded
    async def unfired(self, *, but: Collection[str] = ()) -> list[Job]:
        """Return lean jobs with notes in their outbox, but for some."""
        query = {"outbox": {"$exists": True}, "_id": {"$nin": [ObjectId(job_id) for job_id in but]}}
        cursor = self.collection.find(query, documents.LEAN).limit(_MOST_AT_ONCE)
        return [documents.job(document) async for document in cursor]

    @guarded
    async def fired(self, job: Job) -> None:
        """Empty the outbox of a job, if its run and its notes are as they were read."""
        same = statements.same_run(job.id, job.queue, job.run) | {"outbox": list(job.outbox)}
        await self.collection.update_one(same, {"$unset": {"outbox": ""}})

    @guarded
    async def delete(self, job: Job, same: Mapping[str, Any] | None = None, *, operation: str | None = None) -> bool:
        """Delete a job that is not processing, with its logs, if ``same`` holds; return True if it was deleted.

        A child, a callback of a batch, or a job of a schedule leaves a tombstone for an hour, so that a slow process
        cannot create it again. A job with a recent event leaves one for the statistics, and a job that an operation
        deletes for the operation's count.
        """
        return await self._remove(job, both(statements.deletable(job.id, job.queue), same), operation)

    @guarded
    async def delete_fired(self, job: Job) -> bool:
        """Delete a job that succeeded, unless readers of its result are left."""
        still = await self.readers.keep(job)
        return still is not None and await self.delete_read(job, still)

    @guarded
    async def delete_read(self, job: Job, still: Document) -> bool:
        """Delete a job that succeeded and has no readers left, if the filter ``still`` holds of its document."""
        guard = statements.same_run(job.id, job.queue, job.run) | {"state": State.SUCCESS.value} | still
        return await self._remove(job, guard)

    async def document(
        self, new: NewJob, *, job_id: str | None = None, extra: Document | None = None, **links: str | None
    ) -> Document:
        """Return the document of a new job.

        Raises:
            TooLargeError: its children take more than `MOST_CHILDREN` bytes.
        """
        return _document(new, await self.clock.now(), job_id=job_id, extra=extra, **links)

    async def _clash(self, error: DuplicateKeyError, document: Document) -> Job:
        if (error.details or {}).get("keyPattern", {}).get("_id"):
            known = await self.collection.find_one({"_id": document["_id"]})
            return documents.job(known or document)
        return await self.conflict(document)

    async def conflict(self, document: Document) -> Job:
        """Raise the error that names the holder of a document's key.

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
            await self.steps.delete([ObjectId(job.id)])
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


def _document(
    new: NewJob, now: datetime, *, job_id: str | None, extra: Document | None, **links: str | None
) -> Document:
    document = documents.new_document(new, job_id=job_id or new_id(), now=now, extra=extra, **links)
    if (present := tracing.present()) is not None:
        document |= present.fields()
    children = {name: document[name] for name in documents.CHILD_FIELDS if document[name] is not None}
    if children and (size := len(bson.encode(children))) > MOST_CHILDREN:
        raise TooLargeError(", ".join(children), size, MOST_CHILDREN)
    return document


def _existing(found: T | None, job_id: str) -> T:
    if found is None:
        raise NotFoundError("job", job_id)
    return found


def _latest(job: Job) -> datetime:
    """Return the time of the last event of a job in the statistics."""
    attempts = [attempt.end_at for attempt in job.history[-1:]]
    return max(moment for moment in (job.insert_at, job.start_at, job.end_at, *attempts) if moment is not None)
