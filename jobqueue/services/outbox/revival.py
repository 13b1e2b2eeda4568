"""Reopen the batch of a requeued job, and revive the jobs that were killed because of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from jobqueue.domain.attempts.states import State
from jobqueue.domain.errors import KeyConflictError
from jobqueue.domain.jobs.transitions import REOPEN, REVIVE
from jobqueue.journal import get_logger

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from jobqueue.domain.jobs.job import Job
    from jobqueue.services.outbox.batch_ends import BatchEnds
    from jobqueue.store.jobs.jobs import JobStore
    from jobqueue.store.workflow.dependencies import DependencyStore
    from jobqueue.store.workflow.requeues import RequeueStore

log = get_logger(__name__)
_AT_ONCE: Final = 500


class Revival:
    """Processes the notes of requeued jobs."""

    def __init__(self, store: DependencyStore, jobs: JobStore, requeues: RequeueStore, batches: BatchEnds) -> None:
        self._store = store
        self._jobs = jobs
        self._requeues = requeues
        self._batches = batches

    async def follow(self, job: Job, finish: Callable[[str], Awaitable[None]]) -> list[str]:
        """Carry out the notes of a requeued job; return the ids of jobs to process next.

        Args:
            job: the requeued job.
            finish: processes the outbox of a job.

        Raises:
            ConflictError: other changes of its batch never stop.
        """
        following: list[str] = []
        if REOPEN in job.outbox:
            following += await self._batches.job_requeued(job)
            await self._requeues.carried_out(job, REOPEN)
        if REVIVE in job.outbox:
            following += await self.revive(job, finish)
            await self._requeues.carried_out(job, REVIVE)
        return following

    async def revive(self, job: Job, finish: Callable[[str], Awaitable[None]]) -> list[str]:
        """Revive the jobs that were killed because of a requeued job, unless another failed job forbids it.

        Args:
            job: the requeued job.
            finish: processes the outbox of a job.

        Returns:
            The ids of the revived jobs, which have outboxes of their own.
        """
        revived: list[str] = []
        last: str | None = None
        while fallen := await self._store.fallen(job.id, _AT_ONCE, after=last):
            last = fallen[-1].id
            revived += [victim.id for victim in fallen if await self._revive(victim, finish)]
        return revived

    async def _revive(self, job: Job, finish: Callable[[str], Awaitable[None]]) -> bool:
        fallen: Job | None = job
        if job.outbox:
            # The outbox of its own end comes first: children, and its killed dependents.
            await finish(job.id)
            fallen = await self._jobs.find(job.id)
        if fallen is None or fallen.outbox or fallen.state is not State.KILLED:
            return False
        if await self._store.is_kept_down(fallen):
            return False
        try:
            return await self._store.revive(fallen)
        except KeyConflictError as conflict:
            log.warning("fallen job not revived", job_id=job.id, reason=str(conflict))
            return False
