"""Finish batches, create their callbacks and reopen batches, as their jobs end or start again.

A batch has an outbox as an ended job has one. Any process may process the outbox, any number of times.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from jobqueue.domain.attempts.states import State
from jobqueue.domain.errors import ConflictError, KeyConflictError, NotFoundError
from jobqueue.domain.jobs.job import as_tuple
from jobqueue.domain.jobs.transitions import REOPEN
from jobqueue.domain.workflow.batch import EVENTS, OPEN, StandIn, generation_end
from jobqueue.journal import get_logger
from jobqueue.store.documents.documents import callback_of, derived_id
from jobqueue.store.workflow.batch_statements import ADDING, REQUEUE

if TYPE_CHECKING:
    from jobqueue.domain.jobs.job import Job, NewJob
    from jobqueue.domain.workflow.batch import Batch, Event
    from jobqueue.services.outbox.derived_jobs import DerivedJobs
    from jobqueue.store.workflow.batches import BatchStore
    from jobqueue.store.workflow.generations import GenerationStore
    from jobqueue.store.workflow.requeues import RequeueStore

log = get_logger(__name__)
_TRIES: Final = 20


class BatchEnds:
    """Processes the outboxes of batches."""

    def __init__(
        self, store: BatchStore, generations: GenerationStore, requeues: RequeueStore, derived: DerivedJobs
    ) -> None:
        self.store = store
        self._generations = generations
        self._requeues = requeues
        self._derived = derived

    async def job_ended(self, job: Job) -> list[str]:
        """Settle the batch of an ended job; return as `create_callbacks`."""
        if job.batch_id is None:
            return []
        to_check = [] if job.state is State.SUCCESS else await self._note_failure(job, job.batch_id)
        return to_check + await self.settle(job.batch_id)

    async def job_requeued(self, job: Job) -> list[str]:
        """Reopen the finished batch of a requeued job in a new generation; concurrent calls reopen it once.

        Returns:
            As `create_callbacks`.

        Raises:
            ConflictError: other changes of the batch never stop.
        """
        to_check: list[str] = []
        if job.batch_id is None:
            return to_check
        for _ in range(_TRIES):
            if await self._generations.join(job.batch_id):
                return to_check
            try:
                batch = await self.store.get(job.batch_id)
            except NotFoundError:
                return to_check
            if batch.state == OPEN:
                continue
            # In this order: while the job has the note, its batch was not reopened and finished since.
            if not await self._requeues.asks_for(job, REOPEN):
                return to_check
            if batch.outbox:
                # The callbacks of this generation come first.
                to_check += await self.create_callbacks(batch.id)
                await self.store.settled(batch)
            elif await self._generations.reopen(batch, await self.told(batch)):
                log.info("batch reopened", batch_id=batch.id, job_id=job.id, generation=batch.generation + 1)
                return to_check
        raise ConflictError(f"batch {job.batch_id} is changing too quickly to be opened again")

    async def settle(self, batch_id: str) -> list[str]:
        """Finish a sealed batch without unfinished jobs, and create its callbacks; return as `create_callbacks`."""
        for _ in range(_TRIES):
            try:
                batch = await self.store.get(batch_id)
            except NotFoundError:
                return []
            if not _may_finish(batch):
                return []
            over = await self._generations.over(batch_id)
            if over is None or not _may_finish(over[0]):
                return []
            # An added or requeued job changes the batch, too: then the batch does not finish here.
            seen, has_failed = over
            if await self._generations.finish(seen, generation_end(seen, failed=has_failed)):
                return await self.create_callbacks(batch_id)
        await self._generations.look_again(batch_id)
        return []

    async def told(self, batch: Batch) -> str | None:
        """Return the last verdict of a batch whose callbacks fired."""
        return await self._generations.told(batch, _callback_id(batch, "success", 0))

    async def create_callbacks(self, batch_id: str) -> list[str]:
        """Create the due callbacks of a batch; return the ids of callbacks whose dependencies have to be checked."""
        batch = await self.store.get(batch_id)
        to_check: list[str] = []
        for event, attribute in EVENTS.items():
            if event in batch.outbox:
                counts = await self.store.counts(batch_id)
                for index, child in enumerate(as_tuple(getattr(batch, attribute))):
                    to_check += await self._create(batch, event, index, child, counts)
                await self.store.done(batch, event)
        return to_check

    async def _note_failure(self, job: Job, batch_id: str) -> list[str]:
        try:
            batch = await self.store.get(batch_id)
        except NotFoundError:
            return []
        # In this order: while the job has the note, the job has failed in no earlier generation.
        if not batch.on_failure or not await self._generations.tells(job, batch):
            return []
        if await self._generations.note_failure(batch):
            return await self.create_callbacks(batch_id)
        return []

    async def _create(self, batch: Batch, event: Event, index: int, child: NewJob, counts: dict[str, int]) -> list[str]:
        """Create a callback; return its id if its dependencies have to be checked.

        A living job that has the callback's key stands in for the callback, and the batch names that job.
        """
        if any(
            (stand_in.event, stand_in.index, stand_in.generation) == (event, index, batch.generation)
            for stand_in in batch.stand_ins
        ):
            return []
        try:
            cause = callback_of(batch.id, event, batch.generation, counts)
            return await self._derived.create(child, _callback_id(batch, event, index), trace=batch.trace, extra=cause)
        except KeyConflictError as conflict:
            if not conflict.job_id:
                raise
            await self._stand_in(batch, event, index, conflict)
            return []

    async def _stand_in(self, batch: Batch, event: Event, index: int, conflict: KeyConflictError) -> None:
        log.warning("batch callback not created", batch_id=batch.id, callback=event, reason=str(conflict))
        named = StandIn(event=event, index=index, generation=batch.generation, key=conflict.key, job_id=conflict.job_id)
        await self._generations.name_stand_in(batch, named)


def _may_finish(batch: Batch) -> bool:
    return batch.state == OPEN and batch.sealed and {REQUEUE, ADDING}.isdisjoint(batch.outbox)


def _callback_id(batch: Batch, event: Event, index: int) -> str:
    """Return the id of a callback, which is the same for every attempt to create the callback in one generation."""
    return derived_id(batch.insert_at, f"{batch.id}:{batch.generation}:{event}.{index}")
