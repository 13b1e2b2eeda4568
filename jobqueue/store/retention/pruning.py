"""Deleting ended jobs for good, with their logs and the entries of their history that lie elsewhere."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from jobqueue.domain.workflow.batch import OPEN
from jobqueue.lru_cache import LruCache
from jobqueue.store.documents import queue_statements
from jobqueue.store.insight.rollups import MINUTE
from jobqueue.store.jobs.readers import FIELDS
from jobqueue.store.mongo.clock import SERVER_NOW, steady
from jobqueue.store.mongo.database import guarded

if TYPE_CHECKING:
    from jobqueue.domain.jobs.states import State
    from jobqueue.store.documents.statements import Document
    from jobqueue.store.jobs.readers import ReaderStore
    from jobqueue.store.mongo.clock import Now
    from jobqueue.store.mongo.database import Database

_BY_END: Final = "ended"
_DERIVED: Final = ("parentId", "callbackOf", "schedule")
"""Jobs with one of these were created because of something, and might be created again."""
_READ: Final = dict.fromkeys((*_DERIVED, "endAt"), 1) | FIELDS
_MOST_LOOKS: Final = 50
_MOST_REMEMBERED: Final = 2_000
_ANEW_SECONDS: Final = 300.0
_ASK_SECONDS: Final = 10.0
_EPOCH: Final = datetime.fromtimestamp(0, UTC)


class PruningStore:
    """Deletes what ended long enough ago and has nothing left to be done for it."""

    def __init__(self, database: Database, readers: ReaderStore, now: Now = SERVER_NOW) -> None:
        self.now = now
        self._readers = readers
        self._after: LruCache[tuple[str, State], tuple[datetime, float]] = LruCache(_MOST_REMEMBERED)
        self._clock = database.clock
        self._jobs = database.collection("jobs")
        self._batches = database.collection("batches")
        self._counted, self._asked_at = _EPOCH, float("-inf")
        self._minutes = database.collection("statMinutes")
        self._outside = [database.collection(name) for name in ("logs", "attempts")]

    @guarded
    async def prune(self, queue: str, state: State, seconds: float, most: int) -> tuple[int, int]:
        """Delete jobs of a queue that have been in a final state for so many seconds, those that ended first first.

        Jobs of a batch are kept until it has finished: what becomes of it follows from them. So are jobs whose results
        others have to read (see `readers`). A child, or the job of a schedule, leaves an empty document behind for an
        hour, so that a slow process cannot create it a second time; one that ended lately does for the statistics.

        Returns:
            How many are deleted, and how many were found at last; the others are kept or have changed meanwhile.
        """
        now = await self._clock.now() if isinstance(self.now, str) else self.now
        found, count = await self._over(queue, state, now - timedelta(seconds=seconds), most)
        if not found:
            return 0, count
        over = queue_statements.over(queue, state, _EPOCH, now - timedelta(seconds=seconds))
        # Where somebody has come to depend on one since, that is noted in it.
        over["dependentsAt"] = {"$not": {"$gt": now}}
        since = min(now - timedelta(seconds=queue_statements.REMEMBERED_SECONDS), await self._known_until(now))
        recent = [one["_id"] for one in found if one["endAt"] >= since]
        old = [one for one in found if one["endAt"] < since]
        born = [one["_id"] for one in old if any(one.get(name) is not None for name in _DERIVED)]
        others = [one["_id"] for one in old if one["_id"] not in set(born)]
        gone = 0
        if others:
            gone += int((await self._jobs.delete_many(over | {"_id": {"$in": others}})).deleted_count)
        for ids, remembered in ((born, False), (recent, True)):
            if ids:
                stones = queue_statements.tombstone(self.now, remembered=remembered)
                gone += int((await self._jobs.update_many(over | {"_id": {"$in": ids}}, stones)).modified_count)
        await self._clear([one["_id"] for one in found])
        return gone, count

    async def _over(self, queue: str, state: State, until: datetime, most: int) -> tuple[list[Document], int]:
        """Return jobs whose time is over and that nothing keeps, and how many were looked at last.

        Kept jobs that were looked at are passed over for some minutes, so that many of them do not cost much each time.
        """
        after, anew_at = self._after.get((queue, state)) or (_EPOCH, 0.0)
        if steady() >= anew_at:
            after, anew_at = _EPOCH, steady() + _ANEW_SECONDS
        for _ in range(_MOST_LOOKS):
            self._after.keep((queue, state), (after, anew_at))
            search = queue_statements.over(queue, state, after, until)
            cursor = self._jobs.find(search, _READ, sort=[("endAt", 1)], hint=_BY_END).limit(most)
            found = [one async for one in cursor]
            of_open = await self._open({one["batchId"] for one in found if one.get("batchId") is not None})
            kept = await self._readers.kept_for(found)
            free = [one for one in found if one.get("batchId") not in of_open and one["_id"] not in kept]
            if free or len(found) < most:
                return free, len(found)
            after = found[-1]["endAt"]
        return [], most

    async def _known_until(self, now: datetime) -> datetime:
        # An answer of some seconds ago errs to the safe side.
        if steady() - self._asked_at >= _ASK_SECONDS:
            self._counted, self._asked_at = await self._counted_until(now), steady()
        return self._counted

    async def _counted_until(self, now: datetime) -> datetime:
        """Return until when the statistics know for good what has happened; until now if they know nothing.

        After an outage there are minutes that are still to be counted, or to be counted for the second time.
        """
        once = await self._minutes.find_one({"checked": False}, {"_id": 1}, sort=[("_id", 1)])
        newest = once or await self._minutes.find_one({}, {"_id": 1}, sort=[("_id", -1)])
        if newest is None:
            return now
        minute: datetime = newest["_id"]
        return minute if once else minute + MINUTE

    async def _open(self, batches: set[Any]) -> set[Any]:
        if not batches:
            return set()
        found = self._batches.find({"_id": {"$in": list(batches)}, "state": OPEN}, {"_id": 1})
        return {one["_id"] async for one in found}

    async def _clear(self, ids: list[Any]) -> None:
        """Delete what lies outside the documents of those jobs that are really gone."""
        living: Document = {"_id": {"$in": ids}, "state": {"$exists": True}}
        left = {one["_id"] async for one in self._jobs.find(living, {"_id": 1})}
        for collection in self._outside:
            await collection.delete_many({"jobId": {"$in": [one for one in ids if one not in left]}})
