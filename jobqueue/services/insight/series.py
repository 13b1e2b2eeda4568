"""Statistics as a series: the activity of jobs in equal steps of time."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import ceil
from typing import TYPE_CHECKING, Any, Final

from jobqueue.domain.errors import InvalidInputError
from jobqueue.domain.insight import activity
from jobqueue.domain.insight.activity import Activity, are_same, summed
from jobqueue.domain.insight.histogram import RELATIVE_ERROR
from jobqueue.domain.jobs import json_form
from jobqueue.lru_cache import LruCache
from jobqueue.services.insight.rollups import HOURS_KEPT, MINUTES_KEPT
from jobqueue.store.insight.rollups import FEW, HOUR, MINUTE, minute_of, present_hour

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jobqueue.domain.access.access import Scope
    from jobqueue.domain.insight.activity import Parts
    from jobqueue.services.insight.rollups import RollupWriter
    from jobqueue.store.insight.rollups import RollupStore
    from jobqueue.store.mongo.clock import ServerClock

STEPS: Final = {
    "1m": MINUTE,
    "5m": timedelta(minutes=5),
    "15m": timedelta(minutes=15),
    "30m": timedelta(minutes=30),
    "1h": HOUR,
    "3h": timedelta(hours=3),
    "6h": timedelta(hours=6),
    "1d": timedelta(days=1),
}
MOST_POINTS: Final = 1_000
MOST_POINTS_OF_EACH: Final = 100
"""Points of a series of each queue."""
MOST_QUEUES: Final = 100
"""Queues with points of their own: those in which most has happened."""
BY_QUEUE: Final = "queue"
_USUAL: Final = timedelta(hours=1)
_AIM: Final = 60
"""Points of a series that names no step, at least."""
_CATCH_UP_SECONDS: Final = 5.0
_MOST_SUMS: Final = 4
"""Series whose kept hours stay summed up: a page shows one or two."""

_Which = tuple[Any, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesRequest:
    """A request for a series: its span and its step, and one queue or type, or all.

    Attributes:
        by: `BY_QUEUE` for the points of each queue too.
    """

    step: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    queue: str | None = None
    type: str | None = None
    by: str | None = None


class Series:
    """Reads kept minutes and hours, and the minutes that are not kept yet."""

    def __init__(self, store: RollupStore, roller: RollupWriter, clock: ServerClock) -> None:
        self._store = store
        self._roller = roller
        self._clock = clock
        self._known: LruCache[_Which, tuple[Parts, _Sums]] = LruCache(_MOST_SUMS)

    async def view(self, asked: SeriesRequest, scope: Scope) -> dict[str, Any]:
        """Return a series as JSON, of the queues in a scope; the last point may go on.

        Raises:
            InvalidInputError: the span is empty, or has too many points, or is older than what is kept.
        """
        now = await self._clock.now()
        until = min(asked.until or now, now)
        since, step = _span(asked, until)
        _check(since, until, step, now, asked.by)
        sums = await self._sums(asked, scope, _Points(since, step, ceil((until - since) / step)), now)
        seconds = step.total_seconds()

        def shown(points: Mapping[datetime, Activity]) -> list[dict[str, Any]]:
            ends = {at: min(seconds, (until - at).total_seconds()) for at in points}
            return [{"at": json_form.date(at), **activity.shown(point, at, ends[at])} for at, point in points.items()]

        body = {
            "from": json_form.date(since),
            "to": json_form.date(until),
            "step": seconds,
            "relativeError": RELATIVE_ERROR,
            "points": shown(sums.points),
        }
        if asked.by == BY_QUEUE:
            by_queue = sums.queues
            busiest = sorted(by_queue, key=lambda name: (-_sum(by_queue[name]), name))[:MOST_QUEUES]
            body["queues"] = [{"queue": name, "points": shown(by_queue[name])} for name in sorted(busiest)]
        return body

    async def _sums(self, asked: SeriesRequest, scope: Scope, points: _Points, now: datetime) -> _Sums:
        """Return the sums of all points."""

        def add(sums: _Sums, parts: Parts) -> None:
            for moment, tally in parts:
                for (queue, kind), part in tally.items():
                    if _is_wanted(asked, scope, queue, kind):
                        sums.add(moment, queue, part)

        hours, others = await self._parts(points.since, now, by_hour=points.step >= HOUR)
        which = (points, asked.queue, asked.type, asked.by, scope.queues, scope.is_everything)
        before, base = self._known.get(which) or ([], None)
        # Kept hours are read once in a while, and have the same sum until then.
        if base is None or not are_same(before, hours):
            base = _Sums(points, by_queue=asked.by == BY_QUEUE)
            add(base, hours)
            if sum(len(tally) for _, tally in hours) <= FEW:
                self._known.keep(which, (hours, base))
        sums = base.shared()
        add(sums, others)
        return sums

    async def _parts(self, since: datetime, now: datetime, *, by_hour: bool) -> tuple[Parts, Parts]:
        """Return the activity from a date until now in parts: kept hours, and what is shorter or may change.

        Running attempts have the present as their part.
        """
        await self._roller.catch_up(since, _CATCH_UP_SECONDS)
        present = present_hour(now)
        newest = await self._store.newest()
        edge = present if newest is None else min(max(newest + MINUTE, present), minute_of(now))
        border = max(since, present) if by_hour else since
        hours = await self._store.parts(since, border, hours=True) if by_hour and since < border else []
        kept = await self._store.parts(border, edge)
        # The server may be a little ahead of its time as known here.
        minutes, running = await self._store.read(edge, now + MINUTE, with_running=True)
        late = [(minute, tally) for minute, tally in minutes.items() if minute >= since]
        return hours, [*kept, *late, (now, running)]


@dataclass(frozen=True, slots=True)
class _Points:
    """The points of a series: the first one, what lies between two, and their number."""

    since: datetime
    step: timedelta
    count: int

    def at(self, moment: datetime) -> datetime:
        """Return the point of a moment."""
        return self.since + (moment - self.since) // self.step * self.step

    def empty(self) -> dict[datetime, Activity]:
        """Return each point without activity."""
        return {self.since + number * self.step: Activity() for number in range(self.count)}


class _Sums:
    """The points of a series, and those of each queue.

    Args:
        points: all points.
        by_queue: keep the points of each queue, too.

    Attributes:
        own: the ids of the points that may be increased; ``None`` if all may.
    """

    def __init__(self, points: _Points, *, by_queue: bool) -> None:
        self._all, self._by_queue = points, by_queue
        self.points = points.empty()
        self.queues: dict[str, dict[datetime, Activity]] = {}
        self.own: set[int] | None = None

    def shared(self) -> _Sums:
        """Return sums that begin with these, and copy a point before they add to it."""
        sums = copy.copy(self)
        sums.points = dict(self.points)
        sums.queues = {queue: dict(points) for queue, points in self.queues.items()}
        sums.own = set()
        return sums

    def add(self, moment: datetime, queue: str | None, part: Activity) -> None:
        """Add the activity of a moment."""
        self._add(self.points, moment, part)
        if self._by_queue and queue is not None:
            if queue not in self.queues:
                self.queues[queue] = self._all.empty()
            self._add(self.queues[queue], moment, part)

    def _add(self, points: dict[datetime, Activity], moment: datetime, part: Activity) -> None:
        """Add a part to the point of its time, and its starts to the points of theirs."""
        own = self._point(points, moment)
        if own is not None:
            own.add_ends(part)
        for minute, starts in part.starts.items():
            if (point := self._point(points, minute)) is not None:
                point.starts_at(self._all.at(minute)).add(starts)

    def _point(self, points: dict[datetime, Activity], moment: datetime) -> Activity | None:
        """Return the point of a moment, which can be increased."""
        at = self._all.at(moment)
        point = points.get(at)
        if point is None or self.own is None or id(point) in self.own:
            return point
        points[at] = point = summed([point])
        self.own.add(id(point))
        return point


def _span(asked: SeriesRequest, until: datetime) -> tuple[datetime, timedelta]:
    """Return the beginning and the step of a series; the beginning is a whole step of the day."""
    try:
        since = asked.since or until - _USUAL
    except OverflowError:
        raise InvalidInputError({"to": ["is too early for a series"]}) from None
    if asked.step is not None and asked.step not in STEPS:
        raise InvalidInputError({"step": [f"must be one of {', '.join(STEPS)}"]})
    if asked.step is not None:
        step = STEPS[asked.step]
    else:
        fitting = [step for step in STEPS.values() if (until - since) / step >= _AIM]
        step = fitting[-1] if fitting else MINUTE
    day = since.replace(hour=0, minute=0, second=0, microsecond=0)
    return day + (since - day) // step * step, step


def _check(since: datetime, until: datetime, step: timedelta, now: datetime, by: str | None) -> None:
    if by not in {None, BY_QUEUE}:
        raise InvalidInputError({"by": [f"must be {BY_QUEUE}"]})
    if since >= until:
        raise InvalidInputError({"from": ["must lie before to, and before now"]})
    most = MOST_POINTS if by is None else MOST_POINTS_OF_EACH
    if (until - since) / step > most:
        raise InvalidInputError({"step": [f"makes more than {most:,} points: take a longer step"]})
    kept, what = (HOURS_KEPT, "hours") if step >= HOUR else (MINUTES_KEPT, "minutes")
    if since < now - kept - step:
        advice = "" if step >= HOUR else ", or take a step of an hour or more"
        raise InvalidInputError({"from": [f"{what} are kept for {kept.days} days: ask for later ones{advice}"]})


def _is_wanted(asked: SeriesRequest, scope: Scope, queue: str | None, kind: str | None) -> bool:
    if (asked.queue is not None and queue != asked.queue) or (asked.type is not None and kind != asked.type):
        return False
    return scope.is_everything if queue is None else scope.has_queue(queue)


def _sum(points: Mapping[datetime, Activity]) -> int:
    return sum(point.added + point.size for point in points.values())
