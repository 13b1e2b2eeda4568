"""What of the database lies within a scope."""

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
        wanted: Document = {"_id": ObjectId(job_id), "state": {"$exists": True}, "$and": scope_filters.clauses(scope)}
        return await self._jobs.find_one(wanted, {"_id": 1}) is not None

    @guarded
    async def missing(self, job_ids: Sequence[str], scope: Scope) -> list[str]:
        """Return those of some jobs that are not within a scope."""
        ids = [ObjectId(one) for one in dict.fromkeys(job_ids)]
        wanted: Document = {"_id": {"$in": ids}, "state": {"$exists": True}, "$and": scope_filters.clauses(scope)}
        there = {one["_id"] async for one in self._jobs.find(wanted, {"_id": 1})}
        return [str(one) for one in ids if one not in there]

    @guarded
    async def has_batch(self, batch_id: str, scope: Scope) -> bool:
        """Tell whether there is such a batch with none of its jobs and callbacks, nor its own meta, outside of a scope.

        One that has neither jobs nor callbacks is that of a queue only by who has created it.
        """
        wanted = {"meta": 1, "queues": 1, **dict.fromkeys(_CALLBACKS, 1)}
        found = await self._batches.find_one({"_id": ObjectId(batch_id)}, wanted)
        if found is None or not scope.has_meta(documents.mapping(found.get("meta"))):
            return False
        callbacks = [documents.children_of(found[name], name) for name in _CALLBACKS if found.get(name)]
        if not all(one is not None and scope.holds(one) for one in callbacks):
            return False
        of_batch: Document = {"batchId": ObjectId(batch_id)}
        outside: Document = {**of_batch, "$nor": [{"$and": scope_filters.clauses(scope)}]}
        if await self._jobs.find_one(outside, {"_id": 1}) is not None:
            return False
        if not scope.queues or callbacks or found.get("queues") == list(scope.queues):
            return True
        return await self._jobs.find_one(of_batch, {"_id": 1}) is not None

    @guarded
    async def has_schedule(self, name: str, scope: Scope) -> bool:
        """Tell whether there is such a schedule, and makes its jobs within a scope."""
        found = await self._schedules.find_one({"_id": name})
        schedule = planned(found).schedule if found else None
        return schedule is not None and scope.holds(schedule.job)
