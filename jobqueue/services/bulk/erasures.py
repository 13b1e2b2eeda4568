"""Erase the contents of single jobs, for an operation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jobqueue.domain.attempts.states import FINAL
from jobqueue.domain.errors import ConflictError

if TYPE_CHECKING:
    from jobqueue.services.jobs.manage import JobManager
    from jobqueue.store.bulk.erasures import ErasureStore


class Eraser:
    """Erases the contents of ended jobs; states, times and counts stay."""

    def __init__(self, store: ErasureStore, manager: JobManager) -> None:
        self.store = store
        self._manager = manager

    async def erase(self, job_id: str, operation: str) -> bool:
        """Erase the contents of a job; return False if the job has not ended.

        Args:
            job_id: of the job.
            operation: the id of the operation that erases it.

        Raises:
            NotFoundError: there is no such job.
            ConflictError: an unfinished job may still read its result.
        """
        job = await self._manager.settled(job_id)
        if job.state not in FINAL:
            return False
        if (reader := await self.store.unread_by(job)) is not None:
            raise ConflictError(f"the unfinished job {reader} may still read its result")
        if not await self.store.begin(job, operation):
            return False
        await self.store.erase_around(job, operation)
        return await self.store.clear(job, operation)
