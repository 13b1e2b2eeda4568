"""Waiting for a change of one job."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from jobqueue.domain.insight.event import EventFilter
from jobqueue.services.jobs.job_tags import phase, phase_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from jobqueue.domain.jobs.job import Job
    from jobqueue.services.insight.events import Events
    from jobqueue.services.jobs.manage import JobManager

MOST_WAITING: Final = 1000
"""Requests that may wait for changes of jobs at once in one process."""
_LOOK_SECONDS: Final = 5.0


class TooManyWatchersError(Exception):
    """Refuse to let one more request wait."""


class JobWatch:
    """Answers with a job when it has changed: its state, its progress, or which attempt it is at."""

    def __init__(self, admin: JobManager, events: Events) -> None:
        self._admin = admin
        self._events = events
        self._waiting = 0

    async def changed(self, job_id: str, seconds: float, known: frozenset[str] | None, gone: Callable[[], bool]) -> Job:
        """Return a job as soon as it differs from what the caller knows, or as it is when the time is over.

        Args:
            job_id: of the job.
            seconds: how long to wait.
            known: `job_tags.tag` of what the caller knows; ``None`` for the job as it is now.
            gone: tells whether nobody listens any more.

        Raises:
            NotFoundError: there is none of this id, or it has been deleted.
            TooManyWaitingError: too many wait already.
            DatabaseUnavailableError: changes cannot be phase now.
        """
        job = await self._admin.get(job_id)
        known = frozenset({phase(job)} if known is None else map(phase_of, known))
        if phase(job) not in known:
            return job
        if self._waiting >= MOST_WAITING:
            raise TooManyWatchersError
        self._waiting += 1
        try:
            return await self._wait(job, seconds, known, gone)
        finally:
            self._waiting -= 1

    async def _wait(self, job: Job, seconds: float, known: frozenset[str], gone: Callable[[], bool]) -> Job:
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        async with self._events.reading(EventFilter(job_id=job.id, with_progress=True)) as reader:
            while True:
                job = await self._admin.get(job.id)
                left = until - loop.time()
                if phase(job) not in known or left <= 0 or reader.is_over or gone():
                    return job
                # Looks by itself too: nothing that must be right depends on being told.
                await reader.take(min(left, _LOOK_SECONDS))
