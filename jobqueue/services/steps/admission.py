"""The first use of steps in a queue: refused while workers of an older version serve it, and noted for them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from jobqueue.domain.errors import InvalidInputError, OlderWorkersError
from jobqueue.domain.queues.needs import STEPS
from jobqueue.domain.values.checks import check_queue
from jobqueue.lru_cache import LruCache

if TYPE_CHECKING:
    from jobqueue.services.signals.config import QueueConfigs
    from jobqueue.store.queues.config import ConfigStore
    from jobqueue.store.work.workers import WorkerStore

_TRUSTED_SECONDS: Final = 30.0
_MOST_REMEMBERED: Final = 2_000


class StepAdmission:
    """Decides whether jobs of a queue may have steps, and keeps older processes from such a queue.

    Args:
        store: of the configuration, which names the queues with steps.
        configs: the copy of it in this process.
        workers: of all processes.
    """

    def __init__(self, store: ConfigStore, configs: QueueConfigs, workers: WorkerStore) -> None:
        self._store = store
        self._configs = configs
        self._workers = workers
        self._admitted: LruCache[str, float] = LruCache(_MOST_REMEMBERED)

    async def check(self, queue: str) -> None:
        """Allow steps in a queue: after the first time, this reads and writes nothing.

        Raises:
            OlderWorkersError: workers of a version without steps serve the queue.
        """
        if STEPS in self._configs.needs(queue) or self._is_remembered(queue):
            return
        older = [
            worker.name
            for worker in await self._workers.alive()
            if STEPS not in worker.abilities and any(post.queue == queue for post in worker.posts)
        ]
        if older:
            raise OlderWorkersError(queue, sorted(older))
        try:
            await self._store.need(check_queue(queue), STEPS)
        except InvalidInputError:
            # A job of another tool: its queue has a name that no configuration can have.
            pass
        else:
            await self._configs.refresh()
        if STEPS not in self._configs.needs(queue):
            self._admitted.keep(queue, time.monotonic())

    def _is_remembered(self, queue: str) -> bool:
        """Return True if the queue was admitted lately, for a queue of which no needs can be noted."""
        return time.monotonic() - (self._admitted.get(queue) or float("-inf")) < _TRUSTED_SECONDS
