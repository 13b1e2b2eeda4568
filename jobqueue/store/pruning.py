"""Deleting ended jobs for good, with their logs and the entries of their history that lie elsewhere."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from jobqueue.store import queue_statements, statements
from jobqueue.store.database import guarded

if TYPE_CHECKING:
    from jobqueue.domain.state import State
    from jobqueue.store.database import Database
    from jobqueue.store.statements import Document, Now

_BY_END: Final = "ended"
_DERIVED: Final = ("parentId", "callbackOf", "schedule")
"""Jobs with one of these were created because of something, and might be created again."""
_EPOCH: Final = datetime.fromtimestamp(0, UTC)


class PruningStore:
    """Deletes what ended long enough ago and has nothing left to be done for it."""

    def __init__(self, database: Database, now: Now = statements.SERVER_NOW) -> None:
        self.now = now
        self._clock = database.clock
        self._jobs = database.collection("jobs")
        self._outside = [database.collection(name) for name in ("logs", "attempts")]

    @guarded
    async def prune(self, queue: str, state: State, seconds: float, most: int) -> tuple[int, int]:
        """Delete jobs of a queue that have been in a final state for so many seconds, those that ended first first.

        A child, or the job of a schedule, leaves an empty document behind for an hour, so that a slow process cannot
        create it a second time; one that ended lately does for the statistics.

        Returns:
            How many are deleted, and how many were found; the others have changed meanwhile.
        """
        now = await self._clock.now() if isinstance(self.now, str) else self.now
        over = queue_statements.over(queue, state, _EPOCH, now - timedelta(seconds=seconds))
        cursor = self._jobs.find(over, dict.fromkeys((*_DERIVED, "endAt"), 1), sort=[("endAt", 1)], hint=_BY_END).limit(
            most
        )
        found = [one async for one in cursor]
        if not found:
            return 0, 0
        since = now - timedelta(seconds=queue_statements.REMEMBERED_SECONDS)
        recent = [one["_id"] for one in found if one["endAt"] > since]
        old = [one for one in found if one["endAt"] <= since]
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
        return gone, len(found)

    async def _clear(self, ids: list[Any]) -> None:
        """Delete what lies outside the documents of those jobs that are really gone."""
        living: Document = {"_id": {"$in": ids}, "state": {"$exists": True}}
        left = {one["_id"] async for one in self._jobs.find(living, {"_id": 1})}
        for collection in self._outside:
            await collection.delete_many({"jobId": {"$in": [one for one in ids if one not in left]}})
