"""Charts, drawn on the server: bars and lines in a box of nine units a step, with the texts of their axes."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

from jobqueue.dashboard.frame.texts import parsed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jobqueue.dashboard.frame.preferences import Preferences

STEP: Final = 9
"""The width of a step; a bar leaves one unit free on each side."""
HEIGHT: Final = 128
_QUARTERS: Final = 4
_DIGITS: Final = (1, 2, 3, 5)
_SECONDS: Final = (15, 30, 60, 150, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200, 86_400)
"""Quarters of an axis of times, from a quarter of a minute on."""
_MINUTE: Final = 60
_DAY_HOURS: Final = 24
_DAY: Final = 86_400
_MARKS: Final = 5
_WORTH: Final = 0.25
"""The part of a step that its rates are for at least: a step that has just begun makes no peak."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """A step of time: its place, and the states, the tops and the heights of its parts from the bottom."""

    x: int
    parts: Sequence[tuple[str, int, int]]
    since: str
    until: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A line through the steps, as the commands of an SVG path."""

    name: str
    state: str
    path: str
    is_dashed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """A chart; ``ups`` are the texts of its vertical axis from the top, ``along`` those below it from the left."""

    ups: Sequence[str]
    along: Sequence[str]
    bars: Sequence[Bar] = ()
    lines: Sequence[Line] = ()


class Steps:
    """The points of a series, on a grid of equal steps."""

    def __init__(self, series: dict[str, Any], preferences: Preferences) -> None:
        self.points: list[dict[str, Any]] = series["points"]
        self.seconds: float = series["step"]
        self.until = parsed(series["to"]) or datetime.now(UTC)
        self._preferences = preferences
        self.width = STEP * max(1, len(self.points))

    @property
    def since(self) -> datetime:
        """The beginning of the first step."""
        return self._at(0)

    @property
    def end(self) -> datetime:
        """The end of the last step."""
        return self.since + timedelta(seconds=self.seconds * len(self.points))

    def jobs(self) -> Chart:
        """Return the chart of ended jobs a minute, with a line for the started ones."""
        rates = [
            [self._rate(index, *names) for names in (("succeeded",), ("failed", "killed"), ("started",))]
            for index in range(len(self.points))
        ]
        top = rounded_up(max((max(good + bad, begun) for good, bad, begun in rates), default=0))
        bars = [self._bar(index, good, bad, top) for index, (good, bad, _) in enumerate(rates)]
        return Chart(
            ups=[f"{top * part / _QUARTERS:g}" for part in range(_QUARTERS, -1, -1)],
            along=self._along(),
            bars=bars,
            lines=[Line(name="started", state="accent", path=self._path([begun for _, _, begun in rates], top))],
        )

    def times(self) -> Chart:
        """Return the chart of the times of waiting and running."""
        wanted = [(kind, part) for kind in ("wait", "run") for part in ("p50", "p99")]
        rows = {(kind, part): [point[kind][part] for point in self.points] for kind, part in wanted}
        top = rounded_up_seconds(max((value for row in rows.values() for value in row if value is not None), default=0))
        lines = [
            Line(
                name=f"{kind} {part}",
                state="pending" if kind == "wait" else "accent",
                path=self._path(rows[kind, part], top),
                is_dashed=part == "p99",
            )
            for kind, part in wanted
        ]
        ups = [short_span(top * part / _QUARTERS) for part in range(_QUARTERS, -1, -1)]
        return Chart(ups=ups, along=self._along(), lines=lines)

    def row(self, index: int) -> dict[str, Any]:
        """Return a step for a table."""
        return self.points[index] | {"until": _wire(self._at(index + 1)), "text": self._moment(self._at(index))}

    def _at(self, index: int) -> datetime:
        first = parsed(self.points[0]["at"]) if self.points else None
        return (first or self.until) + timedelta(seconds=self.seconds * index)

    def _rate(self, index: int, *names: str) -> float:
        passed = (self.until - self._at(index)).total_seconds()
        count: int = sum(self.points[index][name] for name in names)
        return count * _MINUTE / min(self.seconds, max(passed, _WORTH * self.seconds))

    def _bar(self, index: int, good: float, bad: float, top: float) -> Bar:
        point = self.points[index]
        parts, y = [], HEIGHT
        for state, rate in (("success", good), ("failed", bad)):
            if rate:
                height = min(y, max(1, round(HEIGHT * rate / top)))
                y -= height
                parts.append((state, y, height))
        failed = point["failed"] + point["killed"]
        return Bar(
            x=STEP * index,
            parts=parts,
            since=_wire(self._at(index)),
            until=_wire(self._at(index + 1)),
            text=f"{self._moment(self._at(index))}: {point['succeeded']:,} succeeded, {failed:,} failed",
        )

    def _path(self, values: Sequence[float | None], top: float) -> str:
        """Return a line through the middles of the steps; a value without neighbours is a dash."""
        parts: list[str] = []
        for index, value in enumerate(values):
            if value is None:
                continue
            x, y = STEP * index + STEP // 2, HEIGHT * (1 - value / top)
            if index and values[index - 1] is not None:
                parts.append(f"L{x} {y:.1f}")
            elif index + 1 < len(values) and values[index + 1] is not None:
                parts.append(f"M{x} {y:.1f}")
            else:
                parts.append(f"M{x - 3} {y:.1f}h6")
        return "".join(parts)

    def _along(self) -> list[str]:
        marks = min(_MARKS, len(self.points) + 1)
        if marks < 2:  # noqa: PLR2004 - the two ends of an axis
            return []
        span = self.end - self.since
        texts = [self._mark(self.since + span * number / (marks - 1)) for number in range(marks)]
        return texts if all(one != other for one, other in pairwise(texts)) else [texts[0], texts[-1]]

    def _mark(self, moment: datetime) -> str:
        local = self._preferences.local(moment)
        if (self.end - self.since).total_seconds() > _DAY * 1.5:
            return f"{local.day} {local:%b %H:%M}"
        return f"{local:%H:%M}"

    def _moment(self, moment: datetime) -> str:
        local = self._preferences.local(moment)
        return f"{local.day} {local:%b %H:%M}"


def rounded_up(value: float) -> float:
    """Return the top of an axis with four equal parts that is not below a value."""
    power = -2 if value else 0
    while True:
        for digit in _DIGITS:
            top = float(f"{_QUARTERS * digit}e{power}")
            if top >= value:
                return top
        power += 1


def rounded_up_seconds(value: float) -> float:
    """Return the top of an axis of times with four parts that have short names."""
    if value > _QUARTERS * _SECONDS[-1]:
        return _QUARTERS * _DAY * rounded_up(value / _QUARTERS / _DAY)
    if value > _QUARTERS * 10:
        return _QUARTERS * float(next(part for part in _SECONDS if _QUARTERS * part >= value))
    power = -3 if value else 0
    while True:
        for digit in (1, 2, 5):
            top = float(f"{_QUARTERS * digit}e{power}")
            if top >= value:
                return top
        power += 1


def short_span(seconds: float) -> str:
    """Return a length of time for an axis, such as ``7:30`` or ``10 min``."""
    if seconds < _MINUTE:
        return "0" if not seconds else f"{seconds * 1000:g} ms" if seconds < 1 else f"{seconds:g} s"
    minutes, left = divmod(round(seconds), _MINUTE)
    if minutes < _MINUTE:
        return f"{minutes}:{left:02}" if left else f"{minutes} min"
    hours, minutes = divmod(minutes, _MINUTE)
    if minutes:
        return f"{hours}:{minutes:02} h"
    return f"{hours} h" if hours % _DAY_HOURS else f"{hours // _DAY_HOURS} d"


def _wire(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%MZ")
