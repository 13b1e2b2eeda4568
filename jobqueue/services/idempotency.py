"""Adding a job once, however often the request is repeated."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

from jobqueue.domain import wire
from jobqueue.domain.errors import ConflictError, InvalidInputError

if TYPE_CHECKING:
    from jobqueue.domain.job import Job, NewJob
    from jobqueue.services.producer import Producer
    from jobqueue.store.idempotency import IdempotencyStore
    from jobqueue.store.jobs import JobStore


class Idempotency:
    """Adds jobs under a key that the caller chose.

    The key is stored before the job, together with the id the job will have, and adding the same id twice is one job.
    So whatever is cut off in between, the next request with this key completes.
    """

    def __init__(self, store: IdempotencyStore, jobs: JobStore, producer: Producer) -> None:
        self._store = store
        self._jobs = jobs
        self._producer = producer

    async def add(self, key: str, new: NewJob) -> tuple[Job, bool]:
        """Add a job, or return the one this key has made, and whether the key is new.

        Raises:
            InvalidInputError: the key came with another job before.
            ConflictError: the job of this key has been deleted.
            KeyConflictError: as `Producer.add`; the same request may be repeated later.
        """
        digest = hashlib.sha256(json.dumps(wire.new_job(new), sort_keys=True).encode()).hexdigest()
        record = await self._store.remember(key, digest)
        if record.digest != digest:
            raise InvalidInputError({"Idempotency-Key": ["was used for another job within the last 24 hours"]})
        if record.made:
            job = await self._jobs.find(record.job_id)
            if job is None:
                raise ConflictError(f"job {record.job_id}, which this Idempotency-Key has made, has been deleted")
            return job, False
        job = await self._producer.add(new, job_id=record.job_id)
        await self._store.note_made(key)
        return job, record.fresh
