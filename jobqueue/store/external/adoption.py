"""Adopt external documents, which another tool has put into `jobs`, as jobs of this package."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

import bson
from bson import ObjectId

from jobqueue.domain.attempts.attempt import JobError
from jobqueue.domain.attempts.states import State
from jobqueue.domain.durations import is_number
from jobqueue.domain.errors import KeyConflictError
from jobqueue.domain.external import documents as external
from jobqueue.domain.jobs import json_form
from jobqueue.domain.jobs.job import DEFAULT_QUEUE
from jobqueue.domain.jobs.transitions import outbox
from jobqueue.store.documents import attributes, documents, external_statements, statements, unsound_statements
from jobqueue.store.documents.attributes import plain
from jobqueue.store.documents.unsound_statements import HAD, SPOILT
from jobqueue.store.external import unsound
from jobqueue.store.jobs.jobs import FULL_BYTES
from jobqueue.store.limits import group_key_statements
from jobqueue.store.mongo.database import exists, guarded, new_id, translated
from jobqueue.store.mongo.driver import BulkWriteError, DuplicateKeyError, UpdateOne
from jobqueue.store.mongo.group_commit import Batcher
from jobqueue.store.mongo.odd_values import date_or_none
from jobqueue.store.mongo.tolerant import typed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence
    from datetime import datetime

    from jobqueue.domain.errors import Problems
    from jobqueue.domain.jobs.job import Job, NewJob
    from jobqueue.store.documents.statements import Document
    from jobqueue.store.mongo.database import Database

KIND: Final = "document"
"""The kind of error of a job whose document cannot be read."""
_AT_ONCE: Final = 100
_LONGEST_NAME: Final = 200
_REJECTED: Final = "aside"
"""The stored name of the collection of rejected documents."""
_OF_A_LIVING_JOB: Final = ("slots", "waitsFor", "heldTil", "expireAt", HAD, SPOILT)
_OF_A_CLAIM: Final = (*_OF_A_LIVING_JOB, "outbox", "limitKey", "crashes", external.REJECTED)
_LINKS: Final = ("batchId", "parentId")


class ExternalStore:
    """Finds external documents, and adopts or rejects them."""

    def __init__(self, database: Database) -> None:
        self._clock = database.clock
        self.collection = database.collection("jobs")
        self._rejected = database.collection(_REJECTED)
        self._update: Batcher[tuple[Document, Document], bool] = Batcher(self._update_batch)

    async def pages(self) -> AsyncIterator[list[Document]]:
        """Yield all external documents, a page at a time."""
        with translated():
            cursor = self.collection.find(external_statements.EXTERNAL, hint=external_statements.INDEX)
            page: list[Document] = []
            page_size = 0
            async for document in cursor.batch_size(_AT_ONCE):
                page.append(document)
                page_size += size(document)
                if len(page) == _AT_ONCE or page_size > FULL_BYTES:
                    yield page
                    page, page_size = [], 0
            if page:
                yield page

    @guarded
    async def mark_spoilt(self) -> None:
        """Turn all jobs that another tool has spoilt into external documents, a page at a time."""
        spoilt = unsound_statements.spoilt()
        while True:
            cursor = self.collection.find(spoilt, {"_id": 1}, hint=unsound_statements.INDEX).limit(_AT_ONCE)
            ids = [document["_id"] async for document in cursor]
            if ids:
                await self.collection.update_many(spoilt | {"_id": {"$in": ids}}, unsound_statements.mark())
            if len(ids) < _AT_ONCE:
                return

    @guarded
    async def adopt(self, document: Document, new: NewJob, limit_key: str | None, notes: Problems) -> Job | None:
        """Adopt a document as a new job; return the job unless another process was faster.

        Args:
            document: as it was read.
            new: its job, with defaults.
            limit_key: the group of the job, as long as the document has its value.
            notes: values that were left out, for the log of the job.

        Raises:
            KeyConflictError: an unfinished job of the queue has its key.
        """
        now = await self._clock.now()
        extra: Document = {"outbox": ["check"]} if new.depends_on else {}
        fields = documents.new_document(new, job_id=str(document["_id"]), now=now, limit_key=limit_key, extra=extra)
        for name in ("_id", "data", "meta"):
            if document.get(name) is not None:
                del fields[name]
        fields |= _past(document) | {"insertAt": _date(document.get("insertAt")) or now}
        if notes:
            texts = [f"{path} {', '.join(problems)}: left out" for path, problems in notes.items()]
            lines = [{"t": now, "m": text, "level": "warning"} for text in texts]
            fields |= {"logs": [*fields["logs"], *lines], "logCount": fields["logCount"] + len(lines)}
        update = external_statements.changed(document, fields, _OF_A_CLAIM)
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
        return documents.job(document | fields)

    @guarded
    async def keep(self, document: Document) -> None:
        """Adopt the document of an ended job as it is, with the fields that listings need."""
        ended = _date(document.get("endAt"))
        begun = _date(document.get("insertAt")) or ended or await self._clock.now()
        fields = _past(document) | _sound_queue(document) | {"insertAt": begun, "endAt": ended or begun}
        update = external_statements.changed(document, fields, _OF_A_LIVING_JOB)
        await self._update((external_statements.unchanged(document), update))

    @guarded
    async def refuse(self, document: Document, why: str) -> Job | None:
        """Adopt a document as a failed job; return the job unless another process was faster."""
        now = await self._clock.now()
        fields: Document = {
            "state": State.FAILED.value,
            "error": json_form.error(JobError(kind=KIND, message=why)),
            "endAt": now,
            "insertAt": _date(document.get("insertAt")) or now,
            "resetAt": None,
            "delayTil": None,
            "claim": None,
            "dependsOn": [],
            **_past(document),
            **_sound_queue(document),
        }
        if document.get(SPOILT):
            fields |= unsound.mended(document)
        if follows := outbox(documents.job(document | fields), State.FAILED):
            fields["outbox"] = list(follows)
        update = external_statements.changed(document, fields, _OF_A_CLAIM)
        is_mine = await self._update((external_statements.unchanged(document), update))
        return documents.job(document | fields) if is_mine else None

    @guarded
    async def move(self, document: Document) -> bool:
        """Move a document with an ``_id`` of another kind to an ObjectId; tell whether the new document exists.

        An update hides the document first, so that a process can repeat the move after a crash. The document left under
        the old ``_id`` names the new one, and keeps the old ``_id`` taken.
        """
        if not _is_hidden(document):
            to = ObjectId(new_id())
            await self.collection.update_one(external_statements.seen(document), external_statements.hide(to))
            hidden = await self.collection.find_one({"_id": {"$eq": document["_id"]}, **external_statements.EXTERNAL})
            if hidden is None or not _is_hidden(hidden):
                return False
            document = hidden
        copy = {name: value for name, value in document[external_statements.WAS].items() if name not in {"_id", "run"}}
        copied = {"_id": document[external_statements.MOVED]}
        try:
            await self.collection.insert_one(copied | copy)
        except DuplicateKeyError:
            # The copy exists, or another job has its key or its slot: without a state it needs neither, and is adopted
            # like any external document.
            plain_copy = {name: value for name, value in copy.items() if name not in {"state", "slots"}}
            with suppress(DuplicateKeyError):
                await self.collection.insert_one(copied | plain_copy)
        await self.collection.update_one(external_statements.hidden(document), external_statements.moved())
        return True

    @guarded
    async def reject(self, document: Document, why: str) -> bool:
        """Move a whole document to the rejected ones, and leave a small one with the reason in its place."""
        await self._rejected.replace_one({"_id": {"$eq": document["_id"]}}, document, upsert=True)
        small = {
            name: value
            for name in ("queue", "type")
            if isinstance(value := document.get(name), str) and len(value) <= _LONGEST_NAME
        }
        reason = f"{why}; the document is kept in the collection {_REJECTED}"
        left = {"_id": document["_id"], **small, external.REJECTED: reason}
        return bool((await self.collection.replace_one(external_statements.unchanged(document), left)).matched_count)

    async def _update_batch(self, updates: Sequence[tuple[Document, Document]]) -> list[bool | BaseException]:
        """Make updates; tell of each whether its document matched."""
        if len(updates) == 1:
            return [bool((await self.collection.update_one(*updates[0])).matched_count)]
        try:
            done = await self.collection.bulk_write([UpdateOne(*update) for update in updates], ordered=False)
        except BulkWriteError:
            pass
        else:
            if done.matched_count == len(updates):
                return [True] * len(updates)
        return [await self._is_written(*update) for update in updates]

    async def _is_written(self, guard: Document, update: Document) -> bool | BaseException:
        """Repeat one update of a batch of unknown outcome; tell whether it is made."""
        try:
            if (await self.collection.update_one(guard, update)).matched_count:
                return True
        except Exception as error:  # noqa: BLE001 - each call of the batch gets its own error
            return error
        same = {name: update["$set"][name] for name in ("run", "state", "endAt", "insertAt") if name in update["$set"]}
        return await exists(self.collection, {"_id": guard["_id"], **same})


def size(document: Document) -> int:
    """Return the bytes of a document."""
    return len(bson.encode(document))


def content_size(document: Document) -> int:
    """Return the bytes of data and meta together."""
    return size({name: document[name] for name in ("data", "meta") if name in document})


def needs_moving(document: Document) -> bool:
    """Tell whether the ``_id`` of a document is no ObjectId."""
    return not isinstance(document["_id"], ObjectId)


def is_remains(document: Document) -> bool:
    """Tell whether a document is the tombstone of a deleted job."""
    return (
        set(document) <= {"_id", "queue", "expireAt", "gone", statements.OPERATIONS}
        and date_or_none(document.get("expireAt")) is not None
    )


def _is_hidden(document: Mapping[str, Any]) -> bool:
    moved, was = document.get(external_statements.MOVED), document.get(external_statements.WAS)
    return isinstance(moved, ObjectId) and isinstance(was, dict)


def _past(document: Mapping[str, Any]) -> Document:
    """Return the fields that a job keeps of its past and its relatives, with defaults for useless values."""
    progress, logs = plain(document.get("progress")), typed(list, document.get("logs")) or []
    links = {name: plain(document.get(name)) for name in _LINKS}
    return {
        "attemptsMade": _count(document, "attemptsMade"),
        "progress": min(max(progress, 0), 100) if is_number(progress) else 0,
        "logs": logs,
        "logCount": max(_count(document, "logCount"), len(logs)),
        "history": typed(list, document.get("history")) or [],
        **{name: ObjectId(link) if ObjectId.is_valid(link) else None for name, link in links.items()},
        "attrs": attributes.derived(document.get("meta")),
        "run": _count(document, HAD),
    }


def _sound_queue(document: Mapping[str, Any]) -> Document:
    """Return the default queue for a document whose queue no search could find."""
    queue = document.get("queue")
    return {} if type(queue) is str and queue else {"queue": DEFAULT_QUEUE}


def _count(document: Mapping[str, Any], name: str) -> int:
    return external.count(plain(document.get(name)))


def _date(value: Any) -> datetime | None:
    with suppress(ValueError):
        return date_or_none(external.moment(value))
    return None
