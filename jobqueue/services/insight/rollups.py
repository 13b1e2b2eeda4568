"""Count the events of jobs by minute and by hour: the present first, and history in a hundredth of the time."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from jobqueue.domain.insight.activity import total
from jobqueue.store.insight.rollups import (
    FURTHEST,
    HOUR,
    MINUTE,
    SECOND_LOOK,
    hour_of,
    minute_of,
    present_hour,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from jobqueue.store.insight.rollups import RollupStore
    from jobqueue.store.mongo.clock import ServerClock
    from jobqueue.store.mongo.turns import Turn

ROLL_SECONDS: Final = 15.0
"""Between two looks."""
TURN_SECONDS: Final = 45.0
"""Seconds after which another process takes over from one that is silent."""
GRACE: Final = timedelta(seconds=60)
"""Time after its end at which a minute is counted first: a change may be seen later than the time it carries."""
MINUTES_KEPT: Final = timedelta(days=2)
HOURS_KEPT: Final = timedelta(days=90)
_SOON: Final = 0.1
_SHARE: Final = 100


class RollupWriter:
    """Counts each minute of the present twice, and sums up past hours, the newest first.

    Any process may do this at any time, with the same outcome.
    """

    def __init__(self, store: RollupStore, clock: ServerClock) -> None:
        self._store = store
        self._clock = clock
        self._closed: tuple[datetime, datetime] | None = None

    async def run_once(self) -> float | None:
        """Count a part of what is due, without a pause; return seconds until the next part if there is more."""
        return _SOON if await self.count_present() or await self.close_hour() else None

    async def count_present(self) -> bool:
        """Count the minutes that are due since the last whole hour; return true if some were."""
        now = await self._clock.now()
        until, settled = minute_of(now - GRACE), minute_of(now - SECOND_LOOK)
        newest = await self._store.newest()
        if newest is not None and newest > now and await self._store.forget_ahead():
            self._closed = None
            return True
        since = await self._first(present_hour(now), until) if newest is None else newest + MINUTE
        since = max(since, present_hour(now))
        if since < until:
            await self._count(since, settled if since < settled else until, checked=since < settled)
            return True
        # Of the hour that is summed up next, too.
        once = await self._store.unchecked(present_hour(now) - HOUR, settled)
        if once is not None:
            await self._count(once, settled, checked=True)
        return once is not None

    async def _first(self, present: datetime, until: datetime) -> datetime:
        """Return the first minute to count of all."""
        oldest = await self._store.oldest_job()
        return until - MINUTE if oldest is None else min(until - MINUTE, max(present, minute_of(oldest)))

    async def close_hour(self) -> bool:
        """Sum up the newest past hour that is not summed up; return false if there is none."""
        now = await self._clock.now()
        hours = await self._open_hours(now, hour_of(now - FURTHEST))
        if hours:
            await self._close(hours[0], now)
        return bool(hours)

    async def catch_up(self, since: datetime, seconds: float) -> None:
        """Sum up the past hours from a date on, the newest first, for some seconds at most."""
        until, now = time.monotonic() + seconds, await self._clock.now()
        for hour in await self._open_hours(now, max(hour_of(since), hour_of(now - FURTHEST))):
            await self._close(hour, now)
            if time.monotonic() > until:
                break

    async def _open_hours(self, now: datetime, since: datetime) -> list[datetime]:
        until = present_hour(now)
        if self._closed is not None and self._closed[0] <= since and self._closed[1] == until:
            return []
        hours = await self._store.open_hours(since, until)
        if not hours:
            self._closed = since, until
            if since <= hour_of(now - FURTHEST):
                await self._store.prune(now - MINUTES_KEPT, now - HOURS_KEPT)
        return hours

    async def _close(self, hour: datetime, now: datetime) -> None:
        kept, checked = await self._store.minutes_of(hour)
        if not kept and hour + HOUR <= now - MINUTES_KEPT:
            tallies, _ = await self._store.read(hour, hour + HOUR)
            await self._store.keep_hour(hour, total(tallies.values()))
            return
        if checked < HOUR // MINUTE:
            await self._count(hour, hour + HOUR, checked=True)
        await self._store.keep_hour(hour)

    async def _count(self, since: datetime, until: datetime, *, checked: bool) -> None:
        tallies, _ = await self._store.read(since, until)
        await self._store.keep(since, until, tallies, checked=checked)


class Roller:
    """Counts in one process at a time; works off history in a hundredth of the time of that process.

    Args:
        writer: counts.
        turn: of the process that counts.
        elapsed: seconds of a steady clock.
    """

    def __init__(self, writer: RollupWriter, turn: Turn, elapsed: Callable[[], float] = time.monotonic) -> None:
        self._writer = writer
        self._turn = turn
        self._elapsed = elapsed
        self._mark: str | None = None
        self._history_at = float("-inf")
        self._has_more = True

    async def run_once(self) -> float | None:
        """Count a part of what is due, if it is this process's turn; return seconds until the next part."""
        self._mark = await self._turn.take(TURN_SECONDS, self._mark)
        if self._mark is None:
            return None
        if await self._writer.count_present():
            return _SOON
        began = self._elapsed()
        if began < self._history_at:
            return self._history_at - began if self._has_more else None
        self._has_more = await self._writer.close_hour()
        pause = _SHARE * (self._elapsed() - began)
        self._history_at = self._elapsed() + pause
        return pause if self._has_more else None
