"""The use of limits that hold for each value of a path: the groups that wait, and the starts of groups."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

from jobqueue.domain.attempts.states import State
from jobqueue.store.documents import statements
from jobqueue.store.limits.limits import rate_id
from jobqueue.store.mongo.database import guarded
from jobqueue.store.mongo.driver import aggregate
from jobqueue.store.mongo.tolerant import array

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from jobqueue.domain.limits.limits import Rate
    from jobqueue.store.documents.statements import Document
    from jobqueue.store.mongo.database import Database

MOST_LOOKED_AT: Final = 20_000
"""Pending jobs that are counted: those that come first."""


def waiting(queue: str, most: int) -> list[Document]:
    """Return the stages that count the first pending jobs of a queue by their group."""
    return [
        {"$match": {"queue": queue, "state": State.PENDING.value}},
        {"$sort": dict(statements.CLAIM_ORDER)},
        {"$limit": most},
        {"$group": {"_id": "$limitKey", "count": {"$sum": 1}}},
    ]


def starts(queue: str, keys: Sequence[str], since: datetime) -> list[Document]:
    """Return the stages that count the grants of groups since a date."""
    young: Document = {"$filter": {"input": array("$grants"), "as": "at", "cond": {"$gt": ["$$at", since]}}}
    return [
        {"$match": {"_id": {"$in": [rate_id(queue, key) for key in keys]}}},
        {"$project": {"count": {"$size": young}}},
    ]


class GroupUseStore:
    """Reads the `jobs` and the `limits` collection."""

    def __init__(self, database: Database) -> None:
        self._jobs = database.collection("jobs")
        self._limits = database.collection("limits")
        self._clock = database.clock

    @guarded
    async def waiting(self, queue: str) -> tuple[dict[str, int], bool]:
        """Return the number of pending jobs by group, and true if these are all pending jobs of the queue."""
        groups = await aggregate(self._jobs, waiting(queue, MOST_LOOKED_AT), hint=statements.CLAIM_INDEX)
        counts = {group["_id"]: int(group["count"]) async for group in groups}
        named = {key: count for key, count in counts.items() if type(key) is str}
        return named, sum(counts.values()) < MOST_LOOKED_AT

    @guarded
    async def starts(self, queue: str, keys: Sequence[str], rate: Rate) -> dict[str, int]:
        """Return the number of starts of groups within the window of a rate."""
        since = await self._clock.now() - timedelta(seconds=rate.per)
        found = await aggregate(self._limits, starts(queue, keys, since))
        counts = {str(document["_id"]): int(document["count"]) async for document in found}
        return {key: counts.get(rate_id(queue, key), 0) for key in keys}
