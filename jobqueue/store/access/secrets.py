"""Secrets that all processes of a deployment share, in the collection `secrets`."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Final

from jobqueue.store.mongo.database import guarded
from jobqueue.store.mongo.driver import DuplicateKeyError, ReturnDocument

if TYPE_CHECKING:
    from jobqueue.store.mongo.database import Database

_LINKS: Final = "links"
_BYTES: Final = 32


class SecretStore:
    """Makes secrets at first use, once for all processes."""

    def __init__(self, database: Database) -> None:
        self._collection = database.collection("secrets")
        self._known: bytes | None = None

    @guarded
    async def links(self) -> bytes:
        """Return the secret that signs links to questions of jobs."""
        if self._known is None:
            self._known = await self._made()
        return self._known

    async def _made(self) -> bytes:
        fresh = {"$setOnInsert": {"secret": secrets.token_bytes(_BYTES)}}
        try:
            document = await self._collection.find_one_and_update(
                {"_id": _LINKS}, fresh, upsert=True, return_document=ReturnDocument.AFTER
            )
        except DuplicateKeyError:
            document = await self._collection.find_one({"_id": _LINKS})
        return bytes(document["secret"])
