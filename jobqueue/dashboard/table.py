"""The table of all pages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from jobqueue.dashboard.bulk.failure import FAILURE
from jobqueue.dashboard.bulk.failures import FAILURES
from jobqueue.dashboard.bulk.operations import OPERATION, OPERATIONS
from jobqueue.dashboard.insight.audit import AUDIT
from jobqueue.dashboard.insight.overview import OVERVIEW
from jobqueue.dashboard.jobs.acts.answer import ANSWER
from jobqueue.dashboard.jobs.acts.change import CHANGE
from jobqueue.dashboard.jobs.acts.delete import DELETE
from jobqueue.dashboard.jobs.acts.kill import KILL
from jobqueue.dashboard.jobs.acts.requeue import REQUEUE
from jobqueue.dashboard.jobs.detail.job import JOB
from jobqueue.dashboard.jobs.detail.lists import STARTS, STEPS
from jobqueue.dashboard.jobs.detail.log import LOG
from jobqueue.dashboard.jobs.detail.value import VALUE
from jobqueue.dashboard.jobs.search.page import JOBS
from jobqueue.dashboard.queues.queue import QUEUE
from jobqueue.dashboard.queues.queues import QUEUES
from jobqueue.dashboard.schedules.schedules import SCHEDULES
from jobqueue.dashboard.steps.inbox import INBOX
from jobqueue.dashboard.work.workers import WORKERS
from jobqueue.dashboard.workflow.batch import BATCH
from jobqueue.dashboard.workflow.batches import BATCHES

if TYPE_CHECKING:
    from jobqueue.dashboard.frame.page import Page

TABLE: Final[tuple[Page, ...]] = (
    OVERVIEW,
    JOBS,
    JOB,
    STARTS,
    STEPS,
    LOG,
    VALUE,
    ANSWER,
    REQUEUE,
    CHANGE,
    KILL,
    DELETE,
    FAILURES,
    FAILURE,
    BATCHES,
    BATCH,
    INBOX,
    QUEUES,
    QUEUE,
    SCHEDULES,
    WORKERS,
    OPERATIONS,
    OPERATION,
    AUDIT,
)
