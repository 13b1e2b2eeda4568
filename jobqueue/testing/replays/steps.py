"""The steps of a replay: finished ones come from the bundle, others run here."""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from jobqueue.domain.errors import TooLargeError
from jobqueue.domain.steps.call import Call
from jobqueue.domain.steps.signal import check_signal, check_timeout
from jobqueue.domain.steps.step import Step, StepKind, check_name
from jobqueue.domain.text import told, type_name
from jobqueue.domain.values import payload
from jobqueue.domain.work.calls import Called
from jobqueue.domain.work.verdict import as_percent
from jobqueue.testing.replays.happening import (
    ADDED,
    BEGUN,
    FAILED,
    LOG,
    PROGRESS,
    RAN,
    SKIPPED,
    TAKEN,
    WAITS,
    Happening,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection, Mapping

    from jobqueue.domain.attempts.attempt import JobError
    from jobqueue.domain.work.bundle import Bundle
    from jobqueue.domain.work.calls import NewCall
    from jobqueue.testing.replays.happening import Listener, Obstacles

_LINK: Final = "http://replay.invalid/answer"


class ReplaySteps:
    """Gives the results of the bundle, and keeps those of steps that run here until the end of the run.

    Args:
        bundle: of the job.
        steps: of the job that are known to this run.
        may_run: steps that must not run twice, and may run here.
        signals: values by the name of the signal, which come before those of the bundle.
        tell: hears of each step.
        obstacles: takes the reason why the run cannot go on.
    """

    def __init__(
        self,
        bundle: Bundle,
        steps: Collection[Step],
        *,
        may_run: Collection[str],
        signals: Mapping[str, Any],
        tell: Listener,
        obstacles: Obstacles,
    ) -> None:
        self._known = {step.name: _prepared(step, bundle) for step in steps}
        self._kept = {step.name: bundle.results for step in steps if step.is_finished}
        self.results = {name: bundle.results[name] for name in self._kept if name in bundle.results}
        self._bundle = bundle
        self._may_run = frozenset(may_run)
        self._signals: dict[str, list[Any]] = {name: [value] for name, value in signals.items()}
        for signal in bundle.job.signals or ():
            if signal.taken is None and signal.has_value:
                self._signals.setdefault(signal.name, []).append(signal.value)
        self._tell = tell
        self._obstacles = obstacles
        self._began: dict[str, float] = {}
        self._told: set[str] = set()

    @property
    def finished(self) -> tuple[str, ...]:
        """The names of finished steps."""
        return (*self.results, *(name for name in self._kept if name not in self.results))

    async def begin(self, name: str) -> None:
        """Note that a step runs here."""
        self._began[name] = time.monotonic()
        self._tell(Happening(kind=BEGUN, name=name))

    def leave(self, name: str) -> None:
        """Note that a step is no longer under way; it has failed if it leaves with an exception of its own."""
        began, error = self._began.pop(name, None), sys.exc_info()[1]
        if began is not None and isinstance(error, Exception):
            said = f"{type_name(error)}: {told(error)}" if told(error) else type_name(error)
            self._tell(Happening(kind=FAILED, name=name, text=said, seconds=time.monotonic() - began))

    def entry(self, name: str) -> Step | None:
        """Return what the bundle has of a step; a wait that was in vain counts as taken."""
        step = self._known.get(name)
        if step is not None and step.was_in_vain:
            self._taken(name, "no signal had come in time")
        return step

    async def result(self, name: str) -> Any:
        """Return the result of a finished step.

        Raises:
            NotReplayableError: the bundle had no room for it.
        """
        if name not in self.results:
            raise self._obstacles.met(f"the bundle has no result of step {name}: see what it says is left out")
        self._taken(name)
        return self.results[name]

    async def record(self, name: str, result: Any, *, tries: int, seconds: float) -> Any:
        """Keep the result of a step that ran here, under the same checks as in production.

        Raises:
            InvalidInputError, TooLargeError: the name or the result cannot be kept.
        """
        del tries
        check_name(name)
        stored, size = payload.plain(result, "result", naive=True)
        if size > payload.MOST_RESULT:
            raise TooLargeError(f"the result of step {name}", size, payload.MOST_RESULT)
        self._began.pop(name, None)
        if name in self.results:
            self._taken(name)
            return self.results[name]
        self.results[name] = stored
        self._told.add(name)
        self._tell(Happening(kind=RAN, name=name, seconds=seconds, value=stored))
        return stored

    async def begin_sleep(self, name: str, *, seconds: float | None, until: datetime | None) -> Step:
        """Return a sleep, which is over at once."""
        del seconds, until
        check_name(name)
        self.results.setdefault(name, None)
        self._told.add(name)
        self._tell(Happening(kind=SKIPPED, name=name, text="a sleep, over at once here"))
        return Step(name=name, kind=StepKind.SLEEP, end_at=datetime.now(UTC))

    async def failed(self, name: str, *, tries: int, error: JobError, wait: float) -> Step:
        """Return a step that has failed, and is tried again at once."""
        text = f"{error.kind}: {error.message}"
        more = f" (production waits {wait:g} s)" if wait else ""
        self._tell(Happening(kind=FAILED, name=name, text=f"{text}; it is tried again at once{more}"))
        self._began[name] = time.monotonic()
        self._known[name] = Step(name=name, tries=tries, attempt=self._bundle.job.attempts_made, error=error)
        return self._known[name]

    async def forget(self, name: str) -> None:
        """Forget a result that the handler cannot use any more."""
        self.results.pop(name, None)
        self._kept.pop(name, None)
        self._known.pop(name, None)

    async def mark(self, name: str, *, tries: int) -> bool:
        """Return True if a step that must not run twice may run here, as the caller has said."""
        del tries
        if name in self._may_run:
            return True
        self._began.pop(name, None)
        why = "it must not run twice"
        if name in self._bundle.doubts:
            why = "it must not run twice, and nobody knows whether it has happened"
        elif any(step.name == name and step.is_finished for step in self._bundle.job.steps or ()):
            why = "it must not run twice, and it has happened"
        self._tell(Happening(kind=SKIPPED, name=name, text=f"not run here: {why}"))
        self._obstacles.met(f"step {name} is not run here: {why}")
        return False

    async def unmark(self, name: str) -> None:
        """Note that nothing has happened; the error says so itself."""

    async def begin_signal(self, name: str, signal: str, *, seconds: float | None) -> Step:
        """Return a wait for a signal, over if the signal is in the bundle or was given for this run."""
        check_name(name)
        check_signal(signal)
        check_timeout(seconds)
        if (known := self._known.get(name)) is not None and known.is_finished:
            return known
        waiting = self._signals.get(signal)
        if waiting:
            self.results[name] = waiting.pop(0)
            self._taken(name)
            return Step(name=name, kind=StepKind.SIGNAL, end_at=datetime.now(UTC))
        self._tell(Happening(kind=WAITS, name=name, text=f"for the signal {signal}, which is not in the bundle"))
        return Step(name=name, kind=StepKind.SIGNAL)

    async def signal_url(self, question: str, signal: str, **how: Any) -> str:
        """Return a link that leads nowhere."""
        del how
        self._tell(Happening(kind=SKIPPED, name=question, text="a link for its answer that leads nowhere"))
        return f"{_LINK}/{signal}"

    async def begin_call(self, name: str, call: NewCall) -> Called:
        """Return children as the bundle has them; none is created here."""
        check_name(name)
        known = self._known.get(name)
        kind = StepKind.CALL if call.single else StepKind.MAP
        if known is not None and known.call is not None and known.call.failure is not None:
            self._taken(name, known.call.failure.sentence())
            return Called(step=known)
        if not call.jobs:
            self.results[name] = []
            return Called(step=Step(name=name, kind=kind, end_at=datetime.now(UTC)))
        types = ", ".join(sorted({job.type for job in call.jobs}))
        count = len(call.jobs)
        self._tell(Happening(kind=ADDED, name=name, text=f"{count:,} job{'s' * (count > 1)} of type {types}"))
        self._tell(Happening(kind=WAITS, name=name, text="for children, which are not created here"))
        return Called(step=Step(name=name, kind=kind, call=Call(id="")), unfinished=count)

    async def child_results(self, name: str) -> AsyncIterator[Any]:
        """Yield the results of the children of a finished step."""
        for result in await self.result(name):
            yield result

    def _taken(self, name: str, text: str = "") -> None:
        if name not in self._told:
            self._told.add(name)
            self._tell(Happening(kind=TAKEN, name=name, text=text, value=self.results.get(name)))


class ReplayReporter:
    """Tells log lines and progress to the listener of a replay."""

    def __init__(self, steps: ReplaySteps, tell: Listener) -> None:
        self.steps = steps
        self._tell = tell

    async def log(self, line: str, level: str | None = None) -> None:
        """Tell a log line."""
        self._tell(Happening(kind=LOG, name=level or "", text=line))

    async def progress(self, percent: float) -> None:
        """Tell the progress.

        Raises:
            ValueError: it is not a number.
        """
        self._tell(Happening(kind=PROGRESS, text=f"{as_percent(percent):g} %"))


def _prepared(step: Step, bundle: Bundle) -> Step:
    """Return a step as a run sees it that waits for nothing."""
    if step.is_finished:
        return step
    failure = bundle.child_failures.get(step.name)
    call = None if failure is None else Call(id="", failure=failure)
    return replace(step, until=None, call=call)
