"""Durations that callers pass, in seconds."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import Final, SupportsFloat

from jobqueue.domain.text import type_name

LONGEST: Final = 10 * 365 * 86_400.0
"""No wait is longer than this many seconds."""


def seconds(value: object, name: str) -> float | None:
    """Return a wait in seconds; a negative wait is over already and becomes 0, ``None`` stays ``None``.

    Args:
        value: seconds, or a `timedelta`.
        name: of the argument, for the message.

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
