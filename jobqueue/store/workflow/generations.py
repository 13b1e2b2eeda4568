"""The ends, openings and restarts of batches, in the `batches` collection and among the jobs of a batch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from bson import ObjectId

from jobqueue.domain.attempts.states import State
from jobqueue.domain.jobs.transitions import REOPEN, REVIVE
from jobqueue.domain.workflow.batch import FAILED, FINISHED, OPEN, SUCCESS
from jobqueue.store.documents import documents, requeue_statements
from jobqueue.store.documents.documents import LEAN
from jobqueue.store.mongo.database import exists, guarded
from jobqueue.store.mongo.driver import AsyncClientSession, ReturnDocument
from jobqueue.store.workflow import batch_statements, dependency_statements
from jobqueue.store.workflow.batch_statements import ADDING, BY_STATE, REQUEUE, SETTLE
from jobqueue.store.workflow.batches import batch_of

if TYPE_CHECKING:
    from jobqueue.domain.jobs.job import Job
    from jobqueue.domain.workflow.batch import Batch, GenerationEnd, StandIn
    from jobqueue.store.mongo.database import Database

_OUTBOX: Final = "outbox"
_NOTE: Final = "batch"
"""In the outbox of an ended job: note the end in its batch."""
_AT_ONCE: Final = 500


class GenerationStore:
    """The generations of batches."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.collection = database.collection("batches")
        self._jobs = database.collection("jobs")

    @guarded
    async def over(self, batch_id: str) -> tuple[Batch, bool] | None:
        """Return a batch without unfinished jobs, and whether a job of it has failed or was killed.

        All is read as it was at one moment: a job that is requeued meanwhile would otherwise be neither unfinished nor
        failed. A job whose requeue is not noted in the batch yet counts as unfinished.

        Returns:
            ``None`` if there is an unfinished job, or no such batch.
        """
        unfinished = batch_statements.unfinished(batch_id)
        # Mostly there is one: then nothing has to be read at one moment.
        if await exists(self._jobs, unfinished, hint=BY_STATE):
            return None

        async def look(session: AsyncClientSession) -> tuple[Batch, bool] | None:
            document = await self.collection.find_one({"_id": ObjectId(batch_id)}, {ADDING: 0}, session=session)
            requeued = {"batchId": ObjectId(batch_id), "outbox": REOPEN}
            for query, hint in ((unfinished, BY_STATE), (requeued, _OUTBOX)):
                if await exists(self._jobs, query, hint=hint, session=session):
                    return None
            failed = batch_statements.ended_badly(batch_id)
            has_failed = await exists(self._jobs, failed, hint=BY_STATE, session=session)
            return None if document is None else (batch_of(document), has_failed)

        return await self._database.in_transaction(look, level="snapshot")

    @guarded
    async def finish(self, batch: Batch, closing: GenerationEnd) -> bool:
        """Finish a batch and note its due callbacks, if it is unchanged since it was read."""
        unchanged = batch_statements.unchanged(batch)
        update = batch_statements.finish(batch, closing, self._database.clock.present)
        return bool((await self.collection.update_one(unchanged, update)).modified_count)

    @guarded
    async def look_again(self, batch_id: str) -> None:
        """Note that a process has to check whether a batch has finished."""
        await self.collection.update_one({"_id": ObjectId(batch_id)}, {"$addToSet": {"outbox": SETTLE}})

    @guarded
    async def tells(self, job: Job, batch: Batch) -> bool:
        """Tell whether a failed job still has its note for its batch, and not of a failure before its restart.

        Args:
            job: as it was read.
            batch: as it was read after that.
        """
        query = requeue_statements.asking(job, _NOTE)
        if REQUEUE in batch.outbox:
            query["restart"] = {"$gte": batch.restarts}
        return await exists(self._jobs, query)

    @guarded
    async def note_failure(self, batch: Batch) -> bool:
        """Note a failed job and the due callback; tell whether the failure is the first one."""
        update = {"$set": {"failedIn": batch.generation}, "$addToSet": {"outbox": "failure"}}
        done = await self.collection.update_one(batch_statements.first_failure(batch), update)
        return bool(done.modified_count)

    @guarded
    async def join(self, batch_id: str) -> bool:
        """Note the requeue of a job in its batch, if the batch is open; tell whether it is."""
        still = {"_id": ObjectId(batch_id), "state": OPEN}
        return bool((await self.collection.update_one(still, batch_statements.join())).modified_count)

    @guarded
    async def reopen(self, batch: Batch, verdict: str | None) -> bool:
        """Open a finished batch for a requeued job, in a new generation; tell whether this call has opened it."""
        guard = batch_statements.of_generation(batch, FINISHED)
        return bool((await self.collection.update_one(guard, batch_statements.reopen(verdict))).modified_count)

    @guarded
    async def restart(self, batch: Batch, verdict: str | None, *, again: bool) -> Batch | None:
        """Begin to restart the failed jobs, unless the batch has changed or its outbox has notes.

        Args:
            batch: as it was read.
            verdict: the last verdict that was told.
            again: create the callbacks for success once more if all jobs succeed.
        """
        guard = batch_statements.of_generation(batch, batch.state)
        update = batch_statements.restart(batch, verdict, again=again)
        document = await self.collection.find_one_and_update(guard, update, return_document=ReturnDocument.AFTER)
        return None if document is None else batch_of(document)

    @guarded
    async def to_restart(self, batch: Batch, *, most: int) -> list[Job]:
        """Return jobs, as `LEAN`, that have failed or were killed before the present restart of the batch."""
        query = batch_statements.ended_badly(batch.id) | {"restart": {"$not": {"$gte": batch.restarts}}}
        cursor = self._jobs.find(query, LEAN, hint=BY_STATE).limit(most)
        return [documents.job(document) async for document in cursor]

    @guarded
    async def waiting(self, batch: Batch) -> list[str]:
        """Return ids of jobs that wait for others since their batch was restarted; these note that too."""
        query = {
            "batchId": ObjectId(batch.id),
            "state": State.DELAYED.value,
            "waitsFor": {"$exists": True},
            "restart": batch.restarts,
        }
        await self._jobs.update_many(query, {"$addToSet": {"outbox": "check"}})
        return [str(job["_id"]) async for job in self._jobs.find(query, {"_id": 1}, hint=BY_STATE)]

    @guarded
    async def reviving(self, batch: Batch) -> list[str]:
        """Return ids of restarted jobs whose failure has killed jobs outside the batch.

        All other jobs of the batch lose their note to look for such jobs.
        """
        query = {"batchId": ObjectId(batch.id), "outbox": REVIVE, "restart": batch.restarts}
        cursor = self._jobs.find(query, {"run": 1}, hint=_OUTBOX)
        reviving: list[str] = []
        while jobs := await cursor.to_list(_AT_ONCE):
            fallen = dependency_statements.fallen([job["_id"] for job in jobs])
            killed = await self._jobs.find(fallen, {"unmet": 1}).to_list(None)
            blamed = {culprit for job in killed for culprit in job["unmet"]}
            reviving += [str(job["_id"]) for job in jobs if job["_id"] in blamed]
            by_run: dict[Any, list[ObjectId]] = {}
            for job in jobs:
                if job["_id"] not in blamed:
                    by_run.setdefault(job.get("run"), []).append(job["_id"])
            for run, ids in by_run.items():
                same = {"_id": {"$in": ids}, "run": run, "outbox": REVIVE}
                await self._jobs.update_many(same, requeue_statements.carried_out(REVIVE))
        return reviving

    @guarded
    async def pass_over(self, job: Job, restarts: int) -> None:
        """Leave a job as it is in this restart of its batch."""
        await self._jobs.update_one({"_id": ObjectId(job.id)}, {"$set": {"restart": restarts}})

    @guarded
    async def restarted(self, batch: Batch) -> None:
        """Note the end of a restart, and that the batch has to be checked: it may have finished meanwhile."""
        # Version 0.3.0 does not count restarts.
        same = {"_id": ObjectId(batch.id), "restarts": batch.restarts or {"$in": [0, None]}, "outbox": REQUEUE}
        await self.collection.update_one(same, batch_statements.done(REQUEUE, then=[SETTLE]))

    @guarded
    async def told(self, batch: Batch, callback_id: str) -> str | None:
        """Return the last verdict whose callbacks fired; ``None`` if version 0.3.0 has left it unknown.

        Args:
            batch: as it was read.
            callback_id: the id of its first callback for success in its generation.
        """
        if batch.verdict is not None or batch.state == OPEN:
            return batch.verdict
        failed = batch_statements.ended_badly(batch.id)
        if batch.failed_in == batch.generation or await exists(self._jobs, failed, hint=BY_STATE):
            return FAILED
        return SUCCESS if await exists(self._jobs, {"_id": ObjectId(callback_id)}) else None

    @guarded
    async def name_stand_in(self, batch: Batch, stand_in: StandIn) -> None:
        """Name in a batch the job that has the key of a callback."""
        unnamed = batch_statements.without_stand_in(batch.id, stand_in)
        await self.collection.update_one(unnamed, batch_statements.add_stand_in(stand_in))
