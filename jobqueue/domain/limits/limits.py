"""Limits of a queue: how many jobs at a time, how many in a window, for each value of what, and when to hold back."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, Literal

from jobqueue.domain.errors import InvalidInputError, Problems
from jobqueue.domain.jobs.backoff import finite

MOST_CONCURRENCY: Final = 10_000
MOST_STARTS: Final = 10_000
"""Starts that a rate may allow in its window."""
LONGEST_WINDOW: Final = 31 * 86_400
SHORTEST_WINDOW: Final = 0.5
MOST_FAILURES: Final = 10_000
LONGEST_COOLDOWN: Final = 7 * 86_400
USUAL_RETRIES: Final = 1000
"""Uncounted runs in a row that a job may have in a queue that says nothing else."""
MOST_RETRIES: Final = 1_000_000
LONGEST_RETENTION: Final = 100 * 365 * 86_400
_LEEWAY: Final = 0.01
_SHORTEST_LEEWAY: Final = 0.015
_LONGEST_LEEWAY: Final = 0.25
LONGEST_VALUE: Final = 200
"""Characters of a value as JSON; a longer one stands by its hash."""
HASHED: Final = "sha256:"
_PATH: Final = re.compile(r"(?:meta|data)(?:\.[^.=$\x00][^.=\x00]{0,199}){1,10}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """At most so many starts in any window.

    Attributes:
        limit: starts.
        per: seconds.
    """

    limit: int
    per: float

    def __post_init__(self) -> None:
        problems: Problems = {}
        if not _is_whole(self.limit) or not 1 <= self.limit <= MOST_STARTS:
            problems["limit"] = [f"must be a whole number from 1 to {MOST_STARTS:,}"]
        if not _is_number(self.per) or not SHORTEST_WINDOW <= self.per <= LONGEST_WINDOW:
            problems["per"] = [f"must be from {SHORTEST_WINDOW} to {LONGEST_WINDOW} seconds"]
        if problems:
            raise InvalidInputError(problems)

    @property
    def leeway(self) -> timedelta:
        """How long after its grant a start may happen: a grant holds for the window and this."""
        return timedelta(seconds=min(max(self.per * _LEEWAY, _SHORTEST_LEEWAY), _LONGEST_LEEWAY))

    def wire(self) -> dict[str, Any]:
        """Return the form it is stored and shown in."""
        return {"limit": self.limit, "per": self.per}


@dataclass(frozen=True, slots=True, kw_only=True)
class Breaker:
    """Start nothing for a while after so many failed attempts in a row, then one job on trial.

    Attributes:
        failures: in a row.
        cooldown: seconds.
        per: whether the whole queue is held back, or only jobs of the type that failed.
    """

    failures: int
    cooldown: float = 60
    per: Literal["queue", "type"] = "queue"

    def __post_init__(self) -> None:
        problems: Problems = {}
        if not _is_whole(self.failures) or not 1 <= self.failures <= MOST_FAILURES:
            problems["failures"] = [f"must be a whole number from 1 to {MOST_FAILURES:,}"]
        if not _is_number(self.cooldown) or not 0 < self.cooldown <= LONGEST_COOLDOWN:
            problems["cooldown"] = [f"must be more than 0 and at most {LONGEST_COOLDOWN} seconds"]
        if self.per not in ("queue", "type"):
            problems["per"] = ["must be queue or type"]
        if problems:
            raise InvalidInputError(problems)

    def wire(self) -> dict[str, Any]:
        """Return the form it is stored and shown in."""
        return {"failures": self.failures, "cooldown": self.cooldown, "per": self.per}


def rate(given: Any) -> Rate:
    """Read a rate from its wire form.

    Raises:
        InvalidInputError: with the paths of its fields.
    """
    return Rate(**_fields(given, required={"limit", "per"}))


def breaker(given: Any) -> Breaker:
    """Read a circuit breaker from its wire form.

    Raises:
        InvalidInputError: with the paths of its fields.
    """
    return Breaker(**_fields(given, required={"failures"}, optional={"cooldown", "per"}))


def retention(given: Any) -> dict[str, float]:
    """Read for how many seconds ended jobs are kept, by state; a state without a number is kept for ever.

    Raises:
        InvalidInputError: with the paths of its fields.
    """
    values = _fields(given, required=set(), optional={"success", "failed", "killed"})
    problems: Problems = {
        name: [f"must be more than 0 and at most {LONGEST_RETENTION} seconds, or null to keep them for ever"]
        for name, seconds in values.items()
        if seconds is not None and (not _is_number(seconds) or not 0 < seconds <= LONGEST_RETENTION)
    }
    if problems:
        raise InvalidInputError(problems)
    return {name: seconds for name, seconds in values.items() if seconds is not None}


def check_retries(given: Any) -> int:
    """Return how many uncounted runs in a row a job may have.

    Raises:
        InvalidInputError: it is not a whole number from 1 to `MOST_RETRIES`.
    """
    if _is_whole(given) and 1 <= given <= MOST_RETRIES:
        return int(given)
    raise InvalidInputError({"maxRetries": [f"must be a whole number from 1 to {MOST_RETRIES:,}"]})


def limit_path(given: Any) -> str:
    """Return the path of the value that limits hold for each of, such as ``meta.user_id``.

    Raises:
        InvalidInputError: it is none.
    """
    if isinstance(given, str) and _PATH.fullmatch(given) and given.isprintable():
        return given
    raise InvalidInputError({"limitBy": ["must be a path below meta or data, such as meta.user_id"]})


def limit_value(path: str, data: Any, meta: Any) -> Any:
    """Return the value that a path leads to, through objects only; ``None`` if there is none."""
    root, *steps = path.split(".")
    value = data if root == "data" else meta
    for step in steps:
        value = value.get(step) if isinstance(value, Mapping) else None
    return value


def limit_key(path: str, data: Any, meta: Any) -> str:
    """Return which group of jobs one belongs to whose queue is limited by a path: ``path=value``, the value as JSON.

    What has no such value is a group too. A value that is long or not a scalar stands by its hash.
    """
    return f"{path}={value_text(limit_value(path, data, meta))}"


def value_text(value: Any) -> str:
    """Return a value as it stands in the key of a group."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    text = json.dumps(value, ensure_ascii=False, default=str, sort_keys=True)
    if len(text) > LONGEST_VALUE or isinstance(value, Mapping | list | tuple):
        text = HASHED + hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
    return text


def _fields(given: Any, *, required: set[str], optional: set[str] | None = None) -> dict[str, Any]:
    if not isinstance(given, Mapping):
        raise InvalidInputError({"": ["must be an object"]})
    problems: Problems = {str(name): ["is not a known field"] for name in given.keys() - required - (optional or set())}
    problems |= {name: ["is required"] for name in required - given.keys()}
    if problems:
        raise InvalidInputError(problems)
    return dict(given)


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and finite(value)
