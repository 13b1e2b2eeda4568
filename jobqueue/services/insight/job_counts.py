"""Counts of jobs by state, kept for a while because counting takes long."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

from jobqueue.domain.attempts.states import FINAL, UNFINISHED, State

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jobqueue.store.queues.queues import QueueStore

FRESH_SECONDS: Final = 5.0
"""Seconds for which counts are kept."""
_WORTH: Final = 50
_LONGEST_SECONDS: Final = 60.0
_MOST_OLDEST: Final = 2_000
_AT_ONCE: Final = 10


class JobCounts:
    """Keeps counts for a while.

    There may be very many ended jobs and queues. Counting takes at most 2 % of the time, and happens at least once a
    minute.
    """

    every_state: Final = tuple(state.value for state in State)

    def __init__(self, figures: QueueStore, *, fresh: float = FRESH_SECONDS) -> None:
        self._figures = figures
        self._fresh = fresh
        self._counts: dict[frozenset[State], tuple[float, dict[tuple[str, str], int]]] = {}
        self._oldest: tuple[float, dict[str, float]] = (0.0, {})
        self._counting = asyncio.Lock()

    async def states(self) -> dict[str, Mapping[str, int]]:
        """Return the counts by state of each queue that has jobs."""
        async with self._counting:
            counts = await self._count(UNFINISHED) | await self._count(FINAL)
        names = sorted({queue for queue, _ in counts})
        return {name: {state: counts.get((name, state), 0) for state in self.every_state} for name in names}

    async def oldest_ready(self) -> dict[str, float]:
        """Return the age in seconds of the oldest ready job by queue.

        Of very many queues only the ones with most waiting jobs are read.
        """
        states = await self.states()
        waiting = [name for name, counts in states.items() if counts[State.PENDING]]
        waiting.sort(key=lambda name: -states[name][State.PENDING])
        async with self._counting:
            began = time.monotonic()
            if self._oldest[0] < began:
                oldest: dict[str, float] = {}
                for start in range(0, min(len(waiting), _MOST_OLDEST), _AT_ONCE):
                    part = waiting[start : start + _AT_ONCE]
                    ages = await asyncio.gather(*(self._figures.oldest_ready(name) for name in part))
                    oldest |= {name: age for name, age in zip(part, ages, strict=True) if age is not None}
                self._oldest = (self._until(began), oldest)
            return self._oldest[1]

    async def _count(self, states: frozenset[State]) -> dict[tuple[str, str], int]:
        until, counts = self._counts.get(states, (0.0, {}))
        began = time.monotonic()
        if until < began:
            is_of_ended = states == FINAL
            counts = await (self._figures.ended_by_queue() if is_of_ended else self._figures.count_by_queue(states))
            self._counts[states] = (self._until(began), counts)
        return counts

    def _until(self, began: float) -> float:
        """Return the time until which counts are kept whose query began at a moment."""
        now = time.monotonic()
        return now + max(self._fresh, min(_LONGEST_SECONDS, (now - began) * _WORTH))
