"""Claiming jobs, renewing their leases and taking what their workers report."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from bson import ObjectId

from jobqueue.domain.attempts.states import State
from jobqueue.domain.jobs.job import INLINE_LOGS
from jobqueue.lru_cache import LruCache
from jobqueue.store.documents import documents, external_statements, repeat_statements, statements, suspect_statements
from jobqueue.store.documents.claim_search import (
    ClaimPermit,
    ClaimSearch,
    LateClaimError,
    RepeatedClaimError,
    SlotTakenError,
)
from jobqueue.store.jobs.jobs import FULL_BYTES
from jobqueue.store.limits import limit_statements
from jobqueue.store.mongo.database import DUPLICATE_KEY, guarded, is_too_large, translated
from jobqueue.store.mongo.driver import BulkWriteError, DuplicateKeyError, PyMongoError, ReturnDocument
from jobqueue.store.work import expiry_statements
from jobqueue.store.work.claim_cursor import ClaimCursors
from jobqueue.store.work.expiry import ExpiryStore

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from jobqueue.domain.jobs.job import Job
    from jobqueue.store.documents.statements import Document
    from jobqueue.store.mongo.database import Database
    from jobqueue.store.work.claim_cursor import ClaimCursor, SearchKind

MOST_HISTORY: Final = 100
"""History entries in a job's document; older entries move to the `attempts` collection."""
_MOST_SWEEPS: Final = 20
"""Sweeps of expired jobs after which a claim finds nothing for now."""
_TRUSTED_SECONDS: Final = 1.0
_MOST_REMEMBERED: Final = 2_000
_COUNTED: Final = {"resetAt": 1, "logCount": 1, "logAt": 1, "attemptsMade": 1}


@dataclass(frozen=True, slots=True, kw_only=True)
class HeartbeatReply:
    """The answer to a heartbeat: the new end of the lease, and the number of log lines."""

    reset_at: datetime
    log_count: int


class SuspectHolders:
    """The workers that run a suspect, as far as this process has seen: the memory only saves failing claims."""

    def __init__(self) -> None:
        self._seen: LruCache[str, float] = LruCache(_MOST_REMEMBERED)

    def note(self, worker: str) -> None:
        """Remember a worker."""
        self._seen.keep(worker, time.monotonic())

    def forget(self, worker: str) -> None:
        """Forget a worker whose job has ended."""
        self._seen.forget(worker)

    def knows(self, worker: str) -> bool:
        """Return True for a remembered worker."""
        return self._seen.get(worker) is not None

    def is_due(self, worker: str) -> bool:
        """Return True if the memory of a worker is too old, and the database has to be asked."""
        return time.monotonic() - (self._seen.get(worker) or float("-inf")) >= _TRUSTED_SECONDS


def _kind(search: ClaimSearch) -> SearchKind:
    return search.queue, search.types, search.excluded, search.suspects


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimState:
    """The state of a job under one of its claims; ``is_current`` if that is the present one."""

    state: str
    is_current: bool


class ClaimStore:
    """Claims jobs for workers, each by one atomic ``findOneAndUpdate``."""

    def __init__(self, database: Database) -> None:
        self._clock = database.clock
        self.collection = database.collection("jobs")
        self._logs = database.collection("logs")
        self._cursors = ClaimCursors()
        self.holders = SuspectHolders()
        self.expiry = ExpiryStore(database)

    async def claim(self, search: ClaimSearch, permit: ClaimPermit | None = None) -> Job | None:
        """Claim the first job in order, or return ``None`` if there is none.

        A worker that runs a job alone gets no other such job of the queue.

        Raises:
            SlotTakenError: a running job has one of the permit's slots.
            RepeatedClaimError: the request of this key has a job already; `again` returns it.
            LateClaimError: the claim found nothing; with a fresh configuration it may find a job.
            DatabaseUnavailableError: the claim may have taken a job; `held` finds that job later.
        """
        try:
            return await self._claim_first(search, permit)
        except SlotTakenError as error:
            if error.slot != suspect_statements.alone(search.worker):
                raise
        self.holders.note(search.worker)
        return await self._claim_first(replace(search, suspects=False), permit)

    async def _claim_first(self, search: ClaimSearch, permit: ClaimPermit | None) -> Job | None:
        slots = permit.slots if permit else ()
        begin = statements.claim(
            search.token,
            search.worker,
            self._clock.present,
            lease=search.lease,
            margin=search.margin,
            slots=slots,
            key=search.key,
            version=search.version,
        )
        begin = expiry_statements.unless_expired(begin, self._clock.present)
        deadline = self._deadline(search, permit)
        if permit is not None and permit.key is not None:
            where = (*limit_statements.of_group(search, permit.key), statements.CLAIM_ORDER)
            document = await self._claim(where, search.token, begin, deadline)
            if document is None:
                self._refuse_late(search)
            return None if document is None else documents.job(document)
        parts, looks = await self.parts(search)
        for query, order, index in parts:
            document = await self._claim((query, index, order), search.token, begin, deadline)
            if document is not None:
                self.found(search, [document], looks)
                return documents.job(document)
        self._refuse_late(search)
        self._cursors.of(_kind(search)).saw(None)
        return None

    async def parts(self, search: ClaimSearch) -> tuple[list[tuple[Document, list[tuple[str, int]], str]], int]:
        """Return the filters that find the first job, one after the other, each with its order and index.

        The second value is the number of looks that the position rests on, for `found`.
        """
        base, index = limit_statements.of_queue(search)
        cursor = self._cursors.of(_kind(search))
        if (above := cursor.due(time.monotonic())) is not None:
            await self._look(cursor, base, above, index)
        return [(base | part, order, index) for part, order in cursor.narrowed()], cursor.looks

    def found(self, search: ClaimSearch, claimed: Sequence[Document], looks: int) -> None:
        """Make the next search begin at the last of some claimed jobs, unless a look has found an earlier one since."""
        for document in claimed:
            self._cursors.found(_kind(search), document, looks)

    @guarded
    async def again(self, queue: str, key: str) -> Job | None:
        """Return the running job that a request has claimed, under a renewed lease, or ``None``."""
        document = await self.collection.find_one_and_update(
            repeat_statements.handed_out(queue, key),
            [*statements.renew(self._clock.present), repeat_statements.counted()],
            hint=repeat_statements.INDEX,
            projection={"logs": 0, "attrs": 0},
            return_document=ReturnDocument.AFTER,
        )
        return None if document is None else documents.job(document)

    @guarded
    async def has_another_suspect(self, worker: str, token: str) -> bool:
        """Return True if a worker runs a job alone under another claim than this one."""
        others = suspect_statements.others(worker, token)
        return await self.collection.find_one(others, {"_id": 1}, hint="lease") is not None

    @guarded
    async def held(self, tokens: Sequence[str]) -> dict[str, str]:
        """Return the ids of running jobs by the tokens of their claims."""
        query = {"state": "processing", "claim.token": {"$in": list(tokens)}}
        cursor = self.collection.find(query, {"claim.token": 1}, hint="lease")
        return {document["claim"]["token"]: str(document["_id"]) async for document in cursor}

    @guarded
    async def state_under(self, job_id: str, token: str) -> ClaimState | None:
        """Return the state of a job that has, or lately had, a claim of this token; ``None`` if there is none."""
        query = {"_id": ObjectId(job_id), "$or": [{"claim.token": token}, {"history.token": token}]}
        document = await self.collection.find_one(query, {"state": 1, "claim.token": 1})
        if document is None or "state" not in document:
            return None
        claim = document.get("claim")
        is_current = isinstance(claim, dict) and claim.get("token") == token
        return ClaimState(state=str(document["state"]), is_current=is_current)

    def unsettle(self, queue: str | None, priority: int | None = None) -> None:
        """Make the next claims look at the first job of all, if a job may have come before the last position.

        Args:
            queue: the queue of the job; ``None`` for any queue.
            priority: the priority of a new job, which is the last of its priority; ``None`` for a job that came back.
        """
        self._cursors.unsettle(queue, priority)

    @guarded
    async def renew(
        self,
        job_id: str,
        queue: str,
        token: str,
        *,
        progress: float | None = None,
        lines: Sequence[Mapping[str, Any]] = (),
        report: str | None = None,
    ) -> HeartbeatReply | None:
        """Extend a lease and store progress and log lines; ``None`` if the claim is no longer the current one.

        The lines of a report that is repeated under its id are stored once.
        """
        document = await self.collection.find_one_and_update(
            statements.held(job_id, queue, token),
            statements.renew(self._clock.present, progress, [dict(line) for line in lines], report),
            projection=_COUNTED if report is None else _COUNTED | {"claim.reports": 1},
            return_document=ReturnDocument.AFTER,
        )
        if document is None:
            return None
        await self._keep_outside(document, lines, report)
        return HeartbeatReply(reset_at=document["resetAt"], log_count=int(document.get("logCount") or 0))

    @guarded
    async def note(self, job_id: str, text: str, level: str = "warning") -> None:
        """Add a log line of the queue's own to a job in any state, unless its last lines contain the same text."""
        line = {"m": text, "level": level}
        document = await self.collection.find_one_and_update(
            {"_id": ObjectId(job_id), "logs.m": {"$ne": text}},
            [{"$set": repeat_statements.appended(self._clock.present, [line])}],
            projection=_COUNTED,
            return_document=ReturnDocument.AFTER,
        )
        if document is not None:
            await self._keep_outside(document, [line])

    async def _keep_outside(
        self, document: Mapping[str, Any], lines: Sequence[Mapping[str, Any]], report: str | None = None
    ) -> None:
        """Store the lines for which the document has no room, perhaps again."""
        count = repeat_statements.count_after(document, report)
        spilled = max(0, min(len(lines), count - INLINE_LOGS))
        if spilled:
            stamp = {"jobId": document["_id"], "t": document["logAt"], "attempt": document.get("attemptsMade")}
            rest = [
                {**stamp, "seq": count - spilled + index, **line}
                for index, line in enumerate(lines[len(lines) - spilled :])
            ]
            try:
                await self._logs.insert_many(rest, ordered=False)
            except BulkWriteError as error:
                codes = {fault["code"] for fault in (error.details or {})["writeErrors"]}
                if report is None or codes != {DUPLICATE_KEY}:
                    raise

    @guarded
    async def _look(self, cursor: ClaimCursor, base: Document, above: Document, index: str) -> None:
        """Find the first job of all, or above a priority; a mere look is never in the way of a claim."""
        with cursor.looking(above):
            first = await self.collection.find_one(
                base | above, {"priority": 1, "insertAt": 1}, sort=statements.CLAIM_ORDER, hint=index
            )
        cursor.looked(first, above)

    async def _claim(
        self,
        where: tuple[Document, str, list[tuple[str, int]]],
        token: str,
        begin: list[Document],
        deadline: datetime | None,
    ) -> Document | None:
        """Claim the first job; one that has expired is killed, with others, and the next one has its turn.

        So no command examines many jobs, however many have expired at the head of the queue.
        """
        for _ in range(_MOST_SWEEPS):
            document = await self._take(where, token, begin, deadline)
            if document is None or document["state"] == State.PROCESSING:
                return document
            await self.expiry.sweep()
        return None

    async def _take(
        self,
        where: tuple[Document, str, list[tuple[str, int]]],
        token: str,
        begin: list[Document],
        deadline: datetime | None,
    ) -> Document | None:
        query, index, order = where
        if deadline is not None:
            query = query | limit_statements.before(deadline, query["queue"], self._clock.present)
        try:
            document = await self.collection.find_one_and_update(
                query,
                begin,
                sort=order,
                hint=index,
                projection={"logs": 0, "attrs": 0},
                return_document=ReturnDocument.AFTER,
            )
        except DuplicateKeyError as error:
            if repeat_statements.FIELD in (error.details or {}).get("keyPattern", {}):
                raise RepeatedClaimError from None
            raise SlotTakenError(str((error.details or {}).get("keyValue", {}).get("slots"))) from None
        except PyMongoError as error:
            if is_too_large(error) and await self._pass_over(where):
                return await self._take(where, token, begin, deadline)
            document = await self._look_up(token, error)
        return dict(document) if document is not None else None

    def _deadline(self, search: ClaimSearch, permit: ClaimPermit | None) -> datetime | None:
        """Return the latest server time for the claim; a fixed present makes no claim too late."""
        ends = []
        if permit is not None and permit.deadline is not None:
            ends.append(permit.deadline)
        if search.until is not None and isinstance(self._clock.present, str):
            ends.append(search.until.at)
        return min(ends, default=None)

    def _refuse_late(self, search: ClaimSearch) -> None:
        if search.until is not None and isinstance(self._clock.present, str) and search.until.may_be_over():
            raise LateClaimError

    @guarded
    async def _pass_over(self, where: tuple[Document, str, list[tuple[str, int]]]) -> bool:
        """Disown the first job whose document has no room for a claim; return True if there is one."""
        query, index, order = where
        document = await self.collection.find_one_and_update(
            {"$and": [query, external_statements.oversized(FULL_BYTES)]},
            external_statements.disown(),
            sort=order,
            hint=index,
            projection={"_id": 1},
        )
        return document is not None

    async def _look_up(self, token: str, error: PyMongoError) -> Document:
        """Find the job of a claim whose reply was lost.

        Raises:
            DatabaseUnavailableError: there is no such job yet; `held` finds a late one.
        """
        with translated():
            document = await self.collection.find_one({"state": "processing", "claim.token": token}, hint="lease")
            if document is None:
                raise error
            return dict(document)
