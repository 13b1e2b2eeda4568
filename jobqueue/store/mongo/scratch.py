"""Databases for tests, used again where a test leaves their collections and indexes as they were."""

from __future__ import annotations

import secrets
from collections import deque
from typing import TYPE_CHECKING, Any, Final

import bson

from jobqueue.store.mongo.driver import LENIENT, MongoClient

if TYPE_CHECKING:
    from collections.abc import Callable

    from pymongo.database import Database as MongoDatabase

MOST_DOCUMENTS: Final = 2_000
"""To drop a database with more documents takes less time than to empty its collections."""


class ScratchDatabases:
    """Hands out databases of one server to the tests of one process.

    To create the indexes of a database takes longer than most tests take.

    Args:
        url: of the server.
        prepare: creates the collections and indexes of a database by its name; blocks.
        resting: databases that rest: the last writes of a process that a test has killed may still be under way.
    """

    def __init__(self, url: str, prepare: Callable[[str], object], *, resting: int = 0) -> None:
        self._client: MongoClient[dict[str, Any]] = MongoClient(url)
        self._prepare = prepare
        self._resting = resting
        self._used: deque[str] = deque()
        self._options: dict[str, bytes] = {}
        self._indexes = 0

    def new(self) -> str:
        """Return the name of a database that does not exist."""
        return f"test_{secrets.token_hex(6)}"

    def ready(self) -> str:
        """Return the name of a database with empty collections and all indexes."""
        while len(self._used) > self._resting:
            name = self._used.popleft()
            if self._empty(self._client[name]):
                return name
            self.drop(name)
        name = self.new()
        self._prepare(name)
        if not self._options:
            self._options, self._indexes = _options(self._client[name]), _index_count(self._client[name])
        return name

    def put_back(self, name: str) -> None:
        """Keep a database for later tests."""
        self._used.append(name)

    def drop(self, name: str) -> None:
        """Drop a database."""
        # A server takes fifteen times as long to drop a database that is not empty.
        for collection in self._client[name].list_collection_names():
            self._client[name].drop_collection(collection)
        self._client.drop_database(name)

    def jobs(self, name: str) -> list[dict[str, Any]]:
        """Return the documents of all jobs of a database, oldest first."""
        return list(self._client.get_database(name, codec_options=LENIENT)["jobs"].find().sort("_id", 1))

    def close(self) -> None:
        """Drop the databases that are left."""
        for name in self._used:
            self.drop(name)
        self._client.close()

    def _empty(self, database: MongoDatabase[dict[str, Any]]) -> bool:
        """Empty a database; return False if it is not as `ready` made it."""
        present = _options(database)
        for other in present.keys() - self._options.keys():
            database.drop_collection(other)
        if not present.items() >= self._options.items():
            return False
        stats = database.command("dbStats")
        if stats["indexes"] != self._indexes or stats["objects"] > MOST_DOCUMENTS:
            return False
        for collection in _filled(database, sorted(self._options)):
            database[collection].delete_many({})
        database.command("planCacheClear", "jobs")
        return True


def _options(database: MongoDatabase[dict[str, Any]]) -> dict[str, bytes]:
    # As bytes: a filter with NaN does not equal itself.
    return {found["name"]: bson.encode(found["options"]) for found in database.list_collections()}


def _index_count(database: MongoDatabase[dict[str, Any]]) -> int:
    return int(database.command("dbStats")["indexes"])


def _filled(database: MongoDatabase[dict[str, Any]], collections: list[str]) -> set[str]:
    """Return the collections that have documents, by one command."""
    first, *others = collections

    def named(collection: str) -> list[dict[str, Any]]:
        return [{"$limit": 1}, {"$project": {"_id": 0, "name": {"$literal": collection}}}]

    unions = [{"$unionWith": {"coll": other, "pipeline": named(other)}} for other in others]
    return {found["name"] for found in database[first].aggregate([*named(first), *unions])}
