"""The use of the limits of a queue that hold for each value of a path: who runs, and who waits."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from jobqueue.domain.limits.limits import HASHED

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from jobqueue.domain.limits.limits import Rate
    from jobqueue.services.signals.config import QueueConfigs
    from jobqueue.store.limits.group_use import GroupUseStore
    from jobqueue.store.limits.limits import LimitStore

MOST_GROUPS: Final = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupUse:
    """The use of the limits by the jobs of one value.

    Attributes:
        value: as JSON; for a very long value the text of its hash.
        starts: within the window of the rate; ``None`` without a rate.
        next_start_at: the time until which the rate holds back the jobs that wait; ``None`` if it holds back none.
    """

    value: Any
    running: int
    waiting: int
    starts: int | None = None
    next_start_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueUse:
    """The use of the limits of a queue.

    Attributes:
        limit_by: the path; ``None`` if the limits hold for the whole queue.
        values: the number of values that use the limits or wait for them.
        is_exact: all pending jobs are counted, not only those that come first.
        items: the values with most waiting jobs first.
    """

    queue: str
    limit_by: str | None
    values: int = 0
    is_exact: bool = True
    items: Sequence[GroupUse] = ()


class GroupUses:
    """Reads who uses the limits."""

    def __init__(self, store: GroupUseStore, limits: LimitStore, configs: QueueConfigs) -> None:
        self._store = store
        self._limits = limits
        self._configs = configs

    async def of(self, queue: str, most: int) -> QueueUse:
        """Return the use of the limits of a queue, configured or not, by its first values."""
        config = await self._configs.fresh(queue)
        if config.limit_by is None:
            return QueueUse(queue=queue, limit_by=None)
        (waiting, is_exact), holders = await asyncio.gather(
            self._store.waiting(queue), self._limits.running(queue, config.limit_by)
        )
        running = Counter(holder.key for holder in holders if holder.key is not None)
        keys = sorted({*waiting, *running}, key=lambda key: (-waiting.get(key, 0), -running[key], key))
        shown = keys[:most]
        starts = {} if config.rate is None else await self._store.starts(queue, shown, config.rate)
        dates = {} if config.rate is None else await self._next(queue, config.rate, starts)
        items = [
            GroupUse(
                value=_value(key),
                running=running[key],
                waiting=waiting.get(key, 0),
                starts=starts.get(key),
                next_start_at=dates.get(key),
            )
            for key in shown
        ]
        return QueueUse(queue=queue, limit_by=config.limit_by, values=len(keys), is_exact=is_exact, items=items)

    async def _next(self, queue: str, rate: Rate, starts: dict[str, int]) -> dict[str, datetime]:
        """Return the times of the next starts of the groups that have used up their rate."""
        full = [key for key, count in starts.items() if count >= rate.limit]
        waits = await asyncio.gather(*(self._limits.wait_for_start(queue, key, rate) for key in full))
        now = await self._limits.clock.now()
        return {key: now + timedelta(seconds=wait) for key, wait in zip(full, waits, strict=True) if wait > 0}


def _value(key: str) -> Any:
    text = key.partition("=")[2]
    if text.startswith(HASHED):
        return text
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        # Another tool has written the key.
        return text
