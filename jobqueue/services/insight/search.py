"""Searches of jobs: not too many at once, so that nobody can keep everybody else from the database."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Final

from jobqueue.domain.access.access import EVERYTHING, Scope
from jobqueue.domain.errors import BusyError, OneAtATimeError
from jobqueue.store.search.search import SLOW_LIMIT

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from jobqueue.domain.search.pipelines import Pipeline
    from jobqueue.domain.search.query import Page
    from jobqueue.domain.search.search import Search
    from jobqueue.store.search.aggregates import AggregateStore, Rows
    from jobqueue.store.search.search import SearchStore

AT_ONCE: Final = 4
"""Searches at a time in one process that may have to look at many jobs."""
SLOW_AT_ONCE: Final = 2
"""How many of them may be such as insist."""
WAIT_SECONDS: Final = 2.0
"""How long one waits for its turn."""


class Searches:
    """Finds jobs and adds them up."""

    def __init__(self, store: SearchStore, aggregates: AggregateStore, *, wait: float = WAIT_SECONDS) -> None:
        self._store = store
        self._aggregates = aggregates
        self._wait = wait
        self._places = asyncio.Semaphore(AT_ONCE)
        self._slow_places = asyncio.Semaphore(SLOW_AT_ONCE)
        self._insisting: dict[str, float] = {}

    async def page(self, search: Search, *, scope: Scope = EVERYTHING, caller: str | None = None) -> Page:
        """Return one page of what a search finds.

        Args:
            search: what is looked for.
            scope: the jobs that the caller can see.
            caller: has one search that insists at a time; ``None`` for somebody unknown.

        Raises:
            OneAtATimeError: the caller has another search that insists.
            TooCostlyError: no index leads to few enough jobs, and it does not insist.
            TooSlowError: it took too long.
            BusyError: too many others are under way.
        """
        if self._store.is_light(search):
            return await self._store.page(search, scope)
        async with self._place(caller, slow=search.slow):
            return await self._store.page(search, scope)

    async def aggregate(
        self, pipeline: Pipeline, *, scope: Scope = EVERYTHING, caller: str | None = None, slow: bool = False
    ) -> Rows:
        """Return what a pipeline makes of the jobs; ``scope`` and ``caller`` as in `page`.

        Raises:
            OneAtATimeError: as `page`.
            TooCostlyError: as `page`.
            TooSlowError: as `page`.
            BusyError: as `page`.
            InvalidInputError: the pipeline cannot be carried out.
        """
        async with self._place(caller, slow=slow):
            return await self._aggregates.rows(pipeline, scope, slow=slow)

    @contextmanager
    def _alone(self, caller: str) -> Iterator[None]:
        """Give a caller a place for one search that insists, so that others have a place too."""
        now = asyncio.get_running_loop().time()
        if (until := self._insisting.get(caller)) is not None:
            what = "a search that insists runs for this token already: wait for its end, or ask for less"
            raise OneAtATimeError(what, until - now)
        self._insisting[caller] = now + self._wait + SLOW_LIMIT
        try:
            yield
        finally:
            del self._insisting[caller]

    @asynccontextmanager
    async def _place(self, caller: str | None, *, slow: bool) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            if slow and caller is not None:
                stack.enter_context(self._alone(caller))
            try:
                async with asyncio.timeout(self._wait):
                    for places in (self._slow_places, self._places) if slow else (self._places,):
                        await stack.enter_async_context(places)
            except TimeoutError:
                raise BusyError("too many searches are under way in this process: try again in a moment") from None
            yield
