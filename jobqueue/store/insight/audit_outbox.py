"""Entries of the audit that wait in the document whose change they note.

A change and its entry are one update of one document, so that a process that is killed leaves both or neither, and
nothing locked. The entry is moved to the `audit` collection afterwards: by the process that made the change, by the
next one that changes the document or reads the audit, or by a background pass.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from jobqueue.journal import get_logger
from jobqueue.store.insight.audit_statements import FIELD, GONE, INDEX, NOTHING_WAITS, WAITING, bounded, without
from jobqueue.store.mongo.database import DUPLICATE_KEY, guarded
from jobqueue.store.mongo.driver import AsyncCollection, BulkWriteError, PyMongoError, timeout

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
        target: kind and name of the thing that is changed, such as ``("queue", "media")``.
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

    An entry is inserted under its id first and taken out of the document then: each can be done any number of times,
    by any number of processes.
    """

    def __init__(self, database: Database) -> None:
        self._audit = database.collection("audit")
        self._config = database.collection("config")
        self._others = [database.collection(name) for name in ("schedules", "operations")]

    @guarded
    async def run_once(self) -> None:
        """Move all entries that wait anywhere."""
        await self._drain(self._config, {"_id": "config", **WAITING})
        for source in self._others:
            await self._drain(source, WAITING, hint=INDEX)

    async def try_to_drain(self, source: AsyncCollection[Any], document_id: Any) -> None:
        """Move the entries of one document if that is possible at once; if not, they go on waiting."""
        try:
            with timeout(_MOMENT):
                await self._drain(source, {"_id": document_id, FIELD: {"$exists": True}})
        except PyMongoError as error:
            log.warning("audit entries go on waiting", collection=source.name, id=document_id, error=str(error)[:200])

    async def _drain(self, source: AsyncCollection[Any], wanted: Document, *, hint: str | None = None) -> None:
        found = [one async for one in source.find(wanted, {FIELD: 1, "gone": 1}, hint=hint).limit(_AT_ONCE)]
        for document in found:
            waiting = document.get(FIELD)
            entries = [one for one in waiting if isinstance(one, dict)] if isinstance(waiting, list) else []
            # An entry that another tool has spoilt would spoil the reading of all others.
            await self._insert([one for one in entries if one.keys() >= _FIELDS])
            await source.update_one({"_id": document["_id"]}, without([one.get("_id") for one in entries]))
            if document.get("gone"):
                await source.delete_one({"_id": document["_id"], **GONE, **NOTHING_WAITS})

    async def _insert(self, entries: list[Document]) -> None:
        """Insert entries; those that are there already stay as they are."""
        if not entries:
            return
        try:
            await self._audit.insert_many(entries, ordered=False)
        except BulkWriteError as error:
            details = error.details or {}
            if details.get("writeConcernErrors") or any(one["code"] != DUPLICATE_KEY for one in details["writeErrors"]):
                raise
