"""The `audit` collection: what people changed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bson import ObjectId

from jobqueue.domain.audit import Entry
from jobqueue.store.database import guarded

if TYPE_CHECKING:
    from collections.abc import Mapping

    from motor.motor_asyncio import AsyncIOMotorClientSession

    from jobqueue.domain.audit import Actor
    from jobqueue.store.database import Database


class AuditStore:
    """Entries ``{at, by, action, target: {kind, name}, before, after}``; kept for ever."""

    def __init__(self, database: Database) -> None:
        self.collection = database.collection("audit")
        self._clock = database.clock

    async def add(
        self,
        target: tuple[str, str],
        action: str,
        by: Actor,
        changed: tuple[Mapping[str, Any] | None, Mapping[str, Any] | None],
        session: AsyncIOMotorClientSession,
    ) -> None:
        """Add an entry in the transaction that makes the change."""
        kind, name = target
        before, after = changed
        entry = {
            "at": await self._clock.now(),
            "by": by.wire(),
            "action": action,
            "target": {"kind": kind, "name": name},
            "before": before,
            "after": after,
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
