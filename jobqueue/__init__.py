"""A job queue on MongoDB for important, multi-stage jobs that often fail."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from jobqueue.domain.errors import (
        Die,
        InvalidInputError,
        JobCancelledError,
        JobFailedError,
        JobQueueError,
        KeyConflictError,
        NotDone,
        NotFoundError,
        ResultUnavailableError,
        Retry,
        SignalTimeoutError,
    )
    from jobqueue.domain.jobs.backoff import ExponentialBackoff, FixedBackoff, SteppedBackoff
    from jobqueue.domain.jobs.job import Job, NewJob
    from jobqueue.domain.jobs.options import JobOptions
    from jobqueue.domain.jobs.states import State
    from jobqueue.domain.jobs.task_job import TaskJob
    from jobqueue.domain.search.query import JobQuery
    from jobqueue.domain.work.calls import ChildFailedError
    from jobqueue.domain.workflow.batch import Member, NewBatch
    from jobqueue.domain.workflow.flow import Workflow, chain, gather
    from jobqueue.processors.callbacks.callback import ActiveJob, BlockingJob
    from jobqueue.services.queue import JobQueue
    from jobqueue.services.tasks.ref import Ref
    from jobqueue.services.tasks.task import Task, TaskOptions
    from jobqueue.services.workflow.started import StartedBatch

__all__ = [
    "ActiveJob",
    "BlockingJob",
    "ChildFailedError",
    "Die",
    "ExponentialBackoff",
    "FixedBackoff",
    "InvalidInputError",
    "Job",
    "JobCancelledError",
    "JobFailedError",
    "JobOptions",
    "JobQuery",
    "JobQueue",
    "JobQueueError",
    "KeyConflictError",
    "Member",
    "NewBatch",
    "NewJob",
    "NotDone",
    "NotFoundError",
    "Ref",
    "ResultUnavailableError",
    "Retry",
    "SignalTimeoutError",
    "StartedBatch",
    "State",
    "SteppedBackoff",
    "Task",
    "TaskJob",
    "TaskOptions",
    "Workflow",
    "chain",
    "gather",
]

# Loaded at first use, so that the command line does not load the driver to print its help.
_HOMES: Final = {
    name: module
    for module, names in {
        "domain.errors": (
            "Die InvalidInputError JobCancelledError JobFailedError JobQueueError KeyConflictError NotDone "
            "NotFoundError ResultUnavailableError Retry SignalTimeoutError"
        ),
        "domain.jobs.backoff": "ExponentialBackoff FixedBackoff SteppedBackoff",
        "domain.jobs.job": "Job NewJob",
        "domain.jobs.options": "JobOptions",
        "domain.jobs.states": "State",
        "domain.jobs.task_job": "TaskJob",
        "domain.search.query": "JobQuery",
        "domain.work.calls": "ChildFailedError",
        "domain.workflow.batch": "Member NewBatch",
        "domain.workflow.flow": "Workflow chain gather",
        "processors.callbacks.callback": "ActiveJob BlockingJob",
        "services.queue": "JobQueue",
        "services.tasks.ref": "Ref",
        "services.tasks.task": "Task TaskOptions",
        "services.workflow.started": "StartedBatch",
    }.items()
    for name in names.split()
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
