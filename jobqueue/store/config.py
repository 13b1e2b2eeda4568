"""The one document of the `config` collection: how each queue is configured."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from jobqueue.domain.errors import DatabaseUnavailableError
from jobqueue.domain.queue import read_what_holds
from jobqueue.store.audit_outbox import AuditOutbox, entry_of
from jobqueue.store.audit_statements import FIELD, HAS_ROOM, MOST_ENTRIES, with_entry
from jobqueue.store.database import guarded

if TYPE_CHECKING:
    from jobqueue.domain.queue import QueueConfig
    from jobqueue.store.audit import Note
    from jobqueue.store.database import Database

Stored = dict[str, Any]
_ALL_BUT_ENTRIES: Final = {FIELD: 0}
_QUEUES: Final = {"$cond": [{"$eq": [{"$type": "$queues"}, "object"]}, "$queues", {"$literal": {}}]}
_NEXT: Final = {"$add": [{"$cond": [{"$isNumber": "$revision"}, "$revision", 0]}, 1]}


class _Nothing:
    """Tell "nothing is stored" from whatever may be stored."""


NOTHING: Final = _Nothing()


class ConfigStore:
    """Queue configurations, all in one document ``{queues: {name: {…}}, revision}``.

    Entries of the audit wait in it too, as `audit_outbox` describes.
    """

    def __init__(self, database: Database) -> None:
        self.collection = database.collection("config")
        self._clock = database.clock
        self._outbox = AuditOutbox(database)

    @guarded
    async def all(self) -> tuple[dict[str, QueueConfig], int]:
        """Return every configured queue, and how often anything was changed."""
        found = await self.collection.find_one({"_id": "config"}, _ALL_BUT_ENTRIES) or {}
        queues, revision = found.get("queues"), found.get("revision")
        known = queues if isinstance(queues, dict) else {}
        configs = {name: read_what_holds(one) for name, one in known.items() if isinstance(one, dict)}
        return configs, revision if isinstance(revision, int) else 0

    @guarded
    async def stored(self, name: str) -> Any:
        """Return what is stored of one queue, secrets included; `NOTHING` if there is nothing.

        It is an object unless somebody has spoilt it by hand.
        """
        found = await self.collection.find_one({"_id": "config"}, _ALL_BUT_ENTRIES)
        queues = (found or {}).get("queues")
        return queues.get(name, NOTHING) if isinstance(queues, dict) else NOTHING

    @guarded
    async def swap(self, name: str, before: Any, after: Stored | None, note: Note) -> bool:
        """Replace what is stored of one queue, if it still is what it was before, with an entry for the audit.

        One update of one document: a process that is killed makes the change with its entry, or not at all, and no
        other change has to wait for that.

        Args:
            name: a checked queue name, so that it is one step of a path.
            before: as `stored` returned it.
            after: only what is to differ from the defaults, secrets included; ``None`` deletes it.
            note: for the audit.

        Raises:
            DatabaseUnavailableError: too many entries wait for the audit.
        """
        await self._outbox.try_to_drain(self.collection, "config")
        # Another tool may have put something else in place of all queues: no path leads through that.
        await self.collection.update_one({"_id": "config"}, [{"$set": {"queues": _QUEUES}}], upsert=True)
        path = f"queues.{name}"
        guard = {"_id": "config", path: {"$exists": False} if before is NOTHING else {"$eq": before}}
        entry = await entry_of(self._clock, ("queue", name), note)
        update = [
            {"$unset": path} if after is None else {"$set": {path: {"$literal": after}}},
            {"$set": {"revision": _NEXT, FIELD: with_entry(entry)}},
        ]
        if (await self.collection.update_one(guard | HAS_ROOM, update)).matched_count:
            await self._outbox.try_to_drain(self.collection, "config")
            return True
        if await self.collection.find_one(guard, {"_id": 1}) is not None:
            raise DatabaseUnavailableError(f"{MOST_ENTRIES} entries wait for the audit, which takes none now")
        return False
