"""What a job is, what a new one needs, and the parts both are made of."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from jobqueue.domain import attributes, payload
from jobqueue.domain import backoff as backoffs
from jobqueue.domain.errors import InvalidInputError, Problems, TooLargeError

if TYPE_CHECKING:
    from jobqueue.domain.backoff import Backoff
    from jobqueue.domain.state import Outcome, State

DEFAULT_QUEUE: Final = "default"
INLINE_LOGS: Final = 200
"""Log lines kept in the job's document; later ones are documents of their own."""
LONGEST_LINE: Final = 8 * 1024
"""Characters of one log line; a longer one is kept as several."""
LONGEST_MESSAGE: Final = 8 * 1024
LONGEST_TRACE: Final = 16 * 1024
MOST_CHILDREN: Final = 100
DEEPEST_CHILD: Final = 20

QUEUE_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_:-]{0,99}")
_ID: Final = re.compile(r"[0-9a-f]{24}")
BOUNDS: Final[Mapping[str, tuple[float, float]]] = {
    "priority": (-1_000_000_000, 1_000_000_000),
    "attempts": (1, 10_000),
    "delay": (0, backoffs.LONGEST),
    "lease": (0.2, 7 * 86_400),
    "timeout": (0.05, 365 * 86_400),
}
"""Lowest and highest value of the numeric fields; durations in seconds."""
_WHOLE: Final = frozenset({"priority", "attempts"})


@dataclass(frozen=True, slots=True, kw_only=True)
class LogLine:
    """One line a job wrote; ``t`` is the server's time, ``m`` the text."""

    t: datetime
    m: str
    level: str | None = None
    attempt: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class JobError:
    """Why an attempt did not succeed; ``trace`` is a traceback or an excerpt of what came back."""

    kind: str
    message: str
    trace: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "message", _cut(self.message, LONGEST_MESSAGE))
        if self.trace is not None:
            object.__setattr__(self, "trace", _cut(self.trace, LONGEST_TRACE))


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """The fencing token of the current attempt, and who holds it."""

    token: str
    worker: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One entry of a job's history: a start, or a requeue by a person.

    Attributes:
        attempt: the number of the attempt; an uncounted one shares its number with the next.
        code: HTTP status or exit code.
        late: what the worker reported after it had lost the claim.
        was: values that a requeue replaced.
    """

    attempt: int
    token: str | None = None
    worker: str | None = None
    start_at: datetime | None = None
    end_at: datetime | None = None
    outcome: Outcome | None = None
    error: JobError | None = None
    code: int | None = None
    late: Mapping[str, Any] | None = None
    was: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NewJob:
    """A job to be added. ``None`` takes the default of the queue; durations are in seconds.

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
    on_success_delete: bool | None = None
    on_complete: Children = None
    on_success: Children = None
    on_failure: Children = None

    def __post_init__(self) -> None:
        problems: Problems = {}
        _check_names(self, problems)
        for name in BOUNDS:
            _check_number(name, getattr(self, name), problems)
        if self.delay is not None and self.delay_til is not None:
            problems["delayTil"] = ["cannot be given together with delay"]
        if self.delay_til is not None and not isinstance(self.delay_til, datetime):
            problems["delayTil"] = ["must be a date"]
        elif self.delay_til is not None and self.delay_til.tzinfo is None:
            object.__setattr__(self, "delay_til", self.delay_til.replace(tzinfo=UTC))
        if self.on_success_delete is not None and not isinstance(self.on_success_delete, bool):
            problems["onSuccessDelete"] = ["must be true or false"]
        _merge(problems, lambda: object.__setattr__(self, "backoff", _read_backoff(self.backoff)))
        for name, path in (
            ("on_complete", "onComplete"),
            ("on_success", "onSuccess"),
            ("on_failure", "onFailure"),
        ):
            _merge(problems, lambda n=name, p=path: object.__setattr__(self, n, children(getattr(self, n), p)))  # type: ignore[misc]  # the defaults bind the loop's names
        size = 0
        for name, dots in (("data", True), ("meta", False)):
            value = getattr(self, name)
            if not isinstance(value, Mapping):
                problems[name] = ["must be an object"]
                continue
            object.__setattr__(self, name, dict(value))
            try:
                size += payload.check(getattr(self, name), name, dots=dots)
            except InvalidInputError as error:
                problems.update(error.problems)
            else:
                if name == "meta" and sum(1 for _ in attributes.scalars(self.meta)) > attributes.MOST:
                    problems["meta"] = [f"takes at most {attributes.MOST} values"]
        if problems:
            raise InvalidInputError(problems)
        if size > payload.MOST_DATA:
            raise TooLargeError("data and meta", size, payload.MOST_DATA)
        if depth(self) > DEEPEST_CHILD:
            raise InvalidInputError({"onComplete": [f"children are nested deeper than {DEEPEST_CHILD}"]})


Children = NewJob | tuple[NewJob, ...] | None
"""Jobs to create when this one ends: one, several or none; kept in the shape they were given."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A job as it is stored. Ids are 24 hex digits, dates are aware and UTC, durations seconds.

    Attributes:
        run: how often a person has requeued it.
        log_count: how many lines it has written, those outside the document included.
        outbox: what has to be done since it ended, and is not done yet.
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


def check_id(value: object, path: str = "id") -> str:
    """Return the id in lower case.

    Raises:
        InvalidInputError: it is not 24 hex digits.
    """
    if isinstance(value, str) and _ID.fullmatch(value.lower()):
        return value.lower()
    raise InvalidInputError({path: ["must be 24 hexadecimal digits"]})


def check_queue(value: object, path: str = "queue") -> str:
    """Return the queue name.

    Raises:
        InvalidInputError: it is not 1 to 100 of ``A-Z a-z 0-9 _ : -``.
    """
    if isinstance(value, str) and QUEUE_NAME.fullmatch(value):
        return value
    raise InvalidInputError({path: ["must be 1 to 100 letters, digits, _ : or -, and begin with a letter or digit"]})


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


def _check_names(job: NewJob, problems: Problems) -> None:
    _merge(problems, lambda: check_queue(job.queue))
    if not isinstance(job.type, str) or not 1 <= len(job.type) <= 200 or not job.type.isprintable():  # noqa: PLR2004 - said in the message
        problems["type"] = ["must be 1 to 200 printable characters"]
    elif job.type == "*" or job.type.startswith("$"):
        problems["type"] = ['must not be "*" or begin with $']
    if job.key is None:
        return
    if not isinstance(job.key, str) or not 1 <= len(job.key) <= 500:  # noqa: PLR2004 - said in the message
        problems["key"] = ["must be 1 to 500 characters"]
    else:
        _merge(problems, lambda: payload.check(job.key, "key"))


def _check_number(name: str, value: object, problems: Problems) -> None:
    if value is None:
        return
    low, high = BOUNDS[name]
    kinds: tuple[type, ...] = (int,) if name in _WHOLE else (int, float)
    if isinstance(value, bool) or not isinstance(value, kinds) or not math.isfinite(value):  # type: ignore[arg-type]  # kinds holds numbers only
        problems[name] = ["must be a whole number" if name in _WHOLE else "must be a number of seconds"]
    elif not low <= value <= high:  # type: ignore[operator]  # as above
        problems[name] = [f"must be from {low:.15g} to {high:.15g}"]


def check_number(name: str, value: object) -> None:
    """Make sure that a numeric field is within its `BOUNDS`.

    Raises:
        InvalidInputError: it is not.
    """
    problems: Problems = {}
    _check_number(name, value, problems)
    if problems:
        raise InvalidInputError(problems)


def _read_backoff(value: object) -> Backoff | None:
    return None if value is None else backoffs.parse(value)


def _merge(problems: Problems, check: Any) -> None:
    try:
        check()
    except InvalidInputError as error:
        problems.update(error.problems)


def _cut(text: str, most: int) -> str:
    clean = text.encode("utf-8", "replace").decode()
    return clean if len(clean) <= most else clean[: most - 20] + " … (cut short)"
