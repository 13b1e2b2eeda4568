"""The `idempotency` collection: what an Idempotency-Key has made, for 24 hours."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from jobqueue.store.mongo.database import guarded, new_id
from jobqueue.store.mongo.driver import DuplicateKeyError, ReturnDocument

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jobqueue.store.mongo.database import Database

BUSY: Final = timedelta(seconds=5)
"""How long a request is given before a repetition may do its work, should it have died."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What is known of a key.

    Attributes:
        digest: of the request it was first sent with.
        made_id: the id that what it makes has or will get.
        made: it is known to have been stored.
        fresh: the key was not known before.
        busy: another request is at it.
    """

    digest: str
    made_id: str
    made: bool = False
    fresh: bool = False
    busy: bool = False


class IdempotencyStore:
    """Remembers keys; the server deletes them after a day."""

    def __init__(self, database: Database) -> None:
        self._clock = database.clock
        self.collection = database.collection("idempotency")

    @guarded
    async def begin(self, key: str, digest: str) -> Record:
        """Return what is known of a key, which is known from now on, and taken for a moment unless it is busy."""
        made_id = new_id()
        while True:
            now = await self._clock.now()
            busy_til = now + BUSY
            try:
                await self.collection.insert_one(
                    {"_id": key, "digest": digest, "madeId": made_id, "at": now, "busyTil": busy_til}
                )
            except DuplicateKeyError:
                # A reply that was lost looks the same: then the key is our own.
                found = await self._take_over(key, digest, made_id)
                if found is not None:
                    return found
            else:
                return Record(digest=digest, made_id=made_id, fresh=True)

    @guarded
    async def note_made(self, key: str) -> None:
        """Note that what a key makes has been stored."""
        await self.collection.update_one({"_id": key}, {"$set": {"made": True}, "$unset": {"busyTil": ""}})

    @guarded
    async def let_go(self, key: str) -> None:
        """Let a repetition try again at once, as this request has failed."""
        await self.collection.update_one({"_id": key, "made": None}, {"$unset": {"busyTil": ""}})

    async def _take_over(self, key: str, digest: str, made_id: str) -> Record | None:
        now = await self._clock.now()
        free = {
            "_id": key,
            "digest": digest,
            "made": None,
            "$nor": [{"busyTil": {"$gt": now}, "madeId": {"$ne": made_id}}],
        }
        taken: Mapping[str, Any] | None = await self.collection.find_one_and_update(
            free, {"$set": {"busyTil": now + BUSY}}, return_document=ReturnDocument.AFTER
        )
        if taken is not None:
            return Record(digest=digest, made_id=taken["madeId"], fresh=taken["madeId"] == made_id)
        found: Mapping[str, Any] | None = await self.collection.find_one({"_id": key})
        if found is None:
            return None
        made = bool(found.get("made"))
        return Record(digest=found["digest"], made_id=found["madeId"], made=made, busy=not made)
