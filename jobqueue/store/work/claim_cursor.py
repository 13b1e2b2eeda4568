"""Where the search for the next job begins.

Every claim leaves a dead entry at the head of the claim index until the server has cleaned up, minutes later. After
many claims a search from the start has to pass all of them, and claims that meet at the first living job do so again
for each time one of them loses. So the search begins where the last job was found. Jobs that may lie before that
position (a new one of higher priority, one that came back) are found by looking for the first job of all: as soon as
something tells of them, and every second.
"""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from jobqueue.lru_cache import LruCache
from jobqueue.store.documents import statements

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from jobqueue.store.documents.statements import Document

MOST: Final = 2_000
"""Kinds of search whose positions are remembered."""
_WARM: Final = 1000
_LOOK_SECONDS: Final = 1.0
_SHARE: Final = 10
"""How many times as long as a costly look takes nobody looks again."""
_CHEAP_SECONDS: Final = 0.02
_MARGIN: Final = timedelta(milliseconds=50)
"""Of two jobs that were added at the same time the one that is stored later may have the earlier time."""
_EPOCH: Final = datetime.fromtimestamp(0, UTC)
SearchKind = tuple[str, tuple[str, ...] | None, tuple[str, ...], bool]
"""A queue, the types and the excluded types of a search, and whether it takes jobs that have to run alone."""


@dataclass(slots=True)
class ClaimCursor:
    """The place of the last job that was found for one kind of search.

    Attributes:
        warm: claims after which searches begin at the last place. A search that passes over jobs has to do so at once:
            these jobs may be many, and stay.
    """

    warm: int = _WARM
    claims: int = 0
    priority: float | None = None
    insert_at: datetime | None = None
    looked_at: float = float("-inf")
    cost: float = 0
    unsettled: bool = True

    def is_due(self, now: float) -> bool:
        """Tell whether it is time to look for a job before this position; ``now`` is of a steady clock."""
        if self.claims <= self.warm or self.priority is None:
            return False
        wait = _SHARE * self.cost if self.cost > _CHEAP_SECONDS else 0
        return now - self.looked_at >= (wait if self.unsettled else max(wait, _LOOK_SECONDS))

    def unsettle(self, priority: float | None) -> None:
        """Note that a job has come: a new one of this priority, or with ``None`` one that may lie anywhere."""
        if priority is None or self.priority is None or priority > self.priority:
            self.unsettled = True

    @contextlib.contextmanager
    def looking(self) -> Iterator[None]:
        """Surround a look; others need not look at the same time."""
        began = time.monotonic()
        self.looked_at, self.unsettled = began, False
        try:
            yield
        finally:
            self.cost = time.monotonic() - began

    def saw(self, first: Mapping[str, Any] | None) -> None:
        """Take over the place of the first job of all; without one the next search is from the start."""
        first = first or {}
        priority, insert_at = first.get("priority"), first.get("insertAt")
        self.priority = priority if isinstance(priority, int | float) else None
        self.insert_at = insert_at if isinstance(insert_at, datetime) else None

    def found(self, document: Mapping[str, Any]) -> None:
        """Take over the place of a job that was claimed."""
        self.claims += 1
        self.saw(document)

    def narrowed(self) -> tuple[tuple[Document, list[tuple[str, int]]], ...]:
        """Return by what to narrow a search, and its order, one after the other.

        Where the priority is given the order does not name it: with several types the server would sort in memory.
        """
        everything: tuple[Document, list[tuple[str, int]]] = ({}, statements.CLAIM_ORDER)
        if self.claims <= self.warm or self.priority is None:
            return (everything,)
        from_here = {"priority": self.priority, "insertAt": {"$gte": (self.insert_at or _EPOCH) - _MARGIN}}
        lower = {"priority": {"$lt": self.priority}}
        return (from_here, statements.CLAIM_ORDER[1:]), (lower, statements.CLAIM_ORDER), everything


class ClaimCursors:
    """The positions of the kinds of search with which this process has lately found jobs.

    A search that finds nothing has no position. So names of queues and types that are made up leave nothing behind.
    """

    def __init__(self) -> None:
        self._of: LruCache[SearchKind, ClaimCursor] = LruCache(MOST)
        self._by_queue: dict[str, set[SearchKind]] = {}

    def __len__(self) -> int:
        return len(self._of)

    def of(self, kind: SearchKind) -> ClaimCursor:
        """Return the position of one kind of search."""
        return self._of.get(kind) or _first(kind)

    def found(self, kind: SearchKind, document: Mapping[str, Any]) -> None:
        """Take over the place of a job that was claimed.

        The position of a search that was forgotten meanwhile begins anew: nobody has told it of jobs that came.
        """
        cursor = self._of.get(kind) or _first(kind)
        cursor.found(document)
        forgotten = self._of.keep(kind, cursor)
        self._by_queue.setdefault(kind[0], set()).add(kind)
        if forgotten is not None:
            kinds = self._by_queue[forgotten[0]]
            kinds.remove(forgotten)
            if not kinds:
                del self._by_queue[forgotten[0]]

    def unsettle(self, queue: str | None, priority: float | None) -> None:
        """Note that a job has come to a queue, or with ``None`` to any."""
        for kind in self._of if queue is None else self._by_queue.get(queue, ()):
            self._of.peek(kind).unsettle(priority)


def _first(kind: SearchKind) -> ClaimCursor:
    *_, suspects = kind
    return ClaimCursor(warm=_WARM if suspects else 0)
