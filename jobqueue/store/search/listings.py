"""Listings of jobs by an index, in its order, and look-ups of their relatives."""

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
    from jobqueue.store.documents.statements import Document
    from jobqueue.store.mongo.database import Database

_SHOWN: Final = {"logs": 0, "result": 0, "history": 0, "data": 0, "steps": 0}


class Listing:
    """Read pages of jobs, and relatives of jobs."""

    def __init__(self, database: Database) -> None:
        self.collection = database.collection("jobs")
        self._search = SearchStore(database)

    async def page(self, query: JobQuery, scope: Scope = EVERYTHING) -> Page:
        """Return one page."""
        return await self._search.page(query.search(), scope)

    @guarded
    async def children(self, parents: list[str], most: int) -> list[Job]:
        """Return the children of jobs, oldest first, without their logs and results."""
        cursor = self.collection.find({"parentId": {"$in": [ObjectId(document) for document in parents]}}, _SHOWN)
        return [documents.job(document) async for document in cursor.sort([("insertAt", 1), ("_id", 1)]).limit(most)]

    @guarded
    async def parent(self, job: Job) -> Job | None:
        """Return the parent of a job, without its logs, history and steps, if it still exists."""
        shown = {"logs": 0, "history": 0, "steps": 0}
        return await self._job(job.parent_id, shown) if job.parent_id is not None else None

    @guarded
    async def ancestor(self, job_id: str) -> Job | None:
        """Return a job without its data, result, logs, history and steps."""
        return await self._job(job_id, _SHOWN)

    async def _job(self, job_id: str, projection: Document) -> Job | None:
        document = await self.collection.find_one({"_id": ObjectId(job_id), "state": {"$exists": True}}, projection)
        return documents.job(document) if document else None

    @guarded
    async def children_of(self, job: Job, most: int) -> tuple[list[Job], set[str]]:
        """Return the children of a job, oldest first, and the ids of those without their results.

        Logs, history and steps are not read. Results are read up to `MOST_PARENT_BYTES` together.
        """
        share = {"$lte": ["$size", MOST_PARENT_BYTES // most]}
        pipeline: list[Document] = [
            {"$match": {"parentId": ObjectId(job.id)}},
            {"$sort": {"insertAt": 1, "_id": 1}},
            {"$limit": most},
            {"$set": {"size": {"$bsonSize": {"r": "$result"}}}},
            {"$set": {"isIn": share, "result": {"$cond": [share, "$result", None]}}},
            {"$unset": ["logs", "history", "steps"]},
        ]
        children = [child async for child in await aggregate(self.collection, pipeline)]
        room = MOST_PARENT_BYTES - sum(child["size"] for child in children if child["isIn"])
        fitting = []
        for child in children:
            if not child["isIn"] and child["size"] <= room:
                room -= child["size"]
                fitting.append(child["_id"])
        cursor = self.collection.find({"_id": {"$in": fitting}, "state": {"$exists": True}}, {"result": 1})
        results = {child["_id"]: child.get("result") async for child in cursor} if fitting else {}
        late = {str(child["_id"]) for child in children if not child["isIn"] and child["_id"] not in results}
        for child in children:
            child["result"] = results.get(child["_id"], child.get("result"))
        return [documents.job(child) for child in children], late

    @guarded
    async def child_result(self, job: Job, child_id: str) -> Any:
        """Return the result of a child of a job.

        Raises:
            NotFoundError: the job has no child of this id.
        """
        query = {"_id": ObjectId(child_id), "parentId": ObjectId(job.id), "state": {"$exists": True}}
        child = await self.collection.find_one(query, {"result": 1})
        if child is None:
            raise NotFoundError("job", child_id)
        return child.get("result")

    @guarded
    async def in_batch(self, batch_id: str) -> dict[str, int]:
        """Return the number of jobs of a batch by state."""
        pipeline: list[Document] = [
            {"$match": {"batchId": ObjectId(batch_id)}},
            {"$group": {"_id": "$state", "count": {"$sum": 1}}},
        ]
        return {str(group["_id"]): int(group["count"]) async for group in await aggregate(self.collection, pipeline)}
