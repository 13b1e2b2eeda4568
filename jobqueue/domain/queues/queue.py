"""How a queue is configured: its limits, defaults for its jobs, and what processes them."""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

from jobqueue.domain.errors import InvalidInputError, Problems
from jobqueue.domain.jobs import backoff as backoffs
from jobqueue.domain.jobs.checks import check_flag, check_number, gather
from jobqueue.domain.limits import limits
from jobqueue.domain.work.processing import ANY_TYPE, ProcessorConfig, processor

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from jobqueue.domain.jobs.backoff import Backoff
    from jobqueue.domain.jobs.job import NewJob
    from jobqueue.domain.limits.limits import Breaker, Rate

DEFAULTED: Final = ("priority", "attempts", "backoff", "lease", "timeout", "on_success_delete")
"""Fields of a job that its queue has defaults for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueConfig:
    """The configuration of one queue; durations in seconds.

    Attributes:
        concurrency: how many jobs may be processing at a time, over all processes; ``None`` for any number.
        rate: how many may start in a window, over all processes.
        limit_by: the path of a value for each of which these two hold, such as ``meta.user_id``.
        processors: by job type, `ANY_TYPE` for the rest.
        retention: seconds after which ended jobs are deleted, by state.
        breaker: when to hold back because too much fails.
        max_retries: how many uncounted runs a job may have in a row, each begun within ten seconds of the one before.
    """

    paused: bool = False
    concurrency: int | None = None
    rate: Rate | None = None
    limit_by: str | None = None
    attempts: int = 3
    backoff: Backoff = backoffs.DEFAULT
    lease: float = 60
    timeout: float | None = None
    priority: int = 0
    on_success_delete: bool = False
    processors: Mapping[str, ProcessorConfig] = field(default_factory=dict)
    retention: Mapping[str, float] = field(default_factory=dict)
    breaker: Breaker | None = None
    max_retries: int = limits.USUAL_RETRIES

    def __post_init__(self) -> None:
        problems: Problems = {}
        for name in ("attempts", "lease", "timeout", "priority"):
            if name != "timeout" or self.timeout is not None:
                gather(problems, check_number, name, getattr(self, name))
        if self.concurrency is not None:
            gather(problems, _check_concurrency, self.concurrency)
        gather(problems, limits.check_retries, self.max_retries)
        if self.limit_by is not None:
            gather(problems, limits.limit_path, self.limit_by)
        for kind in self.processors:
            if not 1 <= len(kind) <= 200 or not kind.isprintable() or kind.startswith("$"):  # noqa: PLR2004 - said in the message
                problems[f"processors.{kind[:80]}"] = ["must be a job type, or * for all others"]
        if problems:
            raise InvalidInputError(problems)

    @property
    def limited(self) -> bool:
        """Whether a claim has to look at more than the next job."""
        return self.concurrency is not None or self.rate is not None or self.breaker is not None

    @property
    def grouped(self) -> bool:
        """Whether limits hold for each value of something."""
        return self.limit_by is not None and (self.concurrency is not None or self.rate is not None)

    @property
    def group_path(self) -> str | None:
        """The path of the value for each of which limits hold; ``None`` where they do not."""
        return self.limit_by if self.grouped else None

    def processor_for(self, kind: str) -> ProcessorConfig | None:
        """Return what processes jobs of a type, if this queue's configuration says."""
        return self.processors.get(kind) or self.processors.get(ANY_TYPE)

    def limit_key(self, data: Mapping[str, Any], meta: Mapping[str, Any]) -> str | None:
        """Return the group that a job counts in, or ``None`` if limits hold for the queue as a whole."""
        return limits.limit_key(self.limit_by, data, meta) if self.limit_by is not None else None

    def fill(self, new: NewJob) -> NewJob:
        """Give a new job this queue's defaults where it has no value of its own."""
        filled = copy(new)
        for name in DEFAULTED:
            if getattr(new, name) is None:
                # Both sides are checked already; replace() would check the whole job again.
                object.__setattr__(filled, name, getattr(self, name))
        return filled


def read(given: Mapping[str, Any]) -> QueueConfig:
    """Read a configuration from its wire form; what is left out, or ``null``, has its default.

    Raises:
        InvalidInputError: naming each unacceptable or unknown field.
    """
    problems: Problems = {str(name): ["is not a known field"] for name in given if name not in FIELDS}
    config = QueueConfig()
    for name, value in given.items():
        if name in FIELDS and value is not None:
            config = gather(problems, _with, config, name, value) or config
    if problems:
        raise InvalidInputError(problems)
    return config


def read_what_holds(given: Mapping[str, Any]) -> QueueConfig:
    """Read a configuration that somebody may have spoilt by hand: what cannot be understood is left out."""
    config = QueueConfig()
    for name, raw in given.items():
        value = bool(raw) if name == "paused" else _whole(raw)
        if name == "processors" and isinstance(value, dict):
            for kind, one in value.items():
                config = gather({}, _with, config, name, {**config.processors, kind: one}) or config
        elif name in FIELDS and value is not None:
            config = gather({}, _with, config, name, value) or config
    return config


def _with(config: QueueConfig, name: str, value: Any) -> QueueConfig:
    attribute, parse = FIELDS[name]
    return replace(config, **{attribute: parse(value)})


def _below(name: str, parse: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return what reads a value, its problems with their paths below the name of the field."""

    def read_below(value: Any) -> Any:
        try:
            return parse(value)
        except InvalidInputError as error:
            raise error.under(name) from None

    return read_below


def _whole(value: Any) -> Any:
    """Return a value with whole numbers as such: some shells store every number as a broken one."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, dict):
        return {name: _whole(inner) for name, inner in value.items()}
    return [_whole(inner) for inner in value] if isinstance(value, list) else value


def _as_given(value: Any) -> Any:
    return value


def _flag(name: str) -> Callable[[Any], bool]:
    return lambda value: check_flag(value, name)


def _processors(given: Any) -> Mapping[str, ProcessorConfig]:
    if not isinstance(given, dict):
        raise InvalidInputError({"processors": ["must be an object"]})
    problems: Problems = {}
    found: dict[str, ProcessorConfig] = {}
    for kind, one in given.items():
        made = one if isinstance(one, ProcessorConfig) else gather(problems, processor, one, f"processors.{kind}")
        if made is not None:
            found[kind] = made
    if problems:
        raise InvalidInputError(problems)
    return found


def _check_concurrency(value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= limits.MOST_CONCURRENCY:
        raise InvalidInputError({"concurrency": [f"must be a whole number from 1 to {limits.MOST_CONCURRENCY:,}"]})


FIELDS: Final[Mapping[str, tuple[str, Callable[[Any], Any]]]] = {
    "paused": ("paused", _flag("paused")),
    "concurrency": ("concurrency", _as_given),
    "rate": ("rate", _below("rate", limits.rate)),
    "limitBy": ("limit_by", limits.limit_path),
    "attempts": ("attempts", _as_given),
    "backoff": ("backoff", backoffs.parse),
    "lease": ("lease", _as_given),
    "timeout": ("timeout", _as_given),
    "priority": ("priority", _as_given),
    "onSuccessDelete": ("on_success_delete", _flag("onSuccessDelete")),
    "processors": ("processors", _processors),
    "retention": ("retention", _below("retention", limits.retention)),
    "breaker": ("breaker", _below("breaker", limits.breaker)),
    "maxRetries": ("max_retries", _as_given),
}
"""By wire name: the attribute, and what reads its value."""
