"""Process the outboxes of jobs: create children, count attempts at breakers, delete jobs.

The ended job has an outbox that says what is left to do. Any process may do it, any number of times: the id of a child
follows from the id of its parent, so that each child exists once.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from jobqueue import tracing
from jobqueue.domain.attempts.states import State
from jobqueue.domain.errors import DatabaseError, KeyConflictError, NotFoundError
from jobqueue.domain.jobs.job import as_tuple
from jobqueue.domain.jobs.transitions import DEPENDENTS, NOTES
from jobqueue.journal import get_logger
from jobqueue.store.documents.documents import child_id
from jobqueue.store.workflow.batch_statements import REQUEUE, SETTLE

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

    from jobqueue.domain.jobs.job import Job, NewJob
    from jobqueue.domain.workflow.batch import Batch
    from jobqueue.services.limits.breakers import Breakers
    from jobqueue.services.outbox.awaiting import Awaiting
    from jobqueue.services.outbox.batch_restarts import BatchRestarts
    from jobqueue.services.outbox.dependencies import Dependencies
    from jobqueue.services.outbox.derived_jobs import DerivedJobs
    from jobqueue.services.outbox.revival import Revival
    from jobqueue.store.jobs.jobs import JobStore
    from jobqueue.store.work.claims import ClaimStore

log = get_logger(__name__)
OUTBOX_SECONDS: Final = 2.0
"""Seconds between looks for outboxes that a crash or an outage has left."""
_STUCK_SECONDS: Final = 60.0
"""Seconds for which the sweep passes over an outbox that failed, so that failing outboxes do not fill it."""
_MOST_STUCK: Final = 10_000
_PATIENCE: Final = 0.25
_DRAIN_SECONDS: Final = 2.0
_MOST_CASCADES: Final = 100


class Outboxes:
    """Processes the outboxes of jobs and batches."""

    def __init__(
        self,
        jobs: JobStore,
        claims: ClaimStore,
        dependencies: Dependencies,
        revival: Revival,
        restarts: BatchRestarts,
        breakers: Breakers,
        derived: DerivedJobs,
        awaiting: Awaiting,
    ) -> None:
        self._jobs = jobs
        self._claims = claims
        self._dependencies = dependencies
        self._revival = revival
        self._batches = restarts.ends
        self._restarts = restarts
        self._breakers = breakers
        self._derived = derived
        self.awaiting = awaiting
        self._stuck: dict[str, float] = {}
        self._under_way: set[str] = set()
        self._cascades: set[asyncio.Task[None]] = set()
        self.patience = _PATIENCE

    async def run_once(self) -> None:
        """Process outboxes that a crash or an outage has left; one that fails does not block the others."""
        now = time.monotonic()
        self._stuck = {name: until for name, until in self._stuck.items() if until > now}
        passed_over = [*self._stuck, *self._under_way]
        for job in await self._jobs.unfired(but=passed_over):
            if len(self._cascades) >= _MOST_CASCADES:
                return
            with self._trying("job", job.id):
                await self.cascade(job.id)
        for batch in await self._batches.store.left_over(but=passed_over):
            with self._trying("batch", batch.id):
                await self.cascade_batch(batch)

    @contextmanager
    def _trying(self, kind: str, name: str) -> Iterator[None]:
        try:
            yield
        except DatabaseError:
            raise
        except Exception as error:  # noqa: BLE001 - one outbox must not block the others
            self._pass_over(kind, name, error)

    def _pass_over(self, kind: str, name: str, error: BaseException) -> None:
        log.error("outbox not processed", kind=kind, id=name, exc_info=error)
        if len(self._stuck) < _MOST_STUCK:
            self._stuck[name] = time.monotonic() + _STUCK_SECONDS

    async def cascade(self, job_id: str) -> None:
        """Process the outbox of a job, and of all jobs that end or start because of it.

        A long cascade goes on in the background after `patience` seconds, so that requests and workers do not wait for
        it. After a crash the next sweep of any process goes on with it.
        """
        await self._cascade(self.finish(job_id), "job", job_id)

    async def cascade_batch(self, batch: Batch) -> None:
        """Process the outbox of a batch, for `patience` seconds at most before it goes on in the background."""
        await self._cascade(self.finish_batch(batch), "batch", batch.id)

    async def _cascade(self, cascade: Coroutine[Any, Any, None], kind: str, name: str) -> None:
        task = asyncio.create_task(cascade, name=f"cascade-{name}")
        self._cascades.add(task)
        task.add_done_callback(self._cascades.discard)
        try:
            await asyncio.wait({task}, timeout=self.patience)
        finally:
            if not task.done():
                task.add_done_callback(partial(self._ended_late, kind, name))
        if task.done():
            task.result()

    def _ended_late(self, kind: str, name: str, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if isinstance(error, DatabaseError):
            log.warning("outbox delayed", kind=kind, id=name, error=str(error))
        elif error is not None:
            self._pass_over(kind, name, error)

    async def drain(self) -> None:
        """Wait a moment for cascades in the background; the sweep of another process does the rest."""
        if self._cascades:
            await asyncio.wait(set(self._cascades), timeout=_DRAIN_SECONDS)
        for task in self._cascades:
            task.cancel()
        await asyncio.gather(*self._cascades, return_exceptions=True)

    async def finish(self, job_id: str) -> None:
        """Process the outbox of a job, and of all jobs that end because of it, to the end."""
        left = [job_id]
        self._under_way.add(job_id)
        try:
            while left:
                # The job stays in the list until its outbox is processed, so that the sweep sees it after an error.
                following = await self._fire(left[-1])
                self._under_way.discard(left.pop())
                self._under_way.update(following)
                left += following
        finally:
            self._under_way.difference_update(left)

    async def _fire(self, job_id: str) -> list[str]:
        try:
            job = await self._jobs.lean(job_id)
        except NotFoundError:
            return []
        return await self.fire(job) if job.outbox else []

    async def forsake(self, job: Job) -> None:
        """Release or kill the jobs that wait for a job before its deletion."""
        if job.has_dependents:
            for job_id in await self._dependencies.forsake(job):
                await self.finish(job_id)

    async def fire(self, job: Job) -> list[str]:
        """Process the outbox of a job that has ended, waits or was requeued; return the ids of jobs to process next."""
        ended: list[str] = []
        await self._breakers.count(job)
        if not set(NOTES).isdisjoint(job.outbox):
            ended += await self._revival.follow(job, self.finish)
            job = replace(job, outbox=tuple(name for name in job.outbox if name not in NOTES))
        if "check" in job.outbox:
            ended += await self._dependencies.check(job)
        if "children" in job.outbox:
            for slot, child in _children(job):
                ended += await self._create(job, slot, child)
        if DEPENDENTS in job.outbox:
            ended += await self._dependencies.ended(job)
        if "batch" in job.outbox:
            ended += await self._batches.job_ended(job)
        await self.awaiting.follow(job)
        if "delete" in job.outbox:
            await self._jobs.delete_fired(job)
        elif job.outbox and job.id not in ended:
            await self._jobs.fired(job)
        return ended

    async def finish_batch(self, batch: Batch) -> None:
        """Process the outbox of a batch: create its callbacks, or restart its jobs."""
        to_check: list[str] = []
        self._under_way.add(batch.id)
        try:
            if SETTLE in batch.outbox:
                to_check += await self._batches.settle(batch.id)
                await self._batches.store.settled(batch)
            to_check += await self._batches.create_callbacks(batch.id)
            for job_id in to_check:
                await self.finish(job_id)
            if REQUEUE in batch.outbox:
                await self._restarts.carry_out(batch, self.finish)
        finally:
            self._under_way.discard(batch.id)

    async def restart_batch(
        self, batch_id: str, *, callbacks: bool = False, begun: Callable[[], None] = lambda: None
    ) -> None:
        """Restart the failed jobs of a batch, as `BatchRestarts.begin`.

        Raises:
            NotFoundError: there is no such batch.
            ConflictError: other changes of the batch never stop.
        """
        begin = self._restarts.begin(batch_id, self.finish_batch, callbacks=callbacks, begun=begun)
        if (batch := await begin) is not None:
            await self.cascade_batch(batch)

    async def _create(self, parent: Job, slot: str, child: NewJob) -> list[str]:
        """Create a child; return its id if its dependencies have to be checked."""
        try:
            trace = tracing.context_of(parent)
            return await self._derived.create(child, child_id(parent, slot), trace=trace, parent_id=parent.id)
        except KeyConflictError as conflict:
            if not conflict.job_id:
                raise
            # The living job with this key stands for the child: that is the purpose of a key.
            log.warning("child not created", parent_id=parent.id, slot=slot, reason=str(conflict))
            await self._claims.note(parent.id, f"{slot} was not created: {conflict}")
            return []


def _children(job: Job) -> list[tuple[str, NewJob]]:
    name, branch = ("onSuccess", job.on_success) if job.state is State.SUCCESS else ("onFailure", job.on_failure)
    groups = (("onComplete", job.on_complete), (name, branch))
    return [(f"{slot}.{index}", child) for slot, group in groups for index, child in enumerate(as_tuple(group))]
