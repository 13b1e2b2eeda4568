"""The one document of the `config` collection: how each queue is configured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from jobqueue.domain.errors import DatabaseUnavailableError
from jobqueue.domain.queues.queue import read_what_holds
from jobqueue.store.insight.audit_outbox import AuditOutbox, entry_of
from jobqueue.store.insight.audit_statements import FIELD, HAS_ROOM, MOST_ENTRIES, with_entry
from jobqueue.store.mongo.clock import SERVER_NOW
from jobqueue.store.mongo.database import guarded
from jobqueue.store.mongo.driver import aggregate

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from jobqueue.domain.insight.audit import AuditNote
    from jobqueue.domain.queues.queue import QueueConfig
    from jobqueue.store.mongo.database import Database

Stored = dict[str, Any]
_ALL_BUT_ENTRIES: Final = {FIELD: 0}
_QUEUES: Final = {"$cond": [{"$eq": [{"$type": "$queues"}, "object"]}, "$queues", {"$literal": {}}]}
_NEXT: Final = {"$add": [{"$cond": [{"$isNumber": "$revision"}, "$revision", 0]}, 1]}
_WITH_TIME: Final[list[dict[str, Any]]] = [
    {"$match": {"_id": "config"}},
    {"$unset": FIELD},
    {"$facet": {"found": [{"$match": {}}]}},
    {"$set": {"at": SERVER_NOW}},
]
"""Answers also if there is no document: the time is never later than what is read."""


class _Nothing:
    """Tell "nothing is stored" from whatever may be stored."""


NOTHING: Final = _Nothing()


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigSnapshot:
    """All configurations at one moment.

    Attributes:
        queues: every configured queue.
        revision: how often anything was changed.
        at: the server's time of the reading, or a little earlier.
    """

    queues: Mapping[str, QueueConfig]
    revision: int
    at: datetime


class ConfigStore:
    """Queue configurations, all in one document ``{queues: {name: {…}}, revision}``.

    Entries of the audit wait in it too, as `audit_outbox` describes.
    """

    def __init__(self, database: Database) -> None:
        self.collection = database.collection("config")
        self._clock = database.clock
        self._outbox = AuditOutbox(database)

    @guarded
    async def all(self) -> ConfigSnapshot:
        """Return every configured queue, how often anything was changed, and the server's time."""
        answer = await self._answer()
        found = (answer["found"] or [{}])[0]
        queues, revision = found.get("queues"), found.get("revision")
        known = queues if isinstance(queues, dict) else {}
        configs = {name: read_what_holds(one) for name, one in known.items() if isinstance(one, dict)}
        return ConfigSnapshot(queues=configs, revision=revision if isinstance(revision, int) else 0, at=answer["at"])

    async def _answer(self) -> dict[str, Any]:
        answers = await (await aggregate(self.collection, _WITH_TIME)).to_list(1)
        if not answers:
            # A router answers nothing of a database without collections.
            answers = [{"found": [], "at": await self._clock.ask()}]
        return dict(answers[0])

    @guarded
    async def stored(self, name: str) -> Any:
        """Return what is stored of one queue, secrets included; `NOTHING` if there is nothing.

        It is an object unless somebody has spoilt it by hand.
        """
        found = await self.collection.find_one({"_id": "config"}, _ALL_BUT_ENTRIES)
        queues = (found or {}).get("queues")
        return queues.get(name, NOTHING) if isinstance(queues, dict) else NOTHING

    @guarded
    async def swap(self, name: str, before: Any, after: Stored | None, note: AuditNote) -> bool:
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
