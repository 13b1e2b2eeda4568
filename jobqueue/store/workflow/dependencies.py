"""Which jobs wait for which, in the `jobs` collection."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from bson import ObjectId

from jobqueue.domain.errors import KeyConflictError, NotFoundError
from jobqueue.domain.jobs.job import POLICIES
from jobqueue.domain.jobs.states import State
from jobqueue.domain.jobs.transitions import DEPENDENTS, REVIVE
from jobqueue.store.documents import documents, requeue_statements, statements
from jobqueue.store.mongo.clock import SERVER_NOW
from jobqueue.store.mongo.database import guarded
from jobqueue.store.mongo.driver import (
    AsyncClientSession,
    AsyncCollection,
    DuplicateKeyError,
    aggregate,
    same_collection,
)
from jobqueue.store.workflow import dependency_statements

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from jobqueue.domain.jobs.attempt import JobError
    from jobqueue.domain.jobs.job import Job
    from jobqueue.store.mongo.clock import Now
    from jobqueue.store.mongo.database import Database

_KILL, _RUN, _ = POLICIES
_LEAN: Final = {"data": 0, "meta": 0, "attrs": 0, "result": 0, "logs": 0}
_INDEX: Final = "dependents"
_FALLEN: Final = "unmet"
_MARK: Final = {"$set": {"dependents": True}, "$currentDate": {"dependentsAt": True}}
MOST_PARENT_BYTES: Final = 8 * 1024 * 1024
"""Bytes of results that come with a claim."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dependency:
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

    def __init__(self, database: Database, now: Now = SERVER_NOW) -> None:
        self.now = now
        self.collection = database.collection("jobs")

    @guarded
    async def mark(self, job_ids: Sequence[str], session: AsyncClientSession | None = None) -> list[str]:
        """Note on jobs that others depend on them; return the ids of jobs that do not exist.

        Args:
            job_ids: the jobs.
            session: a transaction of the caller's own. Jobs that exist only inside it are marked there. Jobs that
                others see too are marked outside, so that the transaction holds up no end of a job.
        """
        missing = await self._mark(self.collection, job_ids, None)
        if session is None or not missing:
            return missing
        theirs = same_collection(self.collection, session)
        return await self._mark(theirs, missing, session)

    async def _mark(
        self,
        collection: AsyncCollection[Any],
        job_ids: Sequence[str],
        session: AsyncClientSession | None,
    ) -> list[str]:
        named = {"_id": {"$in": [ObjectId(job_id) for job_id in job_ids]}, "state": {"$exists": True}}
        await collection.update_many(named, _MARK, session=session)
        there = {str(job["_id"]) async for job in collection.find(named, {"_id": 1}, session=session)}
        return [job_id for job_id in job_ids if job_id not in there]

    @guarded
    async def known(self, job_ids: Sequence[str]) -> list[Dependency]:
        """Return what is known of jobs, in their order."""
        cursor = self.collection.find(
            {"_id": {"$in": [ObjectId(one) for one in job_ids]}, "state": {"$exists": True}},
            {"state": 1, "type": 1, "error.kind": 1, "error.message": 1},
        )
        found = {
            str(one["_id"]): Dependency(
                id=str(one["_id"]),
                state=documents.state(one["state"]),
                type=str(one.get("type", "")),
                error=documents.job_error(one.get("error")),
            )
            async for one in cursor
        }
        return [found.get(one, Dependency(id=one, state=None)) for one in job_ids]

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
    async def asks(self, job: Job) -> bool:
        """Tell whether an ended job still asks for what follows for those that wait for it."""
        return await self.collection.find_one(requeue_statements.asking(job, DEPENDENTS), {"_id": 1}) is not None

    @guarded
    async def revive_again(self, job_id: str) -> bool:
        """Note on a job that those which fell because of it are to wait again, unless it is still down; tell if so."""
        up = {"_id": ObjectId(job_id), "state": {"$exists": True, "$nin": [State.FAILED.value, State.KILLED.value]}}
        return bool((await self.collection.update_one(up, {"$addToSet": {"outbox": REVIVE}})).matched_count)

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
        """Return the jobs that one depended on, in their order, with results of `MOST_PARENT_BYTES` together.

        An entry without room for its result says ``omitted`` and where to get it, one of a deleted job ``deleted``.
        """
        # What is not larger than its share fits in any case, so that most jobs take one round trip.
        share = {"$lte": ["$size", MOST_PARENT_BYTES // len(job.depends_on)]}
        size = {"$bsonSize": {"r": "$result"}}
        pipeline = [
            {"$match": _existing(job.depends_on)},
            {"$project": {"type": 1, "state": 1, "ref": 1, "result": 1, "size": size}},
            {"$set": {"result": {"$cond": [share, {"r": "$result"}, "$$REMOVE"]}}},
        ]
        there = {str(parent["_id"]): parent async for parent in await aggregate(self.collection, pipeline)}
        room = MOST_PARENT_BYTES - sum(int(parent["size"]) for parent in there.values() if "result" in parent)
        fitting: list[str] = []
        for job_id in job.depends_on:
            parent = there.get(job_id)
            if parent is not None and "result" not in parent and int(parent["size"]) <= room:
                room -= int(parent["size"])
                fitting.append(job_id)
        loaded = await self._results(fitting) if fitting else {}
        return tuple(_entry(job.id, job_id, there.get(job_id), loaded) for job_id in job.depends_on)

    @guarded
    async def parent(self, job: Job, parent_id: str) -> dict[str, Any]:
        """Return one job that another one depended on, with its result, however large.

        Raises:
            NotFoundError: the job did not depend on it, or it was deleted.
        """
        if parent_id not in job.depends_on:
            raise NotFoundError("job", parent_id)
        wanted = {"type": 1, "state": 1, "ref": 1, "result": 1}
        parent = await self.collection.find_one(_existing([parent_id]), wanted)
        if parent is None:
            raise NotFoundError("job", parent_id)
        return _entry(job.id, parent_id, parent | {"result": {"r": parent.get("result")}}, {})

    async def _results(self, job_ids: Sequence[str]) -> dict[str, Any]:
        cursor = self.collection.find(_existing(job_ids), {"result": 1})
        return {str(job["_id"]): job.get("result") async for job in cursor}

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


def _existing(job_ids: Sequence[str]) -> dict[str, Any]:
    return {"_id": {"$in": [ObjectId(job_id) for job_id in job_ids]}, "state": {"$exists": True}}


def _entry(reader: str, job_id: str, parent: Mapping[str, Any] | None, loaded: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a job is told of one that it depended on.

    Args:
        reader: the id of the job.
        job_id: the id of the one it depended on.
        parent: as it is stored, its result wrapped as ``{r}``, if there was room for it; ``None`` if it was deleted.
        loaded: results that were read besides.
    """
    if parent is None:
        return {"id": job_id, "deleted": True}
    entry = {"id": job_id, "type": parent.get("type"), "state": parent.get("state")}
    if parent.get("ref") is not None:
        entry["ref"] = parent["ref"]
    if "result" in parent:
        # A result that is missing in the document is null.
        return entry | {"result": parent["result"].get("r")}
    if job_id in loaded:
        return entry | {"result": loaded[job_id]}
    return entry | {"omitted": True, "url": f"/v1/jobs/{reader}/parents/{job_id}"}
