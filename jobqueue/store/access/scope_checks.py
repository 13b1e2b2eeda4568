"""Checks of jobs, batches and schedules against a scope."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from bson import ObjectId

from jobqueue.store.documents import documents, scope_filters
from jobqueue.store.mongo.database import guarded
from jobqueue.store.schedules.schedules import planned

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jobqueue.domain.access.access import Scope
    from jobqueue.store.documents.statements import Document
    from jobqueue.store.mongo.database import Database

_CALLBACKS: Final = ("onComplete", "onSuccess", "onFailure")


class ScopeChecks:
    """Tells whether things are in a scope."""

    def __init__(self, database: Database) -> None:
        self._jobs = database.collection("jobs")
        self._batches = database.collection("batches")
        self._schedules = database.collection("schedules")

    @guarded
    async def has_job(self, job_id: str, scope: Scope) -> bool:
        """Tell whether there is such a job within a scope."""
        query: Document = {"_id": ObjectId(job_id), "state": {"$exists": True}, "$and": scope_filters.clauses(scope)}
        return await self._jobs.find_one(query, {"_id": 1}) is not None

    @guarded
    async def missing(self, job_ids: Sequence[str], scope: Scope) -> list[str]:
        """Return those of some jobs that are not within a scope."""
        ids = [ObjectId(job_id) for job_id in dict.fromkeys(job_ids)]
        query: Document = {"_id": {"$in": ids}, "state": {"$exists": True}, "$and": scope_filters.clauses(scope)}
        there = {document["_id"] async for document in self._jobs.find(query, {"_id": 1})}
        return [str(job_id) for job_id in ids if job_id not in there]

    @guarded
    async def has_batch(self, batch_id: str, scope: Scope) -> bool:
        """Tell whether there is such a batch with none of its jobs and callbacks, nor its own meta, outside of a scope.

        One that has neither jobs nor callbacks is that of a queue only by who has created it.
        """
        fields = {"meta": 1, "queues": 1, **dict.fromkeys(_CALLBACKS, 1)}
        batch = await self._batches.find_one({"_id": ObjectId(batch_id)}, fields)
        if batch is None or not scope.has_meta(documents.mapping(batch.get("meta"))):
            return False
        callbacks = [documents.children_of(batch[name], name) for name in _CALLBACKS if batch.get(name)]
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
        """Tell whether there is such a schedule, and makes its jobs within a scope."""
        document = await self._schedules.find_one({"_id": name})
        schedule = planned(document).schedule if document else None
        return schedule is not None and scope.holds(schedule.job)
