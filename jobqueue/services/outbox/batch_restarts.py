"""Restart the failed jobs of a batch; the batch has a note, so that any process can do it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from jobqueue.domain.errors import ConflictError, KeyConflictError, NotFoundError, WrongStateError
from jobqueue.domain.workflow.batch import FINISHED, SUCCESS
from jobqueue.journal import get_logger
from jobqueue.services.signals.notifier import Wakeup

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from jobqueue.domain.jobs.job import Job
    from jobqueue.domain.workflow.batch import Batch
    from jobqueue.services.outbox.batch_ends import BatchEnds
    from jobqueue.services.signals.notifier import Notifier
    from jobqueue.store.work.claims import ClaimStore
    from jobqueue.store.workflow.batches import BatchStore
    from jobqueue.store.workflow.dependencies import DependencyStore
    from jobqueue.store.workflow.generations import GenerationStore
    from jobqueue.store.workflow.requeues import RequeueStore

log = get_logger(__name__)
_AT_ONCE: Final = 500
_TRIES: Final = 5
_MOST_CHANGES: Final = 50


class BatchRestarts:
    """Restarts the jobs of batches."""

    def __init__(
        self,
        batches: BatchStore,
        store: GenerationStore,
        requeues: RequeueStore,
        dependencies: DependencyStore,
        claims: ClaimStore,
        ends: BatchEnds,
        notifier: Notifier,
    ) -> None:
        self._batches = batches
        self._store = store
        self._requeues = requeues
        self._dependencies = dependencies
        self._claims = claims
        self.ends = ends
        self._notifier = notifier

    async def begin(
        self,
        batch_id: str,
        finish_batch: Callable[[Batch], Awaitable[None]],
        *,
        callbacks: bool,
        begun: Callable[[], None],
    ) -> Batch | None:
        """Note the restart in a batch; a finished batch begins a new generation with that.

        Args:
            batch_id: the batch.
            finish_batch: processes the outbox of a batch.
            callbacks: repeat the callbacks for success that came before.
            begun: called before the first change.

        Returns:
            The batch; ``None`` if there is no job to restart, and no callback is due.

        Raises:
            NotFoundError: there is no such batch.
            ConflictError: other changes of the batch never stop.
        """
        for _ in range(_MOST_CHANGES):
            await finish_batch(await self._batches.get(batch_id))
            batch = await self._batches.get(batch_id)
            told = await self.ends.told(batch)
            is_well = batch.state == FINISHED and told == SUCCESS and not await self._batches.has_failed(batch_id)
            if is_well and not callbacks:
                return None
            begun()
            restarted = await self._store.restart(batch, told, again=callbacks)
            if restarted is not None:
                return restarted
        raise ConflictError(f"batch {batch_id} is changing too quickly to be requeued")

    async def carry_out(self, batch: Batch, finish: Callable[[str], Awaitable[None]]) -> None:
        """Restart failed and killed jobs of a batch; jobs with dependencies wait for them again.

        Args:
            batch: with the note of its restart.
            finish: processes the outbox of a job.
        """
        async for job in self._of_before(batch):
            await finish(job.id)
            await self._restart(job, batch)
        # Only now: a waiting job must not find its dependency still failed.
        for job_id in await self._store.waiting(batch):
            await finish(job_id)
        # Then killed dependents of other batches, or of none.
        for job_id in await self._store.reviving(batch):
            await finish(job_id)
        await self._store.restarted(batch)
        self._notifier.tell(Wakeup(kind="ready"))
        seen = await self._batches.get(batch.id)
        for job_id in await self.ends.settle(batch.id):
            await finish(job_id)
        await self._batches.settled(seen)

    async def _of_before(self, batch: Batch) -> AsyncIterator[Job]:
        """Yield each job that has failed before this restart once."""
        seen: set[str] = set()
        while True:
            jobs = await self._store.to_restart(batch, most=_AT_ONCE)
            fresh = [job for job in jobs if job.id not in seen]
            if not fresh:
                return
            for job in fresh:
                seen.add(job.id)
                yield job

    async def _restart(self, job: Job, batch: Batch) -> None:
        """Start a job anew; a job with dependencies waits for them again."""
        for _ in range(_TRIES):
            try:
                if job.depends_on:
                    await self._dependencies.revive(job, restart=batch.restarts)
                else:
                    await self._requeues.requeue(job, {"restart": batch.restarts}, reopen=False)
            except KeyConflictError as conflict:
                if not conflict.job_id:
                    # The holder of the key has ended at this moment.
                    continue
                # The living job with this key stands for the job, as for a child.
                log.warning("batch job not requeued", job_id=job.id, reason=str(conflict))
                await self._claims.note(job.id, f"not requeued with its batch: {conflict}")
                await self._store.pass_over(job, batch.restarts)
            except (WrongStateError, NotFoundError):
                log.info("batch job already restarted", job_id=job.id)
            return
