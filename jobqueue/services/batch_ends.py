"""What follows when the jobs of a batch end: it finishes, its callbacks are created, and a requeue is carried out.

Like an ended job a batch says itself what is still to be done for it. Whoever sees it may do it, any number of times.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from jobqueue.domain.batch import EVENTS
from jobqueue.domain.errors import KeyConflictError, NotFoundError, WrongStateError
from jobqueue.domain.job import as_tuple
from jobqueue.domain.state import State
from jobqueue.journal import get_logger
from jobqueue.services.wake import Wake
from jobqueue.store.batch_statements import ADDING, OPEN
from jobqueue.store.documents import callback_of, derived_id

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Collection

    from jobqueue.domain.batch import Batch, Event
    from jobqueue.domain.job import Job, NewJob
    from jobqueue.services.config import QueueConfigs
    from jobqueue.services.wake import Wakeups
    from jobqueue.store.batches import BatchStore
    from jobqueue.store.dependencies import DependencyStore
    from jobqueue.store.jobs import JobStore

log = get_logger(__name__)
REQUEUE: Final = "requeue"
_TRIES: Final = 20
_AT_ONCE: Final = 500


class BatchEnds:
    """Does what batches ask for."""

    def __init__(
        self,
        store: BatchStore,
        jobs: JobStore,
        dependencies: DependencyStore,
        configs: QueueConfigs,
        wakeups: Wakeups,
    ) -> None:
        self._store = store
        self._jobs = jobs
        self._dependencies = dependencies
        self._configs = configs
        self._wakeups = wakeups

    async def job_ended(self, job: Job) -> list[str]:
        """Do what follows from the end of one job of a batch; return what `create_callbacks` does."""
        if job.batch_id is None:
            return []
        to_check = [] if job.state is State.SUCCESS else await self._note_failure(job.batch_id)
        return to_check + await self.settle(job.batch_id)

    async def settle(self, batch_id: str) -> list[str]:
        """Finish a batch if it is sealed and none of its jobs is unfinished, and create the callbacks for that.

        Returns:
            What `create_callbacks` does.
        """
        for _ in range(_TRIES):
            try:
                # Read before its jobs: whoever adds one afterwards changes the batch too, so that it is not ended here.
                batch = await self._store.get(batch_id)
            except NotFoundError:
                return []
            if batch.state != OPEN or not batch.sealed or not {REQUEUE, ADDING}.isdisjoint(batch.outbox):
                return []
            if await self._store.has_unfinished(batch_id):
                return []
            events: list[Event] = ["complete"] if batch.on_complete else []
            if batch.on_success and not await self._store.has_failed(batch_id):
                events.append("success")
            if await self._store.finish(batch, events):
                return await self.create_callbacks(batch_id)
        return []

    async def settled(self, batch: Batch) -> None:
        """Note that somebody has looked whether a batch has finished."""
        await self._store.settled(batch)

    async def create_callbacks(self, batch_id: str) -> list[str]:
        """Create the callbacks of a batch that are due; return the ids of those that depend on other jobs."""
        batch = await self._store.get(batch_id)
        to_check: list[str] = []
        for event, attribute in EVENTS.items():
            if event in batch.outbox:
                counts = await self._store.counts(batch_id)
                for index, child in enumerate(as_tuple(getattr(batch, attribute))):
                    to_check += await self._create(batch, event, index, child, counts)
                await self._store.done(batch, event)
        return to_check

    async def left_over(self, but: Collection[str]) -> list[Batch]:
        """Return batches for which something is still to be done, but for some."""
        return await self._store.left_over(but=but)

    async def requeue(self, batch: Batch, finish: Callable[[str], Awaitable[None]]) -> None:
        """Restart the jobs of a batch that have failed or were killed; those that depend on others wait for them again.

        Args:
            batch: in its new generation.
            finish: does what an ended job, or one that has come to wait, still asks for.
        """
        async for job in self._of_before(batch):
            await finish(job.id)
            await self._restart(job, batch)
        # Only now: one that waits for another must not find that one still failed.
        for job_id in await self._store.waiting(batch):
            await finish(job_id)
        await self._store.done(batch, REQUEUE)
        self._wakeups.tell(Wake(kind="ready"))
        for job_id in await self.settle(batch.id):
            await finish(job_id)

    async def _of_before(self, batch: Batch) -> AsyncIterator[Job]:
        """Yield, once each, jobs that have failed in an earlier generation; whoever takes one makes it of this one."""
        seen: set[str] = set()
        while True:
            found = await self._store.to_requeue(batch, most=_AT_ONCE)
            fresh = [job for job in found if job.id not in seen]
            if not fresh:
                return
            for job in fresh:
                seen.add(job.id)
                yield job

    async def _restart(self, job: Job, batch: Batch) -> None:
        """Start a job anew, or let it wait again if it depends on others: they may be started anew too."""
        try:
            if job.depends_on:
                await self._dependencies.revive(job, batch.generation)
            else:
                await self._jobs.requeue(job, {"generation": batch.generation})
        except KeyConflictError as conflict:
            # The living job with this key stands for it, as it does for a child.
            log.warning("job of a batch not requeued", job_id=job.id, reason=str(conflict))
            await self._store.pass_over(job, batch.generation)
        except (WrongStateError, NotFoundError):
            log.info("job of a batch restarted by somebody else", job_id=job.id)

    async def _note_failure(self, batch_id: str) -> list[str]:
        try:
            batch = await self._store.get(batch_id)
        except NotFoundError:
            return []
        if batch.on_failure and await self._store.note_failure(batch_id, batch.generation):
            return await self.create_callbacks(batch_id)
        return []

    async def _create(self, batch: Batch, event: Event, index: int, child: NewJob, counts: dict[str, int]) -> list[str]:
        """Create a callback; return its id if it has to be looked at, because it depends on other jobs."""
        config = await self._configs.fresh(child.queue)
        held: dict[str, Any] = {}
        if child.depends_on:
            await self._dependencies.mark(child.depends_on)
            held["outbox"] = ["check"]
        slot = f"{batch.id}:{batch.generation}:{event}.{index}"
        try:
            made = await self._jobs.insert(
                config.fill(child),
                job_id=derived_id(batch.insert_at, slot),
                limit_key=config.limit_key(child.data, child.meta) if config.grouped else None,
                extra=held | callback_of(batch.id, event, batch.generation, counts),
            )
        except KeyConflictError as conflict:
            log.warning("callback of a batch not created", batch_id=batch.id, callback=event, reason=str(conflict))
            return []
        kind = "ready" if made.state is State.PENDING else "delayed"
        self._wakeups.tell(Wake(kind=kind, queue=made.queue, job_id=made.id, priority=made.priority))
        return [made.id] if made.outbox else []
