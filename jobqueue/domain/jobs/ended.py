"""Results of ended jobs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jobqueue.domain.attempts.states import State
from jobqueue.domain.errors import JobFailedError

if TYPE_CHECKING:
    from jobqueue.domain.jobs.job import Job


def result_of(job: Job) -> Any:
    """Return the result of an ended job.

    Raises:
        JobFailedError: the job failed or was killed.
    """
    if job.state is State.SUCCESS:
        return job.result
    error = job.error
    if error is None:
        raise JobFailedError(job.id, job.state.value, kind=job.state.value, message="there is no error")
    raise JobFailedError(job.id, job.state.value, kind=error.kind, message=error.message, trace=error.trace)
