"""Listings of jobs, always by an index and in its order, and looks at their relatives."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from bson import ObjectId

from jobqueue.domain.access.access import EVERYTHING
from jobqueue.domain.errors import NotFoundError
from jobqueue.store.documents import documents
from jobqueue.store.mongo.database import guarded
from jobqueue.store.mongo.driver import aggregate
from jobqueue.store.search.search import SearchStore
from jobqueue.store.workflow.dependencies import MOST_PARENT_BYTES

if TYPE_CHECKING:
    from jobqueue.domain.access.access import Scope
    from jobqueue.domain.jobs.job import Job
    from jobqueue.domain.search.query import JobQuery, Page
    from jobqueue.store.mongo.database import Database

_SHOWN: Final = {"logs": 0, "result": 0, "history": 0, "data": 0}


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
        cursor = self.collection.find({"parentId": {"$in": [ObjectId(one) for one in parents]}}, _SHOWN)
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
    async def ancestor(self, job_id: str) -> Job | None:
        """Return a job as a relative is shown: without its data, result, logs and history."""
        found = await self.collection.find_one({"_id": ObjectId(job_id), "state": {"$exists": True}}, _SHOWN)
        return documents.job(found) if found else None

    @guarded
    async def born(self, job: Job, most: int) -> tuple[list[Job], set[str]]:
        """Return the children of a job, oldest first, without their logs, and the ids of those without their results.

        Results are read up to `MOST_PARENT_BYTES` together.
        """
        share = {"$lte": ["$size", MOST_PARENT_BYTES // most]}
        pipeline: list[dict[str, Any]] = [
            {"$match": {"parentId": ObjectId(job.id)}},
            {"$sort": {"insertAt": 1, "_id": 1}},
            {"$limit": most},
            {"$set": {"size": {"$bsonSize": {"r": "$result"}}}},
            {"$set": {"isIn": share, "result": {"$cond": [share, "$result", None]}}},
            {"$unset": ["logs", "history"]},
        ]
        born = [one async for one in await aggregate(self.collection, pipeline)]
        room = MOST_PARENT_BYTES - sum(one["size"] for one in born if one["isIn"])
        fitting = []
        for one in born:
            if not one["isIn"] and one["size"] <= room:
                room -= one["size"]
                fitting.append(one["_id"])
        cursor = self.collection.find({"_id": {"$in": fitting}, "state": {"$exists": True}}, {"result": 1})
        loaded = {one["_id"]: one.get("result") async for one in cursor} if fitting else {}
        late = {str(one["_id"]) for one in born if not one["isIn"] and one["_id"] not in loaded}
        return [documents.job(one | {"result": loaded.get(one["_id"], one.get("result"))}) for one in born], late

    @guarded
    async def child_result(self, job: Job, child_id: str) -> Any:
        """Return the result of a child of a job.

        Raises:
            NotFoundError: the job has no child of this id.
        """
        wanted = {"_id": ObjectId(child_id), "parentId": ObjectId(job.id), "state": {"$exists": True}}
        child = await self.collection.find_one(wanted, {"result": 1})
        if child is None:
            raise NotFoundError("job", child_id)
        return child.get("result")

    @guarded
    async def in_batch(self, batch_id: str) -> dict[str, int]:
        """Return how many jobs of a batch are in each state."""
        pipeline: list[dict[str, Any]] = [
            {"$match": {"batchId": ObjectId(batch_id)}},
            {"$group": {"_id": "$state", "count": {"$sum": 1}}},
        ]
        return {str(one["_id"]): int(one["count"]) async for one in await aggregate(self.collection, pipeline)}
