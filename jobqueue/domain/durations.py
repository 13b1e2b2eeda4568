"""Numbers and durations that callers pass; durations are in seconds."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import Final, SupportsFloat, TypeGuard

from jobqueue.domain.text import type_name

LONGEST: Final = 10 * 365 * 86_400.0
"""Seconds of the longest wait."""


def is_whole(value: object) -> TypeGuard[int]:
    """Tell whether a value is a whole number; a truth value is none."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_64_bit(number: int) -> bool:
    """Tell whether MongoDB can store a whole number."""
    return -(2**63) <= number < 2**63


def is_number(value: object) -> TypeGuard[float]:
    """Tell whether a value is a finite number; a whole number may be too large for a float."""
    return is_whole(value) or (isinstance(value, float) and math.isfinite(value))


def seconds(value: object, name: str) -> float | None:
    """Return a wait in seconds; a negative wait becomes 0, and ``None`` stays ``None``.

    ``name`` is the name of the argument, for the message.

    Raises:
        TypeError: the value is neither a number nor a `timedelta`.
        ValueError: the value is not finite, or longer than `LONGEST`.
    """
    if value is None:
        return None
    if isinstance(value, timedelta):
        wait = value.total_seconds()
    elif isinstance(value, bool) or not isinstance(value, SupportsFloat):
        raise TypeError(f"{name} must be seconds or a timedelta, not {type_name(value)}")
    else:
        try:
            wait = float(value)
        except OverflowError:
            wait = math.inf
    if not math.isfinite(wait) or wait > LONGEST:
        raise ValueError(f"{name} must be at most {LONGEST:.0f} seconds, not {wait:g}")
    return max(wait, 0.0)


def spoken(seconds: float) -> str:
    """Return a span of time in its largest whole unit, for sentences: ``12 min``."""
    whole = max(0, int(seconds))
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60)):
        if whole >= size:
            return f"{whole // size} {unit}"
    return f"{whole} s"
