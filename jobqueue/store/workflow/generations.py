"""How batches finish, are opened again and restarted, in the `batches` collection and among the jobs of a batch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from bson import ObjectId

from jobqueue.domain.jobs.states import UNFINISHED, State
from jobqueue.domain.jobs.transitions import REOPEN, REVIVE
from jobqueue.domain.workflow.batch import FAILED, FINISHED, OPEN, SUCCESS
from jobqueue.store.documents import documents, requeue_statements
from jobqueue.store.mongo.clock import SERVER_NOW
from jobqueue.store.mongo.database import guarded
from jobqueue.store.mongo.driver import AsyncClientSession, ReturnDocument
from jobqueue.store.workflow import batch_statements, dependency_statements
from jobqueue.store.workflow.batch_statements import ADDING, REQUEUE, SETTLE
from jobqueue.store.workflow.batches import batch_of

if TYPE_CHECKING:
    from jobqueue.domain.jobs.job import Job
    from jobqueue.domain.workflow.batch import Batch, GenerationEnd, StandIn
    from jobqueue.store.documents.statements import Document
    from jobqueue.store.mongo.clock import Now
    from jobqueue.store.mongo.database import Database

_BY_STATE: Final = "batch"
_OUTBOX: Final = "outbox"
_HEARS: Final = "batch"
"""In the outbox of an ended job: its batch has to hear of it."""
_AT_ONCE: Final = 500
_LEAN: Final = {"data": 0, "meta": 0, "attrs": 0, "result": 0, "logs": 0}
_ENDED_BADLY: Final = {"$in": [State.FAILED.value, State.KILLED.value]}
_UNFINISHED: Final = {"$in": sorted(state.value for state in UNFINISHED)}


class GenerationStore:
    """The generations of batches."""

    def __init__(self, database: Database, now: Now = SERVER_NOW) -> None:
        self.now = now
        self._database = database
        self.collection = database.collection("batches")
        self._jobs = database.collection("jobs")

    @guarded
    async def over(self, batch_id: str) -> tuple[Batch, bool] | None:
        """Return a batch of which no job is unfinished, and whether one has failed or was killed.

        All of that is seen as it was at one moment: a job that is requeued meanwhile would otherwise be neither
        unfinished nor failed. A job whose requeue the batch has not been told yet counts as unfinished.

        Returns:
            ``None`` if there is an unfinished job, or no such batch.
        """
        of_batch: Document = {"batchId": ObjectId(batch_id)}
        unfinished = of_batch | {"state": _UNFINISHED}
        # Mostly there is one: then nothing has to be seen at one moment.
        if await self._jobs.find_one(unfinished, {"_id": 1}, hint=_BY_STATE) is not None:
            return None

        async def look(session: AsyncClientSession) -> tuple[Batch, bool] | None:
            found = await self.collection.find_one({"_id": ObjectId(batch_id)}, {ADDING: 0}, session=session)
            for search, hint in ((unfinished, _BY_STATE), (of_batch | {"outbox": REOPEN}, _OUTBOX)):
                if await self._jobs.find_one(search, {"_id": 1}, hint=hint, session=session) is not None:
                    return None
            failed = of_batch | {"state": _ENDED_BADLY}
            has_failed = await self._jobs.find_one(failed, {"_id": 1}, hint=_BY_STATE, session=session) is not None
            return None if found is None else (batch_of(found), has_failed)

        return await self._database.in_transaction(look, level="snapshot")

    @guarded
    async def finish(self, batch: Batch, closing: GenerationEnd) -> bool:
        """End a batch and note which callbacks are due, if nothing has happened to it since it was read."""
        done = await self.collection.update_one(
            batch_statements.unchanged(batch), batch_statements.finish(batch, closing, self.now)
        )
        return bool(done.modified_count)

    @guarded
    async def look_again(self, batch_id: str) -> None:
        """Note that somebody has to look whether a batch has finished."""
        await self.collection.update_one({"_id": ObjectId(batch_id)}, {"$addToSet": {"outbox": SETTLE}})

    @guarded
    async def tells(self, job: Job, batch: Batch) -> bool:
        """Tell whether a job that has failed still asks to tell its batch, and not of a failure before its restart.

        Args:
            job: as it was read.
            batch: as it was read after that.
        """
        asking = requeue_statements.asking(job, _HEARS)
        if REQUEUE in batch.outbox:
            asking["restart"] = {"$gte": batch.restarts}
        return await self._jobs.find_one(asking, {"_id": 1}) is not None

    @guarded
    async def note_failure(self, batch: Batch) -> bool:
        """Note that a job has failed and the callback for that is due; tell whether it is the first one."""
        done = await self.collection.update_one(
            batch_statements.first_failure(batch.id, batch.generation),
            {"$set": {"failedIn": batch.generation}, "$addToSet": {"outbox": "failure"}},
        )
        return bool(done.modified_count)

    @guarded
    async def join(self, batch_id: str) -> bool:
        """Tell an open batch that a job of it was requeued; tell whether it is open."""
        still = {"_id": ObjectId(batch_id), "state": OPEN}
        return bool((await self.collection.update_one(still, batch_statements.join())).modified_count)

    @guarded
    async def reopen(self, batch: Batch, verdict: str | None) -> bool:
        """Open a finished batch for a requeued job, in a new generation; tell whether nobody has done so before."""
        guard = batch_statements.of_generation(batch, FINISHED)
        return bool((await self.collection.update_one(guard, batch_statements.reopen(verdict))).modified_count)

    @guarded
    async def restart(self, batch: Batch, verdict: str | None, *, again: bool) -> Batch | None:
        """Begin to restart what has failed, if nothing is left to be done for the batch and nobody was faster.

        Args:
            batch: as it was read.
            verdict: the last one that was told.
            again: create the callbacks for success once more if all succeed.
        """
        guard = batch_statements.of_generation(batch, batch.state)
        update = batch_statements.restart(batch, verdict, again=again)
        found = await self.collection.find_one_and_update(guard, update, return_document=ReturnDocument.AFTER)
        return None if found is None else batch_of(found)

    @guarded
    async def to_restart(self, batch: Batch, *, most: int) -> list[Job]:
        """Return jobs, as `lean`, that have failed or were killed before the present restart of the batch."""
        found = {
            "batchId": ObjectId(batch.id),
            "state": _ENDED_BADLY,
            "restart": {"$not": {"$gte": batch.restarts}},
        }
        cursor = self._jobs.find(found, _LEAN, hint=_BY_STATE).limit(most)
        return [documents.job(one) async for one in cursor]

    @guarded
    async def waiting(self, batch: Batch) -> list[str]:
        """Return ids of jobs of a batch that wait for others since it was restarted; they say so themselves, too."""
        found = {
            "batchId": ObjectId(batch.id),
            "state": State.DELAYED.value,
            "waitsFor": {"$exists": True},
            "restart": batch.restarts,
        }
        await self._jobs.update_many(found, {"$addToSet": {"outbox": "check"}})
        return [str(one["_id"]) async for one in self._jobs.find(found, {"_id": 1}, hint=_BY_STATE)]

    @guarded
    async def reviving(self, batch: Batch) -> list[str]:
        """Return ids of restarted jobs because of which jobs of other batches, or of none, have fallen.

        The other jobs of the batch need not look for any: that is noted in them.
        """
        found = {"batchId": ObjectId(batch.id), "outbox": REVIVE, "restart": batch.restarts}
        cursor = self._jobs.find(found, {"run": 1}, hint=_OUTBOX)
        wanted: list[str] = []
        while some := await cursor.to_list(_AT_ONCE):
            fallen = dependency_statements.fallen_because_of([one["_id"] for one in some])
            blamed = {
                one for each in await self._jobs.find(fallen, {"unmet": 1}).to_list(None) for one in each["unmet"]
            }
            wanted += [str(one["_id"]) for one in some if one["_id"] in blamed]
            by_run: dict[Any, list[ObjectId]] = {}
            for one in some:
                if one["_id"] not in blamed:
                    by_run.setdefault(one.get("run"), []).append(one["_id"])
            for run, ids in by_run.items():
                same = {"_id": {"$in": ids}, "run": run, "outbox": REVIVE}
                await self._jobs.update_many(same, requeue_statements.carried_out(REVIVE))
        return wanted

    @guarded
    async def pass_over(self, job: Job, restarts: int) -> None:
        """Leave a job as it is in this restart of its batch."""
        await self._jobs.update_one({"_id": ObjectId(job.id)}, {"$set": {"restart": restarts}})

    @guarded
    async def restarted(self, batch: Batch) -> None:
        """Note that all is restarted, and that the batch has to be looked at: it may have finished meanwhile."""
        # Version 0.3.0 does not count restarts.
        same = {"_id": ObjectId(batch.id), "restarts": batch.restarts or {"$in": [0, None]}, "outbox": REQUEUE}
        await self.collection.update_one(same, batch_statements.done(REQUEUE, then=[SETTLE]))

    @guarded
    async def told(self, batch: Batch, callback_id: str) -> str | None:
        """Return the last verdict whose callbacks fired; version 0.3.0 keeps none, so that it may not be known.

        Args:
            batch: as it was read.
            callback_id: the id of its first callback for success in its generation.
        """
        if batch.verdict is not None or batch.state == OPEN:
            return batch.verdict
        failed: Document = {"batchId": ObjectId(batch.id), "state": _ENDED_BADLY}
        if batch.failed_in == batch.generation or await self._jobs.find_one(failed, {"_id": 1}, hint=_BY_STATE):
            return FAILED
        has_called = await self._jobs.find_one({"_id": ObjectId(callback_id)}, {"_id": 1}) is not None
        return SUCCESS if has_called else None

    @guarded
    async def name_stand_in(self, batch: Batch, one: StandIn) -> None:
        """Name in a batch the job that has the key of a callback."""
        await self.collection.update_one(
            batch_statements.without_stand_in(batch.id, one), batch_statements.stand_in(one)
        )
