"""The one document of the `config` collection: how each queue is configured."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from pymongo.errors import DuplicateKeyError

from jobqueue.domain.queue import read_what_holds
from jobqueue.store.audit import AuditStore
from jobqueue.store.database import guarded

if TYPE_CHECKING:
    from motor.motor_asyncio import AsyncIOMotorClientSession

    from jobqueue.domain.queue import QueueConfig
    from jobqueue.store.audit import Note
    from jobqueue.store.database import Database

Stored = dict[str, Any]


class _Nothing:
    """Tell "nothing is stored" from whatever may be stored."""


NOTHING: Final = _Nothing()


class ConfigStore:
    """Queue configurations, all in one document ``{queues: {name: {…}}, revision}``."""

    def __init__(self, database: Database) -> None:
        self.collection = database.collection("config")
        self._database = database
        self._audit = AuditStore(database)

    @guarded
    async def all(self) -> tuple[dict[str, QueueConfig], int]:
        """Return every configured queue, and how often anything was changed."""
        found = await self.collection.find_one({"_id": "config"}) or {}
        queues, revision = found.get("queues"), found.get("revision")
        known = queues if isinstance(queues, dict) else {}
        configs = {name: read_what_holds(one) for name, one in known.items() if isinstance(one, dict)}
        return configs, revision if isinstance(revision, int) else 0

    @guarded
    async def stored(self, name: str) -> Any:
        """Return what is stored of one queue, secrets included; `NOTHING` if there is nothing.

        It is an object unless somebody has spoilt it by hand.
        """
        found = await self.collection.find_one({"_id": "config"})
        queues = (found or {}).get("queues")
        return queues.get(name, NOTHING) if isinstance(queues, dict) else NOTHING

    @guarded
    async def swap(self, name: str, before: Any, after: Stored | None, note: Note) -> bool:
        """Replace what is stored of one queue, and note who did it, if it still is what it was before.

        One transaction: a person's change is rare, and is to be found in the audit exactly if it was made.

        Args:
            name: a checked queue name, so that it is one step of a path.
            before: as `stored` returned it.
            after: only what is to differ from the defaults, secrets included; ``None`` deletes it.
            note: for the audit.
        """
        path = f"queues.{name}"
        guard = {"_id": "config", path: {"$exists": False} if before is NOTHING else {"$eq": before}}
        update: dict[str, Any] = {"$unset": {path: ""}} if after is None else {"$set": {path: after}}
        update["$inc"] = {"revision": 1}

        async def change(session: AsyncIOMotorClientSession) -> bool:
            # Somebody may have put something else in place of all queues: no path leads through that.
            spoilt = {"_id": "config", "$expr": {"$ne": [{"$type": "$queues"}, "object"]}}
            await self.collection.update_one(spoilt, {"$set": {"queues": {}}}, session=session)
            done = await self.collection.update_one(guard, update, upsert=before is NOTHING, session=session)
            if not done.matched_count and done.upserted_id is None:
                return False
            await self._audit.add(("queue", name), note, session)
            return True

        try:
            return await self._database.in_transaction(change)
        except DuplicateKeyError:
            # The document is there, and says something else of this queue.
            return False
