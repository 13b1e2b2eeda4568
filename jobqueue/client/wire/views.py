"""Replies of the API that are no jobs and batches, as typed values; members that later versions add are left out."""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 - msgspec reads the annotations
from typing import Any

import msgspec

from jobqueue.domain.attempts.states import State  # noqa: TC001 - as above

Counts = dict[str, int]
Form = dict[str, Any]


class _View(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    pass


class ErrorView(_View, frozen=True):
    """The reason of an attempt that did not succeed."""

    kind: str
    message: str
    trace: str | None = None
    step: str | None = None


class BriefJob(_View, frozen=True):
    """A job without its large fields."""

    id: str
    type: str
    queue: str
    state: State
    progress: float
    insert_at: datetime
    start_at: datetime | None = None
    end_at: datetime | None = None
    parent_id: str | None = None
    error: ErrorView | None = None


class RelativeView(BriefJob, frozen=True):
    """A job of a family tree, with its children."""

    children: list[RelativeView] = []


class BatchBrief(_View, frozen=True):
    """The batch of a job, with counts of its jobs by state."""

    id: str
    counts: Counts


class FamilyView(_View, frozen=True):
    """The relatives of a job.

    Attributes:
        ancestors: from the first job down to the parent.
        job: the job itself and its descendants.
        truncated: some descendants are left out.
    """

    ancestors: list[BriefJob]
    job: RelativeView
    batch: BatchBrief | None
    truncated: bool


class WhyView(_View, frozen=True):
    """The reasons why a job does not run, in the order in which they apply.

    Attributes:
        reasons: ``kind``, ``message`` and details of each.
        next_start_at: the earliest start, if a time is known.
    """

    id: str
    state: State
    reasons: list[Form]
    next_start_at: datetime | None = None


class RowsView(_View, frozen=True):
    """The rows of a pipeline; ``truncated`` if there are more."""

    items: list[Form]
    truncated: bool


class CountView(_View, frozen=True):
    """The number of jobs of a filter, and the numbers by state unless ``truncated``: then there are more."""

    count: int
    states: dict[str, int] | None
    truncated: bool


class OperationView(_View, frozen=True):
    """A change of many jobs that goes on after its request; ``state`` is ``running`` until its end.

    Attributes:
        matched: jobs that matched at the beginning; ``None`` while they are counted, or if that takes too long.
        done: jobs that were changed.
        skipped: jobs that did not match any more when their turn came.
        failed: jobs that could not be changed; ``failures`` has the reasons of the first.
        error: the reason why the whole operation failed.
        is_counting: changed jobs are still to be counted, also after a stop.
        receipt: the numbers of what an erasure has erased, and the names of what it has left.
        is_trial: only jobs of the trial were changed so far.
        results: how many jobs are ``unfinished``, have ``succeeded``, ``failed`` again, or ended ``unknown``.
        failed_again: the first jobs that failed again, with their errors.
        stopped: the reason of a stop: ``why`` is ``person``, ``trial``, ``failedTrial`` or ``failures``.
    """

    id: str
    action: str
    filter: Form
    changes: Form
    by: Form
    insert_at: datetime
    end_at: datetime | None
    state: str
    matched: int | None
    is_exact: bool
    done: int
    skipped: int
    failed: int
    failures: list[Form]
    fingerprint: str | None = None
    reason: str | None = None
    error: str | None = None
    is_counting: bool = False
    receipt: Form | None = None
    data_patch: Form | None = None
    trial: int | None = None
    then: bool = False
    pace: int | str | None = None
    stop_after: int | None = None
    is_trial: bool = False
    results: Form | None = None
    failed_again: list[Form] = []
    stopped: Form | None = None


class ErasurePreviewView(_View, frozen=True):
    """The jobs that an erasure would erase, and the names of what it leaves."""

    action: str
    matched: int | None
    is_exact: bool
    samples: list[BriefJob]
    left: Form


class PreviewView(_View, frozen=True):
    """The number of jobs that a filter finds, and the first few of them.

    Attributes:
        data_samples: with a patch of the data: ``before``, ``after`` and ``problem`` of up to three jobs.
    """

    action: str
    matched: int | None
    is_exact: bool
    samples: list[BriefJob]
    data_samples: list[Form] = []


class SampleView(_View, frozen=True):
    """The newest job of a group of failures."""

    id: str
    queue: str
    state: State
    end_at: datetime | None = None
    message: str | None = None
    trace: str | None = None


class FailureView(_View, frozen=True):
    """Jobs of one type that ended in the same way."""

    fingerprint: str
    type: str
    message: str
    count: int
    states: Counts
    queues: list[str]
    sample: SampleView
    kind: str | None = None
    place: str | None = None
    first_at: datetime | None = None
    last_at: datetime | None = None


class FailureGroupView(FailureView, frozen=True, kw_only=True):
    """A group of failures with the trace of its sample; ``jobs`` are the newest twenty.

    ``versions`` are those of the programs in which they ended, as far as known.
    """

    jobs: list[Form]
    versions: list[str]
    trace: str | None = None


class QueueView(_View, frozen=True):
    """A queue: its configuration, its secrets masked but for one made just now, and its figures.

    Attributes:
        counts: jobs by state; this and the other figures are missing in replies to changes.
        oldest_pending_age: seconds for which the job that waits longest could have been claimed.
        ended: jobs by state that ended within the last minute and hour.
    """

    name: str
    paused: bool
    concurrency: int | None
    rate: Form | None
    limit_by: str | None
    attempts: int
    backoff: Any
    lease: float
    timeout: float | None
    priority: int
    on_success_delete: bool
    processors: dict[str, Form]
    retention: Form | None
    breaker: Form | None
    max_retries: int
    check: bool = False
    start_before: float | None = None
    pause_reason: str | None = None
    counts: Counts = {}
    oldest_pending_age: float | None = None
    ended: dict[str, Counts] = {}
    breakers: list[Form] = []


class RunView(_View, frozen=True):
    """A job that a schedule has made."""

    id: str
    at: datetime
    state: State


class DeclaredView(_View, frozen=True):
    """The declaration of a schedule in code.

    Attributes:
        by: the module of the decorated function.
        at: the date since which the code has its definition.
        edited: fields that a person has changed, and that do not follow the code.
        missing_since: the date at which code without the schedule was found.
    """

    by: str
    at: datetime
    edited: list[str]
    missing_since: datetime | None


class ScheduleView(_View, frozen=True):
    """A schedule; one that was spoilt by hand has no definition.

    Attributes:
        job: the new job, as JSON.
        last_skipped: ``at`` and ``reason`` of the last time for which no job was made.
        declared: the declaration in code; ``None`` if only people have defined the schedule.
    """

    name: str
    next_at: datetime | None
    next_runs: list[datetime]
    last_runs: list[RunView]
    created_at: datetime
    changed_at: datetime
    cron: str | None = None
    timezone: str | None = None
    every: float | None = None
    job: Form | None = None
    missed: str | None = None
    paused: bool | None = None
    last_skipped: Form | None = None
    declared: DeclaredView | None = None


class ChangeView(_View, frozen=True):
    """An entry of the audit; ``unconfirmed`` if the change was begun and broke off."""

    id: str
    at: datetime
    by: Form
    action: str
    target: Form
    unconfirmed: bool
    before: Any = None
    after: Any = None


class ConcernView(_View, frozen=True):
    """Something that needs somebody.

    Attributes:
        kind: such as ``failures``, ``queue``, ``worker`` or ``schedule``.
        command: the words after ``jobqueue`` of the command that mends it.
        details: names, ids and figures that the message is about.
    """

    kind: str
    message: str
    command: list[str]
    details: Form


class QueueWhyView(_View, frozen=True):
    """The reasons why no job of a queue starts; as `WhyView`."""

    queue: str
    reasons: list[Form]
    next_start_at: datetime | None = None


class NodeView(_View, frozen=True):
    """A job of a graph."""

    id: str
    type: str
    queue: str
    state: State
    depends_on: list[str]
    attempts_made: int
    ref: str | None = None
    start_at: datetime | None = None
    end_at: datetime | None = None


class GraphView(_View, frozen=True):
    """The jobs of a batch and the jobs that each depends on; ``truncated`` if the batch has more."""

    id: str
    jobs: list[NodeView]
    truncated: bool


class TokenView(_View, frozen=True):
    """A token of the API, without its text."""

    id: str
    name: str
    roles: list[str]
    queues: list[str]
    meta: Form
    insert_at: datetime
    expires_at: datetime | None = None
    last_used_at: datetime | None = None
    revoked_at: datetime | None = None


class NewTokenView(TokenView, frozen=True, kw_only=True):
    """A token that was created, with its text."""

    token: str


class WorkerView(_View, frozen=True):
    """A worker; ``alive`` if its last sign of life is younger than 30 s.

    Attributes:
        host: of its process; ``None``, as some others, for a worker that polls.
        queues: the queues and types that it claims.
        running: the jobs that it runs.
        draining: ``since`` and ``by`` of a drain; ``None`` for a worker that nobody has asked to leave.
    """

    name: str
    alive: bool
    last_sign_at: datetime
    queues: list[Form]
    running: list[Form]
    host: str | None = None
    pid: int | None = None
    version: str | None = None
    since: datetime | None = None
    draining: Form | None = None


class TypeView(_View, frozen=True):
    """A type of jobs of a queue that is served; ``schemas`` has those of all workers, the newest first."""

    queue: str
    type: str
    workers: int
    schemas: list[Form]
    processor: str | None = None
    schema: Form | None = None
