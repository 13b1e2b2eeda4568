"""Suggestions for filters, from samples that are kept for some seconds."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

from jobqueue.domain.access.access import EVERYTHING, Scope
from jobqueue.lru_cache import LruCache

if TYPE_CHECKING:
    from jobqueue.domain.search.suggestions import Sample, Suggestion, SuggestionQuery
    from jobqueue.store.search.samples import SampleStore

KEPT_SECONDS: Final = 5.0
_MOST_SCOPES: Final = 4


class Suggestions:
    """Suggests fields and values.

    Args:
        store: reads samples.
    """

    def __init__(self, store: SampleStore) -> None:
        self._store = store
        self._kept: LruCache[Scope, tuple[float, asyncio.Future[Sample]]] = LruCache(_MOST_SCOPES)

    async def find(self, query: SuggestionQuery, *, scope: Scope = EVERYTHING) -> tuple[list[Suggestion], int]:
        """Return suggestions from the newest jobs of a scope, and the number of these jobs."""
        sample = await self._sample(scope)
        return sample.suggestions(query), sample.size

    async def _sample(self, scope: Scope) -> Sample:
        """Return the sample of a scope; concurrent calls share one read, which outlives the call that began it."""
        kept = self._kept.get(scope)
        if kept is None or kept[0] <= time.monotonic() or _has_failed(kept[1]):
            kept = time.monotonic() + KEPT_SECONDS, asyncio.ensure_future(self._store.newest(scope))
            self._kept.keep(scope, kept)
        return await asyncio.shield(kept[1])


def _has_failed(task: asyncio.Future[Sample]) -> bool:
    return task.done() and (task.cancelled() or task.exception() is not None)
