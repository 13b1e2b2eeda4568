"""Pages of batches by a query and within a scope, with a bound on the batches that a page looks at."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, ClassVar, Final

from jobqueue.domain.access.access import EVERYTHING, Scope
from jobqueue.domain.workflow.batch import after_batch
from jobqueue.store.documents import attributes
from jobqueue.store.workflow.batches import batch_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from jobqueue.domain.workflow.batch import Batch, BatchCursor, BatchView
    from jobqueue.domain.workflow.batch_query import BatchQuery
    from jobqueue.store.access.scope_checks import ScopeChecks
    from jobqueue.store.documents.statements import Document
    from jobqueue.store.workflow.batch_listings import BatchListings

LOOKED_AT: Final = 100
"""Batches that are read together."""
MOST_LOOKED_AT: Final = 2_000
"""Batches that one page looks at; a page without all its batches has a cursor to go on."""
_TOGETHER: Final = 20
_MARKED_AT_ONCE: Final = 500
_MOST_MARKS: Final = 20
_SHARE: Final = 20


class BatchPages:
    """Pages of batches.

    Args:
        listings: reads batches.
        scope_checks: check batches against a scope.
        view: returns a batch with the counts of its jobs.

    Attributes:
        seconds: between looks for batches of earlier versions; a page that needs their attributes looks itself.
    """

    seconds: ClassVar[float] = 600.0

    def __init__(
        self, listings: BatchListings, scope_checks: ScopeChecks, view: Callable[[Batch], Awaitable[BatchView]]
    ) -> None:
        self._listings = listings
        self._scope_checks = scope_checks
        self._view = view

    async def page(
        self, query: BatchQuery, *, scope: Scope = EVERYTHING, after: BatchCursor | None = None, limit: int = 50
    ) -> tuple[list[BatchView], BatchCursor | None]:
        """Return batches, newest first, and a cursor; few or none where too many others lie between."""
        if query.meta:
            await self._mark()
        visible: list[Batch] = []
        place, end = after, None
        for _ in range(MOST_LOOKED_AT // LOOKED_AT):
            documents = await self._listings.candidates(query, place, LOOKED_AT, meta=scope.meta)
            matching = await self._matching(documents, query)
            for start in range(0, len(documents), _TOGETHER):
                part = [batch_of(document) for document in documents[start : start + _TOGETHER]]
                seen = await self._within([batch for batch in part if batch.id in matching], scope)
                for batch in part:
                    is_seen = batch.id in seen
                    if is_seen and len(visible) == limit:
                        return [await self._view(batch) for batch in visible], end
                    place = after_batch(batch, place)
                    if is_seen:
                        visible.append(batch)
                        end = place
            if len(documents) < LOOKED_AT:
                place = None
                break
        return [await self._view(batch) for batch in visible], place

    async def newest(self, query: BatchQuery, limit: int) -> list[BatchView]:
        """Return the newest batches of a query, however many others lie between."""
        views, place = await self.page(query, limit=limit)
        while place is not None and len(views) < limit:
            more, place = await self.page(query, after=place, limit=limit - len(views))
            views += more
        return views

    async def run_once(self) -> float | None:
        """Derive the attributes of some batches of earlier versions; return the seconds until the next ones, if any."""
        began = time.monotonic()
        is_full = await self._listings.mark(_MARKED_AT_ONCE) == _MARKED_AT_ONCE
        return _SHARE * (time.monotonic() - began) if is_full else None

    async def _mark(self) -> None:
        for _ in range(_MOST_MARKS):
            if await self._listings.mark(_MARKED_AT_ONCE) < _MARKED_AT_ONCE:
                return

    async def _matching(self, documents: Sequence[Document], query: BatchQuery) -> set[str]:
        """Return the ids of the batches for which all of a query holds."""
        wanted = query.attributes
        ids = {
            document["_id"]
            for document in documents
            if query.state in {None, document.get("state")}
            and all(way & set(attributes.derived(document.get("meta"))) for way in wanted)
        }
        if ids and query.failed:
            ids &= await self._listings.with_failures(ids)
        if ids and query.type is not None:
            ids &= await self._listings.with_type(ids, query.type)
        return {str(batch_id) for batch_id in ids}

    async def _within(self, batches: Sequence[Batch], scope: Scope) -> set[str]:
        if scope.is_everything:
            return {batch.id for batch in batches}
        seen = await asyncio.gather(*(self._scope_checks.has_batch(batch.id, scope) for batch in batches))
        return {batch.id for batch, is_seen in zip(batches, seen, strict=True) if is_seen}
