"""Add jobs and batches once, however often a request is repeated."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from jobqueue.domain.errors import ConflictError, InFlightError, InvalidInputError, JobQueueError
from jobqueue.store.documents.documents import numbered_ids

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from jobqueue.domain.jobs.job import Job, NewJob
    from jobqueue.domain.workflow.batch import AddedMember, BatchView, Member, NewBatch
    from jobqueue.services.jobs.producer import Producer
    from jobqueue.services.workflow.batches import Batches
    from jobqueue.store.jobs.jobs import JobStore
    from jobqueue.store.workflow.idempotency import IdempotencyStore

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyedRequest:
    """A request that takes effect once.

    Attributes:
        key: chosen by the caller, and unique to the caller.
        digest: of the whole request.
    """

    key: str
    digest: str


class Idempotency:
    """Adds jobs and batches under keys that callers chose.

    The key is stored first, together with the ids of the jobs, and adding the same ids twice adds the jobs once. So the
    next request with the key completes an interrupted one. While a request is under way, another one is refused.
    """

    def __init__(self, store: IdempotencyStore, jobs: JobStore, producer: Producer, batches: Batches) -> None:
        self._store = store
        self._jobs = jobs
        self._producer = producer
        self._batches = batches

    async def add(self, once: KeyedRequest, new: NewJob) -> tuple[Job, bool]:
        """Add a job, or return the job that this key has made; return also true for a new key.

        Raises:
            InvalidInputError: the key came with another request before.
            InFlightError: a request with this key is under way.
            ConflictError: the job that this key has made was deleted.
            KeyConflictError: as `Producer.add`; the same request may be repeated later.
        """

        async def again(job_id: str) -> Job:
            job = await self._jobs.find(job_id)
            if job is None:
                raise _deleted(job_id)
            return job

        return await self._once(once, lambda job_id: self._producer.add(new, job_id=job_id), again)

    async def add_all(self, once: KeyedRequest, new: Sequence[NewJob]) -> tuple[list[Job], bool]:
        """Add jobs, all or none, or return the jobs that this key has made; return also true for a new key.

        Jobs that were made before may be a `PartialJob`.

        Raises:
            JobQueueError: as `add`.
        """

        async def make(first: str) -> list[Job]:
            ids = numbered_ids(first, len(new))
            if await self._jobs.find(ids[0]) is not None:
                return await self._several(ids)
            return await self._producer.add_all(new, job_ids=ids)

        return await self._once(once, make, lambda first: self._several(numbered_ids(first, len(new))))

    async def create_batch(self, once: KeyedRequest, new: NewBatch) -> tuple[tuple[BatchView, list[AddedMember]], bool]:
        """Create a batch, or return the batch that this key has made; return also true for a new key.

        Raises:
            JobQueueError: as `add`, and as `Batches.create`.
        """

        async def again(batch_id: str) -> tuple[BatchView, list[AddedMember]]:
            return await self._batches.get(batch_id), await self._batches.named(batch_id, new.members, batch_id)

        return await self._once(once, lambda batch_id: self._batches.create(new, batch_id=batch_id), again)

    async def add_to_batch(
        self, once: KeyedRequest, batch_id: str, members: Sequence[Member], *, token: str | None
    ) -> tuple[list[AddedMember], bool]:
        """Add jobs to a batch, or return the jobs that this key has made; return also true for a new key.

        Raises:
            JobQueueError: as `add`, and as `Batches.add`.
        """

        async def again(first: str) -> list[AddedMember]:
            return await self._batches.named(batch_id, members, first)

        async def make(first: str) -> list[AddedMember]:
            if members and await self._jobs.find(numbered_ids(first, 1)[0]) is not None:
                return await again(first)
            return await self._batches.add(batch_id, members, token=token, first=first)

        return await self._once(once, make, again)

    async def _once(
        self, once: KeyedRequest, make: Callable[[str], Awaitable[T]], again: Callable[[str], Awaitable[T]]
    ) -> tuple[T, bool]:
        record = await self._store.begin(once.key, once.digest)
        if record.digest != once.digest:
            raise InvalidInputError({"Idempotency-Key": ["was used for another request within the last 24 hours"]})
        if record.busy:
            raise InFlightError
        if record.made:
            return await again(record.made_id), False
        try:
            made = await make(record.made_id)
        except BaseException:
            with contextlib.suppress(JobQueueError):
                await asyncio.shield(self._store.let_go(once.key))
            raise
        await self._store.note_made(once.key)
        return made, record.fresh

    async def _several(self, job_ids: Sequence[str]) -> list[Job]:
        jobs = {job.id: job for job in await self._jobs.several(job_ids)}
        gone = [job_id for job_id in job_ids if job_id not in jobs]
        if gone:
            raise _deleted(gone[0])
        return [jobs[job_id] for job_id in job_ids]


def _deleted(job_id: str) -> ConflictError:
    return ConflictError(f"job {job_id}, which this Idempotency-Key has made, has been deleted")
