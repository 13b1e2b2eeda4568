"""A job queue on MongoDB for important, multi-stage jobs that often fail."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from jobqueue.client.async_client import AsyncClient
    from jobqueue.client.client import Client
    from jobqueue.client.errors import ServerUnreachableError, UnauthorizedError, UnexpectedReplyError
    from jobqueue.domain.attempts.backoff import ExponentialBackoff, FixedBackoff, SteppedBackoff
    from jobqueue.domain.attempts.states import State
    from jobqueue.domain.errors import (
        ConflictError,
        Die,
        ForbiddenError,
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
        TooCostlyError,
        WrongStateError,
    )
    from jobqueue.domain.insight.event import JobEvent
    from jobqueue.domain.jobs.job import Job, NewJob
    from jobqueue.domain.jobs.options import JobOptions
    from jobqueue.domain.jobs.task_job import TaskJob
    from jobqueue.domain.producer import BlockingProducer, Producer
    from jobqueue.domain.search.query import JobQuery
    from jobqueue.domain.work.calls import ChildFailedError
    from jobqueue.domain.workflow.batch import Member, NewBatch
    from jobqueue.domain.workflow.flow import Workflow, chain, gather
    from jobqueue.processors.callbacks.callback import ActiveJob, BlockingJob
    from jobqueue.services.queue import JobQueue
    from jobqueue.services.sync_queue import SyncJobQueue
    from jobqueue.tasks.blocking_batch import BlockingBatch
    from jobqueue.tasks.ref import BlockingRef, Ref
    from jobqueue.tasks.started import StartedBatch
    from jobqueue.tasks.task import BlockingTask, Task, TaskOptions

__all__ = [
    "ActiveJob",
    "AsyncClient",
    "BlockingBatch",
    "BlockingJob",
    "BlockingProducer",
    "BlockingRef",
    "BlockingTask",
    "ChildFailedError",
    "Client",
    "ConflictError",
    "Die",
    "ExponentialBackoff",
    "FixedBackoff",
    "ForbiddenError",
    "InvalidInputError",
    "Job",
    "JobCancelledError",
    "JobEvent",
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
    "Producer",
    "Ref",
    "ResultUnavailableError",
    "Retry",
    "ServerUnreachableError",
    "SignalTimeoutError",
    "StartedBatch",
    "State",
    "SteppedBackoff",
    "SyncJobQueue",
    "Task",
    "TaskJob",
    "TaskOptions",
    "TooCostlyError",
    "UnauthorizedError",
    "UnexpectedReplyError",
    "Workflow",
    "WrongStateError",
    "chain",
    "gather",
]

# Loaded at first use, so that the command line does not load the driver to print its help.
_HOMES: Final = {
    name: module
    for module, names in {
        "client.async_client": "AsyncClient",
        "client.client": "Client",
        "client.errors": "ServerUnreachableError UnauthorizedError UnexpectedReplyError",
        "domain.errors": (
            "ConflictError Die ForbiddenError InvalidInputError JobCancelledError JobFailedError JobQueueError "
            "KeyConflictError NotDone NotFoundError ResultUnavailableError Retry SignalTimeoutError TooCostlyError "
            "WrongStateError"
        ),
        "domain.insight.event": "JobEvent",
        "domain.attempts.backoff": "ExponentialBackoff FixedBackoff SteppedBackoff",
        "domain.jobs.job": "Job NewJob",
        "domain.jobs.options": "JobOptions",
        "domain.producer": "BlockingProducer Producer",
        "domain.attempts.states": "State",
        "domain.jobs.task_job": "TaskJob",
        "domain.search.query": "JobQuery",
        "domain.work.calls": "ChildFailedError",
        "domain.workflow.batch": "Member NewBatch",
        "domain.workflow.flow": "Workflow chain gather",
        "processors.callbacks.callback": "ActiveJob BlockingJob",
        "services.queue": "JobQueue",
        "services.sync_queue": "SyncJobQueue",
        "tasks.blocking_batch": "BlockingBatch",
        "tasks.ref": "BlockingRef Ref",
        "tasks.task": "BlockingTask Task TaskOptions",
        "tasks.started": "StartedBatch",
    }.items()
    for name in names.split()
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
