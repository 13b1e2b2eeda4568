"""Suspects that run apart from each other, over all queues of a worker."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from jobqueue.domain.errors import DatabaseError
from jobqueue.journal import get_logger

if TYPE_CHECKING:
    from jobqueue.domain.jobs.job import Job
    from jobqueue.store.work.claims import ClaimStore

log = get_logger(__name__)


class SoloRuns:
    """Keeps suspects apart, over all queues of a worker.

    Within a queue a unique slot keeps suspects apart. Suspects of different queues meet only after both were claimed;
    then one goes back, uncounted, before it runs.
    """

    def __init__(self, claims: ClaimStore) -> None:
        self.holders = claims.holders
        self._claims = claims
        self.turn = asyncio.Lock()
        """Two claims of one process ask `is_second`, and give a second job back, in turn."""

    async def may_have(self, worker: str) -> bool:
        """Return True if a claim of a worker may take a suspect."""
        if not self.holders.knows(worker):
            return True
        if not self.holders.is_due(worker):
            return False
        self.holders.note(worker)
        if await self._claims.has_another_suspect(worker, ""):
            return False
        self.holders.forget(worker)
        return True

    def is_busy(self, worker: str) -> bool:
        """Return True if the last claim of a worker passed over suspects."""
        return self.holders.knows(worker)

    def was_busy_just_now(self, worker: str) -> bool:
        """Return True if a worker ran a suspect within the last second."""
        return self.holders.knows(worker) and not self.holders.is_due(worker)

    async def is_second(self, job: Job, worker: str, token: str) -> bool:
        """Return True if a worker that claimed a suspect may run another suspect; the caller holds `turn`."""
        try:
            return await self._claims.has_another_suspect(worker, token)
        except DatabaseError as error:
            log.warning("suspect given back", job_id=job.id, error=str(error))
            return True
