"""Claiming jobs, renewing their leases and taking what their workers report."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from bson import ObjectId
from pymongo import ReturnDocument
from pymongo.errors import PyMongoError

from jobqueue.domain.job import INLINE_LOGS
from jobqueue.store import documents, statements
from jobqueue.store.database import guarded, translated

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from jobqueue.domain.job import Job, LogLine
    from jobqueue.store.database import Database
    from jobqueue.store.statements import Document, Now

MOST_HISTORY: Final = 100
"""History entries kept in a job's document; older ones are moved to the `attempts` collection."""
_COUNTED: Final = {"resetAt": 1, "logCount": 1, "logAt": 1, "attemptsMade": 1}
_WARM: Final = 1000
_FULL_SCAN_SECONDS: Final = 1.0
_MARGIN: Final = timedelta(seconds=1)
_EPOCH: Final = datetime.fromtimestamp(0, UTC)


_Search = tuple[str, tuple[str, ...] | None, tuple[str, ...]]


@dataclass(slots=True)
class _Position:
    """Where in the claim order this process found its last job.

    Every claim leaves a dead entry at the head of the claim index until the server has cleaned up, minutes later. After
    many claims it pays to begin the search where the last job was found. The order stays right because any job that
    may lie before that position (a new one of higher priority, one that came back) makes the next search a full one,
    as does each second.
    """

    claims: int = 0
    priority: float | None = None
    insert_at: datetime | None = None
    searched_at: float = float("-inf")

    def usable(self, now: float) -> bool:
        return self.claims > _WARM and self.priority is not None and now - self.searched_at < _FULL_SCAN_SECONDS

    def is_before(self, priority: float | None) -> bool:
        return priority is None or self.priority is None or priority > self.priority

    def found(self, document: Document) -> None:
        priority, insert_at = document.get("priority"), document.get("insertAt")
        self.claims += 1
        self.priority = priority if isinstance(priority, int | float) else None
        self.insert_at = insert_at if isinstance(insert_at, datetime) else None

    def narrowed(self) -> tuple[Document, Document]:
        from_here = {"priority": self.priority, "insertAt": {"$gte": (self.insert_at or _EPOCH) - _MARGIN}}
        return from_here, {"priority": {"$lt": self.priority}}


@dataclass(frozen=True, slots=True, kw_only=True)
class Beat:
    """What a worker learns from a heartbeat: the new end of its lease."""

    reset_at: datetime
    log_count: int = field(default=0)


class ClaimStore:
    """Takes jobs for workers, by one atomic ``findOneAndUpdate`` each."""

    def __init__(self, database: Database, now: Now = statements.SERVER_NOW) -> None:
        self.now = now
        self.collection = database.collection("jobs")
        self._logs = database.collection("logs")
        self._positions: dict[_Search, _Position] = {}

    async def claim(
        self,
        queue: str,
        types: Sequence[str] | None,
        *,
        token: str,
        worker: str,
        lease: float | None = None,
        excluded: Sequence[str] = (),
        margin: float = 0,
    ) -> Job | None:
        """Claim the first job in order, or return ``None`` when there is none.

        Args:
            queue: the queue's name.
            types: only these; ``None`` for any.
            token: a fresh fencing token, made by the caller so that it can be looked up if the reply is lost.
            worker: who claims.
            lease: seconds, instead of the job's own.
            excluded: not these types, when any is taken.
            margin: as in `statements.claim`.

        Raises:
            DatabaseUnavailableError: it is not known whether a job was claimed; if so, its lease will end.
        """
        key = (queue, None if types is None else tuple(types), tuple(excluded))
        position = self._positions.setdefault(key, _Position())
        now = asyncio.get_running_loop().time()
        index = statements.CLAIM_INDEX if types is None else statements.CLAIM_TYPE_INDEX
        base = statements.claimable(queue, types, excluded)
        begin = statements.claim(token, worker, self.now, lease, margin)
        if position.usable(now):
            searches: tuple[Document, ...] = tuple({**base, **part} for part in position.narrowed())
        else:
            position.searched_at = now
            searches = (base,)
        for search in searches:
            document = await self._claim(search, index, token, begin)
            if document is not None:
                position.found(document)
                return documents.job(document)
        return None

    def unsettle(self, queue: str | None, priority: int | None = None) -> None:
        """Make the next claims search from the start if a job may have come before the last position.

        Args:
            queue: where; ``None`` for anywhere.
            priority: of a job that is new, and so the last of its priority; ``None`` for one that came back.
        """
        for (name, _, _), position in self._positions.items():
            if queue in {None, name} and position.is_before(priority):
                position.searched_at = float("-inf")

    @guarded
    async def renew(
        self,
        job_id: str,
        queue: str,
        token: str,
        *,
        progress: float | None = None,
        lines: Sequence[Mapping[str, Any]] = (),
    ) -> Beat | None:
        """Extend a lease and take progress and log lines; ``None`` if the claim is not the current one any more."""
        found = await self.collection.find_one_and_update(
            statements.held(job_id, queue, token),
            statements.renew(self.now, progress, [dict(line) for line in lines]),
            projection=_COUNTED,
            return_document=ReturnDocument.AFTER,
        )
        if found is None:
            return None
        await self._keep_outside(found, lines)
        return Beat(reset_at=found["resetAt"], log_count=int(found.get("logCount") or 0))

    @guarded
    async def note(self, job_id: str, text: str, level: str = "warning") -> None:
        """Add a log line of the queue's own to a job in whatever state, unless its last lines say so already."""
        line = {"m": text, "level": level}
        found = await self.collection.find_one_and_update(
            {"_id": ObjectId(job_id), "logs.m": {"$ne": text}},
            [{"$set": statements.appended(self.now, [line])}],
            projection=_COUNTED,
            return_document=ReturnDocument.AFTER,
        )
        if found is not None:
            await self._keep_outside(found, [line])

    @guarded
    async def lines(self, job: Job, after: int, most: int) -> list[tuple[int, LogLine]]:
        """Return log lines with their numbers, from number ``after`` on; the first line has number 0."""
        inline = [(number, line) for number, line in enumerate(job.logs) if number >= after][:most]
        if len(inline) == most:
            return inline
        cursor = self._logs.find({"jobId": ObjectId(job.id), "seq": {"$gte": after}}).sort("seq", 1)
        rest = [(int(one["seq"]), documents.log_line(one)) async for one in cursor.limit(most - len(inline))]
        return inline + rest

    async def _keep_outside(self, found: Mapping[str, Any], lines: Sequence[Mapping[str, Any]]) -> None:
        """Store the lines there was no room for in the document."""
        count = int(found.get("logCount") or 0)
        outside = max(0, min(len(lines), count - INLINE_LOGS))
        if outside:
            stamp = {"jobId": found["_id"], "t": found["logAt"], "attempt": found.get("attemptsMade")}
            await self._logs.insert_many(
                [
                    {**stamp, "seq": count - outside + index, **line}
                    for index, line in enumerate(lines[len(lines) - outside :])
                ],
                ordered=False,
            )

    async def _claim(self, search: Document, index: str, token: str, begin: list[Document]) -> Document | None:
        try:
            found = await self.collection.find_one_and_update(
                search,
                begin,
                sort=statements.CLAIM_ORDER,
                hint=index,
                projection={"logs": 0, "attrs": 0},
                return_document=ReturnDocument.AFTER,
            )
        except PyMongoError as error:
            found = await self._look_up(token, error)
        return dict(found) if found is not None else None

    async def _look_up(self, token: str, error: PyMongoError) -> Document:
        """Find the job that was claimed although its reply was lost.

        Raises:
            DatabaseUnavailableError: there is none yet; a late one is left to its lease.
        """
        with translated():
            found = await self.collection.find_one({"state": "processing", "claim.token": token}, hint="lease")
            if found is None:
                raise error
            return dict(found)
