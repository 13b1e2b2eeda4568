"""The `operations` collection, and the jobs of operations."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, TypeVar

from bson import ObjectId

from jobqueue.domain.access.access import EVERYTHING, Scope
from jobqueue.domain.bulk.erasure import text_without_values
from jobqueue.domain.bulk.operation import Action, NewOperation, Operation, Stage, Tally
from jobqueue.domain.bulk.rules import Stopped, Watched, Why
from jobqueue.domain.errors import ConflictError, NotFoundError
from jobqueue.domain.insight.audit import Actor, AuditNote
from jobqueue.store.bulk import operation_documents, operation_statements, selection, watch_statements
from jobqueue.store.bulk.erasures import ErasureStore
from jobqueue.store.bulk.operation_statements import FORGET, SHOWN
from jobqueue.store.bulk.watching import WatchStore
from jobqueue.store.documents import documents, queue_statements, statements
from jobqueue.store.insight.audit_outbox import AuditOutbox, entry_of
from jobqueue.store.insight.audit_statements import FIELD, with_entry
from jobqueue.store.mongo.database import guarded, is_too_slow
from jobqueue.store.mongo.driver import PyMongoError, ReturnDocument, timeout
from jobqueue.store.mongo.tolerant import typed

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from datetime import datetime

    from jobqueue.domain.jobs.job import Job
    from jobqueue.store.documents.statements import Document
    from jobqueue.store.mongo.database import Database

T = TypeVar("T")
MOST_COUNTED: Final = 1_000_000
COUNT_SECONDS: Final = 2.0
SELECT_SECONDS: Final = 2.0
"""Seconds of a search for the next jobs among all jobs; the next search reads a part of the jobs at a time."""
WINDOW: Final = 20_000
_EVIDENCE: Final = {"state": 1, statements.OPERATIONS: 1, "history.operation": 1, "onSuccessDelete": 1}
_NEWEST: Final = [("_id", -1)]
_NOTED: Final[Sequence[str]] = (
    *("filter", "fingerprint", "all", "changes", "fromStep", "dataPatch"),
    *("trial", "then", "pace", "stopAfter", "reason", "matched"),
)
"""The fields of an operation that its entry in the audit has."""


class OperationStore:
    """Keeps operations, each of which one process at a time holds."""

    def __init__(self, database: Database) -> None:
        self.collection = database.collection("operations")
        self._jobs = database.collection("jobs")
        self._outbox = AuditOutbox(database)
        self._database = database
        self.erasures = ErasureStore(database)
        self.watch = WatchStore(database)

    @guarded
    async def create(self, new: NewOperation) -> Operation:
        """Add an operation, with an entry in the audit."""
        # The clock may be a little behind the server's: a job that has just ended would seem to end later.
        began = await self._database.clock.ask()
        matched, is_exact = await self.count(new, began)
        operation_id = await self._database.clock.new_id()
        document = {"_id": operation_id, **operation_documents.document(new, began, matched, is_exact=is_exact)}
        document |= {SHOWN: text_without_values(document["filter"])} if new.action is Action.ERASE else {}
        noted = {name: document[name] for name in _NOTED if name in document}
        noted["filter"] = document.get(SHOWN, document["filter"])
        note = AuditNote(action=new.action.value, by=new.by, before=None, after=noted)
        entry = await entry_of(self._database.clock, ("operation", str(operation_id)), note)
        await self.collection.insert_one({**document, FIELD: [entry]})
        await self._outbox.try_to_drain(self.collection, operation_id)
        return operation_documents.operation(document)

    @guarded
    async def preview(self, new: NewOperation, most: int) -> tuple[int | None, bool, list[Job]]:
        """Return the number of jobs, whether it is exact, and the first few jobs."""
        began = await self._database.clock.ask()
        matched, is_exact = await self.count(new, began)

        async def read() -> list[Job]:
            samples: list[Job] = []
            for search in _everything(new, began):
                cursor = self._find(new, search, {"logs": 0, "result": 0, "data": 0, "steps": 0}).limit(most)
                samples += [documents.job(document) async for document in cursor]
            return samples[:most]

        return matched, is_exact, await _within(COUNT_SECONDS, read) or []

    async def count(self, new: NewOperation, began: datetime) -> tuple[int | None, bool]:
        """Return the number of jobs, at most `MOST_COUNTED`, and its exactness; ``None`` after `COUNT_SECONDS`."""
        options: Any = {"limit": MOST_COUNTED}
        if selection.hint(new) is not None:
            options["hint"] = selection.hint(new)

        async def read() -> int:
            return sum([await self._jobs.count_documents(search, **options) for search in _everything(new, began)])

        counted = await _within(COUNT_SECONDS, read)
        return counted and min(counted, MOST_COUNTED), counted is not None and counted < MOST_COUNTED

    @guarded
    async def get(self, operation_id: str, scope: Scope = EVERYTHING) -> Operation:
        """Return an operation.

        Raises:
            NotFoundError: a caller of this scope sees no such operation.
        """
        document = await self.collection.find_one(
            {"_id": ObjectId(operation_id), **operation_documents.of_scope(scope)}
        )
        if document is None:
            raise NotFoundError("operation", operation_id)
        return operation_documents.operation(document)

    @guarded
    async def page(
        self, *, scope: Scope = EVERYTHING, state: str | None = None, before: str | None = None, limit: int = 50
    ) -> list[Operation]:
        """Return operations, newest first, older than the one of the id ``before``."""
        query: Document = operation_documents.of_scope(scope)
        if state is not None:
            query["state"] = state
        if before is not None:
            query["_id"] = {"$lt": ObjectId(before)}
        cursor = self.collection.find(query, sort=_NEWEST).limit(limit)
        return [operation_documents.operation(document) async for document in cursor]

    @guarded
    async def tried(self, *, since: datetime, limit: int, scope: Scope = EVERYTHING) -> list[Operation]:
        """Return operations whose trial has succeeded since a date, and whose rest waits for somebody; oldest first."""
        waiting = {"state": Stage.STOPPED.value, "stopped.why": Why.TRIAL.value, "endAt": {"$gte": since}}
        cursor = self.collection.find(operation_documents.of_scope(scope) | waiting, sort=[("_id", 1)]).limit(limit)
        return [operation_documents.operation(document) async for document in cursor]

    @guarded
    async def stop(self, operation_id: str, by: Actor, scope: Scope = EVERYTHING) -> Operation:
        """End an operation that has not ended; jobs that are being changed are counted all the same.

        Raises:
            NotFoundError: as `get`.
            ConflictError: the operation has ended.
        """
        await self.get(operation_id, scope)
        note = AuditNote(action="stop", by=by, before={"state": Stage.RUNNING.value}, after=None)
        entry = await entry_of(self._database.clock, ("operation", operation_id), note)
        stopped = Stopped(why=Why.PERSON, message=f"stopped by {by.name}")
        ending = operation_statements.end_counted(Stage.STOPPED, stopped=stopped)
        ending = [*ending, {"$set": {FIELD: with_entry(entry)}}]
        ended = await self.collection.update_one(operation_statements.running(operation_id), ending)
        if not ended.modified_count:
            raise ConflictError(f"operation {operation_id} has ended already")
        await self._outbox.try_to_drain(self.collection, ObjectId(operation_id))
        return await self.get(operation_id, scope)

    @guarded
    async def take(self, token: str, operation_id: str | None = None) -> Operation | None:
        """Hold a free operation with an action of this version: a certain one, or the one that has waited longest."""
        chosen: Document = {"_id": ObjectId(operation_id)} if operation_id else {}
        free = operation_statements.free(operation_documents.ACTIONS) | chosen
        return await self._update(free, operation_statements.take(token), sort=[("lease.until", 1)])

    @guarded
    async def choose(
        self, operation: Operation, token: str, most: int, turn_after: Callable[[int], datetime | None] = lambda _: None
    ) -> Operation | None:
        """Note the jobs that come next; the operation ends if there are none, unless some have not ended yet.

        Jobs that a stop has left alone come first. Then come jobs that another tool has dated ahead, as they cannot be
        told from new jobs later.

        Args:
            operation: as it is held.
            token: of its holder.
            most: jobs at once.
            turn_after: the time of the next job, after so many jobs now.

        Returns:
            The operation; ``None`` if it is not held any more.
        """
        if operation.left:
            left = [ObjectId(job_id) for job_id in operation.left[:most]]
            update = operation_statements.choose_left(left, turn_after(len(left)))
            return await self._update(operation_statements.going_on(operation.id, token), update)
        soon = await self._database.clock.ask() + selection.AHEAD
        at = replace(operation, soon=soon)
        ids, position = await self._next(at, most)
        if position is None and at.ahead:
            at = replace(at, ahead=False, position=None)
            ids, position = await self._next(at, most)
        held = operation_statements.going_on(operation.id, token)
        if position is None and operation.new.action is Action.ERASE:
            receipt = await self.erasures.finish(operation, lambda: self.renew(operation, token))
            told: Document = {"$set": {"receipt": {"$literal": receipt}}}
            return await self._update(held, [*operation_statements.end(Stage.FINISHED), FORGET, told])
        if position is None and operation.new.rules.watches and operation.watched:
            return await self._update(held, watch_statements.exhaust())
        if position is None:
            return await self._update(held, operation_statements.end(Stage.FINISHED))
        place: Document = {"insertAt": position[0], "id": ObjectId(position[1])}
        job_ids = [ObjectId(job_id) for job_id in ids]
        how: dict[str, Any] = {"ahead": at.ahead, "soon": soon, "turn_at": turn_after(len(ids))}
        return await self._update(held, operation_statements.choose(job_ids, place, **how))

    @guarded
    async def count_off(self, operation: Operation, token: str, tally: Tally) -> Operation | None:
        """Count the outcomes of the chosen jobs; return ``None`` if the operation is not held any more."""
        return await self._update(operation_statements.held(operation.id, token), operation_statements.count(tally))

    @guarded
    async def renew(self, operation: Operation, token: str) -> bool:
        """Renew the lease of an operation; tell whether it is still held."""
        held = operation_statements.held(operation.id, token)
        return bool((await self.collection.update_one(held, operation_statements.renew())).matched_count)

    @guarded
    async def release(self, operation_id: str, token: str) -> None:
        """Release an operation, so that another process can take it."""
        held = operation_statements.held(operation_id, token)
        await self.collection.update_one(held, operation_statements.release())

    @guarded
    async def give_up(self, operation: Operation, token: str, why: str) -> None:
        """End an operation that cannot go on; its changes are counted before, unless that was tried already."""
        held = operation_statements.going_on(operation.id, token)
        ending = operation_statements.end_counted(Stage.FAILED, why)
        if not (await self.collection.update_one(held, ending)).matched_count:
            held = operation_statements.held(operation.id, token)
            await self.collection.update_one(held, operation_statements.give_up(why))

    @guarded
    async def job_of(self, operation: Operation, job_id: str) -> Job | None:
        """Return a chosen job if it still is one of the operation; only its id unless it is to be requeued."""
        shown = {"logs": 0, "steps.result": 0} if operation.new.action is Action.REQUEUE else {"_id": 1}
        document = await self._jobs.find_one(selection.chosen(operation, job_id), shown)
        return None if document is None else documents.job(document)

    @guarded
    async def changed(self, operation: Operation, job_id: str) -> Watched | None:
        """Return a chosen job that an operation has changed, also if the job has changed again since."""
        document = await self._jobs.find_one({"_id": ObjectId(job_id)}, _EVIDENCE)
        is_changed = await self._is_changed(operation, document)
        return Watched(id=job_id, vanishes=bool(document and document.get("onSuccessDelete"))) if is_changed else None

    async def _is_changed(self, operation: Operation, document: Document | None) -> bool:
        if operation.new.action is Action.DELETE and (document is None or "state" in document):
            return document is None and await self._may_have_deleted(operation)
        if document is None:
            return False
        note = ObjectId(operation.id)
        history = typed(list, document.get("history")) or ()
        return note in (typed(list, document.get(statements.OPERATIONS)) or ()) or any(
            isinstance(entry, dict) and entry.get("operation") == note for entry in history
        )

    async def _may_have_deleted(self, operation: Operation) -> bool:
        """Tell whether the tombstone of a job may be gone, as its hour is over."""
        if operation.soon is None:
            return True
        stays = timedelta(milliseconds=queue_statements.STONE_MS)
        return await self._database.clock.ask() > operation.soon - selection.AHEAD + stays

    async def _next(self, operation: Operation, most: int) -> tuple[list[str], tuple[datetime, str] | None]:
        """Return the jobs that come next, and the place after them; ``None`` if there are no more."""
        new, position = operation.new, operation.position
        search = selection.selected(new, operation.insert_at, soon=operation.soon, ahead=operation.ahead)
        page = await _within(SELECT_SECONDS, lambda: self._page(new, selection.beyond(search, position), most))
        place = page[-1] if page else None
        if page is None:
            # Few of very many jobs match, and no index names them: then a part of all jobs at a time.
            edge = await self._edge(position, search["insertAt"])
            page = await self._page(new, selection.beyond(search, position, edge and edge[0]), most)
            place = page[-1] if len(page) == most else edge or (page[-1] if page else None)
        return [job_id for _, job_id in page], place

    async def _page(self, new: NewOperation, search: Document, most: int) -> list[tuple[datetime, str]]:
        cursor = self._find(new, search, {"insertAt": 1}).limit(most)
        return [(job["insertAt"], str(job["_id"])) async for job in cursor]

    async def _edge(self, position: tuple[datetime, str] | None, dated: Document) -> tuple[datetime, str] | None:
        """Return the end of the next part of all jobs of these dates, or ``None`` if it is the last one."""
        part = selection.beyond({"insertAt": dated}, position)
        cursor = self._jobs.find(part, {"insertAt": 1}, sort=selection.ORDER, hint="newest").skip(WINDOW).limit(1)
        jobs = await cursor.to_list(None)
        return (jobs[0]["insertAt"], "f" * 24) if jobs else None

    def _find(self, new: NewOperation, search: Document, projection: Document) -> Any:
        return self._jobs.find(search, projection, sort=selection.ORDER, hint=selection.hint(new))

    async def _update(
        self, guard: Document, update: Any, *, sort: Sequence[tuple[str, int]] | None = None
    ) -> Operation | None:
        after = ReturnDocument.AFTER
        document = await self.collection.find_one_and_update(guard, update, sort=sort, return_document=after)
        return None if document is None else operation_documents.operation(document)


async def _within(seconds: float, read: Callable[[], Awaitable[T]]) -> T | None:
    """Return the result of a reading, or ``None`` if it takes longer."""
    try:
        with timeout(seconds):
            return await read()
    except PyMongoError as error:
        if not is_too_slow(error):
            raise
        return None


def _everything(new: NewOperation, began: datetime) -> tuple[Document, Document]:
    """Match the jobs of an operation that begins now: those of the past, and those dated ahead."""
    soon = began + selection.AHEAD
    return selection.selected(new, began, soon=soon), selection.selected(new, began, soon=soon, ahead=True)
