"""Steps in handlers: run a function once, keep its result, and suspend the job while it waits."""

from __future__ import annotations

import asyncio
import time
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from jobqueue.domain.attempts.attempt import JobError
from jobqueue.domain.errors import (
    Die,
    InvalidInputError,
    JobCancelledError,
    NotDone,
    Retry,
    SignalTimeoutError,
    StepError,
    TooLargeError,
)
from jobqueue.domain.steps.step import StepKind, Wait, check_name, numbered
from jobqueue.domain.text import told, type_name
from jobqueue.domain.work.verdict import Failure, Suspension
from jobqueue.processors.callbacks.child_errors import child_error
from jobqueue.processors.callbacks.raised import Suspended, mark

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from jobqueue.domain.attempts import backoff as backoffs
    from jobqueue.domain.jobs.job import Job
    from jobqueue.domain.steps.step import Step
    from jobqueue.domain.work.calls import NewCall
    from jobqueue.domain.work.verdict import Reporter, Verdict
    from jobqueue.processors.callbacks.step_types import Codec

MOST_TRIES: Final = 1_000
_SWALLOWED: Final = "the handler went on after the job was suspended: let CancelledError and BaseException pass"
_TURNS: Final = 3
"""Turns of the event loop in which a handler may begin another step before its job is suspended."""


class Stepper:
    """The steps of one run of a handler.

    Args:
        job: as claimed.
        reporter: keeps them.
    """

    def __init__(self, job: Job, reporter: Reporter) -> None:
        self._job = job
        self._reporter = reporter
        self._steps = reporter.steps
        self._since = time.monotonic()
        self._uses: dict[str, int] = {}
        self._running: set[str] = set()
        self._asked: set[str] = set()
        self._parked: dict[str, tuple[datetime | None, str | None]] = {}
        self._doubts: list[str] = []
        self._begun: set[str] = set()
        self._awaited: dict[str, int] = {}
        self._active = 0
        self._suspension = Suspension()
        self.idle: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @property
    def is_suspended(self) -> bool:
        """True if the handler is to end because its job waits."""
        return self.idle.done()

    @property
    def finished(self) -> tuple[str, ...]:
        """The names of finished steps."""
        return self._steps.finished

    @property
    def results(self) -> dict[str, Any]:
        """Results of finished steps that are loaded."""
        return self._steps.results

    async def result(self, name: str) -> Any:
        """Return the result of a finished step."""
        return await self._steps.result(name)

    @contextmanager
    def named(self, name: str) -> Iterator[str]:
        """Yield the name of a step within the run: a name that is used again after its step has finished gets a number.

        Raises:
            StepError: the name cannot be used, or two steps of this name run at once.
        """
        try:
            check_name(name)
        except InvalidInputError as error:
            raise StepError(f"step {name!r:.120}: {error}") from None
        if name in self._running:
            raise StepError(f'two steps named {name!r} run at once: give each a name of its own, as f"{name} {{n}}"')
        key = numbered(name, self._uses.get(name, 0) + 1)
        self._running.add(name)
        self._active += 1
        self._asked.add(key)
        try:
            yield key
            self._uses[name] = self._uses.get(name, 0) + 1
        finally:
            self._active -= 1
            self._running.discard(name)
            self._steps.leave(key)
            self._look()

    async def known(self, key: str, was: str | None, codec: Codec, *, once: bool) -> tuple[bool, Any]:
        """Return whether a step has finished, and its result in the type that its function returns.

        Raises:
            StepError: the result of a step that must not run twice is of another type.
            OlderWorkersError: the step has not finished, and the queue takes no steps at present.
        """
        for name in (key, was):
            if name is None or name not in self._steps.finished:
                continue
            self._asked.add(name)
            try:
                return True, codec.decode(await self._steps.result(name))
            except ValueError as error:
                if once:
                    wrong = StepError(
                        f"the result of step {name!r}, which never runs twice, is of another type: {error}"
                    )
                    mark(wrong, key)
                    raise wrong from error
                await self._warn(f"the result of step {name!r} is of another type, so the step runs again: {error}")
                if name == key:
                    # The first result of a name stays: the next one needs its place.
                    await self._steps.forget(name)
        await self._steps.begin(key)
        return False, None

    def tries(self, key: str) -> int:
        """Return how often a step has failed in the present attempt."""
        entry = self._steps.entry(key)
        return entry.tries if entry and not entry.is_finished and entry.attempt == self._job.attempts_made else 0

    async def keep(self, key: str, value: Any, codec: Codec, *, tries: int, seconds: float) -> Any:
        """Keep the result of a step; return the result as the next attempt will see it.

        Raises:
            StepError: the result cannot be kept.
        """
        try:
            return codec.decode(await self._steps.record(key, codec.encode(value), tries=tries, seconds=seconds))
        except (InvalidInputError, TooLargeError, ValueError, TypeError) as error:
            raise StepError(f"the result of step {key!r} cannot be kept: {error}") from error

    async def begin_once(self, key: str, tries: int) -> bool:
        """Mark a step that must not run twice as begun; return False if nobody knows whether it has happened.

        Raises:
            StepError: the step cannot be marked.
        """
        if key in self._begun:
            # It has run in this start, and has ended with an exception.
            return False
        try:
            may_run = await self._steps.mark(key, tries=tries)
        except InvalidInputError as error:
            raise StepError(f"step {key!r}: {error}") from error
        if may_run:
            self._begun.add(key)
        return may_run

    async def after_failure(
        self, key: str, error: Exception, tries: int, attempts: int, backoff: backoffs.Backoff
    ) -> datetime | None:
        """Note that a step has failed; return the time of its next try, or ``None`` for at once.

        Raises:
            Exception: the error itself, if it is not to be tried again.
        """
        may_have_happened = key in self._begun and not isinstance(error, NotDone)
        if tries >= attempts or may_have_happened or isinstance(error, Die | Retry | JobCancelledError | StepError):
            if key in self._begun and not may_have_happened:
                await self._steps.unmark(key)
                self._begun.discard(key)
            mark(error, key)
            raise error
        self._begun.discard(key)
        wait = backoff.seconds(tries, chance=0.5)
        reason = JobError(kind=type_name(error), message=told(error) or type_name(error))
        step = await self._steps.failed(key, tries=tries, error=reason, wait=wait)
        return step.until if wait else None

    def pending(self, key: str) -> datetime | None:
        """Return the time of the next try of a step that has failed, if that is still to come."""
        entry = self._steps.entry(key)
        if entry is None or entry.is_finished or entry.until is None or not self.tries(key):
            return None
        return entry.until if entry.until > self._now() else None

    async def sleep(self, key: str, *, seconds: float | None = None, until: datetime | None = None) -> datetime | None:
        """Note a sleep; return its end if that is still to come."""
        if key in self._steps.finished:
            return None
        try:
            step = await self._steps.begin_sleep(key, seconds=seconds, until=until)
        except InvalidInputError as error:
            raise StepError(f"sleep {key!r}: {error}") from error
        return None if step.is_finished else step.until

    async def signal(self, key: str, name: str, timeout: float | None) -> Step | None:  # noqa: ASYNC109 - of the wait
        """Note a wait for a signal; return the step if it has to wait, and ``None`` if the signal is there.

        Raises:
            StepError: the name or the time cannot be used.
            SignalTimeoutError: the time is over.
        """
        step = self._steps.entry(key)
        if step is None or not step.is_finished:
            try:
                step = await self._steps.begin_signal(key, name, seconds=timeout)
            except InvalidInputError as error:
                raise StepError(f"signal {key!r}: {error}") from error
        if step.kind is not StepKind.SIGNAL:
            raise StepError(f"signal {key!r}: {key!r} is a {step.kind.value} of this job already")
        if not step.is_finished:
            return step
        if step.error is not None:
            late = SignalTimeoutError(f"the signal {name!r} has not come in time")
            mark(late, key)
            raise late
        return None

    async def received(self, key: str, codec: Codec) -> Any:
        """Return the value of a signal in the type that the handler asks for.

        Raises:
            StepError: the value is of another type.
        """
        try:
            return codec.decode(await self._steps.result(key))
        except ValueError as error:
            wrong = StepError(f"the value of the signal {key!r} is of another type: {error}")
            mark(wrong, key)
            raise wrong from error

    async def signal_url(self, name: str, **how: Any) -> str:
        """Return a link by which a person answers the next wait of this name.

        Raises:
            StepError: the link cannot be made.
        """
        try:
            check_name(name)
            return await self._steps.signal_url(numbered(name, self._uses.get(name, 0) + 1), name, **how)
        except (InvalidInputError, TooLargeError) as error:
            raise StepError(f"link for the signal {name!r:.120}: {error}") from error

    async def park(self, key: str, until: datetime | None, signal: str | None = None) -> None:
        """Wait until the job is suspended, which cancels the handler.

        Args:
            key: the step that waits.
            until: the end of the wait; ``None`` if only a signal ends it.
            signal: that ends it.
        """
        self._active -= 1
        self._parked[key] = until, signal
        self._look()
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            self._active += 1
            del self._parked[key]

    async def begin_call(self, key: str, call: NewCall) -> int | None:
        """Create the children of a step; return how many the job waits for, ``None`` if the step has finished.

        Raises:
            ChildFailedError: a child has failed in this attempt.
            StepError: the children cannot be created.
        """
        if key in self._steps.finished:
            return None
        try:
            called = await self._steps.begin_call(key, call)
        except (InvalidInputError, TooLargeError) as error:
            raise StepError(f"children of step {key!r}: {error}") from error
        if called.step.is_finished:
            return None
        if called.has_failed:
            failed = child_error(key, called.step)
            mark(failed, key)
            raise failed
        return called.unfinished

    async def park_call(self, key: str, unfinished: int) -> None:
        """Wait until the job is suspended for children, which cancels the handler."""
        self._active -= 1
        self._awaited[key] = unfinished
        self._look()
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            self._active += 1
            del self._awaited[key]

    def suspend_call(self, key: str, unfinished: int) -> Suspended:
        """Suspend the job of a plain handler for children; as `suspend`."""
        self._awaited = {key: unfinished}
        self._suspension = Suspension(wait=self._wait((key,)))
        if not self.idle.done():
            self.idle.set_result(None)
        return Suspended()

    def child_results(self, name: str) -> AsyncIterator[Any]:
        """Yield the results of the children of a finished step, in their order."""
        self._asked.add(name)
        return self._steps.child_results(name)

    async def park_in_doubt(self, key: str) -> None:
        """Wait for a person to say whether a step has happened; as `park`."""
        self._doubts.append(key)
        await self.park(key, None)

    def suspend_in_doubt(self, key: str) -> Suspended:
        """Suspend the job of a plain handler until a person says whether a step has happened; as `suspend`."""
        self._doubts.append(key)
        return self.suspend(key, None)

    def suspend(self, key: str, until: datetime | None, signal: str | None = None) -> Suspended:
        """Suspend the job of a plain handler; return the exception that ends its thread."""
        signals = None if signal is None else (signal,)
        wait = Wait(names=(key,), signals=signals, doubt=next(iter(self._doubts), None))
        self._suspension = Suspension(until=until, wait=wait)
        if not self.idle.done():
            self.idle.set_result(None)
        return Suspended()

    def ended(self, verdict: Verdict, *, stopped: bool) -> Verdict:
        """Return the verdict on a run, a suspension if the handler has ended because its job waits."""
        if not self.is_suspended:
            return verdict
        if stopped:
            return self._suspension
        if isinstance(verdict, Failure):
            return verdict
        return Failure(error=JobError(kind="step", message=_SWALLOWED))

    async def tell_unused(self) -> None:
        """Name finished steps that the handler has not asked for in the log of the job."""
        unused = [name for name in self._steps.finished if name not in self._asked]
        if unused and self._asked:
            names = ", ".join(repr(name) for name in unused[:20])
            await self._warn(f"finished steps were not used (renamed or removed?): {names}")

    async def _warn(self, line: str) -> None:
        await self._reporter.log(line, "warning")

    def _look(self, turns: int = _TURNS) -> None:
        """Suspend the job when all that its handler does is wait."""
        if not (self._parked or self._awaited) or self._active or self.idle.done():
            return
        if turns:
            asyncio.get_running_loop().call_soon(self._look, turns - 1)
            return
        until = min((end for end, _ in self._parked.values() if end is not None), default=None)
        self._suspension = Suspension(until=until, wait=self._wait((*self._parked, *self._awaited)))
        self.idle.set_result(None)

    def _wait(self, names: tuple[str, ...]) -> Wait:
        signals = tuple(dict.fromkeys(signal for _, signal in self._parked.values() if signal is not None))
        return Wait(
            names=names,
            signals=signals or None,
            jobs=sum(self._awaited.values()) if self._awaited else None,
            doubt=next(iter(self._doubts), None),
        )

    def _now(self) -> datetime:
        """Return the time of the server, as far as the claim tells."""
        began = self._job.start_at or datetime.now(UTC)
        return began + timedelta(seconds=time.monotonic() - self._since)
