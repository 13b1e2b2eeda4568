"""The workers that run a job alone, as far as this process has seen.

The memory only saves failing claims: a unique index keeps two such jobs of a queue from one worker.
"""

from __future__ import annotations

import time
from typing import Final

_TRUSTED_SECONDS: Final = 1.0
_MOST: Final = 2_000


class RecentWorkers:
    """Names of workers, each with the time at which it was last seen to run a job alone."""

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
        """Return True for a remembered worker."""
        return worker in self._seen

    def is_due(self, worker: str) -> bool:
        """Return True if the memory of a worker is too old, and the database has to be asked."""
        return time.monotonic() - self._seen.get(worker, float("-inf")) >= _TRUSTED_SECONDS
