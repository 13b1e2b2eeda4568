"""Documents that another tool has put into `jobs`: found, read, and made what this package would have written."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

import bson
from bson import ObjectId

from jobqueue.domain.errors import KeyConflictError
from jobqueue.domain.external import documents as external
from jobqueue.domain.jobs import json_form
from jobqueue.domain.jobs.attempt import JobError
from jobqueue.domain.jobs.backoff import finite
from jobqueue.domain.jobs.job import DEFAULT_QUEUE
from jobqueue.domain.jobs.states import State
from jobqueue.domain.jobs.transitions import outbox
from jobqueue.store.documents import attributes, documents, external_statements, statements, unsound_statements
from jobqueue.store.documents.attributes import plain
from jobqueue.store.documents.unsound_statements import HAD, SPOILT
from jobqueue.store.external import unsound
from jobqueue.store.jobs.jobs import FULL_BYTES
from jobqueue.store.limits import group_key_statements
from jobqueue.store.mongo.database import guarded, new_id, translated
from jobqueue.store.mongo.driver import BulkWriteError, DuplicateKeyError, UpdateOne
from jobqueue.store.mongo.group_commit import Batcher

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence
    from datetime import datetime

    from jobqueue.domain.errors import Problems
    from jobqueue.domain.jobs.job import Job, NewJob
    from jobqueue.store.documents.statements import Document
    from jobqueue.store.mongo.database import Database

KIND: Final = "document"
"""The kind of error of a job whose document cannot be understood."""
_AT_ONCE: Final = 100
_LONGEST_NAME: Final = 200
_KEPT: Final = {"attemptsMade": int, "progress": (int, float), "logs": list, "logCount": int, "history": list}
_OF_A_CLAIM: Final = (
    "slots",
    "waitsFor",
    "heldTil",
    "outbox",
    "expireAt",
    "limitKey",
    "crashes",
    external.ASIDE,
    HAD,
    SPOILT,
)
_LINKS: Final = ("batchId", "parentId")


class ExternalStore:
    """Finds documents that are not of this package, and takes them over."""

    def __init__(self, database: Database) -> None:
        self._clock = database.clock
        self.collection = database.collection("jobs")
        self._aside = database.collection("aside")
        self._update: Batcher[tuple[Document, Document], bool] = Batcher(self._update_batch)

    async def found(self) -> AsyncIterator[list[Document]]:
        """Yield all foreign documents, some at a time."""
        with translated():
            cursor = self.collection.find(external_statements.foreign(), hint=external_statements.INDEX)
            some: list[Document] = []
            size = 0
            async for document in cursor.batch_size(_AT_ONCE):
                some.append(document)
                size += len(bson.encode(document))
                if len(some) == _AT_ONCE or size > FULL_BYTES:
                    yield some
                    some, size = [], 0
            if some:
                yield some

    @guarded
    async def mark_spoilt(self) -> None:
        """Have all jobs looked at like foreign ones that somebody has spoilt with another tool, some at a time."""
        wanted = unsound_statements.spoilt()
        while True:
            cursor = self.collection.find(wanted, {"_id": 1}, hint=unsound_statements.INDEX).limit(_AT_ONCE)
            some = [each["_id"] async for each in cursor]
            if some:
                await self.collection.update_many(wanted | {"_id": {"$in": some}}, unsound_statements.mark())
            if len(some) < _AT_ONCE:
                return

    @guarded
    async def adopt(self, document: Document, new: NewJob, limit_key: str | None, notes: Problems) -> Job | None:
        """Make a document that of a new job; return the job unless somebody else was faster.

        Args:
            document: as it was found.
            new: what it says, defaults filled in.
            limit_key: the group in which the job counts, as long as the document says so.
            notes: what was left out; that is logged with the job.

        Raises:
            KeyConflictError: an unfinished job of the queue has its key.
        """
        now = await self._clock.now()
        extra: Document = {"outbox": ["check"]} if new.depends_on else {}
        wanted = documents.new_document(new, job_id=str(document["_id"]), now=now, limit_key=limit_key, extra=extra)
        del wanted["_id"]
        for name in ("data", "meta"):
            if document.get(name) is not None:
                del wanted[name]
        wanted |= (
            _links(document)
            | _kept(document)
            | {"attrs": attributes.derived(document.get("meta")), "run": _run(document)}
        )
        wanted["insertAt"] = _date(document.get("insertAt")) or now
        if notes:
            lines = [_line(now, f"{path} {', '.join(found)}: left out") for path, found in notes.items()]
            wanted |= {"logs": [*wanted["logs"], *lines], "logCount": wanted["logCount"] + len(lines)}
        update = external_statements.changed(document, wanted, _OF_A_CLAIM)
        guard = external_statements.unchanged(document)
        if limit_key is not None:
            path = group_key_statements.path_of(limit_key)
            guard["$expr"] = group_key_statements.same_value(path, document.get("data"), document.get("meta"))
        try:
            if not await self._update((guard, update)):
                return None
        except DuplicateKeyError:
            holder = await self.collection.find_one(statements.key_holder(new.queue, str(new.key)), {"_id": 1})
            raise KeyConflictError(new.queue, str(new.key), str(holder["_id"]) if holder else "") from None
        return documents.job(document | wanted)

    @guarded
    async def keep(self, document: Document) -> None:
        """Take over a job that has ended, as it is; what is needed to list it is filled in."""
        now = await self._clock.now()
        begun = _date(document.get("insertAt")) or _date(document.get("endAt")) or now
        wanted: Document = {"insertAt": begun, "endAt": _date(document.get("endAt")) or begun}
        wanted |= (
            _kept(document)
            | _links(document)
            | _sound_queue(document)
            | {"attrs": attributes.derived(document.get("meta")), "run": _run(document)}
        )
        update = external_statements.changed(
            document, wanted, ("slots", "waitsFor", "heldTil", "expireAt", HAD, SPOILT)
        )
        await self._update((external_statements.unchanged(document), update))

    @guarded
    async def refuse(self, document: Document, why: str) -> Job | None:
        """Make a document that of a failed job; return the job unless somebody else was faster."""
        now = await self._clock.now()
        wanted: Document = {
            "state": State.FAILED.value,
            "error": json_form.error(JobError(kind=KIND, message=why)),
            "endAt": now,
            "insertAt": _date(document.get("insertAt")) or now,
            "resetAt": None,
            "delayTil": None,
            "claim": None,
            "dependsOn": [],
            "attrs": attributes.derived(document.get("meta")),
            "run": _run(document),
        }
        wanted |= _kept(document) | _links(document) | _sound_queue(document)
        if document.get(SPOILT):
            wanted |= unsound.mended(document)
        if follows := outbox(documents.job(document | wanted), State.FAILED):
            wanted["outbox"] = list(follows)
        update = external_statements.changed(document, wanted, _OF_A_CLAIM)
        is_mine = await self._update((external_statements.unchanged(document), update))
        return documents.job(document | wanted) if is_mine else None

    @guarded
    async def move(self, document: Document) -> bool:
        """Make a document with an id of another kind one with an ObjectId; tell whether there is such a one now.

        Hidden by one update first, so that whatever crashes in between can be done again. What is left under the old
        ``_id`` says where the job is, and keeps the ``_id`` taken.
        """
        if not _is_hidden(document):
            to = ObjectId(new_id())
            await self.collection.update_one(external_statements.seen(document), external_statements.hide(to))
            found = await self.collection.find_one({"_id": {"$eq": document["_id"]}, "run": None})
            if found is None or not _is_hidden(found):
                return False
            document = found
        copy = {name: value for name, value in document[external_statements.WAS].items() if name not in {"_id", "run"}}
        copied = {"_id": document[external_statements.MOVED]}
        try:
            await self.collection.insert_one(copied | copy)
        except DuplicateKeyError:
            # It is there already, or somebody has its key or its slot meanwhile: without a state it takes neither, and
            # is looked at like any document of another tool.
            plain_copy = {name: value for name, value in copy.items() if name not in {"state", "slots"}}
            with suppress(DuplicateKeyError):
                await self.collection.insert_one(copied | plain_copy)
        await self.collection.update_one(external_statements.hidden(document), external_statements.moved())
        return True

    @guarded
    async def set_aside(self, document: Document, why: str) -> bool:
        """Keep a document whole in the collection `aside`, and leave a small one in its place that says why."""
        await self._aside.replace_one({"_id": {"$eq": document["_id"]}}, document, upsert=True)
        small = {
            name: value
            for name in ("queue", "type")
            if isinstance(value := document.get(name), str) and len(value) <= _LONGEST_NAME
        }
        left = {"_id": document["_id"], **small, external.ASIDE: f"{why}; the document is kept in the collection aside"}
        return bool((await self.collection.replace_one(external_statements.unchanged(document), left)).matched_count)

    async def _update_batch(self, updates: Sequence[tuple[Document, Document]]) -> list[bool | BaseException]:
        """Make updates; tell of each whether its document was as it should be."""
        if len(updates) == 1:
            return [bool((await self.collection.update_one(*updates[0])).matched_count)]
        try:
            done = await self.collection.bulk_write([UpdateOne(*one) for one in updates], ordered=False)
        except BulkWriteError:
            pass
        else:
            if done.matched_count == len(updates):
                return [True] * len(updates)
        return [await self._is_written(*one) for one in updates]

    async def _is_written(self, guard: Document, update: Document) -> bool | BaseException:
        """Make one update of a batch, of which it is not known whether it was made."""
        try:
            if (await self.collection.update_one(guard, update)).matched_count:
                return True
        except Exception as error:  # noqa: BLE001 - each call of the batch gets its own error
            return error
        same = {name: update["$set"][name] for name in ("run", "state", "endAt", "insertAt") if name in update["$set"]}
        return await self.collection.find_one({"_id": guard["_id"], **same}, {"_id": 1}) is not None


def size(document: Document) -> int:
    """Return how many bytes a document takes."""
    return len(bson.encode(document))


def content_size(document: Document) -> int:
    """Return how many bytes data and meta take together."""
    return size({name: document[name] for name in ("data", "meta") if name in document})


def needs_moving(document: Document) -> bool:
    """Tell whether a document has an id that no job has."""
    return not isinstance(document["_id"], ObjectId)


def is_remains(document: Document) -> bool:
    """Tell whether a document is what a deleted job leaves behind for an hour."""
    return (
        set(document) <= {"_id", "queue", "expireAt", "gone", statements.OPERATIONS}
        and documents.date_or_none(document.get("expireAt")) is not None
    )


def _is_hidden(document: Mapping[str, Any]) -> bool:
    return isinstance(document.get(external_statements.MOVED), ObjectId) and isinstance(
        document.get(external_statements.WAS), dict
    )


def _links(document: Mapping[str, Any]) -> Document:
    """Return the ids of relatives as they are stored."""
    return {name: ObjectId(text) if ObjectId.is_valid(text := plain(document.get(name))) else None for name in _LINKS}


def _kept(document: Mapping[str, Any]) -> Document:
    """Return what a job may bring along of its past, and what it needs instead if that is of no use."""
    found: Document = {}
    for name, kind in _KEPT.items():
        value = plain(document.get(name))
        if isinstance(value, list) and kind is list:
            found[name] = document[name]
        elif kind is not list and isinstance(value, int | float) and not isinstance(value, bool):
            found[name] = external.count(value) if kind is int else min(max(value, 0), 100) if finite(value) else 0
        else:
            found[name] = [] if kind is list else 0
    found["logCount"] = max(found["logCount"], len(found["logs"]))
    return found


def _sound_queue(document: Mapping[str, Any]) -> Document:
    """Return the queue of a document; what is no text could not be found again."""
    queue = document.get("queue")
    return {} if isinstance(queue, str) and queue else {"queue": DEFAULT_QUEUE}


def _run(document: Mapping[str, Any]) -> int:
    return external.count(plain(document.get(HAD)))


def _date(value: Any) -> datetime | None:
    with suppress(ValueError):
        return documents.date_or_none(external.moment(value))
    return None


def _line(now: datetime, text: str) -> Document:
    return {"t": now, "m": text, "level": "warning"}
