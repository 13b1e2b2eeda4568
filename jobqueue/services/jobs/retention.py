"""Delete ended jobs whose retention is over."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from jobqueue.domain.attempts.states import State
from jobqueue.journal import get_logger

if TYPE_CHECKING:
    from jobqueue.services.signals.config import QueueConfigs
    from jobqueue.store.jobs.jobs import JobStore
    from jobqueue.store.retention.pruning import PruningStore

log = get_logger(__name__)
UNREAD_SECONDS: Final = 2.0
"""Seconds between passes over jobs that are kept until they are read."""
_UNREAD_AT_ONCE: Final = 200
_SHARE: Final = 10
"""A pass over unread jobs takes a tenth of the time at most."""
PRUNE_SECONDS: Final = 10.0
"""Seconds between looks."""
_AT_ONCE: Final = 500
_AGAIN_SECONDS: Final = 0.2


class UnreadJobs:
    """Deletes jobs with ``onSuccessDelete`` as soon as all dependents have read their results."""

    def __init__(self, jobs: JobStore) -> None:
        self._jobs = jobs
        self._after: str | None = None

    async def run_once(self) -> float | None:
        """Read a page of such jobs; return seconds until the next page, if any."""
        began = time.monotonic()
        jobs = await self._jobs.readers.page(self._after, _UNREAD_AT_ONCE)
        for job, still in await self._jobs.readers.read(jobs):
            await self._jobs.delete_read(job, still)
        self._after = jobs[-1].id if len(jobs) == _UNREAD_AT_ONCE else None
        return None if self._after is None else _SHARE * (time.monotonic() - began)


class Pruner:
    """Deletes expired jobs, a part at a time, so that nothing else waits for it."""

    def __init__(self, configs: QueueConfigs, pruning: PruningStore) -> None:
        self._configs = configs
        self._pruning = pruning

    async def run_once(self) -> float | None:
        """Delete a part of the expired jobs; return seconds until the next part if there may be more."""
        more = False
        for queue, config in self._configs.known.items():
            for state, seconds in config.retention.items():
                deleted, looked_at = await self._pruning.prune(queue, State(state), seconds, _AT_ONCE)
                more = more or looked_at == _AT_ONCE
                if deleted:
                    log.info("ended jobs deleted", queue=queue, state=state, count=deleted, after_seconds=seconds)
        return _AGAIN_SECONDS if more else None
