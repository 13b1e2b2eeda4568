"""Count the events of jobs by minute and by hour."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

from jobqueue.store.insight.rollups import HOUR, MINUTE

if TYPE_CHECKING:
    from datetime import datetime

    from jobqueue.store.insight.rollups import RollupStore
    from jobqueue.store.mongo.clock import ServerClock

ROLL_SECONDS: Final = 10.0
"""Between two looks."""
GRACE: Final = timedelta(seconds=60)
"""Time after its end at which a minute is counted first: a change may be seen later than the time it carries."""
SECOND_LOOK: Final = timedelta(minutes=15)
"""Time after its end at which a minute is counted again, for late changes."""
_FURTHEST: Final = timedelta(days=8)
_MINUTES_KEPT: Final = timedelta(days=2)
_HOURS_KEPT: Final = timedelta(days=90)
_SOON: Final = 0.1


class RollupWriter:
    """Counts each minute twice and adds up hours; any process may do this at any time, with the same outcome."""

    def __init__(self, store: RollupStore, clock: ServerClock) -> None:
        self._store = store
        self._clock = clock

    async def run_once(self) -> float | None:
        """Count a part of the due minutes; return seconds until the next part if there is more."""
        now = await self._clock.now()
        settled = minute_of(now - SECOND_LOOK)
        if await self._count_new(now, settled) or await self._count_again(settled) or await self._add_up(settled):
            return _SOON
        newest_hour = await self._store.newest_hour()
        if newest_hour is not None:
            await self._store.prune(min(now - _MINUTES_KEPT, newest_hour + HOUR), now - _HOURS_KEPT)
        return None

    async def _count_new(self, now: datetime, settled: datetime) -> bool:
        until = minute_of(now - GRACE)
        since = await self._first(now, until)
        if since >= until:
            return False
        checked = since < settled
        until = min(until, since + HOUR, settled if checked else until)
        tallies, _ = await self._store.read(since, until)
        await self._store.keep(since, until, tallies, checked=checked)
        return True

    async def _first(self, now: datetime, until: datetime) -> datetime:
        newest = await self._store.newest()
        if newest is not None:
            return newest + MINUTE
        oldest = await self._store.oldest_job()
        return until - MINUTE if oldest is None else min(until - MINUTE, minute_of(max(oldest, now - _FURTHEST)))

    async def _count_again(self, settled: datetime) -> bool:
        since = await self._store.unchecked(settled)
        if since is None:
            return False
        until = min(settled, since + HOUR)
        tallies, _ = await self._store.read(since, until)
        await self._store.keep(since, until, tallies, checked=True)
        return True

    async def _add_up(self, settled: datetime) -> bool:
        newest, oldest = await self._store.newest_hour(), await self._store.oldest()
        if oldest is None:
            return False
        hour = hour_of(oldest) if newest is None else newest + HOUR
        last = await self._store.newest()
        if last is None or min(settled, last + MINUTE) < hour + HOUR:
            return False
        await self._store.keep_hour(hour)
        return True


def minute_of(moment: datetime) -> datetime:
    """Return the beginning of the minute of a moment."""
    return moment.replace(second=0, microsecond=0)


def hour_of(moment: datetime) -> datetime:
    """Return the beginning of the hour of a moment."""
    return moment.replace(minute=0, second=0, microsecond=0)
