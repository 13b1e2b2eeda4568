"""The next moments at which time alone makes jobs start, for tests that move their clock."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jobqueue.domain.attempts.states import State
from jobqueue.store.mongo.database import guarded
from jobqueue.store.mongo.odd_values import date_or_none

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from datetime import datetime

    from jobqueue.store.mongo.database import Database


class UpcomingStore:
    """Looks ahead in the `jobs` collection of a test."""

    def __init__(self, database: Database) -> None:
        self._jobs = database.collection("jobs")

    @guarded
    async def due(self, types: Mapping[str, Collection[str]]) -> datetime | None:
        """Return the time at which the next delayed job is due.

        Args:
            types: the types of jobs that count, by queue.
        """
        some = [{"queue": queue, "type": {"$in": sorted(kinds)}} for queue, kinds in types.items()]
        return await self._first("delayTil", {"state": State.DELAYED.value, "$or": some}) if some else None

    @guarded
    async def lease_end(self) -> datetime | None:
        """Return the end of the lease that ends first."""
        return await self._first("resetAt", {"state": State.PROCESSING.value})

    async def _first(self, field: str, query: Mapping[str, Any]) -> datetime | None:
        dated = {**query, field: {"$type": "date"}}
        document = await self._jobs.find_one(dated, {field: 1}, sort=[(field, 1)])
        return date_or_none((document or {}).get(field))
