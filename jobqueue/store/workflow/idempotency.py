"""The `idempotency` collection: the resources that Idempotency-Keys have made, for 24 hours."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from jobqueue.store.mongo.database import guarded, new_id
from jobqueue.store.mongo.driver import DuplicateKeyError

if TYPE_CHECKING:
    from jobqueue.store.mongo.database import Database

BUSY: Final = timedelta(seconds=5)
"""Time after which a repetition may do the work of a request, should that have died."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """The state of a key.

    Attributes:
        digest: of the request it was first sent with.
        made_id: the id of the resource that the request makes.
        made: the resource is known to be stored.
        fresh: the key is new.
        busy: another request works on it.
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
        """Return the record of a key, which is stored from now on, and taken for a moment unless it is busy."""
        made_id = new_id()
        while True:
            now = await self._clock.now()
            document = {"_id": key, "digest": digest, "madeId": made_id, "at": now, "busyTil": now + BUSY}
            try:
                await self.collection.insert_one(document)
            except DuplicateKeyError:
                # A lost reply looks the same: then the key is our own.
                record = await self._take_over(key, digest, made_id)
                if record is not None:
                    return record
            else:
                return Record(digest=digest, made_id=made_id, fresh=True)

    @guarded
    async def note_made(self, key: str) -> None:
        """Note that the resource of a key is stored."""
        await self.collection.update_one({"_id": key}, {"$set": {"made": True}, "$unset": {"busyTil": ""}})

    @guarded
    async def let_go(self, key: str) -> None:
        """Release a key of a failed request, so that a repetition may try again at once."""
        await self.collection.update_one({"_id": key, "made": None}, {"$unset": {"busyTil": ""}})

    async def _take_over(self, key: str, digest: str, made_id: str) -> Record | None:
        now = await self._clock.now()
        free = {
            "_id": key,
            "digest": digest,
            "made": None,
            # An end further ahead is from before the server's clock was set back.
            "$nor": [{"busyTil": {"$gt": now, "$lte": now + 2 * BUSY}, "madeId": {"$ne": made_id}}],
        }
        taken = await self.collection.find_one_and_update(free, {"$set": {"busyTil": now + BUSY}})
        if taken is not None:
            return Record(digest=digest, made_id=taken["madeId"], fresh=taken["madeId"] == made_id)
        document = await self.collection.find_one({"_id": key})
        if document is None:
            return None
        made = bool(document.get("made"))
        return Record(digest=document["digest"], made_id=document["madeId"], made=made, busy=not made)
