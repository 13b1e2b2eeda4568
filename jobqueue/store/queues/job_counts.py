"""How many jobs there are in which state, of all queues at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from jobqueue.store.mongo.database import guarded
from jobqueue.store.mongo.driver import aggregate

if TYPE_CHECKING:
    from collections.abc import Iterable

    from jobqueue.domain.jobs.states import State
    from jobqueue.store.mongo.database import Database

_BY_QUEUE: Final = "newestOfQueue"


def by_queue(states: Iterable[State]) -> list[dict[str, Any]]:
    """Count the jobs of each queue in each of some states; the index answers it alone."""
    return [
        # With any name of a queue the index is enough; without that the documents are read.
        {"$match": {"queue": {"$gte": ""}, "state": {"$in": sorted(state.value for state in states)}}},
        {"$project": {"_id": 0, "queue": 1, "state": 1}},
        {"$group": {"_id": {"queue": "$queue", "state": "$state"}, "count": {"$sum": 1}}},
    ]


class JobCountStore:
    """Counts jobs."""

    def __init__(self, database: Database) -> None:
        self._jobs = database.collection("jobs")

    @guarded
    async def count(self, states: Iterable[State]) -> dict[tuple[str, str], int]:
        """Return how many jobs each queue has in each of some states, where there are any."""
        found = await aggregate(self._jobs, by_queue(states), hint=_BY_QUEUE)
        return {
            (one["_id"]["queue"], one["_id"]["state"]): int(one["count"])
            async for one in found
            if isinstance(one["_id"].get("queue"), str) and isinstance(one["_id"].get("state"), str)
        }
