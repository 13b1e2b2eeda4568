"""What a job is, what a new one needs, and the parts both are made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Final

from jobqueue.domain.errors import InvalidInputError, Problems, TooLargeError
from jobqueue.domain.jobs import attributes, payload
from jobqueue.domain.jobs import backoff as backoffs
from jobqueue.domain.jobs.checks import (
    BOUNDS,
    check_flag,
    check_id,
    check_key,
    check_number,
    check_queue,
    check_type,
    gather,
)
from jobqueue.domain.jobs.crash import SUSPECT_FROM
from jobqueue.domain.jobs.iso8601 import aware

if TYPE_CHECKING:
    from datetime import datetime

    from jobqueue.domain.jobs.attempt import Attempt, Claim, JobError, LogLine, Retries
    from jobqueue.domain.jobs.backoff import Backoff
    from jobqueue.domain.jobs.states import State

DEFAULT_QUEUE: Final = "default"
INLINE_LOGS: Final = 200
"""Log lines kept in the job's document; later ones are documents of their own."""
LONGEST_LINE: Final = 8 * 1024
"""Bytes of one log line; a longer one is kept as several."""
MOST_CHILDREN: Final = 100
DEEPEST_CHILD: Final = 20
MOST_DEPENDENCIES: Final = 5000
POLICIES: Final = ("kill", "run", "hold")
"""What becomes of a job when one that it depends on fails or is killed: it is killed too, runs, or goes on waiting."""

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
        depends_on: ids of jobs that have to succeed first.
        dependency_policy: one of `POLICIES`; ``None`` for the first one.

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
        for name, check in (("key", check_key), ("on_success_delete", check_flag)):
            if getattr(self, name) is not None:
                gather(problems, check, getattr(self, name), _CAMEL.get(name, name))
        self._set("depends_on", gather(problems, _dependencies, self.depends_on))
        if self.dependency_policy is not None and self.dependency_policy not in POLICIES:
            problems["dependencyPolicy"] = [f"must be one of {', '.join(POLICIES)}"]
        self._set("backoff", gather(problems, _read_backoff, self.backoff))
        self._set("delay_til", gather(problems, _due, self.delay, self.delay_til))
        for name in ("on_complete", "on_success", "on_failure"):
            self._set(name, gather(problems, children, getattr(self, name), _CAMEL[name]))
        sizes = [gather(problems, self._measure, name) for name in ("data", "meta")]
        if problems:
            raise InvalidInputError(problems)
        if sum(sizes) > payload.MOST_DATA:
            raise TooLargeError("data and meta", sum(sizes), payload.MOST_DATA)
        if depth(self) > DEEPEST_CHILD:
            raise InvalidInputError({"onComplete": [f"children are nested deeper than {DEEPEST_CHILD}"]})

    def _set(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)

    def _measure(self, name: str) -> int:
        given: Any = getattr(self, name)
        content = check_content(dict(given) if isinstance(given, Mapping) else given, name)
        self._set(name, content)
        return payload.check(content, name)


Children = NewJob | tuple[NewJob, ...] | None
"""Jobs to create when this one ends: one, several or none; kept in the shape they were given."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A job as it is stored. Ids are 24 hex digits, dates are aware and UTC, durations seconds.

    Attributes:
        run: how often a person has requeued it.
        log_count: how many lines it has written, those outside the document included.
        outbox: what has to be done since it ended, and is not done yet.
        slots: the places it takes in the limits of its queue while processing.
        limit_key: the group in which it counts, where limits hold for groups.
        dependency_policy: one of `POLICIES`.
        ref: its name within its batch.
        waits_for: ids of the jobs it depends on that have not succeeded yet.
        has_dependents: another job depends on it.
        callback_of: ``{batchId, event, generation, counts}`` of the batch for which it was created.
        parents: of a claimed job those it depended on: ``{id, type, state, ref?, result}``.
        traceparent: the span in which it was added (W3C Trace Context), if that was traced.
        schedule: the name of the schedule that has made it.
        scheduled_at: the tick of the schedule that it was made for.
        crashes: how often its worker died while it ran beside others; ``None`` for never.
        retries: how often it went back uncounted in a row, as far as that may be a loop.
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
    traceparent: str | None = None
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
    crashes: int | None = None
    retries: Retries | None = None

    @property
    def is_suspect(self) -> bool:
        """True if the job has been beside so many crashes that it runs alone."""
        return (self.crashes or 0) >= SUSPECT_FROM

    @property
    def is_derived(self) -> bool:
        """Whether it was created because of something, under an id that would be created again for the same thing."""
        return self.parent_id is not None or self.callback_of is not None or self.schedule is not None

    @property
    def held_lease(self) -> float:
        """How many seconds the present claim lasts without a heartbeat."""
        own = self.claim.own_lease if self.claim else None
        return self.lease if own is None else own


def check_content(value: Any, name: str) -> dict[str, Any]:
    """Return a ``data`` or ``meta`` as it can be stored and, for ``meta``, searched.

    Raises:
        InvalidInputError: not an object, or as `payload.check`, or too many values to search by.
        TooLargeError: over the limit alone.
    """
    if not isinstance(value, dict):
        raise InvalidInputError({name: ["must be an object"]})
    content, size = payload.plain(value, name, dots=name == "data")
    if size > payload.MOST_DATA:
        raise TooLargeError(name, size, payload.MOST_DATA)
    if name == "meta" and sum(1 for _ in attributes.scalars(content)) > attributes.MOST:
        raise InvalidInputError({name: [f"takes at most {attributes.MOST} values"]})
    found: dict[str, Any] = content
    return found


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
    """Return how many levels of children a new job has."""
    inner = [child for group in (job.on_complete, job.on_success, job.on_failure) for child in as_tuple(group)]
    return 1 + max((depth(child) for child in inner), default=-1)


def as_tuple(group: Children) -> tuple[NewJob, ...]:
    """Return the children as a tuple, however they were given."""
    if group is None:
        return ()
    return (group,) if isinstance(group, NewJob) else group


def _child(value: Any, path: str) -> NewJob:
    if isinstance(value, NewJob):
        return value
    if not isinstance(value, Mapping):
        raise InvalidInputError({path: ["must be a job"]})
    known = {item.name for item in fields(NewJob)}
    unknown = [str(name) for name in value if name not in known]
    if unknown:
        raise InvalidInputError({f"{path}.{name}": ["is not a known field"] for name in unknown})
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
    found = [gather(problems, check_id, one, f"dependsOn.{place}") for place, one in enumerate(value)]
    if problems:
        raise InvalidInputError(problems)
    return tuple(dict.fromkeys(found))


def _read_backoff(value: Any) -> Backoff | None:
    return None if value is None else backoffs.parse(value)


def _due(delay: Any, moment: Any) -> datetime | None:
    if moment is None:
        return None
    due = aware(moment, "delayTil")
    if delay is not None:
        raise InvalidInputError({"delayTil": ["cannot be given together with delay"]})
    return due
