"""Deleting ended jobs whose time is over, where a queue says how long they are kept."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from jobqueue.domain.jobs.states import State
from jobqueue.journal import get_logger

if TYPE_CHECKING:
    from jobqueue.services.signals.config import QueueConfigs
    from jobqueue.store.jobs.jobs import JobStore
    from jobqueue.store.retention.pruning import PruningStore

log = get_logger(__name__)
UNREAD_SECONDS: Final = 2.0
"""Between two passes over jobs that are kept until they are read."""
_UNREAD_AT_ONCE: Final = 200
_SHARE: Final = 10
"""A pass over unread jobs takes a tenth of the time at most."""
PRUNE_SECONDS: Final = 10.0
"""Between two looks."""
_AT_ONCE: Final = 500
_AGAIN_SECONDS: Final = 0.2


class UnreadJobs:
    """Deletes jobs that are not wanted after their success, as soon as all have read their results."""

    def __init__(self, jobs: JobStore) -> None:
        self._jobs = jobs
        self._after: str | None = None

    async def run_once(self) -> float | None:
        """Look at a page of such jobs; return in how many seconds to look at the next one, if there is one."""
        began = time.monotonic()
        jobs = await self._jobs.readers.page(self._after, _UNREAD_AT_ONCE)
        for job, still in await self._jobs.readers.read(jobs):
            await self._jobs.delete_read(job, still)
        self._after = jobs[-1].id if len(jobs) == _UNREAD_AT_ONCE else None
        return None if self._after is None else _SHARE * (time.monotonic() - began)


class Pruner:
    """Deletes what is over, a part at a time, so that nothing else has to wait for it."""

    def __init__(self, configs: QueueConfigs, pruning: PruningStore) -> None:
        self._configs = configs
        self._pruning = pruning

    async def run_once(self) -> float | None:
        """Delete a part of what is over; return in how many seconds to go on if more may be."""
        more = False
        for queue, config in self._configs.known.items():
            for state, seconds in config.retention.items():
                deleted, looked_at = await self._pruning.prune(queue, State(state), seconds, _AT_ONCE)
                more = more or looked_at == _AT_ONCE
                if deleted:
                    log.info("ended jobs deleted", queue=queue, state=state, count=deleted, after_seconds=seconds)
        return _AGAIN_SECONDS if more else None
