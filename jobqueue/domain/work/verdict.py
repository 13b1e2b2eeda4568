"""Verdicts of processors on the jobs they ran."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Protocol

from jobqueue.domain.jobs.attempt import JobError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from jobqueue.domain.jobs.job import Job
    from jobqueue.domain.search.query import Page
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
class Accepted:
    """Another program has accepted the job, and will report under the same token."""

    code: int | None = None


Verdict = Success | Failure | Death | RunAgain | Accepted


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
        case Accepted():
            return verdict


class Reporter(Protocol):
    """Reports of a processor about a running job. Every call renews the lease."""

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
