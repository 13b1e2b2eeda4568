"""Configurations of queues: limits, defaults of jobs, and processors."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from jobqueue.domain.attempts import backoff as backoffs
from jobqueue.domain.errors import InvalidInputError, Problems
from jobqueue.domain.jobs.job import unchecked
from jobqueue.domain.jobs.json_form import camel
from jobqueue.domain.limits import limits
from jobqueue.domain.queues import needs
from jobqueue.domain.unknown import unknown_names
from jobqueue.domain.values.checks import check_expiry, check_flag, check_number, gather
from jobqueue.domain.work.processing import ANY_TYPE, ProcessorConfig, processor

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from jobqueue.domain.attempts.backoff import Backoff
    from jobqueue.domain.jobs.job import NewJob
    from jobqueue.domain.limits.limits import Breaker, Rate

LONGEST_REASON: Final = 300
"""Characters of the reason why a queue is paused."""
DEFAULTED: Final = ("priority", "attempts", "backoff", "lease", "timeout", "start_before", "on_success_delete")
"""Fields of a job with defaults of the queue."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueConfig:
    """The configuration of one queue; durations in seconds.

    Attributes:
        concurrency: the number of jobs that run at a time, over all processes; ``None`` for any number.
        rate: the number of starts in a window, over all processes.
        limit_by: a path such as ``meta.user_id``; concurrency and rate hold for each of its values.
        processors: by job type, `ANY_TYPE` for the rest.
        start_before: seconds from the time at which a job is due; a job that has not started by then is killed.
        retention: seconds after which ended jobs are deleted, by state.
        breaker: the circuit breaker.
        max_retries: the number of uncounted runs in a row, each begun within ten seconds of the run before.
        pause_reason: the reason why it is paused, for people.
        check: refuse new jobs whose data fits no schema that a worker for their type has published.
    """

    paused: bool = False
    concurrency: int | None = None
    rate: Rate | None = None
    limit_by: str | None = None
    attempts: int = 3
    backoff: Backoff = backoffs.DEFAULT
    lease: float = 60
    timeout: float | None = None
    start_before: float | None = None
    priority: int = 0
    on_success_delete: bool = False
    processors: Mapping[str, ProcessorConfig] = field(default_factory=dict)
    retention: Mapping[str, float] = field(default_factory=dict)
    breaker: Breaker | None = None
    max_retries: int = limits.USUAL_RETRIES
    check: bool = False
    pause_reason: str | None = None

    def __post_init__(self) -> None:
        problems: Problems = {}
        for name in ("attempts", "lease", "timeout", "priority"):
            if name != "timeout" or self.timeout is not None:
                gather(problems, check_number, name, getattr(self, name))
        if self.start_before is not None:
            gather(problems, check_expiry, self.start_before)
        if self.concurrency is not None:
            gather(problems, limits.check_whole, self.concurrency, "concurrency", limits.MOST_CONCURRENCY)
        gather(problems, limits.check_whole, self.max_retries, "maxRetries", limits.MOST_RETRIES)
        if self.limit_by is not None:
            gather(problems, limits.limit_path, self.limit_by)
        for kind in self.processors:
            if not 1 <= len(kind) <= 200 or not kind.isprintable() or kind.startswith("$"):  # noqa: PLR2004 - said in the message
                problems[f"processors.{kind[:80]}"] = ["must be a job type, or * for all others"]
        if problems:
            raise InvalidInputError(problems)

    @property
    def limited(self) -> bool:
        """True if a claim looks at more than the next job."""
        return self.concurrency is not None or self.rate is not None or self.breaker is not None

    @property
    def grouped(self) -> bool:
        """True if limits hold for each value at a path."""
        return self.limit_by is not None and (self.concurrency is not None or self.rate is not None)

    @property
    def group_path(self) -> str | None:
        """The path for each of whose values limits hold; ``None`` if the queue is not grouped."""
        return self.limit_by if self.grouped else None

    def processor_for(self, kind: str) -> ProcessorConfig | None:
        """Return the processor of a type of job, if there is one."""
        return self.processors.get(kind) or self.processors.get(ANY_TYPE)

    def limit_key(self, data: Mapping[str, Any], meta: Mapping[str, Any]) -> str | None:
        """Return the key of a job's group, or ``None`` if limits hold for the whole queue."""
        return None if self.group_path is None else limits.limit_key(self.group_path, data, meta)

    def fill(self, new: NewJob, **values: Any) -> NewJob:
        """Return a new job with acceptable other values, and with the queue's defaults in place of missing ones."""
        defaults = {name: getattr(self, name) for name in DEFAULTED if getattr(new, name) is None}
        return unchecked(new, **defaults, **values)


def paused_text(name: str, config: QueueConfig) -> str:
    """Return a sentence about a queue that is paused."""
    return f"queue {name} is paused" + (f": {config.pause_reason}" if config.pause_reason else "")


def read(document: Mapping[str, Any]) -> QueueConfig:
    """Read a configuration from JSON; a missing field, or ``null``, has its default.

    Raises:
        InvalidInputError: naming each unacceptable or unknown field.
    """
    problems: Problems = unknown_names(document, _ATTRIBUTES)
    config = QueueConfig()
    for name, value in document.items():
        if name in _ATTRIBUTES and value is not None:
            config = gather(problems, _with, config, name, value) or config
    if problems:
        raise InvalidInputError(problems)
    return config


def read_stored(document: Mapping[str, Any]) -> QueueConfig:
    """Read a stored configuration, without the fields that another tool has spoilt."""
    config = QueueConfig()
    for name, raw in document.items():
        value = needs.is_paused(raw) if name == needs.FIELD else _whole(raw)
        if name == "processors" and isinstance(value, dict):
            for kind, processor in value.items():
                config = gather({}, _with, config, name, {**config.processors, kind: processor}) or config
        elif name in _ATTRIBUTES and value is not None:
            config = gather({}, _with, config, name, value) or config
    return config


def _with(config: QueueConfig, name: str, value: Any) -> QueueConfig:
    return replace(config, **{_ATTRIBUTES[name]: _READERS[name](value) if name in _READERS else value})


def _below(name: str, parse: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return a reader whose problems have their paths below the name of the field."""

    def read_below(value: Any) -> Any:
        try:
            return parse(value)
        except InvalidInputError as error:
            raise error.under(name) from None

    return read_below


def _whole(value: Any) -> Any:
    """Return a value with whole numbers as integers, because some shells store every number as a float."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, dict):
        return {name: _whole(inner) for name, inner in value.items()}
    return [_whole(inner) for inner in value] if isinstance(value, list) else value


def _processors(value: Any) -> Mapping[str, ProcessorConfig]:
    if not isinstance(value, dict):
        raise InvalidInputError({"processors": ["must be an object"]})
    problems: Problems = {}
    processors: dict[str, ProcessorConfig] = {}
    for kind, config in value.items():
        is_read = isinstance(config, ProcessorConfig)
        processors[kind] = config if is_read else gather(problems, processor, config, f"processors.{kind}")
    if problems:
        raise InvalidInputError(problems)
    return processors


def check_reason(value: Any, path: str = "reason") -> str:
    """Return the reason of a pause.

    Raises:
        InvalidInputError: it is no text of 1 to `LONGEST_REASON` characters in one line.
    """
    if isinstance(value, str) and 1 <= len(value) <= LONGEST_REASON and value.isprintable():
        return value
    raise InvalidInputError({path: [f"must be 1 to {LONGEST_REASON} characters in one line"]})


_READERS: Final[Mapping[str, Callable[[Any], Any]]] = {
    "paused": partial(check_flag, path="paused"),
    "check": partial(check_flag, path="check"),
    "pauseReason": partial(check_reason, path="pauseReason"),
    "rate": _below("rate", limits.rate),
    "limitBy": limits.limit_path,
    "backoff": backoffs.parse,
    "onSuccessDelete": partial(check_flag, path="onSuccessDelete"),
    "processors": _processors,
    "retention": _below("retention", limits.retention),
    "breaker": _below("breaker", limits.breaker),
}
"""Readers of values by JSON name; other values stay as they are."""
_ATTRIBUTES: Final = {camel(item.name): item.name for item in fields(QueueConfig)}
