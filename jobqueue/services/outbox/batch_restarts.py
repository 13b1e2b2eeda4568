"""The requeue of a whole batch: its failed jobs are restarted, by anybody, whoever has asked for it."""

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
        """Note in a batch that its failed jobs are to be restarted; a finished one begins a new generation with that.

        Args:
            batch_id: which one.
            finish_batch: does what a batch still asks for.
            callbacks: let the callbacks for success come again if they came before.
            begun: called before anything is changed.

        Returns:
            The batch; ``None`` if there is nothing to be restarted, and no callback that is due.

        Raises:
            NotFoundError: there is no such batch.
            ConflictError: others change it all the time.
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
        """Restart the jobs of a batch that have failed or were killed; those that depend on others wait for them again.

        Args:
            batch: since its restart was asked for.
            finish: does what an ended job, or one that has come to wait, still asks for.
        """
        async for job in self._of_before(batch):
            await finish(job.id)
            await self._restart(job, batch)
        # Only now: one that waits for another must not find that one still failed.
        for job_id in await self._store.waiting(batch):
            await finish(job_id)
        # And then those of other batches, or of none, that fell with them.
        for job_id in await self._store.reviving(batch):
            await finish(job_id)
        await self._store.restarted(batch)
        self._notifier.tell(Wakeup(kind="ready"))
        seen = await self._batches.get(batch.id)
        for job_id in await self.ends.settle(batch.id):
            await finish(job_id)
        await self._batches.settled(seen)

    async def _of_before(self, batch: Batch) -> AsyncIterator[Job]:
        """Yield, once each, jobs that have failed before this restart; whoever takes one makes it of this one."""
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
        """Start a job anew, or let it wait again if it depends on others: they may be started anew too."""
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
                # The living job with this key stands for it, as it does for a child.
                log.warning("job of a batch not requeued", job_id=job.id, reason=str(conflict))
                await self._claims.note(job.id, f"not requeued with its batch: {conflict}")
                await self._store.pass_over(job, batch.restarts)
            except (WrongStateError, NotFoundError):
                log.info("job of a batch restarted by somebody else", job_id=job.id)
            return
