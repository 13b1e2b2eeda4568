"""The table of all pages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from jobqueue.dashboard.bulk.operations import OPERATION, OPERATIONS
from jobqueue.dashboard.insight.audit import AUDIT
from jobqueue.dashboard.jobs.detail.job import JOB
from jobqueue.dashboard.jobs.detail.lists import STARTS, STEPS
from jobqueue.dashboard.jobs.detail.log import LOG
from jobqueue.dashboard.jobs.detail.value import VALUE
from jobqueue.dashboard.jobs.search.page import JOBS
from jobqueue.dashboard.schedules.schedules import SCHEDULES
from jobqueue.dashboard.steps.inbox import INBOX
from jobqueue.dashboard.work.workers import WORKERS
from jobqueue.dashboard.workflow.batch import BATCH
from jobqueue.dashboard.workflow.batches import BATCHES

if TYPE_CHECKING:
    from jobqueue.dashboard.frame.page import Page

TABLE: Final[tuple[Page, ...]] = (
    JOBS,
    JOB,
    STARTS,
    STEPS,
    LOG,
    VALUE,
    BATCHES,
    BATCH,
    INBOX,
    SCHEDULES,
    WORKERS,
    OPERATIONS,
    OPERATION,
    AUDIT,
)
