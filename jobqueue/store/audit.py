"""The `audit` collection: what people changed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bson import ObjectId

from jobqueue.domain.audit import Entry
from jobqueue.store.database import guarded

if TYPE_CHECKING:
    from collections.abc import Mapping

    from motor.motor_asyncio import AsyncIOMotorClientSession

    from jobqueue.domain.audit import Actor
    from jobqueue.store.database import Database


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """What the audit says of a change; ``before`` and ``after`` have their secrets masked."""

    action: str
    by: Actor
    before: Mapping[str, Any] | None
    after: Mapping[str, Any] | None


class AuditStore:
    """Entries ``{at, by, action, target: {kind, name}, before, after}``; kept for ever."""

    def __init__(self, database: Database) -> None:
        self.collection = database.collection("audit")
        self._clock = database.clock

    async def add(
        self,
        target: tuple[str, str],
        note: Note,
        session: AsyncIOMotorClientSession,
    ) -> None:
        """Add an entry in the transaction that makes the change.

        Args:
            target: kind and name of what is changed, such as ``("queue", "media")``.
            note: what to say of it.
            session: of the transaction.
        """
        kind, name = target
        entry = {
            "at": await self._clock.now(),
            "by": note.by.wire(),
            "action": note.action,
            "target": {"kind": kind, "name": name},
            "before": note.before,
            "after": note.after,
        }
        await self.collection.insert_one(entry, session=session)

    @guarded
    async def page(self, kind: str, name: str, *, before: str | None = None, limit: int) -> list[Entry]:
        """Return changes of one thing, newest first, older than the entry of the id ``before``."""
        found: dict[str, Any] = {"target.kind": kind, "target.name": name}
        if before is not None:
            found["_id"] = {"$lt": ObjectId(before)}
        cursor = self.collection.find(found).sort("_id", -1).limit(limit)
        return [
            Entry(
                id=str(one["_id"]),
                at=one["at"],
                by=one["by"],
                action=one["action"],
                before=one["before"],
                after=one["after"],
            )
            async for one in cursor
        ]
