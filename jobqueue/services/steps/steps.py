"""Steps of running jobs: keep results, note sleeps and failed tries."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from jobqueue.domain.errors import NotFoundError, ResultUnavailableError, StaleTokenError, TooLargeError
from jobqueue.domain.steps.signal import check_signal, check_timeout
from jobqueue.domain.steps.step import MOST_RESULTS, Step, check_name, plain_result, results
from jobqueue.domain.values import payload
from jobqueue.domain.values.checks import check_number
from jobqueue.domain.work.calls import Called

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from jobqueue.domain.attempts.attempt import JobError
    from jobqueue.domain.jobs.job import Job
    from jobqueue.domain.work.calls import NewCall
    from jobqueue.services.steps.admission import StepAdmission
    from jobqueue.services.steps.calls import Calls
    from jobqueue.services.steps.links import SignalLinks
    from jobqueue.store.jobs.jobs import JobStore
    from jobqueue.store.steps.steps import StepStore

MOST_LOADED: Final = 8 * 1024 * 1024
"""Bytes of results that are kept outside of the document and come with a claim; others are read one by one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """The result of a step as it is kept; ``existed`` if the step had finished before, ``doubt`` if it must not run."""

    result: Any
    existed: bool
    doubt: bool | None = None


class Steps:
    """The worker's side of the steps of a job.

    Attributes:
        calls: creates awaited children.
    """

    calls: Calls

    def __init__(self, store: StepStore, jobs: JobStore, admission: StepAdmission) -> None:
        self._store = store
        self._jobs = jobs
        self.links: SignalLinks | None = None
        self.admission = admission

    async def call(self, job: Job, token: str, name: str, new: NewCall) -> Called:
        """Create the children of a step, as `Calls.begin`; a step without children finishes at once."""
        await self.admission.check(job.queue)
        if new.jobs or any(step.name == name and step.awaits for step in job.steps or ()):
            return await self.calls.begin(job, token, name, new)
        recorded = await self.record(job, token, name, [])
        return Called(step=Step(name=name, end_at=job.start_at or job.insert_at, result=recorded.result))

    async def record(
        self, job: Job, token: str, name: str, result: Any, *, tries: int = 1, seconds: float = 0
    ) -> Recorded:
        """Keep the result of a step, and return the result that is kept: the first one.

        Args:
            job: that runs.
            token: of its claim.
            name: of the step.
            result: JSON, at most 4 MiB.
            tries: how often the step was run in this run of the job.
            seconds: how long it ran.

        Raises:
            StaleTokenError: the claim is not the current one.
            OlderWorkersError: workers of a version without steps serve the queue.
            InvalidInputError: the name or the result cannot be kept, or the job has too many steps.
            TooLargeError: the result, or all results together, are over the limit.
        """
        check_name(name)
        stored, size = payload.plain(result, "result", naive=True)
        if size > payload.MOST_RESULT:
            raise TooLargeError(f"the result of step {name}", size, payload.MOST_RESULT)
        await self.admission.check(job.queue)
        kept = await self._store.record(job, token, name, stored, size=size, tries=tries, seconds=seconds)
        if kept is None:
            # Only the claim that has marked a step ran it: its result counts, however late it comes.
            if await self._jobs.once.finish_late(job, token, name, stored, size=size):
                return Recorded(result=stored, existed=False)
            raise await self._stale(job)
        step, existed = kept
        return Recorded(result=await self.loaded(job, step) if existed else step.result, existed=existed)

    async def begin_sleep(
        self, job: Job, token: str, name: str, *, seconds: float | None = None, until: datetime | None = None
    ) -> Step:
        """Return a sleep, noted with its end. A sleep that was noted before keeps its end.

        Raises:
            StaleTokenError, OlderWorkersError, InvalidInputError: as `record`; or the length of the sleep is wrong.
        """
        check_name(name)
        if seconds is not None:
            check_number("delay", seconds)
        await self.admission.check(job.queue)
        step = await self._store.begin_sleep(job, token, name, seconds=seconds, until=until)
        if step is None:
            raise await self._stale(job)
        return step

    async def failed(self, job: Job, token: str, name: str, *, tries: int, error: JobError, wait: float) -> Step:
        """Return a step that has failed, noted with its error and the time of its next try.

        Raises:
            StaleTokenError, OlderWorkersError: as `record`.
        """
        await self.admission.check(job.queue)
        step = await self._store.failed(job, token, name, tries=tries, error=error, wait=wait)
        if step is None:
            raise await self._stale(job)
        return step

    async def forget(self, job: Job, token: str, name: str) -> None:
        """Forget a finished step whose result cannot be used any more: it runs again.

        Raises:
            StaleTokenError: the claim is not the current one.
        """
        if not await self._store.forget(job, token, name):
            raise await self._stale(job)

    async def mark(self, job: Job, token: str, name: str, *, tries: int = 1, key: str | None = None) -> Step:
        """Return a step that must not run twice, marked as begun under this claim.

        A step that has finished is as it is. One with the mark of another claim is in doubt, and must not run.

        Raises:
            StaleTokenError, InvalidInputError: as `record`.
        """
        check_name(name)
        await self.admission.check(job.queue)
        step = await self._jobs.once.mark(job, token, name, tries=tries, key=key)
        if step is None:
            raise await self._stale(job)
        return step

    async def begin_once(self, job: Job, token: str, name: str, *, key: str | None = None) -> Recorded:
        """Mark a step that must not run twice, for a worker that polls; the step may run unless the reply objects.

        A request with another key than the one that has begun the step comes from another process of the same start.
        The step is in doubt then, as after the death of a whole worker.

        Raises:
            StaleTokenError, InvalidInputError: as `record`.
        """
        step = await self.mark(job, token, name, key=key)
        if step.is_finished:
            return Recorded(result=await self.loaded(job, step), existed=True)
        is_other = key is not None and step.once_key is not None and step.once_key != key
        return Recorded(result=None, existed=False, doubt=is_other or step.once != token or None)

    async def unmark(self, job: Job, token: str, name: str) -> None:
        """Take back the mark of a step: nothing has happened.

        Raises:
            StaleTokenError: the claim is not the current one.
        """
        if not await self._jobs.once.unmark(job, token, name):
            raise await self._stale(job)

    async def begin_signal(self, job: Job, token: str, name: str, signal: str, *, seconds: float | None = None) -> Step:
        """Return a step that waits for a signal; it has finished if the signal was there or its time is over.

        A wait that has begun before keeps its end.

        Raises:
            StaleTokenError, InvalidInputError: as `record`; or the name of the signal or the time is wrong.
        """
        check_name(name)
        check_signal(signal)
        seconds = check_timeout(seconds)
        await self.admission.check(job.queue)
        step = await self._jobs.signals.begin(job, token, name, signal, seconds=seconds)
        if step is None:
            raise await self._stale(job)
        return step

    async def with_job(self, job: Job) -> Mapping[str, Any]:
        """Return the results that come with the claim of a job: those in its document, and others up to 8 MiB."""
        outside = [step for step in job.steps or () if step.is_finished and step.stored and not step.is_paged]
        loaded, size = [], 0
        for step in outside:
            size += step.size
            if size > MOST_LOADED:
                break
            loaded.append(step.name)
        stored = await self._store.results(job, loaded) if loaded else {}
        return results(job.steps or (), stored)

    async def result(self, job: Job, name: str) -> Any:
        """Return the result of a finished step.

        Raises:
            NotFoundError: the job has no finished step of this name.
        """
        for step in job.steps or ():
            if step.name == name and step.is_finished:
                return await self.loaded(job, step)
        raise NotFoundError("step", name)

    async def finished(self, job_id: str, name: str) -> Step:
        """Return a finished step of any job with its result.

        Raises:
            NotFoundError: there is no such job, or no such step of it.
        """
        return await self._store.finished(job_id, name)

    async def loaded(self, job: Job, step: Step) -> Any:
        """Return the result of a finished step, wherever it is kept.

        Raises:
            NotFoundError: it is lost.
        """
        if not step.stored:
            return plain_result(step)
        if step.is_paged:
            return await self._all(step)
        results_by_name = await self._store.results(replace(job, steps=(step,)), [step.name])
        if step.name not in results_by_name:
            raise NotFoundError("step", step.name)
        return results_by_name[step.name]

    async def _all(self, step: Step) -> list[Any]:
        found: list[Any] = []
        size = 0
        async for result in self.calls.results(step):
            found.append(result)
            size += payload.check(result, "result", naive=True)
            if size > MOST_RESULTS:
                message = f"the results of {step.kind.value} {step.name} take more than {MOST_RESULTS:,} bytes together"
                raise ResultUnavailableError(f"{message}: read them one by one")
        return found

    async def _stale(self, job: Job) -> StaleTokenError:
        present = await self._jobs.lean(job.id)
        return StaleTokenError(job.id, present.state)
