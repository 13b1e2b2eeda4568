"""The readers of a job's result, which keep the job from its deletion.

Readers are the jobs that depend on the job, its children, a parent that awaits it, and the callbacks of its batch. A
failed reader may be requeued and read again: so only its success, or its own deletion, frees the result.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from bson import ObjectId

from jobqueue.domain.attempts.states import State
from jobqueue.domain.workflow.batch import OPEN
from jobqueue.store.documents import documents, statements
from jobqueue.store.documents.documents import CHILD_FIELDS
from jobqueue.store.mongo.database import guarded
from jobqueue.store.mongo.driver import aggregate
from jobqueue.store.steps import call_statements

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from jobqueue.domain.jobs.job import Job
    from jobqueue.store.documents.statements import Document
    from jobqueue.store.mongo.database import Database

_READING: Final = {"$exists": True, "$ne": State.SUCCESS.value}
_BROKEN: Final = {"$in": [State.FAILED.value, State.KILLED.value]}
_ABOUT_TO_DEPEND: Final = timedelta(seconds=5)
"""The time after the mark of a job in which its dependent may not be stored yet."""
FIELDS: Final = dict.fromkeys(
    ("state", "batchId", "ref", "dependents", "dependentsAt", "parentId", call_statements.FIELD, *CHILD_FIELDS), 1
)
_MOST_NAMED: Final = 20
_UNFINISHED: Final = "its batch has not finished"
Reason = str | ObjectId


class ReaderStore:
    """Finds readers of results, and the jobs kept for them."""

    def __init__(self, database: Database) -> None:
        self._clock = database.clock
        self._jobs = database.collection("jobs")
        self._batches = database.collection("batches")

    @guarded
    async def keep(self, job: Job) -> Document | None:
        """Keep a job that succeeded until all readers have read its result; then it is deleted.

        The note of the deletion leaves its outbox, so that a kept job fills no sweep.

        Returns:
            ``None`` for a kept job; without readers a guard for its deletion, as in `read`.
        """
        document = await self._jobs.find_one({"_id": ObjectId(job.id)}, FIELDS)
        if document is None:
            return {}
        if not await self.kept_for([document]):
            return {"dependentsAt": document.get("dependentsAt")}
        same = statements.same_run(job.id, job.queue, job.run) | {"outbox": list(job.outbox)}
        await self._jobs.update_one(same, {"$unset": {"outbox": ""}, "$set": {statements.UNREAD: True}})
        return None

    @guarded
    async def page(self, after: str | None, most: int) -> list[Job]:
        """Return lean jobs that are kept for their readers, in the order of their ids."""
        query: Document = {statements.UNREAD: True}
        if after is not None:
            query["_id"] = {"$gt": ObjectId(after)}
        cursor = self._jobs.find(query, documents.LEAN, hint=statements.UNREAD)
        return [documents.job(document) async for document in cursor.sort("_id", 1).limit(most)]

    @guarded
    async def read(self, jobs: Sequence[Job]) -> list[tuple[Job, Document]]:
        """Return the kept jobs without readers, each with a guard for its deletion.

        A later dependent of the job invalidates the guard.
        """
        ids = [ObjectId(job.id) for job in jobs]
        by_id = {document["_id"]: document async for document in self._jobs.find({"_id": {"$in": ids}}, FIELDS)}
        kept = await self.kept_for(list(by_id.values()))
        free = [(job, by_id[ObjectId(job.id)]) for job in jobs if ObjectId(job.id) in by_id.keys() - kept.keys()]
        return [
            (job, {statements.UNREAD: True, "outbox": {"$exists": False}, "dependentsAt": document.get("dependentsAt")})
            for job, document in free
        ]

    @guarded
    async def readers(self, job: Job) -> tuple[str | None, list[tuple[str, str]]]:
        """Return the reason to keep the result of a job, and the ids and states of the first readers."""
        document = await self._jobs.find_one({"_id": ObjectId(job.id)}, FIELDS)
        kept = {} if document is None else await self.kept_for([document])
        reason = kept.get(ObjectId(job.id))
        if not isinstance(reason, ObjectId):
            return reason, []
        reading: list[Document] = [{"parentId": ObjectId(job.id)}, {"dependsOn": ObjectId(job.id)}]
        if job.awaited_by is not None and job.parent_id is not None:
            reading.append({"_id": ObjectId(job.parent_id)})
        if job.batch_id is not None:
            reading.append({"callbackOf.batchId": ObjectId(job.batch_id)})
        cursor = self._jobs.find({"$or": reading, "state": _READING}, {"state": 1}).limit(_MOST_NAMED)
        return "others have to read its result", [(str(reader["_id"]), str(reader["state"])) async for reader in cursor]

    async def kept_for(self, jobs: Sequence[Document]) -> dict[ObjectId, Reason]:
        """Return for each of some jobs, with their `FIELDS`, a reader or another reason to keep it."""
        now = await self._clock.now()
        kept: dict[ObjectId, Reason] = {
            job["_id"]: "a job is about to depend on it"
            for job in jobs
            if job.get("dependentsAt") is not None and job["dependentsAt"] > now - _ABOUT_TO_DEPEND
        }
        parents = [job["_id"] for job in jobs if any(job.get(name) for name in CHILD_FIELDS)]
        kept |= await self._first_of("parentId", parents)
        kept |= await self._awaited([job for job in jobs if job.get(call_statements.FIELD) is not None])
        kept |= await self._first_of("dependsOn", [job["_id"] for job in jobs if job.get("dependents")])
        of_batches = {job["batchId"] for job in jobs if isinstance(job.get("batchId"), ObjectId)}
        batches, unfinished = await self._kept_batches(of_batches)
        broken = await self._broken(of_batches - batches.keys())
        for job in jobs:
            batch = job.get("batchId")
            if job["_id"] in kept:
                continue
            if batch in batches:
                kept[job["_id"]] = batches[batch]
            elif batch in unfinished and job.get("ref") is not None:
                # A later job of the batch may name this one.
                kept[job["_id"]] = _UNFINISHED
            elif batch in broken and job.get("state") == State.SUCCESS.value:
                kept[job["_id"]] = "the repair of its batch brings callbacks"
        return kept

    async def _awaited(self, jobs: Sequence[Document]) -> dict[ObjectId, Reason]:
        """Return for each awaited child its parent, if that may still read the result."""
        parents = [job["parentId"] for job in jobs if isinstance(job.get("parentId"), ObjectId)]
        if not parents:
            return {}
        reading: dict[Any, ObjectId] = {}
        cursor = self._jobs.find(call_statements.open_calls(parents), call_statements.unread_calls())
        async for parent in cursor:
            reading |= dict.fromkeys(parent["calls"], parent["_id"])
        calls = {job["_id"]: job[call_statements.FIELD] for job in jobs}
        return {job_id: reading[call] for job_id, call in calls.items() if call in reading}

    async def _first_of(self, field: str, ids: Collection[ObjectId]) -> dict[ObjectId, Reason]:
        """Return for each id a job with the id in a field that may still read."""
        if not ids:
            return {}
        named: Document = {field: {"$in": list(ids)}}
        pipeline: list[Document] = [
            {"$match": named | {"state": _READING}},
            {"$project": {field: 1}},
            {"$unwind": f"${field}"},
            {"$match": named},
            {"$group": {"_id": f"${field}", "reader": {"$first": "$_id"}}},
        ]
        return {row["_id"]: row["reader"] async for row in await aggregate(self._jobs, pipeline)}

    async def _kept_batches(self, ids: Collection[ObjectId]) -> tuple[dict[ObjectId, Reason], set[ObjectId]]:
        """Return the batches whose jobs are all kept for callbacks or later jobs, and the unfinished batches."""
        if not ids:
            return {}, set()
        kept: dict[ObjectId, Reason] = {}
        calling = []
        unfinished = set()
        fields = dict.fromkeys(("state", "sealed", "outbox", "standIns.jobId", *CHILD_FIELDS), 1)
        stand_ins: dict[str, list[ObjectId]] = {}
        async for batch in self._batches.find({"_id": {"$in": list(ids)}}, fields):
            calls = any(batch.get(name) for name in CHILD_FIELDS)
            if batch.get("state") == OPEN:
                unfinished.add(batch["_id"])
            if not batch.get("sealed"):
                kept[batch["_id"]] = "its batch is not sealed"
            elif calls and (batch.get("state") == OPEN or batch.get("outbox")):
                kept[batch["_id"]] = _UNFINISHED
            elif calls:
                calling.append(batch["_id"])
                for stand_in in batch.get("standIns") or ():
                    stand_ins.setdefault(str(stand_in["jobId"]), []).append(batch["_id"])
        watch = {"_id": {"$in": [ObjectId(job_id) for job_id in stand_ins]}, "state": _READING}
        if stand_ins:
            async for job in self._jobs.find(watch, {"_id": 1}):
                kept |= dict.fromkeys(stand_ins[str(job["_id"])], job["_id"])
        return await self._first_of("callbackOf.batchId", calling) | kept, unfinished

    async def _broken(self, ids: Collection[ObjectId]) -> set[ObjectId]:
        """Return batches with failed jobs whose repair calls ``onSuccess`` or ``onComplete``."""
        if not ids:
            return set()
        calls = [{name: {"$ne": None}} for name in ("onSuccess", "onComplete")]
        asking = {"_id": {"$in": list(ids)}, "$or": calls}
        batches = [batch["_id"] async for batch in self._batches.find(asking, {"_id": 1})]
        if not batches:
            return set()
        pipeline: list[Document] = [
            {"$match": {"batchId": {"$in": batches}, "state": _BROKEN}},
            {"$group": {"_id": "$batchId"}},
        ]
        return {row["_id"] async for row in await aggregate(self._jobs, pipeline, hint="batch")}
