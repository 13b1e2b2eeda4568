"""Listings of jobs, always by an index and in its order, and looks at their relatives."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bson import ObjectId

from jobqueue.domain.access import EVERYTHING
from jobqueue.store import documents
from jobqueue.store.database import guarded
from jobqueue.store.search import SearchStore

if TYPE_CHECKING:
    from jobqueue.domain.access import Scope
    from jobqueue.domain.job import Job
    from jobqueue.domain.query import JobQuery, Page
    from jobqueue.store.database import Database


class Listing:
    """Reads pages of jobs."""

    def __init__(self, database: Database) -> None:
        self.collection = database.collection("jobs")
        self._search = SearchStore(database)

    async def page(self, query: JobQuery, scope: Scope = EVERYTHING) -> Page:
        """Return one page."""
        return await self._search.page(query.search(), scope)

    @guarded
    async def children(self, parents: list[str], most: int) -> list[Job]:
        """Return the children of jobs, oldest first, without their logs and results."""
        cursor = self.collection.find(
            {"parentId": {"$in": [ObjectId(one) for one in parents]}}, {"logs": 0, "result": 0, "history": 0, "data": 0}
        )
        return [documents.job(one) async for one in cursor.sort([("insertAt", 1), ("_id", 1)]).limit(most)]

    @guarded
    async def parent(self, job: Job) -> Job | None:
        """Return the parent of a job, without its logs, if it has one that still exists."""
        if job.parent_id is None:
            return None
        found = await self.collection.find_one(
            {"_id": ObjectId(job.parent_id), "state": {"$exists": True}}, {"logs": 0, "history": 0}
        )
        return documents.job(found) if found else None

    @guarded
    async def born(self, job: Job, most: int) -> list[Job]:
        """Return the children of a job with their results, oldest first, without their logs."""
        cursor = self.collection.find({"parentId": ObjectId(job.id)}, {"logs": 0, "history": 0})
        return [documents.job(one) async for one in cursor.sort([("insertAt", 1), ("_id", 1)]).limit(most)]

    @guarded
    async def in_batch(self, batch_id: str) -> dict[str, int]:
        """Return how many jobs of a batch are in each state."""
        pipeline: list[dict[str, Any]] = [
            {"$match": {"batchId": ObjectId(batch_id)}},
            {"$group": {"_id": "$state", "count": {"$sum": 1}}},
        ]
        return {str(one["_id"]): int(one["count"]) async for one in self.collection.aggregate(pipeline)}
