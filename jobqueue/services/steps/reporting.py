"""Steps as the program that runs a job sees them: what is finished, and what is kept from now on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import stamina

from jobqueue.domain.errors import DatabaseError, InvalidInputError, JobCancelledError, StaleTokenError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from datetime import datetime
    from typing import TypeVar

    from jobqueue.domain.jobs.attempt import JobError
    from jobqueue.domain.jobs.job import Job
    from jobqueue.domain.jobs.step import Step
    from jobqueue.services.steps.steps import Steps

    T = TypeVar("T")


class JobSteps:
    """The steps of one running job under its claim.

    Args:
        steps: keeps them.
        job: as claimed.
        token: its claim.
        results: those that came with the claim, by name.
        on_lost: called when the claim turns out to be lost.
    """

    def __init__(
        self, steps: Steps, job: Job, token: str, results: Mapping[str, Any], on_lost: Callable[[str], None]
    ) -> None:
        self._steps = steps
        self._job = job
        self._token = token
        self._on_lost = on_lost
        self.results = dict(results)
        self._known = {step.name: step for step in job.steps or ()}

    @property
    def finished(self) -> tuple[str, ...]:
        """The names of finished steps."""
        late = (name for name, step in self._known.items() if step.is_finished and name not in self.results)
        return (*self.results, *late)

    def entry(self, name: str) -> Step | None:
        """Return what was known of a step when the job was claimed, or since."""
        return self._known.get(name)

    async def result(self, name: str) -> Any:
        """Return the result of a finished step."""
        if name not in self.results:
            self.results[name] = await self._kept(lambda: self._steps.result(self._job, name))
        return self.results[name]

    async def record(self, name: str, result: Any, *, tries: int, seconds: float) -> Any:
        """Keep the result of a step; return the result that is kept, as the next attempt will see it.

        Raises:
            JobCancelledError: the job was killed or its lease was lost.
            InvalidInputError, TooLargeError: as `Steps.record`.
        """
        recorded = await self._kept(
            lambda: self._steps.record(self._job, self._token, name, result, tries=tries, seconds=seconds)
        )
        self.results[name] = recorded.result
        return recorded.result

    async def begin_sleep(self, name: str, *, seconds: float | None, until: datetime | None) -> Step:
        """Return a sleep, noted with its end; a sleep that was noted before keeps its end.

        Raises:
            JobCancelledError, InvalidInputError: as `record`.
        """
        step = await self._kept(
            lambda: self._steps.begin_sleep(self._job, self._token, name, seconds=seconds, until=until)
        )
        self._known[name] = step
        return step

    async def failed(self, name: str, *, tries: int, error: JobError, wait: float) -> Step:
        """Return a step that has failed, noted with its error and the time of its next try.

        Raises:
            JobCancelledError: as `record`.
        """
        step = await self._kept(
            lambda: self._steps.failed(self._job, self._token, name, tries=tries, error=error, wait=wait)
        )
        self._known[name] = step
        return step

    async def mark(self, name: str, *, tries: int) -> bool:
        """Mark a step that must not run twice as begun; return False if it must not run now.

        Raises:
            JobCancelledError, InvalidInputError: as `record`.
        """
        step = await self._kept(lambda: self._steps.mark(self._job, self._token, name, tries=tries))
        self._known[name] = step
        return not step.is_finished and step.once == self._token

    async def unmark(self, name: str) -> None:
        """Take back the mark of a step: nothing has happened.

        Raises:
            JobCancelledError: as `record`.
        """
        await self._kept(lambda: self._steps.unmark(self._job, self._token, name))
        self._known.pop(name, None)

    async def begin_signal(self, name: str, signal: str, *, seconds: float | None) -> Step:
        """Return a step that waits for a signal; it has finished if the signal was there or its time is over.

        Raises:
            JobCancelledError, InvalidInputError: as `record`.
        """
        step = await self._kept(lambda: self._steps.begin_signal(self._job, self._token, name, signal, seconds=seconds))
        self._known[name] = step
        if step.is_finished:
            self.results[name] = await self._kept(lambda: self._steps.loaded(self._job, step))
        return step

    async def signal_url(self, question: str, signal: str, **how: Any) -> str:
        """Return a link by which a person answers a question; ``how`` as in `SignalLinks.make`."""
        links = self._steps.links
        if links is None:
            raise InvalidInputError({"signal_url": ["is not there without a server"]})
        return await self._kept(lambda: links.make(self._job.id, question, signal, **how))

    async def _kept(self, call: Callable[[], Awaitable[T]]) -> T:
        # A job outlives an outage of the database, as long as its lease allows: then its run is cancelled.
        async for attempt in stamina.retry_context(on=DatabaseError, attempts=None, timeout=None):
            with attempt:
                try:
                    return await call()
                except StaleTokenError as error:
                    self._on_lost(str(error))
                    raise JobCancelledError from None
        raise AssertionError("stamina tries until a call returns")
