"""Read the log lines of a job: the first lie in its document, the later lines in the `logs` collection.

A heartbeat first counts its lines in the job's document, which numbers them. Then it stores the lines for which the
document has no room. So of two heartbeats at the same time the lines with the higher numbers may come first. A reader
stops before numbers whose lines are not stored yet: it passes over no line, and reads all in order. A line that does
not come within a time never comes, as its server has crashed. A date far ahead counts as old: the server's clock was
set back.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from bson import ObjectId

from jobqueue.domain.access.access import EVERYTHING, Scope
from jobqueue.domain.attempts.states import FINAL
from jobqueue.domain.errors import NotFoundError
from jobqueue.domain.jobs.job import INLINE_LOGS
from jobqueue.domain.work.logs import LogPage, LogQuery
from jobqueue.store.documents import documents, scope_filters
from jobqueue.store.mongo.database import guarded

if TYPE_CHECKING:
    from jobqueue.domain.attempts.attempt import LogLine
    from jobqueue.store.documents.statements import Document
    from jobqueue.store.mongo.database import Database

LINE_INDEX: Final = "line"
ATTEMPT_INDEX: Final = "lineOfAttempt"
LEVEL_INDEX: Final = "lineOfLevel"
LEVEL_ATTEMPT_INDEX: Final = "lineOfLevelAndAttempt"
STORED_AFTER: Final = timedelta(seconds=45)
"""The time from the count of a line until it is stored or lost: two calls may take 20 s each."""
_ORDER: Final = [("seq", 1)]
_NEWEST: Final = [("seq", -1)]
_HEAD: Final = {"state": 1, "logCount": 1, "logAt": 1}
_FIRST_STEP: Final = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class _Head:
    """The log of a job in its document; ``counted_at`` is ``None`` if no line is on its way."""

    id: ObjectId
    ended: bool
    inline: tuple[LogLine, ...]
    count: int | None
    counted_at: datetime | None

    @property
    def length(self) -> int:
        """The number of lines; documents of other tools have no count."""
        return len(self.inline) if self.count is None else self.count


class LogStore:
    """Reads logs in pages, by an index and in its order."""

    def __init__(self, database: Database) -> None:
        self._jobs = database.collection("jobs")
        self._logs = database.collection("logs")
        self._clock = database.clock

    @guarded
    async def page(self, job_id: str, query: LogQuery, scope: Scope = EVERYTHING) -> LogPage:
        """Return a page of a job's log.

        Raises:
            NotFoundError: the scope has no such job.
        """
        head = await self._head(job_id, query.after if query.before is None else 0, scope)
        until, beyond = await self._stored_until(head, query)
        numbered = await self._numbered(head, query, until)
        is_full = len(numbered) > query.limit
        if query.before is not None:
            return _last_page(head, numbered[-query.limit :], query.span(until), is_full=is_full)
        shown = tuple(numbered[: query.limit])
        _, end = query.span(until)
        is_cut = query.text is not None and not is_full and end is not None and end < (until or head.length)
        last = shown[-1][0] + 1 if shown else query.after
        if is_cut or (not is_full and until is not None):
            last = max(last, end or 0)
        return LogPage(
            lines=shown,
            more=is_full or beyond or is_cut,
            resume=last,
            ended=head.ended and not (is_full or beyond or is_cut) and until == head.count,
            count=head.length,
            earlier=query.after or None,
        )

    async def _numbered(self, head: _Head, query: LogQuery, until: int | None) -> list[tuple[int, LogLine]]:
        """Return the lines of a page and one more, if there is one, in their order."""
        first, _ = query.span(until)
        inline = [
            (number, line)
            for number, line in enumerate(head.inline)
            if first <= number and (query.before is None or number < query.before) and query.takes(line)
        ]
        is_last = query.before is not None
        room = query.limit + 1 if is_last else query.limit + 1 - len(inline)
        if room <= 0:
            return inline[: query.limit + 1]
        cursor = self._logs.find(lines(head.id, query, until), sort=_NEWEST if is_last else _ORDER).limit(room)
        if query.is_narrowed:
            cursor = cursor.hint(index(query))
        stored = [(int(document["seq"]), documents.log_line(document)) async for document in cursor]
        return (inline + stored[::-1])[-room:] if is_last else inline + stored

    async def _head(self, job_id: str, after: int, scope: Scope) -> _Head:
        query = scope_filters.within({"_id": ObjectId(job_id), "state": {"$exists": True}}, scope)
        document = await self._jobs.find_one(query, _HEAD if after >= INLINE_LOGS else _HEAD | {"logs": 1})
        if document is None:
            raise NotFoundError("job", job_id)
        count, at = document.get("logCount"), document.get("logAt")
        inline = logs if isinstance(logs := document.get("logs"), list) else []
        fresh = isinstance(at, datetime) and abs(await self._clock.now() - at) <= STORED_AFTER
        return _Head(
            id=document["_id"],
            ended=type(document["state"]) is str and document["state"] in FINAL,
            inline=tuple(documents.log_line(line) for line in inline if isinstance(line, dict)),
            count=count if isinstance(count, int) else None,
            counted_at=at if fresh else None,
        )

    async def _stored_until(self, head: _Head, query: LogQuery) -> tuple[int | None, bool]:
        """Return the number before which no line is on its way, or ``None`` without a count.

        The second value is True if the look ended early, as the page needs no more lines.
        """
        if head.count is None or head.counted_at is None or head.count <= INLINE_LOGS:
            return head.count, False
        start = max(query.after, INLINE_LOGS)
        if query.is_narrowed or query.before is not None:
            return await self._first_gap(head.id, await self._recent(head, start), head.count), False
        stop = min(head.count, start + query.limit + 1)
        until = await self._first_gap(head.id, start, stop)
        return until, until == stop < head.count

    async def _recent(self, head: _Head, start: int) -> int:
        """Return a number, ``start`` or later, before which all lines are old."""
        step = _FIRST_STEP
        while (place := (head.count or 0) - step) > start:
            if await self._is_old(head.id, place):
                return place
            step *= 2
        return start

    async def _first_gap(self, job: ObjectId, start: int, stop: int) -> int:
        """Return the first number of a span whose line may be on its way, or the end of the span."""
        expected = start
        span = {"jobId": job, "seq": {"$gte": start, "$lt": stop}}
        async for document in self._logs.find(span, {"_id": 0, "seq": 1}, sort=_ORDER, hint=LINE_INDEX):
            if document["seq"] > expected and not await self._is_old(job, document["seq"]):
                return expected
            expected = document["seq"] + 1
        return stop if expected >= stop or await self._is_old(job, stop) else expected

    async def _is_old(self, job: ObjectId, number: int) -> bool:
        """Return True if the first line from a number on is so old that no earlier line is on its way."""
        document = await self._logs.find_one({"jobId": job, "seq": {"$gte": number}}, {"t": 1}, sort=_ORDER)
        at: Any = (document or {}).get("t")
        return isinstance(at, datetime) and abs(await self._clock.now() - at) > STORED_AFTER


def lines(job: ObjectId, query: LogQuery, until: int | None) -> Document:
    """Return the filter for the stored lines of a query, in a shape that lets an index give the order."""
    first, end = query.span(until)
    span = {"$gte": first} if end is None else {"$gte": first, "$lt": end}
    stored: Document = {"jobId": job, "seq": span}
    if query.levels:
        stored["level"] = query.levels[0] if len(query.levels) == 1 else {"$in": list(query.levels)}
    if query.attempt is not None:
        stored["attempt"] = query.attempt
    if query.text is not None:
        stored["m"] = {"$regex": re.escape(query.text), "$options": "i"}
    return stored


def _last_page(
    head: _Head, shown: list[tuple[int, LogLine]], span: tuple[int, int | None], *, is_full: bool
) -> LogPage:
    """Return a page of the last lines of a span; ``is_full`` if there are more lines before them in the span."""
    first, end = span
    resume = min(head.length if end is None else end, head.length)
    return LogPage(
        lines=tuple(shown),
        more=resume < head.length,
        resume=resume,
        ended=head.ended and resume >= head.length,
        count=head.length,
        earlier=(shown[0][0] if is_full else first) or None,
    )


def index(query: LogQuery) -> str:
    """Return the index for the filter of `lines`; the server's own choice may pass over many lines."""
    if query.levels:
        return LEVEL_INDEX if query.attempt is None else LEVEL_ATTEMPT_INDEX
    return LINE_INDEX if query.attempt is None else ATTEMPT_INDEX
