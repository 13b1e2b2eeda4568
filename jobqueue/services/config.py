"""Queue configurations as this process knows them, never older than a second where it matters."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from jobqueue.domain.queue import QueueConfig
from jobqueue.store.clock import steady

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jobqueue.store.config import ConfigStore

FRESH_SECONDS: Final = 1.0
"""A copy older than this is read anew before it decides something: nothing is claimed by one that cannot be."""
_DEFAULT: Final = QueueConfig()


class QueueConfigs:
    """The present configuration of all queues.

    Attributes:
        revision: grows with every change, also with one that was taken back before it was seen here.
    """

    def __init__(self, store: ConfigStore) -> None:
        self._store = store
        self._queues: Mapping[str, QueueConfig] = {}
        self.revision = 0
        self._read_at = float("-inf")
        self._lock = asyncio.Lock()

    @property
    def known(self) -> Mapping[str, QueueConfig]:
        """Every configured queue, as last read."""
        return self._queues

    def of(self, queue: str) -> QueueConfig:
        """Return a queue's configuration as last read; a queue nobody configured has the defaults."""
        return self._queues.get(queue, _DEFAULT)

    async def fresh(self, queue: str) -> QueueConfig:
        """Return a queue's configuration, read anew if the copy is older than `FRESH_SECONDS`."""
        if steady() - self._read_at >= FRESH_SECONDS:
            async with self._lock:
                if steady() - self._read_at >= FRESH_SECONDS:
                    await self.refresh()
        return self.of(queue)

    async def refresh(self) -> None:
        """Read all configurations."""
        asked_at = steady()
        self._queues, self.revision = await self._store.all()
        self._read_at = max(self._read_at, asked_at)
