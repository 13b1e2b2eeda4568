"""Entries of the audit that wait in the document whose change they note.

A change and its entry are one update of one document: a process that is killed leaves both or neither, and no lock.
Afterwards the entry moves to the `audit` collection: by the process that made the change, by the next one that changes
the document or reads the audit, or by a background pass.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from jobqueue.domain.errors import DatabaseUnavailableError
from jobqueue.journal import get_logger
from jobqueue.store.insight.audit_statements import (
    FIELD,
    GONE,
    INDEX,
    MOST_ENTRIES,
    NOTHING_WAITS,
    WAITING,
    bounded,
    without,
)
from jobqueue.store.mongo.database import DUPLICATE_KEY, exists, guarded
from jobqueue.store.mongo.driver import AsyncCollection, BulkWriteError, DuplicateKeyError, PyMongoError, timeout
from jobqueue.store.mongo.tolerant import typed

if TYPE_CHECKING:
    from jobqueue.domain.insight.audit import AuditNote
    from jobqueue.store.documents.statements import Document
    from jobqueue.store.mongo.clock import ServerClock
    from jobqueue.store.mongo.database import Database

log = get_logger(__name__)
DRAIN_SECONDS: Final = 5.0
"""Seconds between two background passes."""
_MOMENT: Final = 1.0
_AT_ONCE: Final = 100
_FIELDS: Final = frozenset({"_id", "at", "by", "action", "target", "before", "after"})


async def entry_of(clock: ServerClock, target: tuple[str, str], note: AuditNote) -> Document:
    """Return an entry under a fresh id, at the present time.

    Args:
        clock: the server's.
        target: kind and name of the changed resource, such as ``("queue", "media")``.
        note: describes the change.
    """
    kind, name = target
    return {
        "_id": await clock.new_id(),
        "at": await clock.now(),
        "by": note.by.wire(),
        "action": note.action,
        "target": {"kind": kind, "name": name},
        "before": bounded(note.before),
        "after": bounded(note.after),
    }


class AuditOutbox:
    """Moves entries from the documents they wait in to the `audit` collection.

    It inserts an entry under its id first and takes it out of the document then. Any number of processes may repeat
    each of these steps.
    """

    def __init__(self, database: Database) -> None:
        self._audit = database.collection("audit")
        self._config = database.collection("config")
        self._others = [database.collection(name) for name in ("schedules", "operations", "alerts")]

    @guarded
    async def run_once(self) -> None:
        """Move all waiting entries."""
        await self._drain(self._config, {"_id": "config", **WAITING})
        for source in self._others:
            await self._drain(source, WAITING, hint=INDEX)

    async def swap(
        self,
        source: AsyncCollection[Any],
        guard: Document,
        room: Document,
        update: list[Document],
        *,
        upsert: bool = False,
    ) -> bool:
        """Change one document together with its entry; tell whether it still matched the guard.

        Args:
            source: the collection of the document.
            guard: matches the document by its ``_id``, unless it has changed meanwhile.
            room: matches it if it can take another entry.
            update: the change and the entry.
            upsert: create the document.

        Raises:
            DatabaseUnavailableError: too many entries wait for the audit.
        """
        await self.try_to_drain(source, guard["_id"])
        try:
            done = await source.update_one(guard | room, update, upsert=upsert)
            is_made = bool(done.matched_count) or done.upserted_id is not None
        except DuplicateKeyError:
            is_made = False
        if is_made:
            await self.try_to_drain(source, guard["_id"])
        elif await exists(source, guard):
            raise DatabaseUnavailableError(f"{MOST_ENTRIES} entries wait for the audit, which takes none now")
        return is_made

    async def try_to_drain(self, source: AsyncCollection[Any], document_id: Any) -> None:
        """Move the entries of one document if that is possible at once; otherwise they wait on."""
        try:
            with timeout(_MOMENT):
                await self._drain(source, {"_id": document_id, FIELD: {"$exists": True}})
        except PyMongoError as error:
            log.warning("audit entries delayed", collection=source.name, id=document_id, error=str(error)[:200])

    async def _drain(self, source: AsyncCollection[Any], query: Document, *, hint: str | None = None) -> None:
        for document in await source.find(query, {FIELD: 1, "gone": 1}, hint=hint).limit(_AT_ONCE).to_list(None):
            entries = [entry for entry in typed(list, document.get(FIELD)) or () if isinstance(entry, dict)]
            # An entry that another tool has spoilt would spoil the reading of all others.
            await self._insert([entry for entry in entries if entry.keys() >= _FIELDS])
            await source.update_one({"_id": document["_id"]}, without([entry.get("_id") for entry in entries]))
            if document.get("gone"):
                await source.delete_one({"_id": document["_id"], **GONE, **NOTHING_WAITS})

    async def _insert(self, entries: list[Document]) -> None:
        """Insert entries; the present ones stay as they are."""
        if not entries:
            return
        try:
            await self._audit.insert_many(entries, ordered=False)
        except BulkWriteError as error:
            details = error.details or {}
            others = [refusal for refusal in details["writeErrors"] if refusal["code"] != DUPLICATE_KEY]
            if others or details.get("writeConcernErrors"):
                raise
