"""A job queue on MongoDB for important, multi-stage jobs that often fail."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from jobqueue.domain.errors import Die, JobCancelledError, JobQueueError, ResultUnavailableError, Retry
    from jobqueue.domain.jobs.job import Job, NewJob
    from jobqueue.domain.jobs.states import State
    from jobqueue.domain.search.query import JobQuery
    from jobqueue.domain.workflow.batch import Member, NewBatch
    from jobqueue.services.queue import JobQueue

__all__ = [
    "Die",
    "Job",
    "JobCancelledError",
    "JobQuery",
    "JobQueue",
    "JobQueueError",
    "Member",
    "NewBatch",
    "NewJob",
    "ResultUnavailableError",
    "Retry",
    "State",
]

# Found at first use, so that the command line does not load the driver to print its help.
_HOMES: Final = {
    "Die": "domain.errors",
    "Job": "domain.jobs.job",
    "JobCancelledError": "domain.errors",
    "JobQuery": "domain.search.query",
    "JobQueue": "services.queue",
    "JobQueueError": "domain.errors",
    "Member": "domain.workflow.batch",
    "NewBatch": "domain.workflow.batch",
    "NewJob": "domain.jobs.job",
    "ResultUnavailableError": "domain.errors",
    "Retry": "domain.errors",
    "State": "domain.jobs.states",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
