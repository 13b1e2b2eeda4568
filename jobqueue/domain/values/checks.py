"""Checks of single values from outside."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from jobqueue.domain.durations import LONGEST, is_number, is_whole
from jobqueue.domain.errors import InvalidInputError, Problems
from jobqueue.domain.values import payload

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

QUEUE_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_:-]{0,99}")
_ID: Final = re.compile(r"[0-9a-f]{24}")
LONGEST_TYPE: Final = 200
LONGEST_KEY: Final = 500
LONGEST_VERSION: Final = 100
BOUNDS: Final[Mapping[str, tuple[float, float]]] = {
    "priority": (-1_000_000_000, 1_000_000_000),
    "attempts": (1, 10_000),
    "delay": (0, LONGEST),
    "lease": (0.2, 7 * 86_400),
    "timeout": (0.05, 365 * 86_400),
}
"""Lowest and highest value of the numeric fields; durations in seconds."""
EXPIRY_BOUNDS: Final = (1.0, LONGEST)
"""Lowest and highest number of seconds within which a job has to start."""
_WHOLE: Final = frozenset({"priority", "attempts"})


def is_id(value: str) -> bool:
    """Tell whether a text has the form of an id."""
    return _ID.fullmatch(value.lower()) is not None


def check_id(value: Any, path: str = "id") -> str:
    """Return an id of 24 hex digits in lower case, or raise `InvalidInputError`."""
    if isinstance(value, str) and is_id(value):
        return value.lower()
    raise InvalidInputError({path: ["must be 24 hexadecimal digits"]})


def check_queue(value: Any, path: str = "queue") -> str:
    """Return the name of a queue, 1 to 100 of ``A-Z a-z 0-9 _ : -``, or raise `InvalidInputError`."""
    if isinstance(value, str) and QUEUE_NAME.fullmatch(value):
        return value
    raise InvalidInputError({path: ["must be 1 to 100 letters, digits, _ : or -, and begin with a letter, digit or _"]})


def check_type(value: Any, path: str = "type") -> str:
    """Return the type of a job, or raise `InvalidInputError`.

    A type has 1 to 200 printable characters, is not ``*`` and does not begin with ``$``.
    """
    if not isinstance(value, str) or not 1 <= len(value) <= LONGEST_TYPE or not value.isprintable():
        raise InvalidInputError({path: [f"must be 1 to {LONGEST_TYPE} printable characters"]})
    if value == "*" or value.startswith("$"):
        raise InvalidInputError({path: ['must not be "*" or begin with $']})
    return value


def check_key(value: Any, path: str = "key") -> str:
    """Return a key of 1 to 500 characters of Unicode text, or raise `InvalidInputError`."""
    if not isinstance(value, str) or not 1 <= len(value) <= LONGEST_KEY:
        raise InvalidInputError({path: [f"must be 1 to {LONGEST_KEY} characters"]})
    payload.check(value, path)
    return value


def check_version(value: Any, path: str = "version") -> str:
    """Return the version of a program, 1 to 100 printable characters, or raise `InvalidInputError`."""
    if isinstance(value, str) and 1 <= len(value) <= LONGEST_VERSION and value.isprintable():
        return value
    raise InvalidInputError({path: [f"must be 1 to {LONGEST_VERSION} printable characters"]})


def check_flag(value: Any, path: str) -> bool:
    """Return a truth value, or raise `InvalidInputError`."""
    if isinstance(value, bool):
        return value
    raise InvalidInputError({path: ["must be true or false"]})


def check_number(name: str, value: Any) -> float:
    """Return the value of a numeric field within its `BOUNDS`, or raise `InvalidInputError`."""
    low, high = BOUNDS[name]
    if not (is_whole(value) if name in _WHOLE else is_number(value)):
        raise InvalidInputError({name: ["must be a whole number" if name in _WHOLE else "must be a number of seconds"]})
    if not low <= value <= high:
        raise InvalidInputError({name: [f"must be from {low:.15g} to {high:.15g}"]})
    number: float = value
    return number


def check_expiry(value: Any, path: str = "startBefore") -> float:
    """Return the seconds within which a job has to start, or raise `InvalidInputError`."""
    if not is_number(value):
        raise InvalidInputError({path: ["must be a date or a number of seconds"]})
    low, high = EXPIRY_BOUNDS
    if not low <= value <= high:
        raise InvalidInputError({path: [f"must be from {low:.15g} to {high:.15g} seconds, or a date"]})
    return value


def gather(problems: Problems, check: Callable[..., Any], *arguments: Any) -> Any:
    """Return the result of a check; if it fails, add its problems to ``problems`` and return ``None``."""
    try:
        return check(*arguments)
    except InvalidInputError as error:
        for path, messages in error.problems.items():
            problems.setdefault(path, []).extend(messages)
        return None
