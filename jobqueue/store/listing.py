"""Listings of jobs, always by an index and in its order."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from bson import ObjectId

from jobqueue.domain import attributes
from jobqueue.domain.access import EVERYTHING
from jobqueue.domain.query import JobQuery, Page
from jobqueue.domain.state import State
from jobqueue.store import documents, scoping
from jobqueue.store.database import guarded

if TYPE_CHECKING:
    from jobqueue.domain.access import Scope
    from jobqueue.domain.job import Job
    from jobqueue.store.database import Database
    from jobqueue.store.statements import Document

MOST_BYTES: Final = 8 * 1024 * 1024
"""A page ends early when its documents take more than this."""
_FIRST_DATE: Final = datetime(1, 1, 1, tzinfo=UTC)


def matching(query: JobQuery, scope: Scope = EVERYTHING) -> Document:
    """Return the filter of a listing; its shape lets an index give the order too."""
    found: Document = {}
    states = query.states or (tuple(State) if query.queue is not None else ())
    if query.queue is not None:
        found["queue"] = query.queue
    if states:
        found["state"] = {"$in": [state.value for state in states]}
    if query.type is not None:
        found["type"] = query.type
    for name, value in (("batchId", query.batch_id), ("parentId", query.parent_id)):
        if value is not None:
            found[name] = ObjectId(value)
    if query.schedule is not None:
        found["schedule"] = query.schedule
    clauses = scoping.clauses(scope) + [_meta(path, text) for path, text in query.meta]
    found["insertAt"] = {"$gte": query.inserted_after or _FIRST_DATE}
    if query.inserted_before is not None:
        found["insertAt"]["$lt"] = query.inserted_before
    if query.after is not None:
        clauses += _beyond(query, *query.after)
    if clauses:
        found["$and"] = clauses
    return found


def order(query: JobQuery) -> list[tuple[str, int]]:
    """Return the sort of a listing."""
    direction = 1 if query.oldest_first else -1
    return [("insertAt", direction), ("_id", direction)]


class Listing:
    """Reads pages of jobs."""

    def __init__(self, database: Database) -> None:
        self.collection = database.collection("jobs")

    @guarded
    async def page(self, query: JobQuery, scope: Scope = EVERYTHING) -> Page:
        """Return one page of what is within a scope."""
        cursor = self.collection.find(
            matching(query, scope), {"size": {"$bsonSize": "$$ROOT"}, "document": "$$ROOT"}, sort=order(query)
        ).limit(query.limit + 1)
        items: list[Job] = []
        size = 0
        async for one in cursor.batch_size(min(query.limit + 1, 51)):
            size += one["size"]
            if len(items) == query.limit or (items and size > MOST_BYTES):
                return Page(items=tuple(items), next=query.cursor(items[-1]))
            items.append(documents.job(one["document"]))
        return Page(items=tuple(items), next=None)

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


def _beyond(query: JobQuery, moment: datetime, job_id: str) -> list[Document]:
    bound, seen = ("$gte", "$lte") if query.oldest_first else ("$lte", "$gte")
    # Said with $or, it might be answered by two indexes and a sort in memory.
    return [
        {"insertAt": {bound: moment}},
        {"$nor": [{"insertAt": moment, "_id": {seen: ObjectId(job_id)}}]},
    ]


def _meta(path: str, text: str) -> Document:
    values: list[Any] = [text]
    try:
        read = json.loads(text)
    except (ValueError, RecursionError):
        pass
    else:
        if isinstance(read, str):
            values = [read]
        elif read is None or isinstance(read, bool | int | float):
            values.append(read)
    encoded = [attributes.encode(path, value) for value in values]
    if None in encoded:
        return {f"meta.{path}": values[0] if len(values) == 1 else {"$in": values, "$exists": True}}
    return {"attrs": encoded[0] if len(encoded) == 1 else {"$in": encoded}}
