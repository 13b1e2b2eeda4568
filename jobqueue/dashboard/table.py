"""The table of all pages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from jobqueue.dashboard.access.tokens import NEW_TOKEN, REVOKE, TOKENS
from jobqueue.dashboard.alerts.alerts import ALERTS
from jobqueue.dashboard.bulk.failure import FAILURE
from jobqueue.dashboard.bulk.failures import FAILURES
from jobqueue.dashboard.bulk.many import MANY
from jobqueue.dashboard.bulk.operations import OPERATION, OPERATIONS
from jobqueue.dashboard.bulk.repair import REPAIR
from jobqueue.dashboard.bulk.resume import RESUME as RESUME_OPERATION
from jobqueue.dashboard.bulk.stop import STOP
from jobqueue.dashboard.bulk.trial import TRIAL
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
from jobqueue.dashboard.queues.acts import PAUSE, RESUME
from jobqueue.dashboard.queues.edit.page import EDIT
from jobqueue.dashboard.queues.ping import PING
from jobqueue.dashboard.queues.queue import QUEUE
from jobqueue.dashboard.queues.queues import QUEUES
from jobqueue.dashboard.schedules.acts import SCHEDULE_ACTS
from jobqueue.dashboard.schedules.edit import SCHEDULE_EDITS
from jobqueue.dashboard.schedules.schedules import SCHEDULES
from jobqueue.dashboard.steps.inbox import INBOX
from jobqueue.dashboard.work.acts import WORKER_ACTS
from jobqueue.dashboard.work.workers import WORKERS
from jobqueue.dashboard.workflow.acts import END, RESTART, SEAL
from jobqueue.dashboard.workflow.batch import BATCH
from jobqueue.dashboard.workflow.batches import BATCHES

if TYPE_CHECKING:
    from jobqueue.dashboard.frame.page import Page

TABLE: Final[tuple[Page, ...]] = (
    OVERVIEW,
    JOBS,
    MANY,
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
    TRIAL,
    REPAIR,
    BATCHES,
    BATCH,
    RESTART,
    SEAL,
    END,
    INBOX,
    QUEUES,
    QUEUE,
    EDIT,
    PING,
    PAUSE,
    RESUME,
    SCHEDULES,
    *SCHEDULE_ACTS,
    *SCHEDULE_EDITS,
    WORKERS,
    *WORKER_ACTS,
    OPERATIONS,
    OPERATION,
    STOP,
    RESUME_OPERATION,
    ALERTS,
    AUDIT,
    TOKENS,
    NEW_TOKEN,
    REVOKE,
)
