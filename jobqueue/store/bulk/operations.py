"""The `operations` collection, and the jobs that operations are about."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, TypeVar

from bson import ObjectId

from jobqueue.domain.access.access import Scope
from jobqueue.domain.bulk.operation import Action, NewOperation, Operation, Stage, Tally
from jobqueue.domain.errors import ConflictError, NotFoundError
from jobqueue.domain.insight.audit import Actor, AuditNote
from jobqueue.store.bulk import operation_statements, selection
from jobqueue.store.documents import documents, queue_statements, statements
from jobqueue.store.insight.audit_outbox import AuditOutbox, entry_of
from jobqueue.store.insight.audit_statements import FIELD, with_entry
from jobqueue.store.mongo.clock import SERVER_NOW
from jobqueue.store.mongo.database import guarded, is_too_slow
from jobqueue.store.mongo.driver import PyMongoError, ReturnDocument, timeout

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from datetime import datetime

    from jobqueue.domain.jobs.job import Job
    from jobqueue.store.documents.statements import Document
    from jobqueue.store.mongo.clock import Now
    from jobqueue.store.mongo.database import Database

T = TypeVar("T")
MOST_COUNTED: Final = 1_000_000
COUNT_SECONDS: Final = 2.0
SELECT_SECONDS: Final = 2.0
"""How long the next jobs are looked for among all there are; then only among a part at a time."""
WINDOW: Final = 20_000
_EVIDENCE: Final = {"state": 1, statements.OPERATIONS: 1, "history.operation": 1}
_NEWEST: Final = [("_id", -1)]


class OperationStore:
    """Keeps operations, and lets one process at a time carry each of them on."""

    def __init__(self, database: Database, now: Now = SERVER_NOW) -> None:
        self.now = now
        self.collection = database.collection("operations")
        self._jobs = database.collection("jobs")
        self._outbox = AuditOutbox(database)
        self._database = database

    @guarded
    async def create(self, new: NewOperation) -> Operation:
        """Add an operation, with an entry in the audit."""
        # The clock may be a little behind the server's, and what has ended just now would be taken for later.
        began = await self._database.clock.ask()
        matched, is_exact = await self.count(new, began)
        made_id = await self._database.clock.new_id()
        document = {"_id": made_id, **_document(new, began, matched, is_exact=is_exact)}
        note = AuditNote(action=new.action.value, by=new.by, before=None, after=_noted(document))
        entry = await entry_of(self._database.clock, ("operation", str(made_id)), note)
        await self.collection.insert_one({**document, FIELD: [entry]})
        await self._outbox.try_to_drain(self.collection, made_id)
        return _operation(document)

    @guarded
    async def preview(self, new: NewOperation, most: int) -> tuple[int | None, bool, list[Job]]:
        """Return how many jobs there are, whether that is all of them, and the first few."""
        began = await self._database.clock.ask()
        matched, is_exact = await self.count(new, began)

        async def read() -> list[Job]:
            samples: list[Job] = []
            for found in _everything(new, began):
                cursor = self._find(new, found, {"logs": 0, "result": 0, "data": 0}).limit(most)
                samples += [documents.job(one) async for one in cursor]
            return samples[:most]

        return matched, is_exact, await _within(COUNT_SECONDS, read) or []

    async def count(self, new: NewOperation, began: datetime) -> tuple[int | None, bool]:
        """Return how many jobs there are, at most `MOST_COUNTED`, or ``None`` if it takes too long to count them."""
        options: Any = {"limit": MOST_COUNTED}
        if selection.hint(new) is not None:
            options["hint"] = selection.hint(new)

        async def read() -> int:
            return sum([await self._jobs.count_documents(found, **options) for found in _everything(new, began)])

        counted = await _within(COUNT_SECONDS, read)
        return counted and min(counted, MOST_COUNTED), counted is not None and counted < MOST_COUNTED

    @guarded
    async def get(self, operation_id: str, scope: Scope) -> Operation:
        """Return an operation.

        Raises:
            NotFoundError: there is none of this id that a caller of this scope may see.
        """
        found = await self.collection.find_one({"_id": ObjectId(operation_id), **_of(scope)})
        if found is None:
            raise NotFoundError("operation", operation_id)
        return _operation(found)

    @guarded
    async def page(self, scope: Scope, *, state: str | None, before: str | None, limit: int) -> list[Operation]:
        """Return operations, newest first, older than the one of the id ``before``."""
        found: Document = _of(scope)
        if state is not None:
            found["state"] = state
        if before is not None:
            found["_id"] = {"$lt": ObjectId(before)}
        return [_operation(one) async for one in self.collection.find(found, sort=_NEWEST).limit(limit)]

    @guarded
    async def stop(self, operation_id: str, by: Actor, scope: Scope) -> Operation:
        """End an operation that has not ended; jobs that are being changed are counted all the same.

        Raises:
            NotFoundError: as `get`.
            ConflictError: it has ended.
        """
        await self.get(operation_id, scope)
        note = AuditNote(action="stop", by=by, before={"state": Stage.RUNNING.value}, after=None)
        entry = await entry_of(self._database.clock, ("operation", operation_id), note)
        ended_by = {"$set": {FIELD: with_entry(entry)}}
        ending = [*operation_statements.end_counted(Stage.STOPPED, None, self.now), ended_by]
        ended = await self.collection.update_one(operation_statements.running(operation_id), ending)
        if not ended.modified_count:
            raise ConflictError(f"operation {operation_id} has ended already")
        await self._outbox.try_to_drain(self.collection, ObjectId(operation_id))
        return await self.get(operation_id, scope)

    @guarded
    async def take(self, token: str, operation_id: str | None = None) -> Operation | None:
        """Hold an operation that nobody holds, the one that has waited longest, or a certain one."""
        wanted = operation_statements.free(self.now) | ({"_id": ObjectId(operation_id)} if operation_id else {})
        return await self._update(wanted, operation_statements.take(token, self.now), sort=[("lease.until", 1)])

    @guarded
    async def choose(self, operation: Operation, token: str, most: int) -> Operation | None:
        """Write down which jobs come next; none if it has ended with that, ``None`` if it is not held any more.

        What another tool has dated ahead of the present comes first, as it cannot be told from new jobs later.
        """
        soon = await self._database.clock.ask() + selection.AHEAD
        at = replace(operation, soon=soon)
        ids, position = await self._next(at, most)
        if position is None and at.ahead:
            at = replace(at, ahead=False, position=None)
            ids, position = await self._next(at, most)
        held = operation_statements.going_on(operation.id, token)
        if position is None:
            return await self._update(held, operation_statements.end(Stage.FINISHED, None, self.now))
        place: Document = {"insertAt": position[0], "id": ObjectId(position[1])}
        ids_chosen = [ObjectId(one) for one in ids]
        chosen = operation_statements.choose(ids_chosen, place, self.now, ahead=at.ahead, soon=soon)
        return await self._update(held, chosen)

    @guarded
    async def count_off(self, operation: Operation, token: str, tally: Tally) -> Operation | None:
        """Count what became of the chosen jobs; ``None`` if the operation is not held any more."""
        return await self._update(
            operation_statements.held(operation.id, token), operation_statements.count(tally, self.now)
        )

    @guarded
    async def renew(self, operation: Operation, token: str) -> bool:
        """Go on holding an operation; tell whether it is still held."""
        held = operation_statements.held(operation.id, token)
        return bool((await self.collection.update_one(held, operation_statements.renew(self.now))).matched_count)

    @guarded
    async def release(self, operation_id: str, token: str) -> None:
        """Let somebody else carry an operation on."""
        held = operation_statements.held(operation_id, token)
        await self.collection.update_one(held, operation_statements.release())

    @guarded
    async def give_up(self, operation: Operation, token: str, why: str) -> None:
        """End an operation that cannot go on; what it has changed is counted before, unless that was tried already."""
        held = operation_statements.going_on(operation.id, token)
        ending = operation_statements.end_counted(Stage.FAILED, why, self.now)
        if not (await self.collection.update_one(held, ending)).matched_count:
            uncounted = [{"$set": {"chosen": []}}, *operation_statements.count(Tally(), self.now)]
            await self.collection.update_one(operation_statements.held(operation.id, token), uncounted)

    @guarded
    async def job_of(self, operation: Operation, job_id: str) -> Job | None:
        """Return a chosen job if it is still what the operation is about; only its id unless it is to be requeued."""
        wanted = {"logs": 0} if operation.new.action is Action.REQUEUE else {"_id": 1}
        one = await self._jobs.find_one(selection.chosen(operation, job_id), wanted)
        return None if one is None else documents.job(one)

    @guarded
    async def has_changed(self, operation: Operation, job_id: str) -> bool:
        """Tell whether an operation has changed a job that it has chosen, whatever became of the job since."""
        one = await self._jobs.find_one({"_id": ObjectId(job_id)}, _EVIDENCE)
        if operation.new.action is Action.DELETE and (one is None or "state" in one):
            return one is None and await self._may_have_deleted(operation)
        if one is None:
            return False
        mark = ObjectId(operation.id)
        is_noted = mark in _list(one, statements.OPERATIONS)
        return is_noted or any(
            isinstance(entry, dict) and entry.get("operation") == mark for entry in _list(one, "history")
        )

    async def _may_have_deleted(self, operation: Operation) -> bool:
        """Tell whether what a job would have left behind may be gone, as its hour is over."""
        if operation.soon is None:
            return True
        stays = timedelta(milliseconds=queue_statements.STONE_MS)
        return await self._database.clock.ask() > operation.soon - selection.AHEAD + stays

    async def _next(self, operation: Operation, most: int) -> tuple[list[str], tuple[datetime, str] | None]:
        """Return the jobs whose turn it is, and the place after them; ``None`` if there are no more."""
        new, position = operation.new, operation.position
        found = selection.selected(new, operation.insert_at, soon=operation.soon, ahead=operation.ahead)
        page = await _within(SELECT_SECONDS, lambda: self._page(new, selection.beyond(found, position), most))
        if page is not None:
            return [one for _, one in page], page[-1] if page else None
        # Few of very many jobs are meant, and no index tells which: then a part of all jobs at a time.
        edge = await self._edge(position, found["insertAt"])
        page = await self._page(new, selection.beyond(found, position, edge and edge[0]), most)
        place = page[-1] if len(page) == most else edge or (page[-1] if page else None)
        return [one for _, one in page], place

    async def _page(self, new: NewOperation, found: Document, most: int) -> list[tuple[datetime, str]]:
        cursor = self._find(new, found, {"insertAt": 1}).limit(most)
        return [(one["insertAt"], str(one["_id"])) async for one in cursor]

    async def _edge(self, position: tuple[datetime, str] | None, dated: Document) -> tuple[datetime, str] | None:
        """Return the end of the next part of all jobs of these dates, or ``None`` if it is the last one."""
        part = selection.beyond({"insertAt": dated}, position)
        cursor = self._jobs.find(part, {"insertAt": 1}, sort=selection.ORDER, hint="newest").skip(WINDOW).limit(1)
        found = [(one["insertAt"], "f" * 24) async for one in cursor]
        return found[0] if found else None

    def _find(self, new: NewOperation, found: Document, projection: Document) -> Any:
        return self._jobs.find(found, projection, sort=selection.ORDER, hint=selection.hint(new))

    async def _update(
        self, wanted: Document, update: Any, *, sort: Sequence[tuple[str, int]] | None = None
    ) -> Operation | None:
        found = await self.collection.find_one_and_update(
            wanted, update, sort=sort, return_document=ReturnDocument.AFTER
        )
        return None if found is None else _operation(found)


async def _within(seconds: float, read: Callable[[], Awaitable[T]]) -> T | None:
    """Return what is read, or ``None`` if that takes longer."""
    try:
        with timeout(seconds):
            return await read()
    except PyMongoError as error:
        if not is_too_slow(error):
            raise
        return None


def _document(new: NewOperation, began: datetime, matched: int | None, *, is_exact: bool) -> Document:
    return {
        "action": new.action.value,
        # As text: it has names that are commands to MongoDB.
        "filter": json.dumps(new.filter, ensure_ascii=False),
        "fingerprint": new.fingerprint,
        "all": new.all,
        "changes": dict(new.changes),
        "reason": new.reason,
        "by": new.by.wire(),
        "scope": _scope(new.scope),
        "insertAt": began,
        "endAt": None,
        "state": Stage.RUNNING.value,
        "matched": matched,
        "isExact": is_exact,
        "done": 0,
        "skipped": 0,
        "failed": 0,
        "failures": [],
        "error": None,
        "position": None,
        "chosen": [],
        "ahead": True,
        "soon": None,
        "lease": {"token": None, "until": operation_statements.FREE},
    }


def _noted(document: Document) -> Document:
    return {name: document[name] for name in ("filter", "fingerprint", "all", "changes", "reason", "matched")}


def _scope(scope: Scope) -> Document:
    return {"queues": list(scope.queues), "meta": [list(pair) for pair in scope.meta]}


def _of(scope: Scope) -> Document:
    """Match the operations that a caller may see: all, or those of callers with the same scope."""
    return {} if scope.is_everything else {"scope": _scope(scope)}


def _everything(new: NewOperation, began: datetime) -> tuple[Document, Document]:
    """Match the jobs that an operation which begins now is about: those of the past, and those dated ahead."""
    soon = began + selection.AHEAD
    return selection.selected(new, began, soon=soon), selection.selected(new, began, soon=soon, ahead=True)


def _list(document: Document, name: str) -> list[Any]:
    given = document.get(name)
    return given if isinstance(given, list) else []


def _operation(document: Document) -> Operation:
    ending = document.get("ending")
    if ending:
        document = document | {"state": ending["state"], "endAt": ending["at"], "error": ending["error"]}
    by, scope, position = document["by"], document["scope"], document["position"]
    new = NewOperation(
        action=Action(document["action"]),
        by=Actor(name=by["name"], via=by["via"], address=by.get("from")),
        filter=json.loads(document["filter"]),
        fingerprint=document["fingerprint"],
        all=document["all"],
        changes=document["changes"],
        reason=document["reason"],
        scope=Scope(queues=tuple(scope["queues"]), meta=tuple((path, value) for path, value in scope["meta"])),
    )
    return Operation(
        id=str(document["_id"]),
        new=new,
        by=by,
        insert_at=document["insertAt"],
        end_at=document["endAt"],
        stage=Stage(document["state"]),
        matched=document["matched"],
        is_exact=document["isExact"],
        done=document["done"],
        skipped=document["skipped"],
        failed=document["failed"],
        failures=tuple(document["failures"]),
        error=document["error"],
        position=None if position is None else (position["insertAt"], str(position["id"])),
        chosen=tuple(str(one) for one in document["chosen"]),
        ahead=document.get("ahead", False),
        soon=document.get("soon"),
    )
