"""Awaited children of running jobs: their creation, the looks at them, and the end of their parent's wait."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import bson
from bson import ObjectId

from jobqueue.domain.attempts.attempt import JobError
from jobqueue.domain.attempts.states import FINAL
from jobqueue.domain.errors import InvalidInputError, ResultUnavailableError
from jobqueue.domain.jobs import json_form
from jobqueue.domain.steps.call import CHILD, HOLD, RAISE, Call, ChildFailure
from jobqueue.domain.steps.step import (
    INLINE_RESULT,
    INLINE_RESULTS,
    INLINE_STEPS,
    MOST_RESULTS,
    MOST_STEPS,
    SMALL_RESULT,
    StepKind,
)
from jobqueue.store.documents import documents, statements
from jobqueue.store.mongo.database import DUPLICATE_KEY, exists, guarded, new_id
from jobqueue.store.mongo.driver import BulkWriteError, ReturnDocument, aggregate
from jobqueue.store.steps import call_statements, step_statements
from jobqueue.store.steps.call_statements import FIELD, INDEX

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from jobqueue.domain.jobs.job import Job
    from jobqueue.domain.steps.step import Step
    from jobqueue.store.documents.statements import Document
    from jobqueue.store.mongo.database import Database

MOST_TOGETHER: Final = 8 * 1024 * 1024
"""Bytes of the results of all children of a step that are kept as the result of the step."""
_THERE: Final = {"$exists": True}


class CallStore:
    """Keeps steps with children; each change is one update of the parent."""

    def __init__(self, database: Database) -> None:
        self.clock = database.clock
        self._jobs = database.collection("jobs")
        self._steps = database.collection("steps")

    @guarded
    async def begin(self, job: Job, token: str, name: str, *, kind: StepKind, call: Call, count: int) -> Step | None:
        """Return the step of a name: the one that the job has, or else a new one whose children are to be created.

        Returns:
            ``None`` if the claim is lost.

        Raises:
            InvalidInputError: the job has too many steps.
        """
        update = call_statements.begin(name, self.clock.present, kind=kind, call=call, count=count)
        after = await self._held(job, token, name, update)
        if after is None:
            return None
        if not (steps := documents.steps(after["step"])):
            raise InvalidInputError({"name": [f"a job has at most {MOST_STEPS:,} steps: split the work into jobs"]})
        return steps[0]

    @guarded
    async def created(self, job: Job, token: str, step: Step, call: Call, count: int) -> Step | None:
        """Note that all children of a step exist; return as `begin`."""
        after = await self._held(
            job, token, step.name, call_statements.created(call.id, self.clock.present, count=count)
        )
        return None if after is None else (documents.steps(after["step"]) or (step,))[0]

    @guarded
    async def resumed(self, job: Job, token: str, step: Step, call: Call) -> Step | None:
        """Note that failed children of a step run again; return as `begin`."""
        after = await self._held(job, token, step.name, call_statements.resumed(call.id, self.clock.present))
        return None if after is None else (documents.steps(after["step"]) or (step,))[0]

    @staticmethod
    def link(call: Call) -> Document:
        """Return the field that links a child to its call."""
        return {FIELD: ObjectId(call.id)}

    @guarded
    async def insert(self, children: Sequence[Document]) -> list[Document]:
        """Add children that do not exist yet; return those whose key another job has."""
        try:
            await self._jobs.insert_many(list(children), ordered=False)
        except BulkWriteError as error:
            failures = error.details["writeErrors"]
            if error.details["writeConcernErrors"] or any(failure["code"] != DUPLICATE_KEY for failure in failures):
                raise
            refused = [children[failure["index"]] for failure in failures]
            ids = [child["_id"] for child in refused]
            there = {found["_id"] async for found in self._jobs.find({"_id": {"$in": ids}}, {"_id": 1})}
            return [child for child in refused if child["_id"] not in there]
        return []

    @guarded
    async def failed(self, call: Call) -> list[Job]:
        """Return the children of a call that have failed or were killed, as lean jobs."""
        cursor = self._jobs.find(call_statements.failed_children(call.id), documents.LEAN, hint=INDEX)
        return [documents.job(document) async for document in cursor]

    @guarded
    async def is_open(self, call: Call) -> bool:
        """Tell whether a call has a child that its parent goes on waiting for."""
        return await exists(self._jobs, call_statements.open_children(call), hint=INDEX)

    @guarded
    async def open_count(self, call: Call) -> int:
        """Return the number of children that the parent goes on waiting for."""
        return int(await self._jobs.count_documents(call_statements.open_children(call), hint=INDEX))

    @guarded
    async def failed_count(self, call: Call) -> int:
        """Return the number of children of a call that have failed or were killed."""
        return int(await self._jobs.count_documents(call_statements.failed_children(call.id), hint=INDEX))

    @guarded
    async def wake(self, job: Job, step: Step, call: Call) -> bool:
        """End the wait of a job for the children of a step, which have all ended; return True if this call did it.

        The step gets the results of the children, or the error of a failed child.
        """
        failure, count = await self._failure(step, call)
        if failure is not None and call.failures in {RAISE, HOLD}:
            entry, changed = call_statements.failed(failure, _error(step, failure, count))
            return await self._wake(job, step, call, entry, changed)
        size = await self._size(call)
        has_room = sum(other.size for other in job.steps or ()) + size <= MOST_RESULTS
        if size > MOST_TOGETHER or not has_room:
            value: Document = {"stored": True, "size": 0}
            return await self._wake(job, step, call, call_statements.ended(self.clock.present, value), {"paged": True})
        try:
            results = [result async for result in self.results(step, call)]
        except ResultUnavailableError:
            # The end of this child brings the next look.
            return False
        result = results[0] if step.kind is StepKind.CALL else results
        return await self._wake_with(job, step, call, result)

    async def results(self, step: Step, call: Call) -> Any:
        """Yield the results of the children of a step in their order; a failed child leaves a `ChildFailure`."""
        ids = _ids(step, call)
        for start in range(0, len(ids), _AT_ONCE):
            async for result in self._read(ids[start : start + _AT_ONCE]):
                yield result

    @guarded
    async def page(self, step: Step, call: Call, start: int, most: int) -> list[Any]:
        """Return some results of the children of a step, `MOST_TOGETHER` bytes at most, but one at least."""
        found: list[Any] = []
        size = 0
        async for result in self._read(_ids(step, call)[start : start + most]):
            size += len(bson.encode({"": result}))
            if found and size > MOST_TOGETHER:
                break
            found.append(result)
        return found

    @guarded
    async def waiting(self, after: str | None, most: int) -> list[Job]:
        """Return lean jobs that await children, in the order of their ids."""
        query: Document = {"state": "delayed", "wait.jobs": {"$gte": 0}}
        if after is not None:
            query["_id"] = {"$gt": ObjectId(after)}
        cursor = self._jobs.find(query, documents.LEAN, hint=call_statements.WAITING_INDEX).sort("_id", 1).limit(most)
        return [documents.job(document) async for document in cursor]

    async def _read(self, ids: Sequence[ObjectId]) -> Any:
        """Yield the results of some children; those of deleted ones too."""
        fields = {"result": 1, "state": 1, "error.kind": 1, "error.message": 1}
        place = 0
        async for child in self._jobs.find({"_id": {"$in": list(ids)}, "state": _THERE}, fields).sort("_id", 1):
            while ids[place] != child["_id"]:
                yield ChildFailure.of_deleted(str(ids[place])).place()
                place += 1
            place += 1
            if child["state"] == "success":
                yield child.get("result")
            elif child["state"] not in FINAL:
                raise ResultUnavailableError(f"the result of child {child['_id']} is not there: it was started anew")
            else:
                yield ChildFailure.of(str(child["_id"]), str(child["state"]), child.get("error")).place()
        for job_id in ids[place:]:
            yield ChildFailure.of_deleted(str(job_id)).place()

    async def _failure(self, step: Step, call: Call) -> tuple[ChildFailure | None, int]:
        """Return the first child that has failed or was deleted, and the number of such children."""
        ids = _ids(step, call)
        first: ChildFailure | None = None
        if not ids:
            return None, 0
        succeeded = await self._jobs.count_documents(
            {FIELD: ObjectId(call.id), "state": "success", "_id": {"$gte": ids[0], "$lte": ids[-1]}}, hint=INDEX
        )
        if succeeded == len(ids):
            return None, 0
        fields = {"state": 1, "error.kind": 1, "error.message": 1}
        cursor = self._jobs.find(call_statements.failed_children(call.id), fields, hint=INDEX).sort("_id", 1).limit(1)
        async for child in cursor:
            first = ChildFailure.of(str(child["_id"]), str(child["state"]), child.get("error"))
        if first is None:
            there = {
                child["_id"] async for child in self._jobs.find({"_id": {"$in": ids}, "state": _THERE}, {"_id": 1})
            }
            gone = [job_id for job_id in ids if job_id not in there]
            first = ChildFailure.of_deleted(str(gone[0])) if gone else None
        return first, len(ids) - succeeded

    async def _size(self, call: Call) -> int:
        pipeline: list[Document] = [
            {"$match": call_statements.ended_children(call.id)},
            {"$group": {"_id": None, "bytes": {"$sum": {"$bsonSize": {"r": "$result"}}}}},
        ]
        return sum([row["bytes"] async for row in await aggregate(self._jobs, pipeline, hint=INDEX)])

    async def _wake_with(self, job: Job, step: Step, call: Call, result: Any) -> bool:
        size = len(bson.encode({"": result}))
        inline = [other.size for other in job.steps or () if other.size and not other.stored]
        has_place = size <= SMALL_RESULT or (size <= INLINE_RESULT and len(inline) < INLINE_STEPS)
        if has_place and sum(inline) + size <= INLINE_RESULTS:
            value = {"result": {"$literal": result}, "size": size}
            return await self._wake(job, step, call, call_statements.ended(self.clock.present, value), {})
        stored_id = ObjectId(new_id())
        kept = {"_id": stored_id, "jobId": ObjectId(job.id), "queue": job.queue, "run": job.run, "name": step.name}
        await self._steps.insert_one(kept | {"result": result})
        value = {"stored": True, "storedId": stored_id, "size": size}
        is_woken = await self._wake(job, step, call, call_statements.ended(self.clock.present, value), {})
        if not is_woken:
            await self._steps.delete_one({"_id": stored_id})
        return is_woken

    async def _wake(self, job: Job, step: Step, call: Call, entry: Document, changed: Document) -> bool:
        update = call_statements.wake(call.id, self.clock.present, entry, changed)
        done = await self._jobs.update_one(call_statements.awaiting(job, step, call), update)
        return bool(done.modified_count)

    async def _held(self, job: Job, token: str, name: str, update: list[Document]) -> Mapping[str, Any] | None:
        held = statements.held(job.id, job.queue, token)
        after: Document | None = await self._jobs.find_one_and_update(
            held, update, projection={"step": step_statements.named(name)}, return_document=ReturnDocument.AFTER
        )
        return after


_AT_ONCE: Final = 200


def _ids(step: Step, call: Call) -> list[ObjectId]:
    return [ObjectId(job_id) for job_id in documents.numbered_ids(call.id, step.job_ids or 0)]


def _error(step: Step, failure: ChildFailure, count: int) -> Document:
    total = step.job_ids or 0
    more = f" ({count:,} of {total:,} have failed)" if total > 1 else ""
    message = f"{step.kind.value} {step.name}: {failure.sentence()}{more}"
    return json_form.error(JobError(kind=CHILD, message=message, step=step.name))
