"""The one document of the `config` collection: how each queue is configured."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pymongo import ReturnDocument

from jobqueue.store import documents
from jobqueue.store.database import guarded

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jobqueue.domain.queue import QueueConfig
    from jobqueue.store.database import Database


class ConfigStore:
    """Queue configurations, all in one document ``{queues: {name: {…}}}``."""

    def __init__(self, database: Database) -> None:
        self.collection = database.collection("config")

    @guarded
    async def all(self) -> dict[str, QueueConfig]:
        """Return every configured queue."""
        found = await self.collection.find_one({"_id": "config"})
        queues: Mapping[str, Any] = (found or {}).get("queues") or {}
        return {name: documents.queue_config(one) for name, one in queues.items()}

    @guarded
    async def replace(self, name: str, config: Mapping[str, Any]) -> QueueConfig:
        """Set the whole configuration of one queue; the others are not touched.

        Args:
            name: a checked queue name, so that it is one step of a path.
            config: in wire form, secrets included, only what is to differ from the defaults.
        """
        found = await self.collection.find_one_and_update(
            {"_id": "config"},
            {"$set": {f"queues.{name}": dict(config)}},
            upsert=True,
            return_document=ReturnDocument.AFTER,
        )
        return documents.queue_config(found["queues"][name])

    @guarded
    async def set_paused(self, name: str, *, paused: bool) -> QueueConfig:
        """Set only whether a queue is paused; ``name`` is a checked queue name."""
        found = await self.collection.find_one_and_update(
            {"_id": "config"},
            {"$set": {f"queues.{name}.paused": paused}},
            upsert=True,
            return_document=ReturnDocument.AFTER,
        )
        return documents.queue_config(found["queues"][name])
