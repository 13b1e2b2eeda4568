"""The history of a job: in its document, and what no longer fits there in the `attempts` collection."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from bson import ObjectId

from jobqueue.store.documents import statements
from jobqueue.store.mongo.database import guarded
from jobqueue.store.mongo.driver import UpdateOne

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jobqueue.domain.jobs.states import State
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
        """Keep, once, what a worker reported after it had lost its claim."""
        written = await self._jobs.update_one(statements.reported_late(job_id, token), self._late("history.$", report))
        if not written.matched_count:
            moved = {"jobId": ObjectId(job_id), "entry.token": token, "entry.late": {"$exists": False}}
            await self._attempts.update_one(moved, self._late("entry", report))

    @guarded
    async def spill(self, job_id: str, *, keep: int, state: State, least_bytes: int = 0) -> None:
        """Move all but the last ``keep`` entries out of a job's document, losing none.

        Nothing happens if the job is not in this state, its history changes meanwhile, or its document takes less than
        ``least_bytes``.
        """
        document = await self._jobs.find_one(
            statements.spillable(job_id, state, least_bytes), {"history": 1, "spilled": 1, "queue": 1}
        )
        entries = (document or {}).get("history") or []
        moved = entries[: len(entries) - keep]
        if not document or not moved:
            return
        base = document.get("spilled", 0)
        await self._attempts.bulk_write(
            [
                UpdateOne({"jobId": document["_id"], "seq": base + index}, {"$set": {"entry": entry}}, upsert=True)
                for index, entry in enumerate(moved)
            ]
        )
        await self._jobs.update_one(
            {"_id": document["_id"], "queue": document.get("queue"), "spilled": base or None, "history": entries},
            [
                {
                    "$set": {
                        "spilled": base + len(moved),
                        "history": {"$slice": ["$history", len(moved), {"$max": [1, {"$size": "$history"}]}]},
                    }
                }
            ],
        )

    @guarded
    async def restored(self, document: Document) -> Document:
        """Return a job's document with the latest of the entries that were moved out of it, in order."""
        moved = document.get("spilled")
        if not moved:
            return document
        of_job = {"jobId": document["_id"], "seq": {"$lt": moved}}
        cursor = self._attempts.find(of_job).sort("seq", -1).limit(_MOST_SHOWN)
        entries = [entry["entry"] async for entry in cursor]
        return document | {"history": entries[::-1] + (document.get("history") or [])}

    @guarded
    async def delete(self, job_id: str) -> None:
        """Forget what was moved out of a job that is gone."""
        await self._attempts.delete_many({"jobId": ObjectId(job_id)})

    def _late(self, place: str, report: Mapping[str, Any]) -> Document:
        kept: Document = {f"{place}.late.{name}": value for name, value in report.items()}
        at = f"{place}.late.at"
        if isinstance(self._clock.present, str):
            return {"$set": kept, "$currentDate": {at: True}}
        return {"$set": kept | {at: self._clock.present}}
