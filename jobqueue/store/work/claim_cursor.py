"""The positions from which claims search for the next job.

Every claim leaves a dead entry at the head of the claim index until the server cleans up, minutes later. After many
claims a search from the start passes all dead entries, and a claim that loses a race passes them again. So a search
begins at the last claimed job. A job may come to lie before that position: a new job of higher priority, or a job that
came back. A look at the first job of all finds it, as soon as an event tells of the job, and every second.

A look for a new job of higher priority passes no dead entry of the present priority, and is not put off. Claims that
were sent before a look answer after it, and name later jobs: they do not move the position.
"""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from jobqueue.lru_cache import LruCache
from jobqueue.store.documents import statements
from jobqueue.store.mongo.clock import EPOCH

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from jobqueue.store.documents.statements import Document

MOST: Final = 2_000
"""Kinds of search with a remembered position."""
_WARM: Final = 1000
_LOOK_SECONDS: Final = 1.0
_SHARE: Final = 10
"""The pause after a costly look, as a multiple of its duration."""
_CHEAP_SECONDS: Final = 0.02
_MARGIN: Final = timedelta(milliseconds=50)
"""Of two jobs added at the same time, the job stored later may have the earlier time."""
SearchKind = tuple[str, tuple[str, ...] | None, tuple[str, ...], bool]
"""A queue, the types and the excluded types of a search, and whether it takes jobs that have to run alone."""


@dataclass(slots=True)
class ClaimCursor:
    """The position of one kind of search: the place of the last job that it found.

    Attributes:
        warm: claims after which searches begin at the position. A search that passes over jobs begins there at once:
            these jobs may be many, and stay.
        unsettled: a job has come back, and may lie anywhere.
        highest: the highest priority of a new job since the last look began.
        looks: looks that have moved the position.
    """

    warm: int = _WARM
    claims: int = 0
    priority: float | None = None
    insert_at: datetime | None = None
    looked_at: float = float("-inf")
    cost: float = 0
    unsettled: bool = True
    highest: float = float("-inf")
    looked_above_at: float = float("-inf")
    cost_above: float = 0
    looks: int = 0

    def due(self, now: float) -> Document | None:
        """Return the filter of a look that is due, or ``None``; ``now`` is of the monotonic clock.

        A look at the first job of all may pass many dead entries, and then pauses for long. A look above the present
        priority takes half the time of one claimer at most.
        """
        if self.claims <= self.warm or self.priority is None:
            return None
        pause = _SHARE * self.cost if self.cost > _CHEAP_SECONDS else 0
        if now - self.looked_at >= (pause if self.unsettled else max(pause, _LOOK_SECONDS)):
            return {}
        pause = self.cost_above if self.cost_above > _CHEAP_SECONDS else 0
        if self.highest > self.priority and now - self.looked_above_at >= pause:
            return {"priority": {"$gt": self.priority}}
        return None

    def unsettle(self, priority: float | None) -> None:
        """Note that a job has come: a new job of this priority, or with ``None`` a job that may lie anywhere."""
        if priority is None:
            self.unsettled = True
        else:
            self.highest = max(self.highest, priority)

    @contextlib.contextmanager
    def looking(self, above: Document) -> Iterator[None]:
        """Measure a look with a filter of `due`, and keep other claims from the same look."""
        began = time.monotonic()
        before = self.unsettled, self.highest
        self.highest = float("-inf")
        if above:
            self.looked_above_at = began
        else:
            self.looked_at, self.unsettled = began, False
        try:
            yield
        except BaseException:
            self.unsettled, self.highest = self.unsettled or before[0], max(self.highest, before[1])
            raise
        finally:
            if above:
                self.cost_above = time.monotonic() - began
            else:
                self.cost = time.monotonic() - began

    def looked(self, first: Mapping[str, Any] | None, above: Document) -> None:
        """Move to the job that a look has found; a look above the present priority may find none."""
        if first is None and above:
            return
        self.saw(first)
        self.looks += 1

    def saw(self, first: Mapping[str, Any] | None) -> None:
        """Move to a job; without a job the next search begins at the start."""
        first = first or {}
        priority, insert_at = first.get("priority"), first.get("insertAt")
        self.priority = priority if isinstance(priority, int | float) else None
        self.insert_at = insert_at if isinstance(insert_at, datetime) else None

    def found(self, document: Mapping[str, Any], looks: int) -> None:
        """Move to a job that was claimed, unless a look has moved the position since the claim was sent.

        Args:
            document: the job.
            looks: the number of looks when the claim was sent.
        """
        self.claims += 1
        if looks == self.looks:
            self.saw(document)

    def narrowed(self) -> tuple[tuple[Document, list[tuple[str, int]]], ...]:
        """Return filters that narrow a search, one after the other, each with its order.

        An order beside a fixed priority does not name the priority: with several types the server would sort in memory.
        """
        everything: tuple[Document, list[tuple[str, int]]] = ({}, statements.CLAIM_ORDER)
        if self.claims <= self.warm or self.priority is None:
            return (everything,)
        from_here = {"priority": self.priority, "insertAt": {"$gte": (self.insert_at or EPOCH) - _MARGIN}}
        lower = {"priority": {"$lt": self.priority}}
        return (from_here, statements.CLAIM_ORDER[1:]), (lower, statements.CLAIM_ORDER), everything


class ClaimCursors:
    """The positions of the kinds of search that have lately found jobs in this process.

    A search that finds nothing has no position. So made-up names of queues and types leave nothing behind.
    """

    def __init__(self) -> None:
        self._of: LruCache[SearchKind, ClaimCursor] = LruCache(MOST)
        self._by_queue: dict[str, set[SearchKind]] = {}

    def __len__(self) -> int:
        return len(self._of)

    def of(self, kind: SearchKind) -> ClaimCursor:
        """Return the position of one kind of search."""
        # A search that passes over suspects starts warm.
        return self._of.get(kind) or ClaimCursor(warm=_WARM if kind[-1] else 0)

    def found(self, kind: SearchKind, document: Mapping[str, Any], looks: int) -> None:
        """Move the position of a search to a job that was claimed, as `ClaimCursor.found`.

        A position that was forgotten meanwhile begins anew, as it has not heard of the jobs that came.
        """
        cursor = self.of(kind)
        cursor.found(document, looks)
        forgotten = self._of.keep(kind, cursor)
        self._by_queue.setdefault(kind[0], set()).add(kind)
        if forgotten is not None:
            kinds = self._by_queue[forgotten[0]]
            kinds.remove(forgotten)
            if not kinds:
                del self._by_queue[forgotten[0]]

    def unsettle(self, queue: str | None, priority: float | None) -> None:
        """Note that a job has come to a queue, or with ``None`` to any queue."""
        for kind in self._of if queue is None else self._by_queue.get(queue, ()):
            self._of.peek(kind).unsettle(priority)
