"""The `idempotency` collection: which job an Idempotency-Key has made, for 24 hours."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pymongo.errors import DuplicateKeyError

from jobqueue.store.database import guarded, new_id

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jobqueue.store.database import Database


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What is known of a key.

    Attributes:
        digest: of the job it was first sent with.
        job_id: the id that this job has or will get.
        made: the job is known to have been stored.
        fresh: the key was not known before.
    """

    digest: str
    job_id: str
    made: bool
    fresh: bool


class IdempotencyStore:
    """Remembers keys; the server deletes them after a day."""

    def __init__(self, database: Database) -> None:
        self._clock = database.clock
        self.collection = database.collection("idempotency")

    @guarded
    async def remember(self, key: str, digest: str) -> Record:
        """Return what is known of a key, which is known from now on."""
        job_id = new_id()
        while True:
            try:
                await self.collection.insert_one(
                    {"_id": key, "digest": digest, "jobId": job_id, "at": await self._clock.now()}
                )
            except DuplicateKeyError:
                found: Mapping[str, Any] | None = await self.collection.find_one({"_id": key})
                if found is not None:
                    made = bool(found.get("made"))
                    return Record(digest=found["digest"], job_id=found["jobId"], made=made, fresh=False)
            else:
                return Record(digest=digest, job_id=job_id, made=False, fresh=True)

    @guarded
    async def note_made(self, key: str) -> None:
        """Note that the job of a key has been stored."""
        await self.collection.update_one({"_id": key}, {"$set": {"made": True}})
