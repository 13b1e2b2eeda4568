"""Limits of a queue: rates, circuit breakers, retention, and the groups that limits hold for."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, Literal

from jobqueue.domain.durations import is_number, is_whole
from jobqueue.domain.errors import InvalidInputError, Problems
from jobqueue.domain.unknown import unknown_names
from jobqueue.domain.values.checks import gather

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet

MOST_CONCURRENCY: Final = 10_000
MOST_STARTS: Final = 10_000
"""Starts in the window of a rate."""
LONGEST_WINDOW: Final = 31 * 86_400
SHORTEST_WINDOW: Final = 0.5
MOST_FAILURES: Final = 10_000
LONGEST_COOLDOWN: Final = 7 * 86_400
USUAL_RETRIES: Final = 1000
"""Uncounted runs in a row, by default."""
MOST_RETRIES: Final = 1_000_000
LONGEST_RETENTION: Final = 100 * 365 * 86_400
_LEEWAY: Final = 0.01
_SHORTEST_LEEWAY: Final = 0.015
_LONGEST_LEEWAY: Final = 0.25
LONGEST_LEEWAY: Final = timedelta(seconds=10)
"""The longest leeway of a grant, where writes to the database are slow."""
LONGEST_VALUE: Final = 200
"""Characters of a value as JSON; a hash stands for a longer value."""
HASHED: Final = "sha256:"
_PATH: Final = re.compile(r"(?:meta|data)(?:\.[^.=$\x00][^.=\x00]{0,199}){1,10}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """At most ``limit`` starts in any window of ``per`` seconds."""

    limit: int
    per: float

    def __post_init__(self) -> None:
        problems: Problems = {}
        gather(problems, check_whole, self.limit, "limit", MOST_STARTS)
        if not is_number(self.per) or not SHORTEST_WINDOW <= self.per <= LONGEST_WINDOW:
            problems["per"] = [f"must be from {SHORTEST_WINDOW} to {LONGEST_WINDOW} seconds"]
        if problems:
            raise InvalidInputError(problems)

    @property
    def leeway(self) -> timedelta:
        """The time in which a grant may be used; a grant holds for the window and this time."""
        return timedelta(seconds=min(max(self.per * _LEEWAY, _SHORTEST_LEEWAY), _LONGEST_LEEWAY))

    def wire(self) -> dict[str, Any]:
        """Return the JSON form, which is also the stored form."""
        return {"limit": self.limit, "per": self.per}


@dataclass(frozen=True, slots=True, kw_only=True)
class Breaker:
    """Start no job for ``cooldown`` seconds after so many failed attempts in a row, then one job on trial.

    Attributes:
        per: hold back the whole queue, or jobs of the type that failed.
    """

    failures: int
    cooldown: float = 60
    per: Literal["queue", "type"] = "queue"

    def __post_init__(self) -> None:
        problems: Problems = {}
        gather(problems, check_whole, self.failures, "failures", MOST_FAILURES)
        if not is_number(self.cooldown) or not 0 < self.cooldown <= LONGEST_COOLDOWN:
            problems["cooldown"] = [f"must be more than 0 and at most {LONGEST_COOLDOWN} seconds"]
        if self.per not in ("queue", "type"):
            problems["per"] = ["must be queue or type"]
        if problems:
            raise InvalidInputError(problems)

    def wire(self) -> dict[str, Any]:
        """Return the JSON form, which is also the stored form."""
        return {"failures": self.failures, "cooldown": self.cooldown, "per": self.per}


def rate(value: Any) -> Rate:
    """Read a rate from JSON; the problems have the paths of its fields."""
    return Rate(**_fields(value, required={"limit", "per"}))


def breaker(value: Any) -> Breaker:
    """Read a circuit breaker from JSON; the problems have the paths of its fields."""
    return Breaker(**_fields(value, required={"failures"}, optional={"cooldown", "per"}))


def retention(value: Any) -> dict[str, float]:
    """Read the seconds for which ended jobs are kept, by state; a state without a number is kept for ever."""
    values = _fields(value, optional={"success", "failed", "killed"})
    problems: Problems = {
        name: [f"must be more than 0 and at most {LONGEST_RETENTION} seconds, or null to keep them for ever"]
        for name, seconds in values.items()
        if seconds is not None and (not is_number(seconds) or not 0 < seconds <= LONGEST_RETENTION)
    }
    if problems:
        raise InvalidInputError(problems)
    return {name: seconds for name, seconds in values.items() if seconds is not None}


def check_whole(value: Any, name: str, most: int) -> int:
    """Return a whole number from 1 to ``most``, or raise `InvalidInputError` with the name."""
    if is_whole(value) and 1 <= value <= most:
        return value
    raise InvalidInputError({name: [f"must be a whole number from 1 to {most:,}"]})


def limit_path(value: Any) -> str:
    """Return a path such as ``meta.user_id``, for each of whose values limits hold, or raise `InvalidInputError`."""
    if isinstance(value, str) and _PATH.fullmatch(value) and value.isprintable():
        return value
    raise InvalidInputError({"limitBy": ["must be a path below meta or data, such as meta.user_id"]})


def limit_value(path: str, data: Any, meta: Any) -> Any:
    """Return the value at a path through objects; ``None`` if there is none."""
    root, *steps = path.split(".")
    value = data if root == "data" else meta
    for step in steps:
        value = value.get(step) if isinstance(value, Mapping) else None
    return value


def limit_key(path: str, data: Any, meta: Any) -> str:
    """Return the key of a job's group, where limits hold for each value at a path: ``path=value``, as JSON.

    Jobs without a value are a group too. A hash stands for a value that is long or no scalar.
    """
    return f"{path}={value_text(limit_value(path, data, meta))}"


def value_text(value: Any) -> str:
    """Return a value as a part of the key of a group."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    text = json.dumps(value, ensure_ascii=False, default=str, sort_keys=True)
    if len(text) > LONGEST_VALUE or isinstance(value, Mapping | list | tuple):
        text = HASHED + hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
    return text


def _fields(
    value: Any, *, required: AbstractSet[str] = frozenset(), optional: AbstractSet[str] = frozenset()
) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise InvalidInputError({"": ["must be an object"]})
    problems: Problems = unknown_names(value, required | optional)
    problems |= {name: ["is required"] for name in required - value.keys()}
    if problems:
        raise InvalidInputError(problems)
    return dict(value)
