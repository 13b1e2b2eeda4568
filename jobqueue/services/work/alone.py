"""Keep a worker from running two jobs at a time that were beside too many crashes."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from jobqueue.domain.errors import DatabaseError
from jobqueue.journal import get_logger

if TYPE_CHECKING:
    from jobqueue.domain.jobs.job import Job
    from jobqueue.store.work.claims import ClaimStore

log = get_logger(__name__)
ASK_SECONDS: Final = 5.0
"""When a worker that runs such a job asks for another one, should no wake-up come sooner."""


class SoloRuns:
    """Watches the jobs that run alone, over all queues of a worker.

    Within a queue a unique slot keeps two of these jobs apart. Two jobs of different queues meet only after both were
    claimed; then one goes back, uncounted, before it runs.
    """

    def __init__(self, claims: ClaimStore) -> None:
        self._holders = claims.holders
        self._claims = claims
        self._turn = asyncio.Lock()

    async def may_have(self, worker: str) -> bool:
        """Return True if a claim of a worker may take a job that runs alone."""
        if not self._holders.knows(worker):
            return True
        if not self._holders.is_due(worker):
            return False
        self._holders.note(worker)
        if await self._claims.has_another_suspect(worker, ""):
            return False
        self._holders.forget(worker)
        return True

    def is_busy(self, worker: str) -> bool:
        """Return True if the last claim of a worker passed over jobs that run alone."""
        return self._holders.knows(worker)

    def was_busy_just_now(self, worker: str) -> bool:
        """Return True if a worker was seen within the last second to run a job alone."""
        return self._holders.knows(worker) and not self._holders.is_due(worker)

    async def is_second(self, job: Job, worker: str, token: str) -> bool:
        """Return True if a job that runs alone was claimed by a worker that runs another such job.

        Two claims of one process ask in turn, and each gives its job back before the other asks: see `turn`.
        """
        try:
            is_second = await self._claims.has_another_suspect(worker, token)
        except DatabaseError as error:
            log.warning("a suspect is given back: its worker may run another", job_id=job.id, error=str(error))
            return True
        return is_second

    def turn(self) -> asyncio.Lock:
        """Return the lock under which `is_second` is asked and a second job is given back."""
        return self._turn

    def note(self, worker: str) -> None:
        """Note that a worker runs a job alone."""
        self._holders.note(worker)

    def ended(self, worker: str) -> None:
        """Note that a job of a worker that ran alone has ended."""
        self._holders.forget(worker)
