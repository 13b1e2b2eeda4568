"""Look up ids by their first or last digits."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final

from bson import ObjectId

from jobqueue.domain.access.access import EVERYTHING
from jobqueue.domain.attempts.states import State
from jobqueue.domain.jobs.short_ids import COVERED, DIGITS
from jobqueue.store.documents import scope_filters
from jobqueue.store.mongo.database import guarded
from jobqueue.store.mongo.driver import ExecutionTimeout, NetworkTimeout, aggregate, timeout

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from jobqueue.domain.access.access import Scope
    from jobqueue.domain.jobs.short_ids import ShortId
    from jobqueue.store.documents.statements import Document
    from jobqueue.store.mongo.database import Database
    from jobqueue.store.mongo.driver import AsyncCollection

SECONDS: Final = 3.0
"""Longest look-up; what it has not found by then is not found."""
_MOST_ENDS: Final = 1_000
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
    async def jobs(self, short: ShortId, limit: int, scope: Scope = EVERYTHING) -> list[dict[str, Any]]:
        """Return the jobs within a scope that a short id may stand for, newest first, as ``{id, type, state}``."""
        visible: Document = {"$and": [{"state": {"$exists": True}}, *scope_filters.clauses(scope)]}
        ids = await self._ids(self._jobs, short, limit, visible, _OLDER)
        query = {"_id": {"$in": ids}, **visible}
        cursor = self._jobs.find(query, _SHOWN).sort("_id", -1).limit(limit)
        return [
            {"id": str(job["_id"]), "type": str(job.get("type")), "state": str(job["state"])} async for job in cursor
        ]

    @guarded
    async def batches(self, short: ShortId, limit: int) -> list[dict[str, Any]]:
        """Return the batches that a short id may stand for, newest first, as ``{id, state}``."""
        ids = await self._ids(self._batches, short, limit, {})
        cursor = self._batches.find({"_id": {"$in": ids}}, {"state": 1}).sort("_id", -1).limit(limit)
        return [{"id": str(batch["_id"]), "state": str(batch.get("state"))} async for batch in cursor]

    async def _ids(
        self,
        collection: AsyncCollection[Any],
        short: ShortId,
        limit: int,
        visible: Document,
        states: Sequence[State] = (),
    ) -> list[ObjectId]:
        looks = [self._heads(collection, short, limit, visible)] if short.is_head else []
        if short.is_tail:
            # Others may lie outside of the scope.
            looks += [self._tails(collection, short, _MOST_ENDS, state) for state in (None, *states)]
        return list(dict.fromkeys(one for ids in await asyncio.gather(*looks) for one in ids))

    async def _heads(
        self, collection: AsyncCollection[Any], short: ShortId, limit: int, visible: Document
    ) -> list[ObjectId]:
        lowest, highest = map(ObjectId, short.bounds)
        query = {"_id": {"$gte": lowest, "$lte": highest}, **visible}
        with _patience() as found:
            cursor = collection.find(query, {"_id": 1}).sort("_id", -1).limit(limit)
            async for document in cursor:
                found.append(document["_id"])
        return found

    async def _tails(
        self, collection: AsyncCollection[Any], short: ShortId, limit: int, state: State | None
    ) -> list[ObjectId]:
        index = "newest" if state is None else "newestOfState"
        with _patience() as found:
            pipeline = tails(short, limit, state=state, covered=self._covered)
            async for document in await aggregate(collection, pipeline, hint=index):
                found.append(document["_id"])
        return found


@contextmanager
def _patience() -> Iterator[list[ObjectId]]:
    """Give a list for ids; what is not found within `SECONDS` is not found."""
    found: list[ObjectId] = []
    with suppress(ExecutionTimeout, NetworkTimeout), timeout(SECONDS):
        yield found
