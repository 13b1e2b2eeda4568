"""Steps as the program that runs a job sees them: what is finished, and what is kept from now on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jobqueue.domain.errors import InvalidInputError, JobCancelledError, OlderWorkersError, StaleTokenError
from jobqueue.services.signals.outages import outlive

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
    from datetime import datetime
    from typing import TypeVar

    from jobqueue.domain.attempts.attempt import JobError
    from jobqueue.domain.jobs.job import Job
    from jobqueue.domain.steps.step import Step
    from jobqueue.domain.work.calls import Called, NewCall
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

    Attributes:
        refusal: the reason why the queue takes no steps at present.
        on_step: called with the step that has begun last and is under way, or ``None``.
    """

    def __init__(
        self, steps: Steps, job: Job, token: str, results: Mapping[str, Any], on_lost: Callable[[str], None]
    ) -> None:
        self._steps = steps
        self._job = job
        self._token = token
        self._on_lost = on_lost
        self.results = dict(results)
        self.refusal: str | None = None
        self.on_step: Callable[[str | None], None] = lambda _: None
        self._under_way: dict[str, None] = {}
        self._known = {step.name: step for step in job.steps or ()}

    @property
    def finished(self) -> tuple[str, ...]:
        """The names of finished steps."""
        late = (name for name, step in self._known.items() if step.is_finished and name not in self.results)
        return (*self.results, *late)

    def entry(self, name: str) -> Step | None:
        """Return what was known of a step when the job was claimed, or since."""
        return self._known.get(name)

    async def begin(self, name: str) -> None:
        """Note that a step is under way, after making sure that the queue takes steps at all.

        Raises:
            OlderWorkersError: workers of a version without steps serve the queue.
        """
        await self._kept(lambda: self._steps.admission.check(self._job.queue))
        self._under_way[name] = None
        self.on_step(name)

    def leave(self, name: str) -> None:
        """Note that a step is no longer under way, finished or not."""
        if name in self._under_way:
            del self._under_way[name]
            self.on_step(next(reversed(self._under_way), None))

    async def result(self, name: str) -> Any:
        """Return the result of a finished step."""
        if name not in self.results:
            self.results[name] = await self._kept(lambda: self._steps.result(self._job, name))
        return self.results[name]

    async def record(self, name: str, result: Any, *, tries: int, seconds: float) -> Any:
        """Keep the result of a step; return the result that is kept, as the next attempt will see it.

        Raises:
            JobCancelledError: the job was killed or its lease was lost.
            OlderWorkersError, InvalidInputError, TooLargeError: as `Steps.record`.
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

    async def forget(self, name: str) -> None:
        """Forget a finished step whose result cannot be used any more.

        Raises:
            JobCancelledError: as `record`.
        """
        await self._kept(lambda: self._steps.forget(self._job, self._token, name))
        self.results.pop(name, None)
        self._known.pop(name, None)

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

    async def begin_call(self, name: str, call: NewCall) -> Called:
        """Create the children of a step, each once; return the step, and how many of them are unfinished.

        Raises:
            JobCancelledError: as `record`.
            InvalidInputError, TooLargeError, KeyConflictError: as `Calls.begin`.
        """
        called = await self._kept(lambda: self._steps.call(self._job, self._token, name, call))
        self._known[name] = called.step
        if called.step.is_finished and not called.step.stored:
            self.results[name] = called.step.result
        return called

    async def child_results(self, name: str) -> AsyncIterator[Any]:
        """Yield the results of the children of a finished step, in their order and however large."""
        step = self._known.get(name)
        if step is None or not step.is_paged:
            for result in await self.result(name):
                yield result
            return
        async for result in self._steps.calls.results(step):
            yield result

    async def _kept(self, call: Callable[[], Awaitable[T]]) -> T:
        # A job outlives an outage of the database, as long as its lease allows: then its run is cancelled.
        try:
            return await outlive(call)
        except OlderWorkersError as error:
            self.refusal = str(error)
            raise
        except StaleTokenError as error:
            self._on_lost(str(error))
            raise JobCancelledError from None
