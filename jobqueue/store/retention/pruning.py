"""Delete ended jobs for good, with their logs and the entries of their history that lie elsewhere."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from jobqueue.domain.workflow.batch import OPEN
from jobqueue.lru_cache import LruCache
from jobqueue.store.documents import queue_statements
from jobqueue.store.insight.rollups import RollupStore
from jobqueue.store.jobs.readers import FIELDS
from jobqueue.store.mongo.clock import EPOCH, steady
from jobqueue.store.mongo.database import guarded

if TYPE_CHECKING:
    from jobqueue.domain.attempts.states import State
    from jobqueue.store.documents.statements import Document
    from jobqueue.store.jobs.readers import ReaderStore
    from jobqueue.store.mongo.database import Database

_BY_END: Final = "ended"
_DERIVED: Final = ("parentId", "callbackOf", "schedule")
"""A job with one of these fields has a cause that might create it again."""
_READ: Final = dict.fromkeys((*_DERIVED, "endAt"), 1) | FIELDS
_MOST_LOOKS: Final = 50
_MOST_REMEMBERED: Final = 2_000
_ANEW_SECONDS: Final = 300.0
_ASK_SECONDS: Final = 10.0


class PruningStore:
    """Deletes jobs that ended long enough ago and have no notes left."""

    def __init__(self, database: Database, readers: ReaderStore) -> None:
        self._readers = readers
        self._after: LruCache[tuple[str, State], tuple[datetime, float]] = LruCache(_MOST_REMEMBERED)
        self._clock = database.clock
        self._jobs = database.collection("jobs")
        self._batches = database.collection("batches")
        self._counted, self._asked_at = EPOCH, float("-inf")
        self._rollups = RollupStore(database)
        self._outside = [database.collection(name) for name in ("logs", "attempts", "steps")]

    @guarded
    async def prune(self, queue: str, state: State, seconds: float, most: int) -> tuple[int, int]:
        """Delete jobs of a queue that have been in a final state for so many seconds, in the order of their ends.

        Jobs of a batch stay until it has finished, as its verdict follows from them. Jobs whose results others have to
        read stay too (see `readers`). A child, or the job of a schedule, leaves a tombstone for an hour, so that a slow
        process cannot create it a second time. A job that ended lately leaves one for the statistics.

        Returns:
            How many are deleted, and how many were read last; the others are kept or have changed meanwhile.
        """
        now = await self._clock.now()
        jobs, count = await self._over(queue, state, now - timedelta(seconds=seconds), most)
        if not jobs:
            return 0, count
        over = queue_statements.over(queue, state, EPOCH, now - timedelta(seconds=seconds))
        # A job notes the date of a dependent that was added since.
        over["dependentsAt"] = {"$not": {"$gt": now}}
        since = min(now - timedelta(seconds=queue_statements.REMEMBERED_SECONDS), await self._known_until(now))
        recent = [job["_id"] for job in jobs if job["endAt"] >= since]
        old = [job for job in jobs if job["endAt"] < since]
        derived = [job["_id"] for job in old if any(job.get(name) is not None for name in _DERIVED)]
        others = [job["_id"] for job in old if job["_id"] not in set(derived)]
        gone = 0
        if others:
            gone += int((await self._jobs.delete_many(over | {"_id": {"$in": others}})).deleted_count)
        for ids, remembered in ((derived, False), (recent, True)):
            if ids:
                stones = queue_statements.tombstone(self._clock.present, remembered=remembered)
                gone += int((await self._jobs.update_many(over | {"_id": {"$in": ids}}, stones)).modified_count)
        await self._clear([job["_id"] for job in jobs])
        return gone, count

    async def _over(self, queue: str, state: State, until: datetime, most: int) -> tuple[list[Document], int]:
        """Return jobs whose time is over and that nothing keeps, and how many were read last.

        A search skips kept jobs of the last minutes, so that many of them do not cost much each time.
        """
        after, anew_at = self._after.get((queue, state)) or (EPOCH, 0.0)
        if steady() >= anew_at:
            after, anew_at = EPOCH, steady() + _ANEW_SECONDS
        for _ in range(_MOST_LOOKS):
            self._after.keep((queue, state), (after, anew_at))
            search = queue_statements.over(queue, state, after, until)
            cursor = self._jobs.find(search, _READ, sort=[("endAt", 1)], hint=_BY_END).limit(most)
            jobs = await cursor.to_list(None)
            batches = list({job["batchId"] for job in jobs if job.get("batchId") is not None})
            opened = await self._batches.distinct("_id", {"_id": {"$in": batches}, "state": OPEN}) if batches else ()
            kept = await self._readers.kept_for(jobs)
            free = [job for job in jobs if job.get("batchId") not in opened and job["_id"] not in kept]
            if free or len(jobs) < most:
                return free, len(jobs)
            after = jobs[-1]["endAt"]
        return [], most

    async def _known_until(self, now: datetime) -> datetime:
        """Return the date before which the statistics have counted all for good; ``now`` if they have no minutes.

        After an outage some hours are still to be counted, or minutes to be counted for the second time.
        """
        # An answer of some seconds ago errs to the safe side.
        if steady() - self._asked_at >= _ASK_SECONDS:
            self._counted = await self._rollups.counted_for_good(now) or now
            self._asked_at = steady()
        return self._counted

    async def _clear(self, ids: list[Any]) -> None:
        """Delete the logs and attempts outside the documents of deleted jobs."""
        living: Document = {"_id": {"$in": ids}, "state": {"$exists": True}}
        left = {job["_id"] async for job in self._jobs.find(living, {"_id": 1})}
        for collection in self._outside:
            await collection.delete_many({"jobId": {"$in": [job_id for job_id in ids if job_id not in left]}})
