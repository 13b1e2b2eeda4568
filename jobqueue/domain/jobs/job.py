"""Jobs, new jobs and their parts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from jobqueue.domain.attempts import backoff as backoffs
from jobqueue.domain.attempts.crash import SUSPECT_FROM
from jobqueue.domain.errors import InvalidInputError, Problems, TooLargeError
from jobqueue.domain.jobs import attributes
from jobqueue.domain.unknown import unknown_names
from jobqueue.domain.values import payload
from jobqueue.domain.values.checks import (
    BOUNDS,
    check_expiry,
    check_flag,
    check_id,
    check_key,
    check_number,
    check_queue,
    check_type,
    gather,
)
from jobqueue.domain.values.iso8601 import aware

if TYPE_CHECKING:
    from jobqueue.domain.attempts.attempt import Attempt, Claim, JobError, LogLine, Retries
    from jobqueue.domain.attempts.backoff import Backoff
    from jobqueue.domain.attempts.states import State
    from jobqueue.domain.steps.signal import Signal
    from jobqueue.domain.steps.step import Step, Wait

DEFAULT_QUEUE: Final = "default"
INLINE_LOGS: Final = 200
"""Log lines in the job's document; later lines are documents of their own."""
LONGEST_LINE: Final = 8 * 1024
"""Bytes of one log line; a longer line is split."""
MOST_CHILDREN: Final = 100
DEEPEST_CHILD: Final = 20
MOST_DEPENDENCIES: Final = 5000
POLICIES: Final = ("kill", "run", "hold")
"""A job whose dependency fails or is killed is killed too, runs, or goes on waiting."""

_NO_IDS: Final = ()
_CAMEL: Final = {
    "on_success_delete": "onSuccessDelete",
    "on_complete": "onComplete",
    "on_success": "onSuccess",
    "on_failure": "onFailure",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class NewJob:
    """A job to be added. ``None`` takes the default of the queue; durations are in seconds.

    Attributes:
        start_before: a job that has not started by then is killed; a number is seconds from the time it is due.
        depends_on: ids of jobs that must succeed first.
        dependency_policy: one of `POLICIES`; ``None`` for the first.

    Raises:
        InvalidInputError: naming each unacceptable field.
        TooLargeError: data and meta take more than 1 MiB together.
    """

    type: str
    queue: str = DEFAULT_QUEUE
    data: Mapping[str, Any] = field(default_factory=dict)
    meta: Mapping[str, Any] = field(default_factory=dict)
    priority: int | None = None
    attempts: int | None = None
    backoff: Backoff | None = None
    delay: float | None = None
    delay_til: datetime | None = None
    start_before: datetime | float | None = None
    lease: float | None = None
    timeout: float | None = None
    key: str | None = None
    depends_on: Sequence[str] = ()
    dependency_policy: str | None = None
    on_success_delete: bool | None = None
    on_complete: Children = None
    on_success: Children = None
    on_failure: Children = None

    def __post_init__(self) -> None:
        problems: Problems = {}
        gather(problems, check_queue, self.queue)
        gather(problems, check_type, self.type)
        for name in BOUNDS:
            if getattr(self, name) is not None:
                gather(problems, check_number, name, getattr(self, name))
        for name, check in (("key", check_key), ("on_success_delete", check_flag), ("backoff", backoffs.parse)):
            if getattr(self, name) is not None:
                self._set(name, gather(problems, check, getattr(self, name), _CAMEL.get(name, name)))
        self._check_others(problems)
        sizes = [gather(problems, self._measure, name) for name in ("data", "meta")]
        if problems:
            raise InvalidInputError(problems)
        if sum(sizes) > payload.MOST_DATA:
            raise TooLargeError("data and meta", sum(sizes), payload.MOST_DATA)
        if depth(self) > DEEPEST_CHILD:
            raise InvalidInputError({"onComplete": [f"children are nested deeper than {DEEPEST_CHILD}"]})

    def _check_others(self, problems: Problems) -> None:
        """Check the other jobs that this one names or brings, and the time for which it waits."""
        if self.depends_on is not _NO_IDS:
            self._set("depends_on", gather(problems, _dependencies, self.depends_on))
        if self.dependency_policy is not None and self.dependency_policy not in POLICIES:
            problems["dependencyPolicy"] = [f"must be one of {', '.join(POLICIES)}"]
        if self.delay_til is not None:
            self._set("delay_til", gather(problems, _due, self.delay, self.delay_til))
        if self.start_before is not None:
            self._set("start_before", gather(problems, check_limit, self.start_before, self.delay_til))
        for name in ("on_complete", "on_success", "on_failure"):
            if getattr(self, name) is not None:
                self._set(name, gather(problems, children, getattr(self, name), _CAMEL[name]))

    def _set(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)

    def _measure(self, name: str) -> int:
        value: Any = getattr(self, name)
        content, size = _content(dict(value) if isinstance(value, Mapping) else value, name)
        self._set(name, content)
        return size


_FIELDS: Final = tuple(item.name for item in fields(NewJob))


def unchecked(new: NewJob, **values: Any) -> NewJob:
    """Return a copy of a job with other values that are acceptable: `replace` would check all of them again."""
    changed = object.__new__(NewJob)
    for name in _FIELDS:
        object.__setattr__(changed, name, values[name] if name in values else getattr(new, name))
    return changed


Children = NewJob | tuple[NewJob, ...] | None
"""Jobs to create when this one ends, in the shape of the caller: one, several or none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A stored job. Ids are 24 hex digits, dates are aware and UTC, durations seconds.

    Attributes:
        run: the number of requeues by a person.
        log_count: the number of log lines, those outside the document included.
        outbox: notes of the work that follows the job's end and is not done yet.
        slots: the places of the running job in the limits of its queue.
        limit_key: the group that the job counts in, where limits hold for groups.
        dependency_policy: one of `POLICIES`.
        ref: the name of the job within its batch.
        waits_for: ids of dependencies that have not succeeded yet.
        has_dependents: another job depends on this one.
        callback_of: ``{batchId, event, generation, counts}`` of the batch whose callback the job is.
        parents: dependencies of a claimed job: ``{id, type, state, ref?, result}``.
        traceparent: the span in which the job was added (W3C Trace Context), if it was traced.
        tracestate: of that span, if it has one.
        schedule: the name of the schedule that made the job.
        scheduled_at: the tick of the schedule.
        crashes: the number of deaths of its workers while other jobs ran beside; ``None`` for none.
        retries: uncounted runs in a row, as far as they may be a loop.
        steps: finished steps, and steps that have begun and wait.
        wait: the reason why a suspended job waits.
        signals: that the job has got, also those that a step has taken.
        awaited_by: the id of the call by which the parent of the job awaits it.
        start_before: a job that has not started by then is killed; ``None`` from the start on.
        erased: ``{at, operation, …}`` of a job whose contents were erased, with the numbers of the erased parts.
    """

    id: str
    queue: str
    type: str
    data: Mapping[str, Any]
    meta: Mapping[str, Any]
    priority: int
    attempts: int
    attempts_made: int
    backoff: Backoff
    delay: float
    lease: float
    timeout: float | None
    insert_at: datetime
    start_at: datetime | None
    end_at: datetime | None
    delay_til: datetime | None
    reset_at: datetime | None
    batch_id: str | None
    parent_id: str | None
    depends_on: tuple[str, ...]
    progress: float
    logs: tuple[LogLine, ...]
    result: Any
    error: JobError | None
    history: tuple[Attempt, ...]
    state: State
    on_success_delete: bool
    on_complete: Children
    on_success: Children
    on_failure: Children
    key: str | None
    claim: Claim | None
    run: int = 0
    log_count: int = 0
    outbox: tuple[str, ...] = ()
    slots: tuple[str, ...] = ()
    limit_key: str | None = None
    dependency_policy: str | None = None
    ref: str | None = None
    waits_for: tuple[str, ...] = ()
    has_dependents: bool = False
    callback_of: Mapping[str, Any] | None = None
    parents: tuple[Mapping[str, Any], ...] | None = None
    schedule: str | None = None
    scheduled_at: datetime | None = None
    traceparent: str | None = None
    tracestate: str | None = None
    crashes: int | None = None
    retries: Retries | None = None
    steps: tuple[Step, ...] | None = None
    wait: Wait | None = None
    signals: tuple[Signal, ...] | None = None
    awaited_by: str | None = None
    start_before: datetime | None = None
    erased: Mapping[str, Any] | None = None

    @property
    def is_suspect(self) -> bool:
        """True if the job runs alone because of its crashes."""
        return (self.crashes or 0) >= SUSPECT_FROM

    @property
    def is_derived(self) -> bool:
        """True if the id of the job is derived from its cause."""
        return self.parent_id is not None or self.callback_of is not None or self.schedule is not None

    @property
    def held_lease(self) -> float:
        """Seconds that the present claim lasts without a heartbeat."""
        own = self.claim.own_lease if self.claim else None
        return self.lease if own is None else own


def check_content(value: Any, name: str) -> dict[str, Any]:
    """Return a ``data`` or ``meta`` that can be stored and, for ``meta``, searched.

    Raises:
        InvalidInputError: the value is no object, has too many values to search by, or is refused by `payload.check`.
        TooLargeError: the value alone is over the limit.
    """
    return _content(value, name)[0]


def _content(value: Any, name: str) -> tuple[dict[str, Any], int]:
    """Return a ``data`` or ``meta`` as `check_content`, and its size."""
    if not isinstance(value, dict):
        raise InvalidInputError({name: ["must be an object"]})
    content: dict[str, Any]
    content, size = payload.plain(value, name, dots=name == "data")
    if size > payload.MOST_DATA:
        raise TooLargeError(name, size, payload.MOST_DATA)
    if name == "meta" and content and sum(1 for _ in attributes.scalars(content)) > attributes.MOST:
        raise InvalidInputError({name: [f"takes at most {attributes.MOST} values"]})
    return content, size


def children(value: Any, path: str) -> Children:
    """Read child jobs: one or several, each a `NewJob` or a mapping of its fields in snake_case.

    Raises:
        InvalidInputError: with the paths below ``path``.
    """
    if value is None or isinstance(value, NewJob):
        return value
    if isinstance(value, Mapping):
        return _child(value, path)
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        if len(value) > MOST_CHILDREN:
            raise InvalidInputError({path: [f"takes at most {MOST_CHILDREN} jobs"]})
        return tuple(_child(item, f"{path}.{index}") for index, item in enumerate(value)) or None
    raise InvalidInputError({path: ["must be a job or a list of jobs"]})


def depth(job: NewJob) -> int:
    """Return the number of levels of children of a new job."""
    groups = (job.on_complete, job.on_success, job.on_failure)
    inner = [child for group in groups if group is not None for child in as_tuple(group)]
    return 1 + max((depth(child) for child in inner), default=-1)


def as_tuple(group: Children) -> tuple[NewJob, ...]:
    """Return children as a tuple."""
    return (group,) if isinstance(group, NewJob) else group or ()


def _child(value: Any, path: str) -> NewJob:
    if isinstance(value, NewJob):
        return value
    if not isinstance(value, Mapping):
        raise InvalidInputError({path: ["must be a job"]})
    if unknown := unknown_names(value, _FIELDS, path=path):
        raise InvalidInputError(unknown)
    if "type" not in value:
        raise InvalidInputError({f"{path}.type": ["is required"]})
    try:
        return NewJob(**value)
    except InvalidInputError as error:
        raise error.under(path) from None
    except RecursionError:
        raise InvalidInputError({path: [f"children are nested deeper than {DEEPEST_CHILD}"]}) from None


def _dependencies(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list | tuple):
        raise InvalidInputError({"dependsOn": ["must be a list of ids"]})
    if len(value) > MOST_DEPENDENCIES:
        raise InvalidInputError({"dependsOn": [f"takes at most {MOST_DEPENDENCIES:,} jobs"]})
    problems: Problems = {}
    ids = [gather(problems, check_id, job_id, f"dependsOn.{place}") for place, job_id in enumerate(value)]
    if problems:
        raise InvalidInputError(problems)
    return tuple(dict.fromkeys(ids))


def _due(delay: Any, moment: Any) -> datetime | None:
    if moment is None:
        return None
    due = aware(moment, "delayTil")
    if delay is not None:
        raise InvalidInputError({"delayTil": ["cannot be given together with delay"]})
    return due


def check_limit(value: Any, due: datetime | None = None) -> datetime | float:
    """Return the limit of a job's start: a date, or seconds from the time at which the job is due.

    Raises:
        InvalidInputError: the value is neither, or a date before the date ``due``.
    """
    if not isinstance(value, datetime):
        return check_expiry(value)
    limit = aware(value, "startBefore")
    if due is not None and limit < due:
        raise InvalidInputError({"startBefore": ["is before delayTil: the job could never start"]})
    return limit
