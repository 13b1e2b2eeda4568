"""How long after its grant a start may happen where the database is slow."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

from jobqueue.lru_cache import LruCache

if TYPE_CHECKING:
    from jobqueue.domain.limits.limits import Rate

_LONGEST_LEEWAY: Final = timedelta(seconds=10)
_MOST_FACTOR: Final = 1024.0
_MOST_QUEUES: Final = 2_000


class GrantLeeway:
    """How long after their grants starts may happen in this process: as the rate says, or longer on a slow database.

    Where a write takes longer than the rate's own leeway, every start would come too late for ever. A longer one lets
    fewer jobs start, and never too many: each grant holds for its own leeway.
    """

    def __init__(self) -> None:
        self._factors: LruCache[str, float] = LruCache(_MOST_QUEUES)

    def of(self, queue: str, rate: Rate) -> timedelta:
        """Return the leeway to ask for."""
        return min(rate.leeway * (self._factors.get(queue) or 1), max(rate.leeway, _LONGEST_LEEWAY))

    def was_late(self, queue: str, rate: Rate, took: float) -> None:
        """Note that a start came too late, after so many seconds: the next one gets twice as long."""
        longer = max(self._factors.get(queue) or 1, took / rate.leeway.total_seconds())
        self._factors.keep(queue, min(2 * longer, _MOST_FACTOR))

    def was_in_time(self, queue: str, rate: Rate, took: float) -> None:
        """Note that a start was there within so many seconds: the next one gets less, down to twice as long."""
        factor = self._factors.forget(queue) or 1
        shorter = max(factor / 2, 2 * took / rate.leeway.total_seconds())
        if shorter > 1 and factor > 1:
            self._factors.keep(queue, min(factor, shorter))
