"""Remember which workers run a job that has to run alone.

The memory only saves claims that fail: the database lets no worker have two such jobs of a queue.
"""

from __future__ import annotations

import time
from typing import Final

_TRUSTED_SECONDS: Final = 1.0
_MOST: Final = 2_000


class RecentWorkers:
    """Names of workers, each with the moment at which it was seen to run such a job."""

    def __init__(self) -> None:
        self._seen: dict[str, float] = {}

    def note(self, worker: str) -> None:
        """Remember a worker."""
        self._seen.pop(worker, None)
        self._seen[worker] = time.monotonic()
        if len(self._seen) > _MOST:
            self._seen.pop(next(iter(self._seen)))

    def forget(self, worker: str) -> None:
        """Forget a worker whose job has ended."""
        self._seen.pop(worker, None)

    def knows(self, worker: str) -> bool:
        """Return True for a worker that is remembered."""
        return worker in self._seen

    def is_due(self, worker: str) -> bool:
        """Return True if the memory of a worker is so old that the database has to be asked."""
        return time.monotonic() - self._seen.get(worker, float("-inf")) >= _TRUSTED_SECONDS
