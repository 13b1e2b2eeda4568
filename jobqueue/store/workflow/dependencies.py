"""Dependencies between jobs, in the `jobs` collection."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from bson import ObjectId

from jobqueue.domain.attempts.states import State
from jobqueue.domain.errors import KeyConflictError, NotFoundError
from jobqueue.domain.jobs.job import POLICIES
from jobqueue.domain.jobs.transitions import DEPENDENTS, REVIVE
from jobqueue.store.documents import documents, requeue_statements, statements
from jobqueue.store.documents.documents import LEAN
from jobqueue.store.mongo.database import exists, guarded
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

    from jobqueue.domain.attempts.attempt import JobError
    from jobqueue.domain.jobs.job import Job
    from jobqueue.store.documents.statements import Document
    from jobqueue.store.mongo.database import Database

_KILL, _RUN, _ = POLICIES
_INDEX: Final = "dependents"
_FALLEN: Final = "unmet"
_MARK: Final = {"$set": {"dependents": True}, "$currentDate": {"dependentsAt": True}}
_DOWN: Final = frozenset({State.FAILED, State.KILLED})
_PARENT: Final = {"type": 1, "state": 1, "ref": 1, "result": 1}
MOST_PARENT_BYTES: Final = 8 * 1024 * 1024
"""Bytes of results that come with a claim."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dependency:
    """A job that another job depends on, in the fields that matter to that job.

    Attributes:
        id: its id.
        state: ``None`` if it does not exist.
        type: its type.
        error: the reason of its failure or kill.
    """

    id: str
    state: State | None
    type: str = ""
    error: JobError | None = None


class DependencyStore:
    """Marks, releases and finds jobs that wait for others."""

    def __init__(self, database: Database) -> None:
        self.collection = database.collection("jobs")
        self._clock = database.clock

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
        return await self._mark(same_collection(self.collection, session), missing, session)

    async def _mark(
        self,
        collection: AsyncCollection[Any],
        job_ids: Sequence[str],
        session: AsyncClientSession | None,
    ) -> list[str]:
        named = _existing(job_ids)
        await collection.update_many(named, _MARK, session=session)
        there = {str(job["_id"]) async for job in collection.find(named, {"_id": 1}, session=session)}
        return [job_id for job_id in job_ids if job_id not in there]

    @guarded
    async def known(self, job_ids: Sequence[str]) -> list[Dependency]:
        """Return the jobs of some ids, in their order."""
        shown = {"state": 1, "type": 1, "error.kind": 1, "error.message": 1}
        there = {
            str(document["_id"]): Dependency(
                id=str(document["_id"]),
                state=documents.state(document["state"]),
                type=str(document.get("type", "")),
                error=documents.job_error(document.get("error")),
            )
            async for document in self.collection.find(_existing(job_ids), shown)
        }
        return [there.get(job_id, Dependency(id=job_id, state=None)) for job_id in job_ids]

    @guarded
    async def release(self, job_id: str, *, only: str | None = None, succeeded: bool = True) -> int:
        """Release the jobs that wait for a job: all, or after a failure those that run nevertheless.

        Args:
            job_id: the job that has ended.
            only: release this job only.
            succeeded: the job has succeeded.
        """
        query = dependency_statements.waiting_for(job_id, None if succeeded else [_RUN])
        if only is not None:
            query["_id"] = ObjectId(only)
        update = dependency_statements.release([ObjectId(job_id)], self._clock.present)
        hint = None if only is not None else _INDEX
        return int((await self.collection.update_many(query, update, hint=hint)).modified_count)

    @guarded
    async def asks(self, job: Job) -> bool:
        """Tell whether an ended job still has the note of its dependents."""
        return await exists(self.collection, requeue_statements.asking(job, DEPENDENTS))

    @guarded
    async def revive_again(self, job_id: str) -> bool:
        """Note on a job that jobs killed because of it are to wait again, unless it is still down; tell if so."""
        down = sorted(state.value for state in _DOWN)
        up = {"_id": ObjectId(job_id), "state": {"$exists": True, "$nin": down}}
        return bool((await self.collection.update_one(up, {"$addToSet": {"outbox": REVIVE}})).matched_count)

    @guarded
    async def doomed(self, job_id: str, most: int, *, holding: bool = False) -> list[Job]:
        """Return jobs, as `LEAN`, that are to be killed because a job did not succeed.

        Args:
            job_id: the job that has ended.
            most: how many at most.
            holding: those too that would wait until it is requeued.
        """
        query = dependency_statements.waiting_for(job_id, None if holding else [None, _KILL])
        cursor = self.collection.find(query, LEAN, hint=_INDEX).limit(most)
        return [documents.job(document) async for document in cursor]

    @guarded
    async def fallen(self, job_id: str, most: int, *, after: str | None = None) -> list[Job]:
        """Return jobs, as `LEAN`, that were killed because a job did not succeed.

        Args:
            job_id: the job that did not.
            most: how many at most.
            after: only jobs whose ids come after this one.
        """
        query = dependency_statements.fallen([ObjectId(job_id)])
        if after is not None:
            query["_id"] = {"$gt": ObjectId(after)}
        cursor = self.collection.find(query, LEAN, hint=_FALLEN).sort("_id", 1).limit(most)
        return [documents.job(document) async for document in cursor]

    @guarded
    async def is_kept_down(self, job: Job) -> bool:
        """Tell whether a fallen job cannot wait again yet; the requeue of each culprit checks that again."""
        culprits = await self._culprits(job)
        if not culprits:
            return False
        # A job may fail after this job has fallen because of another job.
        guard = statements.same_run(job.id, job.queue, job.run) | {"state": State.KILLED.value}
        blamed = {"$addToSet": {"unmet": {"$each": [ObjectId(culprit) for culprit in culprits]}}}
        await self.collection.update_one(guard, blamed)
        return bool(await self._culprits(job))

    @guarded
    async def awaited(self, job: Job) -> list[str]:
        """Return the jobs that a fallen job waits for when it restarts: all but succeeded and deleted ones."""
        return [dependency.id for dependency in await self.known(job.depends_on) if dependency.state is not None]

    async def _culprits(self, job: Job) -> list[str]:
        """Return the jobs that keep a killed job from waiting again: failed, killed, or deleted as such."""
        document = await self.collection.find_one({"_id": ObjectId(job.id)}, {"unmet": 1}) or {}
        unmet = {str(culprit) for culprit in document.get("unmet") or ()}
        return [
            dependency.id
            for dependency in await self.known(job.depends_on)
            if dependency.state in _DOWN or (dependency.state is None and dependency.id in unmet)
        ]

    @guarded
    async def parents(self, job: Job) -> tuple[dict[str, Any], ...]:
        """Return the dependencies of a job, in their order, with results of `MOST_PARENT_BYTES` together.

        An entry without room for its result says ``omitted`` and where to get it, one of a deleted job ``deleted``.
        """
        # A result within its share fits in any case, so that most jobs take one round trip.
        share = {"$lte": ["$size", MOST_PARENT_BYTES // len(job.depends_on)]}
        size = {"$bsonSize": {"r": "$result"}}
        pipeline = [
            {"$match": _existing(job.depends_on)},
            {"$project": _PARENT | {"size": size}},
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
        if fitting:
            async for parent in self.collection.find(_existing(fitting), {"result": 1}):
                there[str(parent["_id"])]["result"] = {"r": parent.get("result")}
        return tuple(_entry(job.id, job_id, there.get(job_id)) for job_id in job.depends_on)

    @guarded
    async def parent(self, job: Job, parent_id: str) -> dict[str, Any]:
        """Return one dependency of a job, with its result, however large.

        Raises:
            NotFoundError: the job did not depend on it, or it was deleted.
        """
        parent = None
        if parent_id in job.depends_on:
            parent = await self.collection.find_one(_existing([parent_id]), _PARENT)
        if parent is None:
            raise NotFoundError("job", parent_id)
        return _entry(job.id, parent_id, parent | {"result": {"r": parent.get("result")}})

    @guarded
    async def revive(self, job: Job, *, restart: int | None = None) -> bool:
        """Make a failed or killed job wait again for its dependencies; tell whether that was done.

        It does not wait for jobs that have succeeded and were deleted since.

        Args:
            job: as it was read.
            restart: as in `dependency_statements.revive`.

        Raises:
            KeyConflictError: another unfinished job has taken its key.
        """
        guard = statements.same_run(job.id, job.queue, job.run) | {
            "state": job.state.value,
            "outbox": {"$exists": False},
        }
        gone = [dependency.id for dependency in await self.known(job.depends_on) if dependency.state is None]
        update = dependency_statements.revive(gone, self._clock.present, restart=restart)
        try:
            return bool((await self.collection.update_one(guard, update)).modified_count)
        except DuplicateKeyError:
            raise KeyConflictError(job.queue, str(job.key), "") from None


def _existing(job_ids: Sequence[str]) -> Document:
    return {"_id": {"$in": [ObjectId(job_id) for job_id in job_ids]}, "state": {"$exists": True}}


def _entry(reader: str, job_id: str, parent: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the form in which a job reads a dependency.

    Args:
        reader: the id of the job.
        job_id: the id of the dependency.
        parent: its document, the result wrapped as ``{r}``, if there is room for it; ``None`` if it was deleted.
    """
    if parent is None:
        return {"id": job_id, "deleted": True}
    entry = {"id": job_id, "type": parent.get("type"), "state": parent.get("state")}
    if parent.get("ref") is not None:
        entry["ref"] = parent["ref"]
    if "result" in parent:
        # A result that is missing in the document is null.
        return entry | {"result": parent["result"].get("r")}
    return entry | {"omitted": True, "url": f"/v1/jobs/{reader}/parents/{job_id}"}
