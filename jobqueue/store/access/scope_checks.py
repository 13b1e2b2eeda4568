"""Check jobs, batches and schedules against a scope."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bson import ObjectId

from jobqueue.store.documents import documents, scope_filters
from jobqueue.store.documents.documents import CHILD_FIELDS
from jobqueue.store.mongo.database import guarded
from jobqueue.store.mongo.odd_values import mapping
from jobqueue.store.schedules.schedules import planned

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jobqueue.domain.access.access import Scope
    from jobqueue.store.documents.statements import Document
    from jobqueue.store.mongo.database import Database


class ScopeChecks:
    """Checks jobs, batches and schedules against a scope."""

    def __init__(self, database: Database) -> None:
        self._jobs = database.collection("jobs")
        self._batches = database.collection("batches")
        self._schedules = database.collection("schedules")

    @guarded
    async def has_job(self, job_id: str, scope: Scope) -> bool:
        """Return True if a job exists within a scope."""
        return not await self.missing([job_id], scope)

    @guarded
    async def missing(self, job_ids: Sequence[str], scope: Scope) -> list[str]:
        """Return the ids of jobs that do not exist within a scope."""
        ids = [ObjectId(job_id) for job_id in dict.fromkeys(job_ids)]
        query: Document = {"_id": {"$in": ids}, "state": {"$exists": True}, "$and": scope_filters.clauses(scope)}
        there = {document["_id"] async for document in self._jobs.find(query, {"_id": 1})}
        return [str(job_id) for job_id in ids if job_id not in there]

    @guarded
    async def has_batch(self, batch_id: str, scope: Scope) -> bool:
        """Return True if a batch exists, and its jobs, its callbacks and its own meta all lie within a scope.

        A batch without jobs and callbacks belongs to the queues of its creator.
        """
        fields = {"meta": 1, "queues": 1, **dict.fromkeys(CHILD_FIELDS, 1)}
        batch = await self._batches.find_one({"_id": ObjectId(batch_id)}, fields)
        if batch is None or not scope.has_meta(mapping(batch.get("meta"))):
            return False
        callbacks = [documents.children_of(batch[name], name) for name in CHILD_FIELDS if batch.get(name)]
        if not all(callback is not None and scope.holds(callback) for callback in callbacks):
            return False
        of_batch: Document = {"batchId": ObjectId(batch_id)}
        outside: Document = {**of_batch, "$nor": [{"$and": scope_filters.clauses(scope)}]}
        if await self._jobs.find_one(outside, {"_id": 1}) is not None:
            return False
        if not scope.queues or callbacks or batch.get("queues") == list(scope.queues):
            return True
        return await self._jobs.find_one(of_batch, {"_id": 1}) is not None

    @guarded
    async def has_schedule(self, name: str, scope: Scope) -> bool:
        """Return True if a schedule exists, and its jobs lie within a scope."""
        document = await self._schedules.find_one({"_id": name})
        schedule = planned(document).schedule if document else None
        return schedule is not None and scope.holds(schedule.job)
