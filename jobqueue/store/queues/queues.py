"""Counts and changes of whole queues in the `jobs` collection."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from bson import ObjectId

from jobqueue.domain.attempts.states import FINAL, UNFINISHED, State
from jobqueue.store.documents import queue_statements, statements
from jobqueue.store.mongo.database import guarded
from jobqueue.store.mongo.driver import aggregate
from jobqueue.store.queues.kept_counts import KeptCountStore, pairs_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from jobqueue.domain.jobs.job import Job
    from jobqueue.store.documents.statements import Document
    from jobqueue.store.mongo.database import Database

_BY_QUEUE: Final = "newestOfQueue"
_BY_END: Final = "ended"
_FIRST_LOOKS: Final = 20
_MOST_LOOKS: Final = 5_000
"""Waiting jobs to read where another tool or an older version has written them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueFigures:
    """The key figures of a queue.

    Attributes:
        counts: jobs by state.
        oldest_ready: seconds for which the job that waits longest could have been claimed; ``None`` if none waits.
        ended: jobs that have ended within the last ``minute`` and ``hour``, by state.
    """

    counts: dict[str, int]
    oldest_ready: float | None
    ended: dict[str, dict[str, int]]


class QueueStore:
    """Counts and kills jobs of whole queues."""

    def __init__(self, database: Database) -> None:
        self.collection = database.collection("jobs")
        self.kept = KeptCountStore(database)
        self._clock = database.clock

    @guarded
    async def names(self) -> list[str]:
        """Return the names of all queues that have jobs, in order."""
        # A document of another tool may have no queue, or no text in its place.
        return sorted(name for name in await self.collection.distinct("queue") if type(name) is str)

    @guarded
    async def figures(self, queue: str) -> QueueFigures:
        """Return the key figures of a queue."""
        now = await self._clock.now()
        counts, oldest, minute, hour = await asyncio.gather(
            self._count_all(queue),
            self.oldest_ready(queue),
            self._ended(queue, now, 60),
            self._ended(queue, now, 3600),
        )
        return QueueFigures(counts=counts, oldest_ready=oldest, ended={"minute": minute, "hour": hour})

    @guarded
    async def ended_by_queue(self) -> dict[tuple[str, str], int]:
        """Return the number of ended jobs by queue and state, where there are any; as `KeptCountStore.ended`."""
        counts = await self.kept.ended(pairs_of(await self.names()), await self.kept.kept())
        return {pair: count for pair, count in counts.items() if count}

    @guarded
    async def count_by_queue(self, states: Iterable[State]) -> dict[tuple[str, str], int]:
        """Return the number of jobs by queue and state, where there are any, in some states.

        JavaScript code (`bson.Code`) is a ``str``, too, and no name.
        """
        pipeline = queue_statements.count_by_queue(states)
        groups = await aggregate(self.collection, pipeline, hint=_BY_QUEUE)
        return {
            (group["_id"]["queue"], group["_id"]["state"]): int(group["count"])
            async for group in groups
            if type(group["_id"].get("queue")) is str and type(group["_id"].get("state")) is str
        }

    @guarded
    async def oldest_ready(self, queue: str) -> float | None:
        """Return the seconds for which the job that waits longest could have been claimed, if one waits."""
        searches = queue_statements.oldest(queue)
        dates = await asyncio.gather(*(self._earliest(search, field) for search, field in searches))
        since = min((date for date in dates if date is not None), default=None)
        return None if since is None else max(0.0, (await self._clock.now() - since).total_seconds())

    @guarded
    async def count_unfinished(self, queue: str) -> int:
        """Return how many jobs of a queue have not ended."""
        return sum([await self._count(queue, state) for state in UNFINISHED])

    @guarded
    async def kill_waiting(self, queue: str, reason: str) -> int:
        """Kill the waiting jobs of a queue; return how many."""
        update = queue_statements.kill_waiting(reason, self._clock.present)
        return int((await self.collection.update_many(queue_statements.waiting(queue), update)).modified_count)

    @guarded
    async def running(self, queue: str) -> list[str]:
        """Return the ids of the running jobs of a queue."""
        cursor = self.collection.find({"queue": queue, "state": State.PROCESSING.value}, {"_id": 1}, hint=_BY_QUEUE)
        return [str(job["_id"]) async for job in cursor]

    @guarded
    async def ahead_of(self, job: Job, most: int = 10_000) -> tuple[int, bool]:
        """Return how many waiting jobs of its queue precede a job, and whether the number is exact."""
        query = queue_statements.ahead_of(job)
        count = int(await self.collection.count_documents(query, hint=statements.CLAIM_INDEX, limit=most))
        return count, count < most

    @guarded
    async def unfulfilled(self, job_ids: Sequence[str], most: int) -> list[tuple[str, str]]:
        """Return the ids and states of the given jobs that have not succeeded."""
        query = {"_id": {"$in": [ObjectId(job_id) for job_id in job_ids]}, "state": {"$ne": State.SUCCESS.value}}
        cursor = self.collection.find(query, {"state": 1}).limit(most)
        return [(str(job["_id"]), str(job.get("state"))) async for job in cursor]

    async def _count_all(self, queue: str) -> dict[str, int]:
        states = sorted(UNFINISHED)
        kept = await self.kept.kept([queue])
        ended = await self.kept.ended(pairs_of([queue]), kept)
        counts = await asyncio.gather(*(self._count(queue, state) for state in states))
        known = {state.value: count for state, count in zip(states, counts, strict=True)}
        known |= {state: count for (_, state), count in ended.items()}
        return {state.value: known[state.value] for state in State}

    async def _count(self, queue: str, state: State) -> int:
        return int(await self.collection.count_documents({"queue": queue, "state": state.value}, hint=_BY_QUEUE))

    async def _ended(self, queue: str, now: datetime, seconds: float) -> dict[str, int]:
        counts: dict[str, int] = {}
        for state in sorted(state.value for state in FINAL):
            ended = {"queue": queue, "state": state, "endAt": {"$gt": now - timedelta(seconds=seconds)}}
            counts[state] = int(await self.collection.count_documents(ended, hint=_BY_END))
        return counts

    async def _earliest(self, search: Document, field: str) -> datetime | None:
        """Return the date since which the longest waiting job of a search as in `oldest` could have been claimed."""
        cursor = (
            self.collection.find(search, {"at": f"${field}", "ready": statements.ready()}, hint=statements.READY_INDEX)
            .sort(field, 1)
            .limit(_MOST_LOOKS)
            .batch_size(_FIRST_LOOKS)
        )
        earliest: datetime | None = None
        try:
            async for job in cursor:
                at, ready = job.get("at"), job.get("ready")
                if earliest is not None and isinstance(at, datetime) and at >= earliest:
                    break
                if isinstance(ready, datetime) and (earliest is None or ready < earliest):
                    earliest = ready
        finally:
            await cursor.close()
        return earliest
