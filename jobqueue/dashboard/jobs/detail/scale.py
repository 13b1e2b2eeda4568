"""A scale of time on which long gaps are cut, so that a retry after days does not squeeze everything else."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from jobqueue.dashboard.frame.texts import span

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from jobqueue.dashboard.frame.preferences import Preferences

Interval = tuple[datetime, datetime]
_MOST_CUTS: Final = 5
_CUT: Final = 10.0
"""Percent of the width that a cut takes."""
_LEAST: Final = 0.12
"""The share of the width that every part between two cuts takes at least."""
_SHARE: Final = 3
"""A gap is cut if it is longer than a third of the time that is shown."""
_SHORT: Final = 2.0
"""Seconds of the shortest gap that is cut."""
_TICK: Final = 8.0
"""Percent between two marks at least."""
_FINE_TICK: Final = 12.0
"""The same where parts of a second are written."""
_MARGIN: Final = 3.0
_MINUTE: Final = 60
_DAY: Final = 86_400
_STEPS: Final[tuple[float, ...]] = (
    *(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5),
    *(1, 2, 5, 10, 15, 30),
    *(_MINUTE * minutes for minutes in (1, 2, 5, 10, 15, 30, 60, 120, 180, 360, 720)),
    *(_DAY * days for days in (1, 2, 7, 14, 30, 60, 90, 180, 365, 1000, 5000, 20_000)),
)


@dataclass(frozen=True, slots=True)
class Part:
    """A part of the scale without a cut, from one percentage to another."""

    begin: datetime
    end: datetime
    left: float
    right: float

    @property
    def seconds(self) -> float:
        """Its length."""
        return (self.end - self.begin).total_seconds()

    def place(self, moment: datetime) -> float:
        """Return the percentage of a time in this part."""
        if not self.seconds:
            return self.left
        share = (moment - self.begin).total_seconds() / self.seconds
        return self.left + (self.right - self.left) * min(1.0, max(0.0, share))


@dataclass(frozen=True, slots=True)
class Tick:
    """A mark of the scale with its text."""

    x: float
    text: str


@dataclass(frozen=True, slots=True)
class Cut:
    """A gap that is cut: its place, and its length in words."""

    x: float
    width: float
    text: str


class Scale:
    """Places of times in percent of a width.

    Args:
        busy: times in which something happened.
        preferences: the time zone of the marks.
    """

    def __init__(self, busy: Iterable[Interval], preferences: Preferences) -> None:
        self._preferences = preferences
        joined = _joined(busy)
        cut = _long_gaps(joined)
        groups: list[Interval] = []
        for index, (begin, end) in enumerate(joined):
            if groups and index not in cut:
                groups[-1] = (groups[-1][0], end)
            else:
                groups.append((begin, end))
        self.parts = _placed(groups)
        self.cuts = [
            Cut(before.right, after.left - before.right, span((after.begin - before.end).total_seconds()))
            for before, after in pairwise(self.parts)
        ]

    def place(self, moment: datetime) -> float:
        """Return the percentage of a time; a time in a cut gap lies in the cut."""
        for index, part in enumerate(self.parts):
            if moment <= part.end:
                if moment < part.begin and index:
                    before = self.parts[index - 1]
                    gap = (part.begin - before.end).total_seconds()
                    return before.right + (part.left - before.right) * (moment - before.end).total_seconds() / gap
                return part.place(moment)
        return self.parts[-1].right

    @property
    def ticks(self) -> list[Tick]:
        """Marks at round times of the visitor's zone."""
        return [tick for part in self.parts for tick in self._ticks(part)]

    def _ticks(self, part: Part) -> Iterable[Tick]:
        width = part.right - part.left
        if not part.seconds or width < 2 * _MARGIN:
            return
        percent = width / part.seconds
        step = next((step for step in _STEPS if percent * step >= (_TICK if step >= 1 else _FINE_TICK)), None)
        if step is None:
            return
        margin = _MARGIN if step >= 1 else _FINE_TICK / 2
        local = self._preferences.local(part.begin)
        midnight = local.replace(hour=0, minute=0, second=0, microsecond=0)
        since = (local - midnight).total_seconds()
        mark = midnight + timedelta(seconds=(since // step + 1) * step)
        while (moment := mark) <= self._preferences.local(part.end):
            x = part.place(moment)
            if part.left + margin <= x <= part.right - margin:
                yield Tick(x, _written(moment, step))
            mark += timedelta(seconds=step)


def _written(moment: datetime, step: float) -> str:
    if step < 1:
        return f"{moment:%H:%M:%S}.{round(moment.microsecond / 1000):03}"
    if step >= _DAY:
        return f"{moment.day} {moment:%b}"
    return f"{moment:%H:%M}" if step >= _MINUTE else f"{moment:%H:%M:%S}"


def _joined(busy: Iterable[Interval]) -> list[Interval]:
    """Return intervals in order, those that overlap joined."""
    joined: list[Interval] = []
    for begin, end in sorted(busy):
        if joined and begin <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((begin, end))
    return joined


def _long_gaps(joined: Sequence[Interval]) -> set[int]:
    """Return the numbers of the intervals before which the gap is longer than a third of the time that is shown."""
    gaps = sorted(
        ((after[0] - before[1]).total_seconds(), index + 1) for index, (before, after) in enumerate(pairwise(joined))
    )
    total = (joined[-1][1] - joined[0][0]).total_seconds()
    cut: set[int] = set()
    while gaps and len(cut) < _MOST_CUTS:
        gap, index = gaps.pop()
        if gap * _SHARE <= total or gap < _SHORT:
            break
        cut.add(index)
        total -= gap
    return cut


def _placed(groups: Sequence[Interval]) -> list[Part]:
    seconds = [max(0.001, (end - begin).total_seconds()) for begin, end in groups]
    shares = [max(one / sum(seconds), _LEAST) for one in seconds]
    width = 100 - _CUT * (len(groups) - 1)
    parts, left = [], 0.0
    for (begin, end), share in zip(groups, shares, strict=True):
        right = left + width * share / sum(shares)
        parts.append(Part(begin, end, left, right))
        left = right + _CUT
    return parts
