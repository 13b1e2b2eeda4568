"""The history of a job: in its document, and in the `attempts` collection for older entries."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from bson import ObjectId

from jobqueue.store.mongo.database import guarded
from jobqueue.store.mongo.driver import UpdateOne

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jobqueue.domain.attempts.states import State
    from jobqueue.store.documents.statements import Document
    from jobqueue.store.mongo.database import Database

_MOST_SHOWN: Final = 10_000


class HistoryStore:
    """Moves history entries out of documents and reads them again."""

    def __init__(self, database: Database) -> None:
        self._clock = database.clock
        self._jobs = database.collection("jobs")
        self._attempts = database.collection("attempts")

    @guarded
    async def keep_late(self, job_id: str, token: str, report: Mapping[str, Any]) -> None:
        """Store, once, the report of a worker that has lost its claim."""
        unreported = {"_id": ObjectId(job_id), "history": {"$elemMatch": {"token": token, "late": {"$exists": False}}}}
        written = await self._jobs.update_one(unreported, self._late("history.$", report))
        if not written.matched_count:
            moved = {"jobId": ObjectId(job_id), "entry.token": token, "entry.late": {"$exists": False}}
            await self._attempts.update_one(moved, self._late("entry", report))

    @guarded
    async def spill(self, job_id: str, *, keep: int, state: State, least_bytes: int = 0) -> None:
        """Move all but the last ``keep`` entries out of a job's document, and lose none.

        The document stays as it is if the job is in another state, its history changes meanwhile, or it takes less than
        ``least_bytes``.
        """
        large = {"$expr": {"$gte": [{"$bsonSize": "$$ROOT"}, least_bytes]}}
        query = {"_id": ObjectId(job_id), "state": state.value} | large
        document = await self._jobs.find_one(query, {"history": 1, "spilled": 1, "queue": 1})
        entries = (document or {}).get("history") or []
        moved = entries[: len(entries) - keep]
        if not document or not moved:
            return
        base = document.get("spilled", 0)
        rest = {"$slice": ["$history", len(moved), {"$max": [1, {"$size": "$history"}]}]}
        await self._attempts.bulk_write(
            [
                UpdateOne({"jobId": document["_id"], "seq": base + index}, {"$set": {"entry": entry}}, upsert=True)
                for index, entry in enumerate(moved)
            ]
        )
        await self._jobs.update_one(
            {"_id": document["_id"], "queue": document.get("queue"), "spilled": base or None, "history": entries},
            [{"$set": {"spilled": base + len(moved), "history": rest}}],
        )

    @guarded
    async def restored(self, document: Document) -> Document:
        """Return a job's document with the latest entries that were moved out of it, in order."""
        moved = document.get("spilled")
        if not moved:
            return document
        of_job = {"jobId": document["_id"], "seq": {"$lt": moved}}
        cursor = self._attempts.find(of_job).sort("seq", -1).limit(_MOST_SHOWN)
        entries = [entry["entry"] async for entry in cursor]
        return document | {"history": entries[::-1] + (document.get("history") or [])}

    @guarded
    async def delete(self, job_id: str) -> None:
        """Delete the entries that were moved out of a deleted job."""
        await self._attempts.delete_many({"jobId": ObjectId(job_id)})

    def _late(self, place: str, report: Mapping[str, Any]) -> Document:
        kept: Document = {f"{place}.late.{name}": value for name, value in report.items()}
        at = f"{place}.late.at"
        if isinstance(self._clock.present, str):
            return {"$set": kept, "$currentDate": {at: True}}
        return {"$set": kept | {at: self._clock.present}}
