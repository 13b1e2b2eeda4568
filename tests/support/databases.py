"""Databases for tests, used again where a test leaves their collections and indexes as they were."""

from __future__ import annotations

import asyncio
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import bson
from pymongo import MongoClient

from jobqueue.services.application import Runtime
from jobqueue.settings import Settings

if TYPE_CHECKING:
    from pymongo.database import Database as MongoDatabase

Shape = dict[str, tuple[bytes, list[bytes]]]
"""Options and indexes by collection."""

MOST_DOCUMENTS: Final = 2_000
"""To drop a database with more documents takes less time than to empty its collections."""


class Databases:
    """Hand out databases of one server to the tests of one process.

    To create the indexes of a database takes five times as long as most tests take.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._client: MongoClient[dict[str, Any]] = MongoClient(url)
        self._ready: list[str] = []
        self._shape: Shape = {}

    def new(self) -> str:
        """Return the name of a database that does not exist."""
        return f"test_{secrets.token_hex(6)}"

    def ready(self) -> str:
        """Return the name of a database with empty collections and all indexes."""
        if self._ready:
            return self._ready.pop()
        name = self.new()
        asyncio.run(self._prepare(name))
        self._shape = self._shape or _shape(self._client[name])
        return name

    def put_back(self, name: str) -> None:
        """Empty a database for the next test; drop a database that is not as `ready` made it."""
        database = self._client[name]
        present = _shape(database)
        if _is_small(database, present) and present.items() >= self._shape.items():
            for collection in present:
                if collection in self._shape:
                    database[collection].delete_many({})
                else:
                    database.drop_collection(collection)
            database.command("planCacheClear", "jobs")
            self._ready.append(name)
        else:
            self.drop(name)

    def drop(self, name: str) -> None:
        """Drop a database."""
        # A server takes fifteen times as long to drop a database that is not empty.
        for collection in self._client[name].list_collection_names():
            self._client[name].drop_collection(collection)
        self._client.drop_database(name)

    def close(self) -> None:
        """Drop the databases that are left."""
        for name in self._ready:
            self.drop(name)
        self._client.close()

    async def _prepare(self, name: str) -> None:
        settings = Settings.load({"mongo_url": self._url, "db": name}, environ={}, cwd=Path("/"))
        runtime = await Runtime.open(settings)
        await runtime.close()


def _is_small(database: MongoDatabase[dict[str, Any]], shape: Shape) -> bool:
    counts = (database[name].estimated_document_count() for name in shape)
    return sum(counts) <= MOST_DOCUMENTS


def _shape(database: MongoDatabase[dict[str, Any]]) -> Shape:
    # As bytes: a filter with NaN does not equal itself.
    return {
        collection["name"]: (
            bson.encode(collection["options"]),
            sorted(map(bson.encode, database[collection["name"]].list_indexes())),
        )
        for collection in database.list_collections()
    }
