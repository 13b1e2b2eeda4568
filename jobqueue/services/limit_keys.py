"""Telling waiting jobs in which group they count, where the limits of their queue hold for each value of something.

New jobs know it from the start. Others are told here: those that waited when the limit was configured, those of a
process that did not know of it yet, and those that another tool has put into the database.
"""

from __future__ import annotations

import time
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from jobqueue.services.wake import Wake

if TYPE_CHECKING:
    from datetime import datetime

    from jobqueue.services.config import QueueConfigs
    from jobqueue.services.wake import Wakeups
    from jobqueue.store.limits import LimitStore

KEY_SECONDS: Final = 2.0
"""Between two looks at what is new."""
_ALL_SECONDS: Final = 60.0
_EAGER_SECONDS: Final = 15.0
_MARGIN: Final = timedelta(seconds=15)


class LimitKeys:
    """Looks at all waiting jobs of a queue when its limits are new and every minute, at new ones every two seconds."""

    def __init__(self, configs: QueueConfigs, limits: LimitStore, wakeups: Wakeups) -> None:
        self._configs = configs
        self._limits = limits
        self._wakeups = wakeups
        self._seen: dict[tuple[str, str], float] = {}
        self._full: dict[tuple[str, str], float] = {}

    async def run_once(self) -> None:
        """Do it for every queue."""
        wanted = {
            (name, config.limit_by): None
            for name, config in self._configs.known.items()
            if config.grouped and config.limit_by is not None
        }
        now = time.monotonic()
        self._seen = {key: self._seen.get(key, now) for key in wanted}
        for queue, path in wanted:
            # Processes that do not know the limit yet may add jobs for a moment.
            is_new = now - self._seen[queue, path] < _EAGER_SECONDS
            is_full = is_new or now - self._full.get((queue, path), float("-inf")) >= _ALL_SECONDS
            since: datetime | None = None if is_full else await self._limits.time() - _MARGIN
            if await self._limits.give_keys(queue, path, since):
                self._wakeups.tell(Wake(kind="ready", queue=queue))
            if is_full:
                self._full[queue, path] = now
