"""Search jobs, with a limit on searches at a time, so that no caller takes the database from all others."""

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
    from jobqueue.domain.search.query import Count, Page
    from jobqueue.domain.search.search import Search
    from jobqueue.store.search.aggregates import AggregateStore, Rows
    from jobqueue.store.search.search import SearchStore

AT_ONCE: Final = 4
"""Searches at a time in one process that may scan many jobs."""
SLOW_AT_ONCE: Final = 2
"""Slow searches among them."""
WAIT_SECONDS: Final = 2.0
"""Seconds that a search waits for its turn."""


class Searches:
    """Finds and aggregates jobs."""

    def __init__(self, store: SearchStore, aggregates: AggregateStore, *, wait: float = WAIT_SECONDS) -> None:
        self._store = store
        self._aggregates = aggregates
        self._wait = wait
        self._places = asyncio.Semaphore(AT_ONCE)
        self._slow_places = asyncio.Semaphore(SLOW_AT_ONCE)
        self._insisting: dict[str, float] = {}

    async def page(self, search: Search, *, scope: Scope = EVERYTHING, caller: str | None = None) -> Page:
        """Return one page of a search.

        Args:
            search: the filter and its options.
            scope: the jobs that the caller can see.
            caller: may run one slow search at a time; ``None`` for an unknown caller.

        Raises:
            OneAtATimeError: the caller runs another slow search.
            TooCostlyError: the search would scan too many jobs, and ``slow`` is not set.
            TooSlowError: the search took too long.
            BusyError: too many searches are under way.
        """
        if self._store.is_light(search):
            return await self._store.page(search, scope)
        async with self._place(caller, slow=search.slow):
            return await self._store.page(search, scope)

    async def count(self, search: Search, *, most: int, scope: Scope = EVERYTHING, caller: str | None = None) -> Count:
        """Count the jobs of a search, ``most`` of them at most; ``scope``, ``caller`` and errors as in `page`."""
        if self._store.is_light(search):
            return await self._store.count(search.filter, scope, most=most, slow=search.slow)
        async with self._place(caller, slow=search.slow):
            return await self._store.count(search.filter, scope, most=most, slow=search.slow)

    async def aggregate(
        self, pipeline: Pipeline, *, scope: Scope = EVERYTHING, caller: str | None = None, slow: bool = False
    ) -> Rows:
        """Return the rows of a pipeline over the jobs; ``scope`` and ``caller`` as in `page`.

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
        """Keep a caller to one slow search at a time, so that other callers have a place too."""
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
