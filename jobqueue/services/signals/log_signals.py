"""Read the logs of jobs, also as they are written."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from jobqueue.domain.access.access import EVERYTHING, Scope
from jobqueue.domain.work.logs import MOST_LINES, LogQuery

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from jobqueue.domain.attempts.attempt import LogLine
    from jobqueue.domain.work.logs import LogPage
    from jobqueue.store.jobs.logs import LogStore

MOST_FOLLOWING: Final = 1000
"""Readers in one process that may wait for new lines at once."""
_LOOK_SECONDS: Final = 0.5
_LONGEST_LOOK: Final = 2.0
_SLOWER: Final = 1.25


class TooManyFollowingError(Exception):
    """Refuse one more waiting reader."""


class Logs:
    """Reads the lines of jobs' logs.

    A waiting reader is woken by lines that come through this process. For lines that come through other processes the
    reader looks twice a second at first, and more seldom when nothing comes.
    """

    def __init__(self, store: LogStore) -> None:
        self.store = store
        self._waiting: dict[str, set[asyncio.Event]] = {}
        self._closing = False

    def news(self, job_id: str) -> None:
        """Wake the readers of a job's log: the job has new lines or has ended."""
        for event in self._waiting.get(job_id, ()):
            event.set()

    async def following(
        self,
        job_id: str,
        query: LogQuery,
        wait: float,
        *,
        scope: Scope = EVERYTHING,
        gone: Callable[[], bool] = lambda: False,
    ) -> LogPage:
        """Return a page; wait up to ``wait`` seconds for lines of an unfinished job if there are none yet.

        ``gone`` returns true when the reader has gone.

        Raises:
            NotFoundError: the scope has no such job.
            TooManyFollowingError: too many readers wait already.
        """
        with self._place(job_id, wait) as news:
            until = asyncio.get_running_loop().time() + wait
            look = _LOOK_SECONDS
            while True:
                page = await self.store.page(job_id, query, scope)
                left = until - asyncio.get_running_loop().time()
                if page.lines or page.more or page.ended or left <= 0 or self._closing or gone():
                    return page
                query = replace(query, after=page.resume)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(min(left, look)):
                        await news.wait()
                look = _LOOK_SECONDS if news.is_set() else min(look * _SLOWER, _LONGEST_LOOK)
                news.clear()

    async def all(
        self, job_id: str, query: LogQuery, *, scope: Scope = EVERYTHING
    ) -> AsyncIterator[tuple[tuple[int, LogLine], ...]]:
        """Yield all present lines, in parts.

        Raises:
            NotFoundError: the scope has no such job.
        """
        while True:
            page = await self.store.page(job_id, query, scope)
            yield page.lines
            if not page.more:
                return
            query = replace(query, after=page.resume)

    async def lines(self, job_id: str, *, after: int = 0, limit: int = 1000) -> list[tuple[int, LogLine]]:
        """Return log lines with their numbers, in order, from number ``after`` on.

        Raises:
            NotFoundError: there is no job of this id.
        """
        numbered: list[tuple[int, LogLine]] = []
        async for lines in self.all(job_id, LogQuery(after=after, limit=min(limit, MOST_LINES))):
            numbered += lines
            if len(numbered) >= limit:
                break
        return numbered[:limit]

    def close(self) -> None:
        """End all waits."""
        self._closing = True
        for job_id in self._waiting:
            self.news(job_id)

    @contextlib.contextmanager
    def _place(self, job_id: str, wait: float) -> Iterator[asyncio.Event]:
        event = asyncio.Event()
        if wait <= 0:
            yield event
            return
        if sum(map(len, self._waiting.values())) >= MOST_FOLLOWING:
            raise TooManyFollowingError
        self._waiting.setdefault(job_id, set()).add(event)
        try:
            yield event
        finally:
            self._waiting[job_id].remove(event)
            if not self._waiting[job_id]:
                del self._waiting[job_id]
