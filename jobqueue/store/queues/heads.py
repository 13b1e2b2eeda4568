"""The jobs that come first in a queue."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from jobqueue.domain.attempts.states import State
from jobqueue.store.documents import scope_filters, statements
from jobqueue.store.mongo.clock import EPOCH
from jobqueue.store.mongo.database import guarded
from jobqueue.store.mongo.driver import aggregate

if TYPE_CHECKING:
    from datetime import datetime

    from jobqueue.domain.access.access import Scope
    from jobqueue.store.documents.statements import Document
    from jobqueue.store.mongo.database import Database

_MOST_LOOKS: Final = 1_000
_BY_DATE: Final = "due"


class HeadStore:
    """Reads the `jobs` collection."""

    def __init__(self, database: Database) -> None:
        self._jobs = database.collection("jobs")

    @guarded
    async def of(self, queue: str, scope: Scope, most: int) -> list[tuple[str, str]]:
        """Return the types of pending jobs with the id of the first job of each, among the first thousand jobs.

        Args:
            queue: its name.
            scope: only jobs of this scope.
            most: the number of types.
        """
        query = scope_filters.within({"queue": queue, "state": State.PENDING.value}, scope)
        cursor = self._jobs.find(query, {"type": 1}, sort=statements.CLAIM_ORDER, hint=statements.CLAIM_INDEX)
        heads: dict[str, str] = {}
        async for job in cursor.limit(_MOST_LOOKS):
            if type(job.get("type")) is str:
                heads.setdefault(job["type"], str(job["_id"]))
            if len(heads) >= most:
                break
        return list(heads.items())

    @guarded
    async def next_due(self, queue: str, scope: Scope) -> datetime | None:
        """Return the date at which the next delayed job is due, among the thousand of all queues that are due first."""
        first: list[Document] = [
            {"$match": {"state": State.DELAYED.value, "delayTil": {"$gt": EPOCH}}},
            {"$sort": {"delayTil": 1}},
            {"$limit": _MOST_LOOKS},
        ]
        own: list[Document] = [
            {"$match": scope_filters.within({"queue": queue}, scope)},
            {"$limit": 1},
            {"$project": {"delayTil": 1}},
        ]
        async for job in await aggregate(self._jobs, [*first, *own], hint=_BY_DATE):
            date: datetime = job["delayTil"]
            return date
        return None
