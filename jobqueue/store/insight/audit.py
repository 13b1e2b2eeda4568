"""The `audit` collection: changes that people made."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from bson import ObjectId

from jobqueue.domain.access.masking import masked_queue
from jobqueue.domain.insight.audit import Actor, AuditQuery, Entry
from jobqueue.store.insight.audit_outbox import AuditOutbox
from jobqueue.store.insight.audit_statements import bounded
from jobqueue.store.mongo.clock import EPOCH
from jobqueue.store.mongo.database import guarded
from jobqueue.store.mongo.odd_values import date_or_none, mapping, text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jobqueue.store.mongo.database import Database

_FIND_MS: Final = 5000
UNKNOWN: Final = "?"
"""The text in place of one that another tool has spoilt."""


class AuditStore:
    """Entries ``{at, by, action, target: {kind, name}, before, after}``; kept for ever."""

    def __init__(self, database: Database) -> None:
        self.collection = database.collection("audit")
        self._clock = database.clock
        self._outbox = AuditOutbox(database)

    @guarded
    async def begin(self, target: tuple[str, str], action: str, by: Actor) -> Any:
        """Note that a change is begun; return the key for `complete` and `discard`."""
        kind, name = target
        entry = {
            "by": by.wire(),
            "action": action,
            "target": {"kind": kind, "name": name},
            "before": None,
            "after": None,
            "unconfirmed": True,
        }
        entry_id = await self._clock.new_id()
        update = [{"$set": {"at": "$$NOW", **{field: {"$literal": value} for field, value in entry.items()}}}]
        await self.collection.update_one({"_id": entry_id}, update, upsert=True)
        return entry_id

    @guarded
    async def complete(self, entry: Any, before: Any, after: Any) -> None:
        """Note a change that was made, without values that are too large."""
        values = {name: bounded(value) for name, value in (("before", before), ("after", after))}
        await self.collection.update_one({"_id": entry}, {"$set": values, "$unset": {"unconfirmed": ""}})

    @guarded
    async def discard(self, entry: Any) -> None:
        """Forget a change that was not made."""
        await self.collection.delete_one({"_id": entry})

    async def page(
        self, kind: str, name: str, *, before: str | None = None, limit: int, but: str | None = None
    ) -> list[Entry]:
        """Return changes of one resource, newest first, older than the entry of the id ``before``.

        ``but`` is an action whose entries are left out.
        """
        return await self.find(AuditQuery(kind=kind, name=name, cursor=before, limit=limit, but=but))

    @guarded
    async def find(self, query: AuditQuery) -> list[Entry]:
        """Return changes, newest first; entries that wait in their documents are moved before."""
        await self._outbox.run_once()
        asked = {"target.kind": query.kind, "target.name": query.name, "action": query.action, "by.name": query.actor}
        search: dict[str, Any] = {name: value for name, value in asked.items() if value is not None}
        if query.but is not None and query.action is None:
            search["action"] = {"$ne": query.but}
        times = {"$gte": query.after, "$lt": query.before}
        if bounds := {name: value for name, value in times.items() if value is not None}:
            search["at"] = bounds
        if query.cursor is not None:
            search["_id"] = {"$lt": ObjectId(query.cursor)}
        cursor = self.collection.find(search).sort("_id", -1).limit(query.limit)
        return [_entry(document) async for document in cursor.max_time_ms(_FIND_MS)]


def _entry(document: Mapping[str, Any]) -> Entry:
    """Return the entry of a document; a field that another tool has spoilt says nothing."""
    before, after = document.get("before"), document.get("after")
    target, by = mapping(document.get("target")), mapping(document.get("by"))
    if target.get("kind") == "queue":
        # Entries of earlier versions have whole URLs of webhooks.
        before, after = masked_queue(before), masked_queue(after)
    return Entry(
        id=str(document["_id"]),
        at=date_or_none(document.get("at")) or EPOCH,
        by=Actor(
            name=text(by.get("name")) or UNKNOWN, via=text(by.get("via")) or UNKNOWN, address=text(by.get("from"))
        ).wire(),
        action=text(document.get("action")) or UNKNOWN,
        before=before,
        after=after,
        target={name: text(target.get(name)) or UNKNOWN for name in ("kind", "name")},
        unconfirmed=bool(document.get("unconfirmed")),
    )
