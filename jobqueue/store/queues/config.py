"""The one document of the `config` collection: the configuration of each queue."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from jobqueue.domain.queues import needs
from jobqueue.domain.queues.queue import read_stored
from jobqueue.store.insight.audit_outbox import AuditOutbox, entry_of
from jobqueue.store.insight.audit_statements import FIELD, HAS_ROOM, with_entry
from jobqueue.store.mongo.clock import SERVER_NOW
from jobqueue.store.mongo.database import guarded
from jobqueue.store.mongo.driver import aggregate
from jobqueue.store.mongo.odd_values import mapping
from jobqueue.store.mongo.tolerant import number, typed

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from jobqueue.domain.insight.audit import AuditNote
    from jobqueue.domain.queues.queue import QueueConfig
    from jobqueue.store.mongo.database import Database

Stored = dict[str, Any]
_ALL_BUT_ENTRIES: Final = {FIELD: 0}
_QUEUES: Final = {"$cond": [{"$eq": [{"$type": "$queues"}, "object"]}, "$queues", {"$literal": {}}]}
_NEXT: Final = {"$add": [number("$revision", 0), 1]}
WITH_TIME: Final[list[dict[str, Any]]] = [
    {"$match": {"_id": "config"}},
    {"$unset": FIELD},
    {"$facet": {"found": [{"$match": {}}]}},
    {"$set": {"at": SERVER_NOW}},
]
"""Answer also without a document; the time is never later than the reading."""


NOTHING: Final = object()
"""Stands for a queue without a stored configuration: any other value may be stored."""
MOST_WITH_NEEDS: Final = 1_000
"""Queues in the configuration beyond which no needs are noted for further queues: every process reads all of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigSnapshot:
    """All configurations at one moment.

    Attributes:
        queues: every configured queue.
        revision: the number of changes.
        at: the server's time of the reading, or a little earlier.
        needs: of queues that have some.
    """

    queues: Mapping[str, QueueConfig]
    revision: int
    at: datetime
    needs: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


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
        """Return every configured queue, the number of changes, and the server's time."""
        return snapshot(await self._answer())

    async def _answer(self) -> dict[str, Any]:
        answers = await (await aggregate(self.collection, WITH_TIME)).to_list(1)
        if not answers:
            # A router answers nothing of a database without collections.
            answers = [{"found": [], "at": await self._clock.ask()}]
        return dict(answers[0])

    @guarded
    async def stored(self, name: str) -> Any:
        """Return the stored configuration of one queue, secrets included, or `NOTHING`.

        It is an object unless another tool has spoilt it. The needs of the queue are no part of it.
        """
        return _of_person(await self._stored(name))

    @guarded
    async def need(self, name: str, need: str) -> None:
        """Note that a process has to have an ability to claim from a queue, unless too many queues are configured.

        Args:
            name: a checked queue name.
            need: one of `needs.ABILITIES`.
        """
        await self.collection.update_one({"_id": "config"}, [{"$set": {"queues": _QUEUES}}], upsert=True)
        path = f"queues.{name}.{needs.FIELD}"
        present = f"${path}"
        is_marked = {"$isArray": f"{present}.{needs.NEEDS}"}
        paused = {"$cond": [{"$cond": [is_marked, f"{present}.{needs.FIELD}", present]}, True, False]}
        known = {"$cond": [is_marked, f"{present}.{needs.NEEDS}", []]}
        marked = {needs.NEEDS: {"$setUnion": [known, [need]]}, needs.FIELD: paused}
        has_room = {"$expr": {"$lt": [{"$size": {"$objectToArray": "$queues"}}, MOST_WITH_NEEDS]}}
        where = {"_id": "config", "$or": [{f"queues.{name}": {"$exists": True}}, has_room]}
        # A plain object would be merged into the value that is there.
        await self.collection.update_one(
            where, [{"$set": {path: {"$mergeObjects": [marked]}}}, {"$set": {"revision": _NEXT}}]
        )

    async def _stored(self, name: str) -> Any:
        document = await self.collection.find_one({"_id": "config"}, _ALL_BUT_ENTRIES)
        return mapping((document or {}).get("queues")).get(name, NOTHING)

    @guarded
    async def swap(self, name: str, before: Any, after: Stored | None, note: AuditNote) -> bool:
        """Replace the configuration of one queue, unless it has changed meanwhile, with an entry for the audit.

        One update of one document: a process that is killed makes the change with its entry, or not at all, and no
        other change has to wait for that.

        Args:
            name: a checked queue name, so that it is one step of a path.
            before: as `stored` returned it.
            after: the values that differ from the defaults, secrets included; ``None`` deletes it.
            note: for the audit.

        Raises:
            DatabaseUnavailableError: too many entries wait for the audit.
        """
        # Another tool may have replaced the object of all queues: no path leads through another value.
        await self.collection.update_one({"_id": "config"}, [{"$set": {"queues": _QUEUES}}], upsert=True)
        path = f"queues.{name}"
        stored = await self._stored(name)
        if _of_person(stored) != before:
            return False
        after = needs.keep(after, needs.of(stored))
        guard = {"_id": "config", path: {"$exists": False} if stored is NOTHING else {"$eq": stored}}
        entry = await entry_of(self._clock, ("queue", name), note)
        update = [
            {"$unset": path} if after is None else {"$set": {path: {"$literal": after}}},
            {"$set": {"revision": _NEXT, FIELD: with_entry(entry)}},
        ]
        return await self._outbox.swap(self.collection, guard, HAS_ROOM, update)


def snapshot(answer: Mapping[str, Any]) -> ConfigSnapshot:
    """Return the configurations of an answer to `WITH_TIME`."""
    document = (answer["found"] or [{}])[0]
    stored = mapping(document.get("queues"))
    configs = {name: read_stored(values) for name, values in stored.items() if isinstance(values, dict)}
    needed = {name: found for name, values in stored.items() if (found := needs.of(values))}
    for name in needed:
        if _of_person(stored[name]) is NOTHING and not configs[name].paused:
            del configs[name]
    revision = typed(int, document.get("revision")) or 0
    return ConfigSnapshot(queues=configs, revision=revision, at=answer["at"], needs=needed)


def _of_person(stored: Any) -> Any:
    """Return a stored configuration without needs; `NOTHING` if there was nothing else."""
    if not needs.of(stored):
        return stored
    return needs.without(stored) or NOTHING
