"""Kill jobs that have not started in time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from jobqueue.store.mongo.database import guarded
from jobqueue.store.work import expiry_statements

if TYPE_CHECKING:
    from jobqueue.store.mongo.database import Database

AT_ONCE: Final = 500
"""Jobs that one sweep kills."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep:
    """The result of a sweep.

    Attributes:
        killed: the number of jobs.
        is_full: more jobs may have expired.
    """

    killed: int
    is_full: bool = False


class ExpiryStore:
    """Kills jobs whose time to start is over; each is one guarded update, which a claim loses or wins."""

    def __init__(self, database: Database) -> None:
        self._clock = database.clock
        self._jobs = database.collection("jobs")

    @guarded
    async def sweep(self) -> Sweep:
        """Kill up to `AT_ONCE` expired jobs."""
        now = self._clock.present
        over = expiry_statements.expired(now)
        cursor = self._jobs.find(over, {"_id": 1}, hint=expiry_statements.INDEX).limit(AT_ONCE)
        ids = [document["_id"] async for document in cursor]
        if not ids:
            return Sweep(killed=0)
        some = over | {"_id": {"$in": ids}}
        done = await self._jobs.update_many(some, expiry_statements.expire(now), hint="_id_")
        return Sweep(killed=int(done.modified_count), is_full=len(ids) == AT_ONCE)

    @guarded
    async def seconds_to_next(self) -> float | None:
        """Return the seconds until the next job expires, negative if it has, or ``None`` without such a job."""
        waiting, fields = expiry_statements.to_expire(), {expiry_statements.FIELD: 1}
        cursor = self._jobs.find(waiting, fields, hint=expiry_statements.INDEX)
        for document in await cursor.sort(expiry_statements.FIELD, 1).limit(1).to_list(1):
            return float((document[expiry_statements.FIELD] - await self._clock.now()).total_seconds())
        return None
