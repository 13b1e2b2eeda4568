"""Replay a job: run it with the past that its bundle has, and compare its end with that in production."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from jobqueue.domain.attempts.attempt import Claim, JobError
from jobqueue.domain.attempts.fingerprint import fingerprint
from jobqueue.domain.attempts.states import State
from jobqueue.domain.errors import InvalidInputError, TooLargeError
from jobqueue.domain.jobs.job import check_content
from jobqueue.domain.steps.step import UNFORGOTTEN, Step, to_forget
from jobqueue.domain.text import told, type_name
from jobqueue.domain.values import payload
from jobqueue.domain.work.unstorable import instead
from jobqueue.domain.work.verdict import Accepted, Death, Failure, RunAgain, Success, Suspension
from jobqueue.processors.callbacks.callback import CallbackProcessor
from jobqueue.processors.callbacks.handlers import watched
from jobqueue.testing.replays.family import ReplayRelatives, sealed
from jobqueue.testing.replays.happening import Happening, Obstacles
from jobqueue.testing.replays.steps import ReplayReporter, ReplaySteps

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from jobqueue.domain.jobs.job import Job
    from jobqueue.domain.steps.step import FromStep
    from jobqueue.domain.work.bundle import Bundle
    from jobqueue.domain.work.verdict import Processor, Verdict
    from jobqueue.processors.callbacks.handlers import Handler
    from jobqueue.testing.replays.happening import Listener

TOKEN: Final = "replay"  # noqa: S105 - of a claim that nobody has made
SUCCEEDED: Final = "success"
FAILED: Final = "fail"
DIED: Final = "die"
AGAIN: Final = "retry"
WAITS: Final = "suspend"
ACCEPTED: Final = "accepted"
STOPPED: Final = "stopped"
"""The outcome of a run that needs what a replay has not."""
_STOP_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Past:
    """The job as a run begins with it.

    Attributes:
        job: as claimed.
        steps: that are known to the run.
        error: the end of the same attempt in production, or ``None`` if it had none.
        fingerprint: of this error.
    """

    job: Job
    steps: tuple[Step, ...]
    error: JobError | None
    fingerprint: str | None

    @property
    def open(self) -> tuple[str, ...]:
        """Steps that are known not to have finished, and the step that has failed: they run here."""
        names = [step.name for step in self.steps if not step.is_finished]
        if self.error is not None and self.error.step is not None and self.error.step not in self.finished:
            names.append(self.error.step)
        return tuple(dict.fromkeys(names))

    @property
    def finished(self) -> tuple[str, ...]:
        """Steps whose results come from the bundle."""
        return tuple(step.name for step in self.steps if step.is_finished)


@dataclass(frozen=True, slots=True, kw_only=True)
class Replayed:
    """The end of a run.

    Attributes:
        outcome: ``success``, ``fail``, ``die``, ``retry``, ``suspend`` or ``accepted`` as a worker would report it, or
            ``stopped`` for a run that needs what a replay has not.
        result: of a run that succeeded.
        error: of a run that did not.
        fingerprint: of this error.
        expected: the error in production.
        is_same: the error is the one of the bundle, by its fingerprint.
        reason: of a wait, or of a run that was stopped.
        exception: that ended the handler.
        happenings: in their order.
    """

    outcome: str
    result: Any = None
    error: JobError | None = None
    fingerprint: str | None = None
    expected: JobError | None = None
    is_same: bool = False
    reason: str | None = None
    exception: BaseException | None = None
    happenings: tuple[Happening, ...] = field(default=(), repr=False)

    def steps(self, kind: str) -> list[str]:
        """Return the names of the steps of which a kind of happening is told, such as ``taken`` or ``ran``."""
        return [each.name for each in self.happenings if each.kind == kind]


def past(
    bundle: Bundle,
    *,
    attempt: int | None = None,
    from_step: FromStep = UNFORGOTTEN,
    data: Mapping[str, Any] | None = None,
) -> Past:
    """Return the job as a run begins with it.

    Args:
        bundle: of the job.
        attempt: its number; the last one by default.
        from_step: the first step that runs here though it has finished, with all that finished after it; ``None`` for
            all steps.
        data: other input.

    Raises:
        InvalidInputError: there is no such attempt or step, or the data cannot be that of a job.
    """
    job, error, print_of = bundle.job, bundle.job.error, bundle.fingerprint
    steps = job.steps or ()
    number = max(1, job.attempts_made)
    if attempt is not None:
        entries = [entry for entry in job.history if entry.attempt == attempt and entry.start_at is not None]
        if not entries:
            known = sorted({entry.attempt for entry in job.history if entry.start_at and type(entry.attempt) is int})
            there = f"it has {', '.join(map(str, known))}" if known else "it has none"
            raise InvalidInputError({"attempt": [f"the bundle has no attempt {attempt}; {there}"]})
        number, end = attempt, entries[-1].end_at
        error = entries[-1].error
        if error is None or error != job.error:
            # That of the bundle was made before values were left out.
            print_of = None if error is None else fingerprint(job.type, error)
        if end is not None:
            steps = tuple(step for step in steps if (step.end_at or step.start_at or end) <= end)
    failed = None if error is None else error.step
    if from_step is not UNFORGOTTEN:
        forgotten = to_forget(steps, from_step, is_over=False, failed=failed)
        steps = () if forgotten is None else tuple(step for step in steps if step.name not in forgotten)
    begun = replace(
        job,
        data=job.data if data is None else check_content(dict(data), "data"),
        state=State.PROCESSING,
        attempts_made=number,
        attempts=max(job.attempts, number),
        claim=Claim(token=TOKEN, worker=TOKEN),
        start_at=datetime.now(UTC),
        result=None,
        error=None,
        wait=None,
        steps=steps or None,
    )
    return Past(job=begun, steps=tuple(steps), error=error, fingerprint=print_of)


class Replay:
    """One run of a job in this process.

    Args:
        bundle: of the job.
        begin: the job as the run begins with it.
        may_run: steps that must not run twice, and may run here.
        signals: values of signals by name, besides those of the bundle.
        tell: hears of all that happens.
        is_timed: end the run at the time limit of the job.
    """

    def __init__(
        self,
        bundle: Bundle,
        begin: Past,
        *,
        may_run: Collection[str] = (),
        signals: Mapping[str, Any] | None = None,
        tell: Listener = lambda _: None,
        is_timed: bool = True,
    ) -> None:
        self._bundle = bundle
        self._begin = begin
        self._tell = tell
        self._is_timed = is_timed
        self._happenings: list[Happening] = []
        self._obstacles = Obstacles()
        self._steps = ReplaySteps(
            bundle,
            begin.steps,
            may_run=may_run,
            signals=signals or {},
            tell=self._note,
            obstacles=self._obstacles,
        )

    async def by_handler(self, handler: Handler) -> Replayed:
        """Run the job by a handler in Python."""
        job, errors = self._begin.job, dict[str, BaseException]()
        relatives = ReplayRelatives(self._bundle, self._note, self._obstacles)
        processor = CallbackProcessor({(job.queue, job.type): watched(handler, errors)}, lambda _: relatives)
        with sealed(self._note, self._obstacles):
            replayed = await self.by_processor(processor)
        return replace(replayed, exception=errors.get(job.id))

    async def by_processor(self, processor: Processor) -> Replayed:
        """Run the job by a processor."""
        job = self._begin.job
        run = asyncio.create_task(processor.run(job, ReplayReporter(self._steps, self._note)), name=f"job-{job.id}")
        try:
            done, _ = await asyncio.wait({run}, timeout=job.timeout if self._is_timed else None)
            if not done:
                run.cancel()
                await asyncio.wait({run}, timeout=processor.stop_seconds)
                message = f"ran longer than its {job.timeout:g} s"
                return self._ended(Failure(error=JobError(kind="timeout", message=message), timed_out=True))
        except asyncio.CancelledError:
            run.cancel()
            await asyncio.wait({run}, timeout=_STOP_SECONDS)
            raise
        return self._ended(_verdict(run))

    def _ended(self, verdict: Verdict) -> Replayed:
        verdict = _storable(verdict)
        outcome, error, reason = _WORDS[type(verdict)], getattr(verdict, "error", None), None
        if isinstance(verdict, Suspension):
            reason = _wait(verdict)
        if self._obstacles.first is not None and outcome != SUCCEEDED:
            outcome, reason = STOPPED, self._obstacles.first
        print_of = None if error is None else fingerprint(self._begin.job.type, error)
        is_same = outcome != STOPPED and print_of is not None and print_of == self._begin.fingerprint
        return Replayed(
            outcome=outcome,
            result=verdict.result if isinstance(verdict, Success) else None,
            error=error,
            fingerprint=print_of,
            expected=self._begin.error,
            is_same=is_same,
            reason=reason,
            happenings=tuple(self._happenings),
        )

    def _note(self, happening: Happening) -> None:
        self._happenings.append(happening)
        self._tell(happening)


_WORDS: Final[Mapping[type, str]] = {
    Success: SUCCEEDED,
    Failure: FAILED,
    Death: DIED,
    RunAgain: AGAIN,
    Suspension: WAITS,
    Accepted: ACCEPTED,
}


def handler_of(bundle: Bundle, handlers: Mapping[tuple[str, str], Handler]) -> Handler | None:
    """Return the handler of a program for the job of a bundle."""
    return handlers.get((bundle.job.queue, bundle.job.type))


def _verdict(run: asyncio.Task[Verdict]) -> Verdict:
    if run.cancelled():
        return Failure(error=JobError(kind="cancelled", message="the run was cancelled, but not by the queue"))
    error = run.exception()
    if error is not None:
        return Failure(error=JobError(kind=type_name(error), message=told(error) or type_name(error)))
    return run.result()


def _storable(verdict: Verdict) -> Verdict:
    """Return a verdict, or the one that a worker reports in its place if its result cannot be stored."""
    if not isinstance(verdict, Success):
        return verdict
    try:
        stored, size = payload.plain(verdict.result, "result", naive=True)
        if size > payload.MOST_RESULT:
            raise TooLargeError("result", size, payload.MOST_RESULT)  # noqa: TRY301 - as the queue raises it
    except (InvalidInputError, TooLargeError) as error:
        return instead(verdict, error)[0]
    return replace(verdict, result=stored)


def _wait(verdict: Suspension) -> str:
    wait = verdict.wait
    if wait.doubt is not None:
        return f"for a person to say whether step {wait.doubt} has happened"
    if wait.signals:
        return f"for the signal {', '.join(wait.signals)}"
    if wait.jobs:
        return f"for {wait.jobs:,} children of {', '.join(wait.names)}"
    return f"in {', '.join(wait.names)}" if wait.names else "for its time"
