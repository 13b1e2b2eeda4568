"""Verdicts of processors on the jobs they ran."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final, Protocol

from jobqueue.domain.attempts.attempt import JobError
from jobqueue.domain.steps.step import Wait

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence
    from datetime import datetime

    from jobqueue.domain.jobs.job import Job
    from jobqueue.domain.search.query import Page
    from jobqueue.domain.steps.step import Step
    from jobqueue.domain.work.calls import Called, NewCall
    from jobqueue.domain.workflow.batch import Member

INVALID_RESULT: Final = "invalid-result"
"""Kind of the error of a job whose result cannot be stored."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Success:
    """The job is done; ``code`` is the HTTP status or exit code, if there is one.

    Attributes:
        warning: the reason why the result is the text of the reply and not its value, for the log of the job.
    """

    result: Any = None
    code: int | None = None
    warning: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """The attempt did not succeed; ``timed_out`` if it ran too long."""

    error: JobError
    code: int | None = None
    timed_out: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Death:
    """The job can never succeed."""

    error: JobError
    code: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunAgain:
    """The job runs again after ``delay`` seconds, not counted as an attempt."""

    delay: float | None = None
    error: JobError | None = None
    code: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Suspension:
    """Run it again when a wait is over, not counted as an attempt.

    Attributes:
        delay: seconds of the wait; ``None`` if it has another end.
        until: the end of the wait.
        wait: what the job waits for; its own ``until`` says nothing.
    """

    delay: float | None = None
    until: datetime | None = None
    wait: Wait = field(default_factory=Wait)
    code: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """Another program has accepted the job, and will report under the same token."""

    code: int | None = None


Verdict = Success | Failure | Death | RunAgain | Suspension | Accepted


def without_details(verdict: Verdict, message: str) -> Verdict:
    """Return a verdict of the same kind with nothing but a message; a success without its result is a failure."""
    match verdict:
        case Success():
            return Failure(error=JobError(kind=INVALID_RESULT, message=message), code=verdict.code)
        case Failure() | Death():
            return replace(verdict, error=JobError(kind=verdict.error.kind, message=message))
        case RunAgain():
            kind = "retry" if verdict.error is None else verdict.error.kind
            return replace(verdict, error=JobError(kind=kind, message=message))
        case Suspension() | Accepted():
            return verdict


def as_percent(value: object) -> float:
    """Return a progress; a number outside 0 to 100 becomes the nearer end.

    Raises:
        ValueError: the value is not a number.
    """
    if not isinstance(value, int | float) or math.isnan(value):
        raise ValueError(f"progress is a number from 0 to 100, not {value!r}")
    return min(max(value, 0), 100)


class StepReporter(Protocol):
    """Access of a processor to the steps of a running job; calls raise `JobCancelledError` when the claim is lost."""

    @property
    def finished(self) -> tuple[str, ...]:
        """The names of finished steps."""

    @property
    def results(self) -> dict[str, Any]:
        """The results of finished steps that are loaded."""

    async def begin(self, name: str) -> None:
        """Note that a step is under way; raise `OlderWorkersError` if the queue takes no steps."""

    def leave(self, name: str) -> None:
        """Note that a step is no longer under way, finished or not."""

    def entry(self, name: str) -> Step | None:
        """Return what is known of a step."""

    async def result(self, name: str) -> Any:
        """Return the result of a finished step."""

    async def record(self, name: str, result: Any, *, tries: int, seconds: float) -> Any:
        """Keep the result of a step; return the result that is kept."""

    async def begin_sleep(self, name: str, *, seconds: float | None, until: datetime | None) -> Step:
        """Return a sleep, noted with its end; a sleep that was noted before keeps its end."""

    async def failed(self, name: str, *, tries: int, error: JobError, wait: float) -> Step:
        """Return a step that has failed, noted with the time of its next try."""

    async def forget(self, name: str) -> None:
        """Forget a finished step whose result cannot be used any more."""

    async def mark(self, name: str, *, tries: int) -> bool:
        """Mark a step that must not run twice as begun; return False if it must not run now."""

    async def unmark(self, name: str) -> None:
        """Take back the mark of a step: nothing has happened."""

    async def begin_signal(self, name: str, signal: str, *, seconds: float | None) -> Step:
        """Return a step that waits for a signal; it has finished if the signal was there or its time is over."""

    async def signal_url(self, question: str, signal: str, **how: Any) -> str:
        """Return a link by which a person answers a question; ``how`` as in `SignalLinks.make`."""

    async def begin_call(self, name: str, call: NewCall) -> Called:
        """Create the children of a step, each once."""

    def child_results(self, name: str) -> AsyncIterator[Any]:
        """Yield the results of the children of a finished step, in their order."""


class Reporter(Protocol):
    """Reports of a processor about a running job. Every call renews the lease."""

    @property
    def steps(self) -> StepReporter:
        """The steps of the job."""

    async def log(self, line: str, level: str | None = None) -> None:
        """Add a log line.

        Raises:
            JobCancelledError: the job was killed or its lease was lost.
        """

    async def progress(self, percent: float) -> None:
        """Set the progress, 0 to 100.

        Raises:
            JobCancelledError: as `log`.
        """


class Relatives(Protocol):
    """Look-ups and additions of jobs that are related to a running job."""

    async def parent(self) -> Job | None:
        """Return the parent of the running job, with its data and result."""

    async def children(self, load: Callable[[str], Any] | None = None) -> list[Job]:
        """Return the children of earlier runs of the running job, oldest first.

        Results that take over 8 MiB together are late, as `LateJob` has it.

        Args:
            load: loads a late result by the id of its job, for handlers that may block.
        """

    async def child_result(self, child_id: str) -> Any:
        """Return the result of a child of the running job, however large.

        Raises:
            ResultUnavailableError: there is no such child.
        """

    async def result(self, job_id: str) -> Any:
        """Return the result of a dependency of the running job, however large.

        Raises:
            ResultUnavailableError: the job was deleted.
        """

    async def batch_jobs(self, cursor: str | None, limit: int) -> Page:
        """Return a page of the jobs of its batch, or of the batch that it is a callback of, oldest first."""

    async def add(self, kind: str, data: Mapping[str, Any] | None, after: Sequence[str], how: Mapping[str, Any]) -> str:
        """Add a job to the batch of the running job; return its id."""

    async def add_all(self, members: Sequence[Member]) -> list[str]:
        """Add jobs to the batch of the running job, all or none; return their ids."""


class Processor(Protocol):
    """Runs one claimed job; cancelling the call stops the run."""

    @property
    def stop_seconds(self) -> float:
        """Seconds that a cancelled run may take to end; after that, its outcome is recorded all the same."""

    async def run(self, job: Job, reporter: Reporter) -> Verdict:
        """Run the job to its end and return the verdict."""
