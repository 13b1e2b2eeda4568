"""Operations that watch their jobs: results, ends by a rule, pauses, and the way on after a stop."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from bson import ObjectId

from jobqueue.domain.attempts.states import FINAL, State
from jobqueue.domain.bulk.rules import End
from jobqueue.domain.errors import ConflictError
from jobqueue.domain.insight.audit import Actor, AuditNote
from jobqueue.store.bulk import erasure_statements, operation_documents, operation_statements, watch_statements
from jobqueue.store.documents import documents
from jobqueue.store.insight.audit_outbox import AuditOutbox, entry_of
from jobqueue.store.insight.audit_statements import FIELD, with_entry
from jobqueue.store.mongo.database import guarded
from jobqueue.store.mongo.driver import ReturnDocument
from jobqueue.store.mongo.tolerant import typed

if TYPE_CHECKING:
    from datetime import timedelta

    from jobqueue.domain.bulk.operation import Operation, Stage
    from jobqueue.domain.bulk.rules import Rules, Stopped, Watched
    from jobqueue.store.documents.statements import Document
    from jobqueue.store.mongo.database import Database

_LONGEST_ERROR: Final = 300
_ITSELF: Final = "operation"
"""The name in the audit of an operation that stops by a rule of its own."""


class WatchStore:
    """Keeps the course of operations that watch their jobs."""

    def __init__(self, database: Database) -> None:
        self._collection = database.collection("operations")
        self._jobs = database.collection("jobs")
        self._clock = database.clock
        self._outbox = AuditOutbox(database)

    @guarded
    async def look(self, operation: Operation, token: str) -> Operation | None:
        """Count the watched jobs that have ended; return ``None`` if the operation is not held any more."""
        if not operation.watched:
            return operation
        ends, failures = await self._ends(operation)
        if not ends:
            return operation
        return await self._update(operation, token, watch_statements.settle(ends, failures))

    @guarded
    async def leave_trial(self, operation: Operation, token: str) -> Operation | None:
        """Go on after the trial, as `look`."""
        return await self._update(operation, token, watch_statements.leave_trial())

    @guarded
    async def end(
        self, operation: Operation, token: str, stage: Stage, stopped: Stopped | None = None
    ) -> Operation | None:
        """End an operation, as `look`; a stop has an entry in the audit."""
        update = operation_statements.end(stage, stopped=stopped)
        if stopped is not None:
            by = Actor(name=f"{_ITSELF} of {operation.new.by.name}", via=operation.new.by.via)
            after = {"why": stopped.why.value, "message": stopped.message}
            note = AuditNote(action="stop", by=by, before={"state": operation.stage.value}, after=after)
            entry = await entry_of(self._clock, ("operation", operation.id), note)
            update = [*update, {"$set": {FIELD: with_entry(entry)}}]
        ended = await self._update(operation, token, update)
        if stopped is not None:
            await self._outbox.try_to_drain(self._collection, ObjectId(operation.id))
        return ended

    @guarded
    async def pause(self, operation: Operation, token: str, length: timedelta) -> None:
        """Release an operation until the next look at its jobs."""
        held = operation_statements.held(operation.id, token)
        await self._collection.update_one(held, watch_statements.pause(length))

    @guarded
    async def resume(self, operation: Operation, rules: Rules, by: Actor) -> None:
        """Go on with a stopped operation under these rules.

        Raises:
            ConflictError: the operation has not stopped, goes on again, or lost its values by an erasure.
        """
        before = {"state": operation.stage.value, **operation.new.rules.given}
        note = AuditNote(action="resume", by=by, before=before, after=rules.given)
        entry = await entry_of(self._clock, ("operation", operation.id), note)
        new = replace(operation.new, rules=rules)
        resumed_as = watch_statements.resume(rules, operation_documents.action(new), operation_documents.given(new))
        update = [*resumed_as, {"$set": {FIELD: with_entry(entry)}}]
        resumed = await self._collection.update_one(watch_statements.stopped(operation.id), update)
        if not resumed.modified_count:
            erased = erasure_statements.FIELD
            if await self._collection.find_one({"_id": ObjectId(operation.id), erased: {"$exists": True}}, {"_id": 1}):
                raise ConflictError(f"an erasure took the values of operation {operation.id}: begin another one")
            raise ConflictError(f"operation {operation.id} has not stopped: only a stopped one can be resumed")
        await self._outbox.try_to_drain(self._collection, ObjectId(operation.id))

    async def _ends(self, operation: Operation) -> tuple[dict[str, End], list[dict[str, str]]]:
        """Return the ends of watched jobs by their ids, and those that failed again with their errors."""
        ids = [ObjectId(job.id) for job in operation.watched]
        cursor = self._jobs.find({"_id": {"$in": ids}}, watch_statements.seen(operation.id))
        seen = {str(document["_id"]): document async for document in cursor if "state" in document}
        ends: dict[str, End] = {}
        failures: list[dict[str, str]] = []
        for job in operation.watched:
            end = await self._end(operation, job, seen.get(job.id))
            if end is not None:
                ends[job.id] = end
            if end is End.FAILED:
                failures.append({"id": job.id, "reason": _reason(seen.get(job.id))})
        return ends, failures

    async def _end(self, operation: Operation, job: Watched, document: Document | None) -> End | None:
        if document is None:
            return End.SUCCEEDED if job.vanishes else End.UNKNOWN
        if not watch_statements.is_own(document, operation.id):
            whole = await self._jobs.find_one({"_id": ObjectId(job.id)}, {"history": 1})
            history = typed(list, whole.get("history")) if whole else None
            return watch_statements.end_of_run(history or (), operation.id)
        state = documents.state(document["state"])
        if state not in FINAL:
            return None
        return End.SUCCEEDED if state is State.SUCCESS else End.FAILED

    async def _update(self, operation: Operation, token: str, update: list[Any]) -> Operation | None:
        held = operation_statements.going_on(operation.id, token)
        document = await self._collection.find_one_and_update(held, update, return_document=ReturnDocument.AFTER)
        return None if document is None else operation_documents.operation(document)


def _reason(document: Document | None) -> str:
    error = typed(dict, document.get("error")) if document else None
    if not error:
        return "failed, and was requeued by somebody else"
    kind, message = error.get("kind"), error.get("message")
    return ": ".join(part for part in (kind, message) if isinstance(part, str))[:_LONGEST_ERROR]
