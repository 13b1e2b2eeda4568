"""Statistics: jobs by state, and throughput and times of the last minutes, hours and days."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from jobqueue.domain.insight import activity
from jobqueue.domain.insight.activity import Activity, Tally, add_to, summed
from jobqueue.domain.insight.histogram import RELATIVE_ERROR
from jobqueue.domain.jobs import json_form
from jobqueue.store.insight.rollups import MINUTE, hour_of, minute_of, present_hour

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from jobqueue.domain.access.access import Scope
    from jobqueue.services.insight.job_counts import JobCounts
    from jobqueue.services.insight.rollups import RollupWriter
    from jobqueue.store.insight.rollups import RollupStore
    from jobqueue.store.mongo.clock import ServerClock

WINDOWS: Final = {
    "5m": timedelta(minutes=5),
    "1h": timedelta(hours=1),
    "24h": timedelta(hours=24),
    "7d": timedelta(days=7),
}
_LONG: Final = timedelta(hours=24)
_FRESH_SECONDS: Final = 2.0
_CATCH_UP_SECONDS: Final = 5.0
"""Seconds in which a request sums up hours that the background has not summed up yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """The tally of a span of time."""

    since: datetime
    until: datetime
    tally: Tally


@dataclass(frozen=True, slots=True, kw_only=True)
class StatsRequest:
    """A request for statistics: the windows, and one queue or type, or all."""

    windows: tuple[str, ...] = tuple(WINDOWS)
    queue: str | None = None
    type: str | None = None


class Stats:
    """Adds stored rollups and the minutes that have no rollup yet."""

    def __init__(self, store: RollupStore, roller: RollupWriter, job_counts: JobCounts, clock: ServerClock) -> None:
        self._store = store
        self._roller = roller
        self._job_counts = job_counts
        self._clock = clock
        self._known: dict[str, tuple[float, Window]] = {}
        self._reading = asyncio.Lock()

    async def view(self, asked: StatsRequest, scope: Scope) -> dict[str, Any]:
        """Return statistics as JSON, of the queues in a scope."""
        windows = await self.windows(asked.windows)
        states = await self._job_counts.states()

        def is_wanted(queue: str | None) -> bool:
            if asked.queue is not None and queue != asked.queue:
                return False
            return scope.is_everything if queue is None else scope.has_queue(queue)

        shown: dict[str, Any] = {
            "at": json_form.date(await self._clock.now()),
            "relativeError": RELATIVE_ERROR,
            "windows": {name: _window(window, asked.type, is_wanted) for name, window in windows.items()},
        }
        if asked.type is None:
            by_queue = {queue: dict(counts) for queue, counts in sorted(states.items()) if is_wanted(queue)}
            shown["counts"] = {
                "total": {
                    state: sum(counts[state] for counts in by_queue.values()) for state in self._job_counts.every_state
                },
                "queues": by_queue,
            }
        return shown

    async def windows(self, names: Sequence[str]) -> dict[str, Window]:
        """Return windows up to now, at most two seconds old."""
        async with self._reading:
            stale = [name for name in names if self._known.get(name, (0.0,))[0] < time.monotonic()]
            if stale:
                await self._read(stale)
            return {name: self._known[name][1] for name in names}

    async def _read(self, names: Sequence[str]) -> None:
        now = await self._clock.now()
        await self._roller.catch_up(now - max(WINDOWS[name] for name in names), _CATCH_UP_SECONDS)
        edge = await self._edge(now)
        # The server may be a little ahead of its time as known here.
        minutes, running = await self._store.read(edge, now + MINUTE, with_running=True)
        for name in names:
            length = WINDOWS[name]
            since = hour_of(now - length) if length >= _LONG else minute_of(now - length)
            tally = await self._kept(since, edge, present_hour(now) if length >= _LONG else since)
            for minute, part in minutes.items():
                if minute >= since:
                    add_to(tally, part)
            add_to(tally, running)
            self._known[name] = (time.monotonic() + _FRESH_SECONDS, Window(since=since, until=now, tally=tally))

    async def _edge(self, now: datetime) -> datetime:
        """Return the first minute that is not kept: from then on the jobs are read."""
        newest, present = await self._store.newest(), present_hour(now)
        return present if newest is None else min(max(newest + MINUTE, present), minute_of(now))

    async def _kept(self, since: datetime, edge: datetime, border: datetime) -> Tally:
        """Return the kept activity of a span, by the hour up to a border, and then by the minute."""
        tally = await self._store.tally(since, border, hours=True) if since < border else {}
        add_to(tally, await self._store.tally(border, edge))
        return tally


def _window(window: Window, kind: str | None, is_wanted: Callable[[str | None], bool]) -> dict[str, Any]:
    seconds = (window.until - window.since).total_seconds()

    def shown(counts: Activity) -> dict[str, Any]:
        return activity.shown(counts, window.since, seconds)

    queues: dict[str | None, dict[str | None, Activity]] = {}
    for (queue, type_), counts in window.tally.items():
        if is_wanted(queue) and (kind is None or type_ == kind) and not _is_empty(counts, window.since):
            queues.setdefault(queue, {})[type_] = counts
    every = [counts for types in queues.values() for counts in types.values()]
    return {
        "from": json_form.date(window.since),
        "to": json_form.date(window.until),
        "seconds": round(seconds, 3),
        **shown(summed(every)),
        "queues": [
            {
                "queue": queue,
                **shown(summed(types.values())),
                "types": [{"type": type_, **shown(counts)} for type_, counts in sorted(types.items(), key=_by_name)],
            }
            for queue, types in sorted(queues.items(), key=_by_name)
        ],
    }


def _is_empty(counts: Activity, since: datetime) -> bool:
    return not counts.size and not counts.started_since(since).count


def _by_name(item: tuple[str | None, Any]) -> tuple[bool, str]:
    return item[0] is None, item[0] or ""
