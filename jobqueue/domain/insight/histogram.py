"""Histograms of times with growing buckets, which give any percentile within a fixed relative error."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

RELATIVE_ERROR: Final = 0.02
"""The largest error of a percentile, as a part of it; times below a millisecond count as 0."""
GROWTH: Final = (1 + RELATIVE_ERROR) / (1 - RELATIVE_ERROR)
_LOG: Final = math.log(GROWTH)

Counts = dict[int, int]
"""The number of times in each bucket."""


def bucket(milliseconds: float) -> int:
    """Return the bucket of a time: 0 below a millisecond, else 1 and up."""
    return 0 if milliseconds < 1 else 1 + math.ceil(math.log(milliseconds) / _LOG)


def middle(number: int) -> float:
    """Return the milliseconds that stand for a bucket, within the relative error of all its times."""
    return 0.0 if number == 0 else 2 * GROWTH ** (number - 1) / (GROWTH + 1)


def percentile(counts: Mapping[int, int], part: float) -> float | None:
    """Return a percentile in milliseconds, its part from 0 to 1; ``None`` if there are no times.

    This is the nearest rank: of 10 times, 0.9 gives the ninth.
    """
    total = sum(counts.values())
    rank = max(1, math.ceil(part * total))
    for number in sorted(counts):
        rank -= counts[number]
        if rank <= 0:
            return middle(number)
    return None
