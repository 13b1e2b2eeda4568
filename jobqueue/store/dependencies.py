"""Which jobs wait for which, in the `jobs` collection."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from bson import ObjectId
from pymongo.errors import DuplicateKeyError

from jobqueue.domain.errors import KeyConflictError
from jobqueue.domain.job import POLICIES
from jobqueue.domain.state import State
from jobqueue.store import dependency_statements, documents, statements
from jobqueue.store.database import guarded

if TYPE_CHECKING:
    from collections.abc import Sequence

    from motor.motor_asyncio import AsyncIOMotorClientSession, AsyncIOMotorCollection

    from jobqueue.domain.job import Job, JobError
    from jobqueue.store.database import Database
    from jobqueue.store.statements import Now

_KILL, _RUN, _ = POLICIES
_LEAN: Final = {"data": 0, "meta": 0, "attrs": 0, "result": 0, "logs": 0}
_INDEX: Final = "dependents"
_FALLEN: Final = "unmet"
MOST_PARENT_BYTES: Final = 8 * 1024 * 1024
"""Results that one job is given of those it depended on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """A job that another one depends on, as far as that one has to know it.

    Attributes:
        id: its id.
        state: ``None`` if it does not exist.
        type: its type.
        error: why it has failed or was killed.
    """

    id: str
    state: State | None
    type: str = ""
    error: JobError | None = None


class DependencyStore:
    """Marks, releases and finds jobs that wait for others."""

    def __init__(self, database: Database, now: Now = statements.SERVER_NOW) -> None:
        self.now = now
        self.collection = database.collection("jobs")

    @guarded
    async def mark(self, job_ids: Sequence[str], session: AsyncIOMotorClientSession | None = None) -> list[str]:
        """Note on jobs that others depend on them; return the ids of jobs that do not exist.

        Args:
            job_ids: the jobs.
            session: a transaction of the caller's own. Jobs that exist only inside it are marked there. Jobs that
                others see too are marked outside, so that the transaction holds up no end of a job.
        """
        missing = await self._mark(self.collection, job_ids, None)
        if session is None or not missing:
            return missing
        # A session belongs to the client of the caller.
        theirs = session.client[self.collection.database.name][self.collection.name]
        return await self._mark(theirs, missing, session)

    async def _mark(
        self,
        collection: AsyncIOMotorCollection[Any],
        job_ids: Sequence[str],
        session: AsyncIOMotorClientSession | None,
    ) -> list[str]:
        named = {"_id": {"$in": [ObjectId(job_id) for job_id in job_ids]}, "state": {"$exists": True}}
        await collection.update_many(named, {"$set": {"dependents": True}}, session=session)
        there = {str(job["_id"]) async for job in collection.find(named, {"_id": 1}, session=session)}
        return [job_id for job_id in job_ids if job_id not in there]

    @guarded
    async def known(self, job_ids: Sequence[str]) -> list[Known]:
        """Return what is known of jobs, in their order."""
        cursor = self.collection.find(
            {"_id": {"$in": [ObjectId(one) for one in job_ids]}, "state": {"$exists": True}},
            {"state": 1, "type": 1, "error.kind": 1, "error.message": 1},
        )
        found = {
            str(one["_id"]): Known(
                id=str(one["_id"]),
                state=State(one["state"]),
                type=str(one.get("type", "")),
                error=documents.job_error(one.get("error")),
            )
            async for one in cursor
        }
        return [found.get(one, Known(id=one, state=None)) for one in job_ids]

    @guarded
    async def release(self, job_id: str, *, only: str | None = None, succeeded: bool = True) -> int:
        """Let jobs wait for this one no longer: all of them, or if it did not succeed those that run all the same.

        Args:
            job_id: the job that has ended.
            only: release this one job only.
            succeeded: how it has ended.
        """
        found = dependency_statements.waiting_for(job_id, None if succeeded else [_RUN])
        if only is not None:
            found["_id"] = ObjectId(only)
        update = dependency_statements.release([ObjectId(job_id)], self.now)
        hint = None if only is not None else _INDEX
        return int((await self.collection.update_many(found, update, hint=hint)).modified_count)

    @guarded
    async def doomed(self, job_id: str, most: int, *, holding: bool = False) -> list[Job]:
        """Return jobs, without what can be large, that are to be killed because this one did not succeed.

        Args:
            job_id: the one that has ended.
            most: how many at most.
            holding: those too that would wait until it is requeued.
        """
        found = dependency_statements.waiting_for(job_id, None if holding else [None, _KILL])
        cursor = self.collection.find(found, _LEAN, hint=_INDEX).limit(most)
        return [documents.job(one) async for one in cursor]

    @guarded
    async def fallen(self, job_id: str, most: int, *, after: str | None = None) -> list[Job]:
        """Return jobs, without what can be large, that were killed because this one did not succeed.

        Args:
            job_id: the one that did not.
            most: how many at most.
            after: only those whose ids come after this one.
        """
        found = dependency_statements.fallen(job_id)
        if after is not None:
            found["_id"] = {"$gt": ObjectId(after)}
        cursor = self.collection.find(found, _LEAN, hint=_FALLEN).sort("_id", 1).limit(most)
        return [documents.job(one) async for one in cursor]

    @guarded
    async def is_kept_down(self, job: Job) -> bool:
        """Tell whether a fallen job cannot wait again yet; the requeue of each job that keeps it down comes to look."""
        culprits = await self._culprits(job)
        if not culprits:
            return False
        # Also one that failed after this job had fallen because of another one.
        guard = statements.same_run(job.id, job.queue, job.run) | {"state": State.KILLED.value}
        blamed = {"$addToSet": {"unmet": {"$each": [ObjectId(one) for one in culprits]}}}
        await self.collection.update_one(guard, blamed)
        return bool(await self._culprits(job))

    @guarded
    async def awaited(self, job: Job) -> list[str]:
        """Return what a fallen job waits for when it is started anew: not what succeeded and was deleted."""
        return [one.id for one in await self.known(job.depends_on) if one.state is not None]

    async def _culprits(self, job: Job) -> list[str]:
        """Return the jobs because of which a killed one cannot wait again: failed, killed, or deleted as such."""
        found = await self.collection.find_one({"_id": ObjectId(job.id)}, {"unmet": 1}) or {}
        unmet = {str(one) for one in found.get("unmet") or ()}
        return [
            one.id
            for one in await self.known(job.depends_on)
            if one.state in {State.FAILED, State.KILLED} or (one.state is None and one.id in unmet)
        ]

    @guarded
    async def parents(self, job: Job) -> tuple[dict[str, Any], ...]:
        """Return the jobs that one depended on, with their results as far as there is room for them."""
        cursor = self.collection.find(
            {"_id": {"$in": [ObjectId(one) for one in job.depends_on]}, "state": {"$exists": True}},
            {"type": 1, "state": 1, "ref": 1, "result": 1, "size": {"$bsonSize": {"r": "$result"}}},
        ).batch_size(50)
        found: dict[str, dict[str, Any]] = {}
        room = MOST_PARENT_BYTES
        async for one in cursor:
            room -= int(one["size"])
            shown = {"id": str(one["_id"]), "type": one.get("type"), "state": one.get("state")}
            if one.get("ref") is not None:
                shown["ref"] = one["ref"]
            found[shown["id"]] = shown | ({"result": one.get("result")} if room >= 0 else {"omitted": True})
        return tuple(found[one] for one in job.depends_on if one in found)

    @guarded
    async def revive(self, job: Job, *, restart: int | None = None) -> bool:
        """Let a job that has failed or was killed wait again for what it depends on; tell whether it was done.

        What has succeeded and was deleted since is not waited for.

        Args:
            job: as it was read.
            restart: as `dependency_statements.revive` has it.

        Raises:
            KeyConflictError: another unfinished job has taken its key.
        """
        guard = statements.same_run(job.id, job.queue, job.run) | {
            "state": job.state.value,
            "outbox": {"$exists": False},
        }
        gone = [one.id for one in await self.known(job.depends_on) if one.state is None]
        update = dependency_statements.revive(gone, self.now, restart=restart)
        try:
            return bool((await self.collection.update_one(guard, update)).modified_count)
        except DuplicateKeyError:
            raise KeyConflictError(job.queue, str(job.key), "") from None
