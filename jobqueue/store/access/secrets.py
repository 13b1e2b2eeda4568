"""Secrets that all processes of a deployment share, in the collection `secrets`."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Final

from jobqueue.store.mongo.database import guarded
from jobqueue.store.mongo.driver import DuplicateKeyError, ReturnDocument

if TYPE_CHECKING:
    from jobqueue.store.mongo.database import Database

_BYTES: Final = 32


class SecretStore:
    """Makes secrets at first use, once for all processes."""

    def __init__(self, database: Database) -> None:
        self._collection = database.collection("secrets")
        self._known: dict[str, bytes] = {}

    async def links(self) -> bytes:
        """Return the secret that signs links to questions of jobs."""
        return await self._secret("links")

    async def sessions(self) -> bytes:
        """Return the secret that signs the cookies of the dashboard."""
        return await self._secret("sessions")

    @guarded
    async def _secret(self, name: str) -> bytes:
        if name not in self._known:
            self._known[name] = await self._made(name)
        return self._known[name]

    async def _made(self, name: str) -> bytes:
        fresh = {"$setOnInsert": {"secret": secrets.token_bytes(_BYTES)}}
        try:
            document = await self._collection.find_one_and_update(
                {"_id": name}, fresh, upsert=True, return_document=ReturnDocument.AFTER
            )
        except DuplicateKeyError:
            document = await self._collection.find_one({"_id": name})
        return bytes(document["secret"])
