"""Calls of running jobs: create children once, and requeue those that have failed."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from jobqueue import tracing
from jobqueue.domain.attempts.states import Outcome
from jobqueue.domain.errors import (
    EditionChangedError,
    InvalidInputError,
    KeyConflictError,
    NotFoundError,
    StaleTokenError,
    WrongStateError,
)
from jobqueue.domain.steps.call import Call
from jobqueue.domain.steps.step import StepKind, check_name
from jobqueue.domain.work.calls import Called
from jobqueue.services.jobs.producer import check_keys
from jobqueue.services.outbox.dependencies import missing_ones
from jobqueue.store.documents.documents import derived_id, numbered_ids

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from jobqueue.domain.jobs.job import Job, NewJob
    from jobqueue.domain.steps.step import Step
    from jobqueue.domain.work.calls import NewCall
    from jobqueue.services.jobs.manage import JobManager
    from jobqueue.services.outbox.dependencies import Dependencies
    from jobqueue.services.outbox.outbox import Outboxes
    from jobqueue.services.signals.config import QueueConfigs
    from jobqueue.services.signals.notifier import Notifier
    from jobqueue.store.jobs.jobs import JobStore

_AT_ONCE: Final = 500
_TOGETHER: Final = 20
_TRIES: Final = 20


_ENDS: Final = frozenset({Outcome.FAIL, Outcome.DIE, Outcome.RETRY, Outcome.HANGING, Outcome.TIMEOUT})
"""Ends of runs after which a failed child runs again."""


class Calls:
    """The worker's side of awaited children."""

    def __init__(
        self,
        jobs: JobStore,
        dependencies: Dependencies,
        outboxes: Outboxes,
        configs: QueueConfigs,
        notifier: Notifier,
        manager: JobManager,
    ) -> None:
        self._store = jobs.calls
        self._jobs = jobs
        self._dependencies = dependencies
        self._outboxes = outboxes
        self._configs = configs
        self._notifier = notifier
        self._manager = manager

    async def begin(self, job: Job, token: str, name: str, new: NewCall) -> Called:
        """Create the children of a step, each once however often this is called.

        A step whose child has failed keeps its failure until the attempt that was told of it has ended, other than by a
        suspension. After that, and after a requeue of the job, its failed children are requeued.

        Args:
            job: that runs.
            token: of its claim.
            name: of the step.
            new: the children, one at least.

        Raises:
            StaleTokenError: the claim is not the current one.
            InvalidInputError: the name or a child cannot be used, or the job has too many steps.
            KeyConflictError: another unfinished job has the key of a child.
        """
        check_name(name)
        check_keys(new.jobs)
        kind = StepKind.CALL if new.single else StepKind.MAP
        made = Call(id=derived_id(job.start_at or job.insert_at, f"{job.id}:{job.run}:{name}"), failures=new.failures)
        step = await self._store.begin(job, token, name, kind=kind, call=made, count=len(new.jobs))
        if step is None:
            raise await self._stale(job)
        if step.is_finished:
            return Called(step=step)
        if step.call is None or step.kind is not kind:
            raise InvalidInputError({"name": [f"{name!r} is a {step.kind.value} of the job already"]})
        if not step.call.created:
            await self._create(job, step.call, new.jobs)
            created = await self._store.created(job, token, step, step.call, len(new.jobs))
            if created is None:
                raise await self._stale(job)
            return Called(step=created, unfinished=len(new.jobs))
        return await self._resume(job, token, step, step.call)

    async def unfinished(self, job: Job) -> tuple[list[Step], int]:
        """Return the steps whose children a job still has to wait for, and the number of these children."""
        steps = [step for step in job.steps or () if step.awaits and step.call and step.call.created]
        counts = [await self._store.open_count(step.call) for step in steps if step.call]
        return [step for step in steps if step.call and step.call.failure is None], sum(counts)

    async def results(self, step: Step) -> AsyncIterator[Any]:
        """Yield the results of the children of a finished step, in their order."""
        if step.call is not None:
            async for result in self._store.results(step, step.call):
                yield result

    async def page(self, step: Step, start: int, most: int) -> list[Any]:
        """Return some results of the children of a finished step, as many as one reply has room for."""
        if step.call is not None and step.is_paged:
            return await self._store.page(step, step.call, start, most)
        results = step.result if step.kind is StepKind.MAP else [step.result]
        return list(results[start : start + most])

    async def _resume(self, job: Job, token: str, step: Step, call: Call) -> Called:
        if call.again or (call.failure is not None and _is_new_run(job, call)):
            failed = await self._store.failed(call)
            for start in range(0, len(failed), _TOGETHER):
                await asyncio.gather(*(self._requeue(child) for child in failed[start : start + _TOGETHER]))
            resumed = await self._store.resumed(job, token, step, call)
            if resumed is None:
                raise await self._stale(job)
            step = resumed
        elif call.failure is not None:
            return Called(step=step)
        return Called(step=step, unfinished=await self._store.open_count(call))

    async def _requeue(self, child: Job) -> None:
        """Start a failed child anew, unless somebody else has."""
        with suppress(WrongStateError, NotFoundError, EditionChangedError):
            await self._manager.restart(child, {})

    async def _create(self, job: Job, call: Call, new: Sequence[NewJob]) -> None:
        ids = numbered_ids(call.id, len(new))
        for place, child in enumerate(new):
            await self._configs.admit(child, f"jobs.{place}")
            if missing := await self._dependencies.mark(child.depends_on):
                raise InvalidInputError(missing_ones(child, missing)).under(f"jobs.{place}")
        to_check: list[str] = []
        kinds, queues = {child.type for child in new}, {child.queue for child in new}
        with tracing.adding(_only(kinds), _only(queues), len(new)):
            for start in range(0, len(new), _AT_ONCE):
                to_check += await self._insert(job, call, new[start : start + _AT_ONCE], ids[start : start + _AT_ONCE])
        for queue in queues:
            self._notifier.announce_all(queue)
        for job_id in to_check:
            await self._outboxes.cascade(job_id)

    async def _insert(self, job: Job, call: Call, new: Sequence[NewJob], ids: Sequence[str]) -> list[str]:
        """Add children; return the ids of those whose dependencies have to be checked."""
        children = [await self._document(job, call, child, job_id) for child, job_id in zip(new, ids, strict=True)]
        left = children
        for _ in range(_TRIES):
            left = await self._store.insert(left)
            if not left:
                break
            try:
                await self._jobs.conflict(left[0])
            except KeyConflictError as conflict:
                # The holder of the key has ended at this moment if the conflict does not name it.
                if conflict.job_id:
                    raise
        if left:
            await self._jobs.conflict(left[0])
        return [str(child["_id"]) for child in children if "outbox" in child]

    async def _document(self, job: Job, call: Call, new: NewJob, job_id: str) -> dict[str, Any]:
        config = await self._configs.fresh(new.queue)
        extra = self._store.link(call) | ({"outbox": ["check"]} if new.depends_on else {})
        key = config.limit_key(new.data, new.meta)
        return await self._jobs.document(config.fill(new), job_id=job_id, extra=extra, parent_id=job.id, limit_key=key)

    async def _stale(self, job: Job) -> StaleTokenError:
        present = await self._jobs.lean(job.id)
        return StaleTokenError(job.id, present.state)


def _only(names: set[str]) -> str | None:
    return min(names) if len(names) == 1 else None


def _is_new_run(job: Job, call: Call) -> bool:
    """Return True if a run that was told of the failure of a child has ended."""
    # By the order of the attempts, as a clock may be set back.
    places = [place for place, entry in enumerate(job.history) if entry.token == call.failed_after]
    return not places or any(entry.outcome in _ENDS for entry in job.history[places[-1] :])
