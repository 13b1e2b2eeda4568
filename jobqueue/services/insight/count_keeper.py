"""Keep the counts of ended jobs and of failures, in one process at a time and a hundredth of its time."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from jobqueue.store.queues.kept_counts import FEW, SETTLED, KeptCount, pairs_of

if TYPE_CHECKING:
    from datetime import datetime

    from jobqueue.store.bulk.failure_counts import FailureCountStore
    from jobqueue.store.mongo.clock import ServerClock
    from jobqueue.store.queues.kept_counts import KeptCountStore, Pair
    from jobqueue.store.queues.queues import QueueStore

COUNT_SECONDS: Final = 20.0
"""Seconds between turns, if counting is cheap."""
_SHARE: Final = 100
_LONGEST_SECONDS: Final = 3600.0


class CountKeeper:
    """Counts ended jobs anew, each queue and state after a hundred times as long as counting them takes.

    Between that it only counts those that have ended since.
    """

    def __init__(self, store: KeptCountStore, queues: QueueStore) -> None:
        self._store = store
        self._queues = queues

    async def run_once(self) -> float | None:
        """Take a turn, if no other process does; return the seconds until the next one."""
        mark = await self._store.take_turn()
        if mark is None:
            return None
        began, pause = time.monotonic(), COUNT_SECONDS
        try:
            await self._count()
            pause = min(max(pause, _SHARE * (time.monotonic() - began)), _LONGEST_SECONDS)
        finally:
            await self._store.end_turn(mark, pause)
        return pause

    async def _count(self) -> None:
        kept = await self._store.kept()
        until = await self._store.settled_until()
        for pair in dict.fromkeys([*kept, *pairs_of(await self._queues.names())]):
            known = kept.get(pair)
            if known is None or self._is_due(known, until):
                await self._anew(pair, known, until)
            elif known.up_to < until and known.number > FEW:
                await self._store.advance(pair, known, until)

    @staticmethod
    def _is_due(known: KeptCount, now: datetime) -> bool:
        # A clock that was set back makes no count wait.
        return not 0 <= (now - known.counted_at).total_seconds() < max(COUNT_SECONDS, _SHARE * known.cost)

    async def _anew(self, pair: Pair, known: KeptCount | None, until: datetime) -> None:
        began = time.monotonic()
        number = await self._store.count(pair, until)
        cost = time.monotonic() - began
        if number <= FEW and number == (known.number if known else 0):
            # Few are counted at each request: only their number matters here.
            return
        await self._store.keep(pair, KeptCount(number=number, up_to=until, counted_at=until, cost=cost))


class FailureCountKeeper:
    """Counts failures by group anew after a hundred times as long as counting them takes."""

    def __init__(self, store: FailureCountStore, clock: ServerClock) -> None:
        self._store = store
        self._clock = clock

    async def run_once(self) -> float | None:
        """Take a turn, if no other process does; return the seconds until the next one."""
        mark = await self._store.take_turn()
        if mark is None:
            return None
        began, pause = time.monotonic(), COUNT_SECONDS
        try:
            if await self._store.count(await self._clock.now() - SETTLED):
                pause = min(max(pause, _SHARE * (time.monotonic() - began)), _LONGEST_SECONDS)
        finally:
            await self._store.end_turn(mark, pause)
        return pause
