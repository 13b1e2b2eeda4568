"""Look up ids by their first or last digits."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from bson import ObjectId

from jobqueue.domain.jobs.short_ids import COVERED, DIGITS
from jobqueue.domain.jobs.states import State
from jobqueue.store.mongo.database import guarded
from jobqueue.store.mongo.driver import ExecutionTimeout, NetworkTimeout, aggregate, timeout

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jobqueue.domain.jobs.short_ids import ShortId
    from jobqueue.store.documents.statements import Document
    from jobqueue.store.mongo.database import Database
    from jobqueue.store.mongo.driver import AsyncCollection

SECONDS: Final = 3.0
"""Longest look-up; what it has not found by then is not found."""
_NEWEST: Final = {"insertAt": -1, "_id": -1}
_OLDER: Final = (State.PROCESSING, State.FAILED, State.KILLED)
"""States whose jobs somebody asks for long after they were created."""
_SHOWN: Final = {"type": 1, "state": 1}


def tails(short: ShortId, limit: int, *, state: State | None = None, covered: int = COVERED) -> list[Document]:
    """Return the pipeline of the ids that end with digits, among the newest documents.

    It reads keys of one index, and no document.
    """
    length = len(short.digits)
    end = {"$substrBytes": [{"$toString": "$_id"}, DIGITS - length, length]}
    return [
        *([] if state is None else [{"$match": {"state": state.value}}]),
        {"$sort": _NEWEST},
        {"$limit": covered},
        {"$project": {"_id": 1}},
        {"$match": {"$expr": {"$eq": [end, short.digits]}}},
        {"$limit": limit},
    ]


class ShortIdStore:
    """Finds jobs and batches by their short ids.

    A beginning is found by a range of ids, whatever the number of documents. An end is found among the newest `COVERED`
    jobs, and among as many that run, have failed or were killed: this reads 400,000 keys of indexes at most.
    """

    def __init__(self, database: Database, *, covered: int = COVERED) -> None:
        self._jobs = database.collection("jobs")
        self._batches = database.collection("batches")
        self._covered = covered

    @guarded
    async def jobs(self, short: ShortId, limit: int) -> list[dict[str, Any]]:
        """Return the jobs that a short id may stand for, newest first, as ``{id, type, state}``."""
        ids = await self._ids(self._jobs, short, limit, _OLDER)
        query = {"_id": {"$in": ids}, "state": {"$exists": True}}
        cursor = self._jobs.find(query, _SHOWN).sort("_id", -1).limit(limit)
        return [
            {"id": str(job["_id"]), "type": str(job.get("type")), "state": str(job["state"])} async for job in cursor
        ]

    @guarded
    async def batches(self, short: ShortId, limit: int) -> list[dict[str, Any]]:
        """Return the batches that a short id may stand for, newest first, as ``{id, state}``."""
        ids = await self._ids(self._batches, short, limit)
        cursor = self._batches.find({"_id": {"$in": ids}}, {"state": 1}).sort("_id", -1).limit(limit)
        return [{"id": str(batch["_id"]), "state": str(batch.get("state"))} async for batch in cursor]

    async def _ids(
        self, collection: AsyncCollection[Any], short: ShortId, limit: int, states: Sequence[State] = ()
    ) -> list[ObjectId]:
        looks = [self._heads(collection, short, limit)] if short.is_head else []
        if short.is_tail:
            looks += [self._tails(collection, short, limit, state) for state in (None, *states)]
        return list(dict.fromkeys(one for ids in await asyncio.gather(*looks) for one in ids))

    async def _heads(self, collection: AsyncCollection[Any], short: ShortId, limit: int) -> list[ObjectId]:
        lowest, highest = map(ObjectId, short.bounds)
        cursor = collection.find({"_id": {"$gte": lowest, "$lte": highest}}, {"_id": 1}).sort("_id", -1)
        return [document["_id"] async for document in cursor.limit(limit)]

    async def _tails(
        self, collection: AsyncCollection[Any], short: ShortId, limit: int, state: State | None
    ) -> list[ObjectId]:
        index = "newest" if state is None else "newestOfState"
        try:
            with timeout(SECONDS):
                pipeline = tails(short, limit, state=state, covered=self._covered)
                return [each["_id"] async for each in await aggregate(collection, pipeline, hint=index)]
        except (ExecutionTimeout, NetworkTimeout):
            return []
