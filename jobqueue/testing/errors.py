"""Errors that fail a test."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jobqueue.domain.errors import JobFailedError

if TYPE_CHECKING:
    from jobqueue.domain.jobs.job import Job


class UnexpectedEndError(JobFailedError):
    """Report that a job failed or was killed during a drain.

    Attributes:
        job: as it ended.
    """

    def __init__(self, job: Job) -> None:
        self.job = job
        state, error = job.state.value, job.error
        kind, message = (error.kind, error.message) if error else (state, "there is no error")
        super().__init__(job.id, state, kind=kind, message=message, trace=error.trace if error else None)

    def __str__(self) -> str:
        job, ended = self.job, "was killed" if self.state == "killed" else "failed"
        where = f"job {self.job_id} ({job.type} of queue {job.queue})"
        trace = f"\n\n{self.trace.rstrip()}" if self.trace else ""
        return f"{where} {ended} in attempt {job.attempts_made} of {job.attempts}: {self.kind}: {self.message}{trace}"


class EndlessDrainError(AssertionError):
    """Report that a drain finds work again and again."""
