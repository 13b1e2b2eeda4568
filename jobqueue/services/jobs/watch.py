"""Wait for a change of one job."""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING, Final

from jobqueue.domain.attempts.states import FINAL
from jobqueue.domain.errors import NotReadyError
from jobqueue.domain.insight.event import EventFilter
from jobqueue.services.insight.events import TooManyReadersError
from jobqueue.services.jobs.job_tags import phase, phase_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from jobqueue.domain.jobs.job import Job
    from jobqueue.services.insight.events import Events
    from jobqueue.store.jobs.jobs import JobStore

MOST_WAITING: Final = 1000
"""Requests that may wait for changes of jobs at once in one process."""
_LOOK_SECONDS: Final = 5.0


class JobWatch:
    """Returns a job when its state, its attempt or its progress has changed, or when it has ended."""

    def __init__(self, jobs: JobStore, events: Events) -> None:
        self._jobs = jobs
        self._events = events
        self._waiting = 0

    async def changed(self, job_id: str, seconds: float, known: frozenset[str] | None, gone: Callable[[], bool]) -> Job:
        """Return a job as soon as it differs from the versions that the caller knows, or when the time is over.

        Args:
            job_id: of the job.
            seconds: of the wait.
            known: the `job_tags.tag` of each version that the caller knows; ``None`` for the present version.
            gone: returns true when the caller has gone.

        Raises:
            NotFoundError: there is no job of this id any more.
            TooManyReadersError: too many requests wait already.
            DatabaseUnavailableError: the stream of changes cannot be opened now.
        """
        job = await self._jobs.whole(job_id)
        known = frozenset({phase(job)} if known is None else map(phase_of, known))
        if phase(job) not in known:
            return job
        if self._waiting >= MOST_WAITING:
            raise TooManyReadersError
        self._waiting += 1
        try:
            return await self._wait(job, seconds, known, gone)
        finally:
            self._waiting -= 1

    async def ended(self, job_id: str, seconds: float | None) -> Job:
        """Return a job when it has ended, or as it is when the time is over.

        Args:
            job_id: of the job.
            seconds: of the wait; ``None`` for as long as it takes.

        Raises:
            NotFoundError: there is no job of this id any more.
            NotReadyError: the services are closed meanwhile.
            DatabaseUnavailableError: the stream of changes cannot be opened now.
        """
        loop = asyncio.get_running_loop()
        until = math.inf if seconds is None else loop.time() + seconds
        job = await self._jobs.whole(job_id)
        if job.state in FINAL or loop.time() >= until:
            return job
        async with self._events.reading(EventFilter(job_id=job_id, states=tuple(FINAL))) as reader:
            while True:
                job = await self._jobs.whole(job_id)
                left = until - loop.time()
                if job.state in FINAL or left <= 0:
                    return job
                if reader.is_over:
                    raise NotReadyError("the queue was closed during the wait for a job")
                # As in `_wait`.
                await reader.take(min(left, _LOOK_SECONDS))

    async def _wait(self, job: Job, seconds: float, known: frozenset[str], gone: Callable[[], bool]) -> Job:
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        async with self._events.reading(EventFilter(job_id=job.id, with_progress=True)) as reader:
            while True:
                job = await self._jobs.whole(job.id)
                left = until - loop.time()
                if phase(job) not in known or left <= 0 or reader.is_over or gone():
                    return job
                # A missed event delays the answer, and never prevents it.
                await reader.take(min(left, _LOOK_SECONDS))
