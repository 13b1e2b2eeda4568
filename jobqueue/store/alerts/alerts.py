"""The `alerts` collection."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from jobqueue.domain.alerts import alert as alerts
from jobqueue.domain.alerts.alert import ALERT_QUEUE, FIELDS, StoredAlert
from jobqueue.domain.attempts.states import UNFINISHED
from jobqueue.domain.errors import JobQueueError
from jobqueue.store.insight.audit_outbox import AuditOutbox, entry_of
from jobqueue.store.insight.audit_statements import FEW_ENTRIES, FIELD, GONE, with_entry
from jobqueue.store.mongo.clock import EPOCH
from jobqueue.store.mongo.database import exists, guarded
from jobqueue.store.mongo.odd_values import date_or_none
from jobqueue.store.mongo.tolerant import typed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jobqueue.domain.alerts.alert import Alert
    from jobqueue.domain.insight.audit import AuditNote
    from jobqueue.store.documents.statements import Document
    from jobqueue.store.mongo.clock import ServerClock
    from jobqueue.store.mongo.database import Database

_THERE: Final[Document] = {"$nor": [GONE]}
_MOST: Final = 1_000
_BY_QUEUE: Final = "newestOfQueue"
_UNFINISHED: Final = sorted(state.value for state in UNFINISHED)


class AlertStore:
    """Alerts as documents, one each: the definition with its secret, ``{incarnation, revision, createdAt, …}``.

    A deleted alert leaves a document without a definition until its entries are in the audit, as schedules do.
    """

    def __init__(self, database: Database) -> None:
        self.collection = database.collection("alerts")
        self._jobs = database.collection("jobs")
        self.clock: ServerClock = database.clock
        self._outbox = AuditOutbox(database)

    @guarded
    async def find(self, name: str) -> StoredAlert | None:
        """Return an alert, or ``None``."""
        document = await self.collection.find_one({"_id": name, **_THERE})
        return _stored(document) if document else None

    @guarded
    async def all(self, after: str = "", limit: int = _MOST) -> list[StoredAlert]:
        """Return alerts by name, beginning with the first name after ``after``."""
        cursor = self.collection.find({"_id": {"$gt": after}, **_THERE}).sort("_id", 1).limit(limit)
        return [_stored(document) async for document in cursor]

    @guarded
    async def has_messages(self) -> bool:
        """Tell whether messages wait to be sent."""
        return await exists(self._jobs, {"queue": ALERT_QUEUE, "state": {"$in": _UNFINISHED}}, hint=_BY_QUEUE)

    @guarded
    async def swap(self, name: str, before: StoredAlert | None, after: StoredAlert | None, note: AuditNote) -> bool:
        """Replace an alert, unless it has changed meanwhile, with an entry for the audit: one update of one document.

        Args:
            name: of the alert.
            before: as `find` returned it; ``None`` creates it.
            after: ``None`` deletes it.
            note: for the audit.

        Raises:
            DatabaseUnavailableError: too many entries wait for the audit.
        """
        entry = with_entry(await entry_of(self.clock, ("alert", name), note))
        guard = {"_id": name, **GONE} if before is None else _guard(before)
        written: Document = {"$literal": {"_id": name, "gone": True} if after is None else _document(name, after)}
        update = [{"$replaceWith": {"$mergeObjects": [written, {FIELD: entry}]}}]
        return await self._outbox.swap(self.collection, guard, FEW_ENTRIES, update, upsert=before is None)


def _document(name: str, stored: StoredAlert) -> Document:
    definition = {} if stored.alert is None else stored.alert.wire(secrets=True)
    return {
        "_id": name,
        **definition,
        "incarnation": stored.incarnation,
        "revision": stored.revision,
        "createdAt": stored.created_at,
        "changedAt": stored.changed_at,
        "mutedUntil": stored.muted_until,
        "muteReason": stored.mute_reason,
    }


def _stored(document: Mapping[str, Any]) -> StoredAlert:
    """Return the alert of a document, without its definition if that cannot be understood."""
    name = str(document["_id"])
    revision = document.get("revision")
    return StoredAlert(
        name=name,
        alert=_alert(name, document),
        incarnation=str(document.get("incarnation")),
        revision=int(revision) if isinstance(revision, int | float) else 0,
        created_at=date_or_none(document.get("createdAt")) or EPOCH,
        changed_at=date_or_none(document.get("changedAt")) or EPOCH,
        muted_until=date_or_none(document.get("mutedUntil")),
        mute_reason=typed(str, document.get("muteReason")),
    )


def _alert(name: str, document: Mapping[str, Any]) -> Alert | None:
    try:
        return alerts.read(name, {field: document[field] for field in FIELDS if field in document})
    except (JobQueueError, TypeError, AttributeError, ValueError):
        return None


def _guard(seen: StoredAlert) -> Document:
    """Match an alert with the same definition; a spoilt one in any case."""
    if seen.alert is None:
        return {"_id": seen.name}
    return {"_id": seen.name, "incarnation": seen.incarnation, "revision": seen.revision}
