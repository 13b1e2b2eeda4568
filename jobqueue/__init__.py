"""A job queue on MongoDB for important, multi-stage jobs that often fail."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from jobqueue.domain.errors import (
        Die,
        InvalidInputError,
        JobCancelledError,
        JobQueueError,
        KeyConflictError,
        NotFoundError,
        ResultUnavailableError,
        Retry,
    )
    from jobqueue.domain.jobs.backoff import ExponentialBackoff, FixedBackoff, SteppedBackoff
    from jobqueue.domain.jobs.job import Job, NewJob
    from jobqueue.domain.jobs.options import JobOptions
    from jobqueue.domain.jobs.states import State
    from jobqueue.domain.search.query import JobQuery
    from jobqueue.domain.workflow.batch import Member, NewBatch
    from jobqueue.processors.callbacks.callback import ActiveJob, BlockingJob
    from jobqueue.services.queue import JobQueue

__all__ = [
    "ActiveJob",
    "BlockingJob",
    "Die",
    "ExponentialBackoff",
    "FixedBackoff",
    "InvalidInputError",
    "Job",
    "JobCancelledError",
    "JobOptions",
    "JobQuery",
    "JobQueue",
    "JobQueueError",
    "KeyConflictError",
    "Member",
    "NewBatch",
    "NewJob",
    "NotFoundError",
    "ResultUnavailableError",
    "Retry",
    "State",
    "SteppedBackoff",
]

# Loaded at first use, so that the command line does not load the driver to print its help.
_HOMES: Final = {
    "ActiveJob": "processors.callbacks.callback",
    "BlockingJob": "processors.callbacks.callback",
    "Die": "domain.errors",
    "ExponentialBackoff": "domain.jobs.backoff",
    "FixedBackoff": "domain.jobs.backoff",
    "InvalidInputError": "domain.errors",
    "Job": "domain.jobs.job",
    "JobCancelledError": "domain.errors",
    "JobOptions": "domain.jobs.options",
    "JobQuery": "domain.search.query",
    "JobQueue": "services.queue",
    "JobQueueError": "domain.errors",
    "KeyConflictError": "domain.errors",
    "Member": "domain.workflow.batch",
    "NewBatch": "domain.workflow.batch",
    "NewJob": "domain.jobs.job",
    "NotFoundError": "domain.errors",
    "ResultUnavailableError": "domain.errors",
    "Retry": "domain.errors",
    "State": "domain.jobs.states",
    "SteppedBackoff": "domain.jobs.backoff",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
