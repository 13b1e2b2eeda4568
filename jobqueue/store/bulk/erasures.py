"""Erase the contents of ended jobs, and what other collections have of them.

Each job is marked first, then everything outside of its document is erased, and at last the document itself. A process
that dies in between leaves a marked job, which still has the values that choose it: so the next process does all again.
"""

from __future__ import annotations

import hashlib
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from bson import ObjectId

from jobqueue.domain.attempts.states import FINAL, UNFINISHED
from jobqueue.domain.bulk.erasure import ERASED, names_values, text_names_values, text_without_values
from jobqueue.domain.bulk.operation import Stage
from jobqueue.store.bulk import erasure_statements, selection
from jobqueue.store.bulk.alert_erasures import AlertErasure
from jobqueue.store.documents import statements
from jobqueue.store.insight.audit_outbox import AuditOutbox
from jobqueue.store.limits.limits import rate_id
from jobqueue.store.mongo.clock import EPOCH
from jobqueue.store.mongo.database import guarded
from jobqueue.store.mongo.driver import aggregate
from jobqueue.store.mongo.odd_values import entries, id_or_none, mapping
from jobqueue.store.mongo.tolerant import typed
from jobqueue.store.steps import call_statements

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

    from jobqueue.domain.bulk.operation import NewOperation, Operation
    from jobqueue.domain.jobs.job import Job
    from jobqueue.store.documents.statements import Document
    from jobqueue.store.mongo.database import Database

MOST_NAMED: Final = 100
"""Unfinished jobs, batches, schedules and tokens that a receipt names."""
KEPT: Final = timedelta(seconds=60)
"""Time for which the server keeps the grants of a rate after the end of their window."""
_PAGE: Final = 500
_STEM: Final = 9
"""Bytes that the ids of jobs that were added by one keyed request begin with."""
Receipt = dict[str, Any]


class ErasureStore:
    """Erases contents; all calls can be repeated."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._clock = database.clock
        self._jobs = database.collection("jobs")
        self._audit = database.collection("audit")
        self._operations = database.collection("operations")
        self._steps = database.collection("steps")
        self._outbox = AuditOutbox(database)

    @guarded
    async def begin(self, job: Job, operation: str) -> bool:
        """Mark an ended job; return False if the job has not ended, or was erased."""
        audited = await self._audit.count_documents(_of_job(job.id))
        guard, mark = erasure_statements.begin(job.id, job.queue, operation, audited, self._clock.present)
        return bool((await self._jobs.update_one(guard, mark)).matched_count)

    @guarded
    async def erase_around(self, job: Job, operation: str) -> None:
        """Erase what other documents have of a marked job."""
        of_job = {"jobId": ObjectId(job.id)}
        await self._database.collection("logs").delete_many(of_job)
        await self._database.collection("attempts").update_many(of_job, erasure_statements.of_attempts())
        await self._steps.delete_many(of_job)
        await self._audit.update_many(_of_job(job.id), erasure_statements.of_entries())
        if job.limit_key is not None:
            # Grants that still count stay for the window of the rate, and the server deletes them soon after.
            over = {"_id": rate_id(job.queue, job.limit_key), "expireAt": {"$lte": await self._clock.now() + KEPT}}
            await self._database.collection("limits").delete_many(over)
        await self._erase_parent(job)
        for operation_id in await self._touched_by(job):
            await self._erase_operation(operation_id, operation)

    @guarded
    async def clear(self, job: Job, operation: str) -> bool:
        """Erase the document of a marked job; its states, times and counts stay."""
        guard, update = erasure_statements.clear(job.id, operation)
        return bool((await self._jobs.update_one(guard, update)).matched_count)

    @guarded
    async def unread_by(self, job: Job) -> str | None:
        """Return an unfinished job that may still read the result of a job."""
        reading: list[Document] = [{"dependsOn": ObjectId(job.id)}]
        if job.on_complete or job.on_success or job.on_failure:
            reading.append({"parentId": ObjectId(job.id)})
        query = {"state": statements.state_in(UNFINISHED)}
        for ways in reading:
            document = await self._jobs.find_one(query | ways, {"_id": 1})
            if document is not None:
                return str(document["_id"])
        return None

    @guarded
    async def left(self, new: NewOperation) -> Receipt:
        """Return what an erasure leaves and names: unfinished jobs, open batches, schedules and tokens."""
        search = self._search(new) | {"state": statements.state_in(UNFINISHED)}
        ids = [str(job["_id"]) async for job in self._jobs.find(search, {"_id": 1}).limit(MOST_NAMED)]
        count = await self._jobs.count_documents(search)
        batches = self._database.collection("batches").find(_batches(new) | {"state": {"$ne": "finished"}}, {"_id": 1})
        return {
            "jobs": {"count": count, "ids": ids},
            "batches": [str(batch["_id"]) async for batch in batches.limit(MOST_NAMED)],
            "schedules": await self._named("schedules", new, {"job": 1}, lambda document: document.get("job")),
            "tokens": await self._named("tokens", new, {"meta": 1}, _scope),
        }

    @guarded
    async def finish(self, operation: Operation, still: Callable[[], Awaitable[object]]) -> Receipt:
        """Erase what belongs to no single job, and return the receipt of the whole erasure.

        Args:
            operation: whose jobs are all erased.
            still: called now and then, so that the operation stays held.
        """
        pairs = dict(operation.new.filter)
        await self._outbox.run_once()
        changed = [await self._erase_batches(operation), await self._erase_operations(operation, pairs, still)]
        await still()
        await AlertErasure(self._database, operation.id, self._erase_message, still).run()
        keys = await self._erase_keys(still)
        rejected = await self._erase_rejected(pairs)
        return {
            **await self._counts(operation),
            "batches": changed[0],
            "operations": changed[1],
            "idempotency": keys,
            "setAside": rejected,
            "left": await self.left(operation.new) | {"parents": await self._unfinished_parents(operation)},
        }

    async def _erase_message(self, job: Job, operation: str) -> None:
        """Erase a message of an alert: all of it if it has ended, else what lies outside of its document."""
        has_ended = await self.begin(job, operation)
        await self.erase_around(job, operation)
        if has_ended:
            await self.clear(job, operation)

    async def _erase_parent(self, job: Job) -> None:
        """Erase the results of the children of a step, this job's among them, in an ended parent."""
        if job.awaited_by is None or job.parent_id is None:
            return
        parent, call = ObjectId(job.parent_id), ObjectId(job.awaited_by)
        ended = {"_id": parent, "state": statements.state_in(FINAL)}
        document = await self._jobs.find_one(ended, {"steps.call.id": 1, "steps.storedId": 1})
        if document is None:
            return
        steps = [step for step in typed(list, document.get("steps")) or () if isinstance(step, dict)]
        stored = [step["storedId"] for step in steps if _call_of(step) == call and "storedId" in step]
        await self._steps.delete_many({"jobId": parent, "_id": {"$in": stored}})
        forgotten = {"jobId": parent, "forgotten.call.id": call}
        await self._steps.update_many(forgotten, {"$pull": {"forgotten": {"call.id": call}}})
        await self._jobs.update_one(ended, erasure_statements.of_parent(call))

    async def _touched_by(self, job: Job) -> list[ObjectId]:
        """Return the operations that have changed a job, as far as it knows them."""
        fields = {statements.OPERATIONS: 1, "history.operation": 1}
        document = await self._jobs.find_one({"_id": ObjectId(job.id)}, fields) or {}
        history = [entry for entry in typed(list, document.get("history")) or () if isinstance(entry, dict)]
        known = [*(typed(list, document.get(statements.OPERATIONS)) or ()), *(one.get("operation") for one in history)]
        return [operation for operation in dict.fromkeys(known) if isinstance(operation, ObjectId)]

    async def _erase_operation(self, operation_id: ObjectId, by: str) -> None:
        """Erase the values in an ended operation, and in its entries in the audit; a running one keeps them."""
        ended = {"_id": operation_id, "state": {"$ne": Stage.RUNNING.value}, "action": {"$ne": "erase"}}
        document = await self._operations.find_one(ended)
        if document is None:
            return
        await self._outbox.try_to_drain(self._operations, operation_id)
        failures = [{**mapping(failure), "reason": ERASED} for failure in entries(document.get("failures"))]
        update: Document = {
            "filter": text_without_values(document.get("filter")),
            "changes": {},
            "failures": failures,
            erasure_statements.FIELD: ObjectId(by),
            **({"dataPatch": {}} if "dataPatch" in document else {}),
            **({"failedAgain": []} if "failedAgain" in document else {}),
            **{name: ERASED for name in ("reason", "error", "fromStep") if document.get(name)},
        }
        await self._operations.update_one(ended, {"$set": update})
        target = {"target.kind": "operation", "target.name": str(operation_id)}
        async for entry in self._audit.find(target, {"before": 1, "after": 1}):
            sides = {side: _without_values(entry.get(side)) for side in ("before", "after")}
            await self._audit.update_one({"_id": entry["_id"]}, {"$set": sides | {erasure_statements.FIELD: True}})

    async def _erase_operations(
        self, operation: Operation, pairs: Mapping[str, Any], still: Callable[[], Awaitable[object]]
    ) -> int:
        """Erase the values in operations whose filters name them; return the number of all erased operations.

        Reasons of erased jobs go in all operations: a job does not know those that failed to change it.
        """
        async for page in self._pages("operations", {"filter": 1, "failures.id": 1, "failedAgain.id": 1}):
            for document in page:
                if str(document["_id"]) == operation.id:
                    continue
                if text_names_values(document.get("filter"), pairs):
                    await self._erase_operation(document["_id"], operation.id)
                await self._erase_reasons(document, operation)
            await still()
        return int(await self._operations.count_documents({erasure_statements.FIELD: ObjectId(operation.id)}))

    async def _erase_reasons(self, document: Document, operation: Operation) -> None:
        """Erase the reasons for which an operation, also a running one, names erased jobs."""
        named = [*entries(document.get("failures")), *entries(document.get("failedAgain"))]
        ids = [ObjectId(job_id) for entry in named if (job_id := id_or_none(mapping(entry).get("id"))) is not None]
        if not ids:
            return
        erased = {"_id": {"$in": ids}, f"{erasure_statements.FIELD}.operation": ObjectId(operation.id)}
        gone = [job["_id"] async for job in self._jobs.find(erased, {"_id": 1})]
        if gone:
            await self._operations.update_one({"_id": document["_id"]}, erasure_statements.of_reasons(gone))

    async def _erase_batches(self, operation: Operation) -> int:
        """Erase finished batches whose own ``meta`` has the values; return their number."""
        batches = self._database.collection("batches")
        finished = _batches(operation.new) | {"state": "finished", "outbox": {"$exists": False}}
        ids = [batch["_id"] async for batch in batches.find(finished, {"_id": 1})]
        for batch_id in ids:
            entries = {"target.kind": "batch", "target.name": str(batch_id)}
            await self._audit.update_many(entries, erasure_statements.of_entries())
            update = erasure_statements.of_batch(operation.id, self._clock.present)
            await batches.update_one(finished | {"_id": batch_id}, update)
        return int(await batches.count_documents({f"{erasure_statements.FIELD}.operation": ObjectId(operation.id)}))

    async def _erase_keys(self, still: Callable[[], Awaitable[object]]) -> int:
        """Delete the keys of requests that made erased jobs or batches; return the number of keys."""
        erased = {erasure_statements.FIELD: {"$exists": True}}
        gone = 0
        async for page in self._pages("idempotency", {"madeId": 1}):
            made = {ObjectId(record["madeId"]): record["_id"] for record in page if record.get("madeId")}
            stems = {_stem(made_id): key for made_id, key in made.items()}
            ranges = [
                {"_id": {"$gte": ObjectId(stem + b"\0\0\0"), "$lte": ObjectId(stem + b"\xff\xff\xff")}}
                for stem in stems
            ]
            ids: Document = {"_id": {"$in": list(made)}}
            jobs = self._jobs.find({"$or": [ids, *ranges]} | erased, {"_id": 1})
            found = [job["_id"] async for job in jobs]
            found += [one["_id"] async for one in self._database.collection("batches").find(ids | erased, {"_id": 1})]
            keys = {made.get(one) or stems.get(one.binary[:_STEM]) for one in found}
            query = {"_id": {"$in": [key for key in keys if key is not None]}}
            gone += (await self._database.collection("idempotency").delete_many(query)).deleted_count
            await still()
        return gone

    async def _erase_rejected(self, pairs: Mapping[str, Any]) -> int:
        """Delete documents of other tools that could not become jobs."""
        return int((await self._database.collection("aside").delete_many(dict(pairs))).deleted_count)

    async def _counts(self, operation: Operation) -> Receipt:
        """Return the numbers of what was erased, as the erased jobs have them."""
        sums = {name: {"$sum": f"${erasure_statements.FIELD}.{name}"} for name in erasure_statements.COUNTS}
        pipeline: list[Document] = [
            {"$match": {f"{erasure_statements.FIELD}.operation": ObjectId(operation.id)}},
            {"$group": {"_id": None, "jobs": {"$sum": 1}, **sums}},
            {"$unset": "_id"},
        ]
        rows = await (await aggregate(self._jobs, pipeline, hint=erasure_statements.INDEX)).to_list(1)
        return dict(rows[0]) if rows else dict.fromkeys(("jobs", *erasure_statements.COUNTS), 0)

    async def _unfinished_parents(self, operation: Operation) -> list[str]:
        """Return the parents that have results of erased jobs and have not ended."""
        children = {
            f"{erasure_statements.FIELD}.operation": ObjectId(operation.id),
            call_statements.FIELD: {"$exists": True},
        }
        ids = await self._jobs.distinct("parentId", children)
        query = {"_id": {"$in": ids[: 10 * _PAGE]}, "state": statements.state_in(UNFINISHED)}
        return [str(job["_id"]) async for job in self._jobs.find(query, {"_id": 1}).limit(MOST_NAMED)]

    async def _named(
        self, collection: str, new: NewOperation, fields: Document, part: Callable[[Document], Any]
    ) -> list[str]:
        """Return the names of documents that name the values, and stay as they are."""
        found = self._database.collection(collection).find({}, fields)
        named = [str(one["_id"]) async for one in found if names_values(part(one), dict(new.filter))]
        return named[:MOST_NAMED]

    async def _pages(self, collection: str, fields: Document) -> AsyncIterator[list[Document]]:
        """Yield all documents of a collection, a page at a time in the order of their ids."""
        query: Document = {}
        while (
            page := await self._database.collection(collection)
            .find(query, fields)
            .sort("_id", 1)
            .limit(_PAGE)
            .to_list(None)
        ):
            yield page
            query = {"_id": {"$gt": page[-1]["_id"]}}

    @staticmethod
    def _search(new: NewOperation) -> Document:
        """Match the jobs of an erasure in any state, also those that came after its beginning."""
        search = selection.selected(new, EPOCH)
        del search["insertAt"]
        return search


def _of_job(job_id: str) -> Document:
    return {"target.kind": "job", "target.name": job_id}


def _batches(new: NewOperation) -> Document:
    return {"$and": selection.selected(new, EPOCH)["$and"]}


def _call_of(step: Mapping[str, Any]) -> Any:
    return (typed(dict, step.get("call")) or {}).get("id")


def _without_values(side: Any) -> Any:
    """Return one side of an entry of the audit about an operation, without values."""
    if not isinstance(side, dict):
        return side
    cleared: Document = {name: {} for name in ("changes", "dataPatch") if name in side}
    told = {name: ERASED for name in ("reason", "fromStep") if side.get(name)}
    text = {"filter": text_without_values(side["filter"])} if "filter" in side else {}
    return side | cleared | told | text


def _scope(token: Mapping[str, Any]) -> Any:
    pairs = [entry for entry in typed(list, token.get("meta")) or () if isinstance(entry, dict)]
    return [{f"meta.{entry.get('path')}": entry.get("value")} for entry in pairs]


def _stem(made_id: ObjectId) -> bytes:
    """Return the first bytes of the ids that follow from an id, as `documents.numbered_ids`."""
    return made_id.binary[:4] + hashlib.sha256(str(made_id).encode()).digest()[: _STEM - 4]
