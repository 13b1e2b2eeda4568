"""Statistics as a series: the activity of jobs in equal steps of time."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from math import ceil
from typing import TYPE_CHECKING, Any, Final

from jobqueue.domain.errors import InvalidInputError
from jobqueue.domain.insight import activity
from jobqueue.domain.insight.activity import Activity
from jobqueue.domain.insight.histogram import RELATIVE_ERROR
from jobqueue.domain.jobs import json_form
from jobqueue.services.insight.rollups import HOURS_KEPT, MINUTES_KEPT
from jobqueue.store.insight.rollups import HOUR, MINUTE, minute_of, present_hour

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jobqueue.domain.access.access import Scope
    from jobqueue.domain.insight.activity import Tally
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

    async def view(self, asked: SeriesRequest, scope: Scope) -> dict[str, Any]:
        """Return a series as JSON, of the queues in a scope; the last point may go on.

        Raises:
            InvalidInputError: the span is empty, or has too many points, or is older than what is kept.
        """
        now = await self._clock.now()
        until = min(asked.until or now, now)
        since, step = _span(asked, until)
        _check(since, until, step, now, asked.by)
        moments = [since + number * step for number in range(ceil((until - since) / step))]
        points = {at: Activity() for at in moments}
        by_queue: dict[str, dict[datetime, Activity]] = {}

        def is_wanted(queue: str | None, kind: str | None) -> bool:
            if (asked.queue is not None and queue != asked.queue) or (asked.type is not None and kind != asked.type):
                return False
            return scope.is_everything if queue is None else scope.has_queue(queue)

        for moment, tally in await self._parts(since, now, by_hour=step >= HOUR):
            for (queue, kind), part in tally.items():
                if not is_wanted(queue, kind):
                    continue
                _add(points, since, step, moment, part)
                if asked.by == BY_QUEUE and queue is not None:
                    if queue not in by_queue:
                        by_queue[queue] = {at: Activity() for at in moments}
                    _add(by_queue[queue], since, step, moment, part)
        seconds = step.total_seconds()

        def shown(points: Mapping[datetime, Activity]) -> list[dict[str, Any]]:
            ends = {at: min(seconds, (until - at).total_seconds()) for at in points}
            return [{"at": json_form.date(at), **activity.shown(point, at, ends[at])} for at, point in points.items()]

        body = {
            "from": json_form.date(since),
            "to": json_form.date(until),
            "step": seconds,
            "relativeError": RELATIVE_ERROR,
            "points": shown(points),
        }
        if asked.by == BY_QUEUE:
            busiest = sorted(by_queue, key=lambda name: (-_sum(by_queue[name]), name))[:MOST_QUEUES]
            body["queues"] = [{"queue": name, "points": shown(by_queue[name])} for name in sorted(busiest)]
        return body

    async def _parts(self, since: datetime, now: datetime, *, by_hour: bool) -> list[tuple[datetime, Tally]]:
        """Return the activity from a date until now, in parts; running attempts have the present as their part."""
        await self._roller.catch_up(since, _CATCH_UP_SECONDS)
        present = present_hour(now)
        newest = await self._store.newest()
        edge = present if newest is None else min(max(newest + MINUTE, present), minute_of(now))
        border = max(since, present) if by_hour else since
        kept = await self._store.parts(since, border, hours=True) if by_hour and since < border else []
        kept += await self._store.parts(border, edge)
        # The server may be a little ahead of its time as known here.
        minutes, running = await self._store.read(edge, now + MINUTE, with_running=True)
        return [*kept, *((minute, tally) for minute, tally in minutes.items() if minute >= since), (now, running)]


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


def _add(points: dict[datetime, Activity], since: datetime, step: timedelta, moment: datetime, part: Activity) -> None:
    """Add a part to the point of its time, and its starts to the points of theirs."""
    own = points.get(since + (moment - since) // step * step)
    if own is not None:
        own.add_ends(part)
    for minute, starts in part.starts.items():
        at = since + (minute - since) // step * step
        if (point := points.get(at)) is not None:
            point.starts_at(at).add(starts)


def _sum(points: Mapping[datetime, Activity]) -> int:
    return sum(point.added + point.size for point in points.values())
