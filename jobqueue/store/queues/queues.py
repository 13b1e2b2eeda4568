"""What the `jobs` collection says of whole queues."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from bson import ObjectId

from jobqueue.domain.jobs.states import FINAL, UNFINISHED, State
from jobqueue.store.documents import queue_statements, statements
from jobqueue.store.mongo.clock import SERVER_NOW
from jobqueue.store.mongo.database import guarded

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jobqueue.domain.jobs.job import Job
    from jobqueue.store.documents.statements import Document
    from jobqueue.store.mongo.clock import Now
    from jobqueue.store.mongo.database import Database

_BY_QUEUE: Final = "newestOfQueue"
_BY_END: Final = "ended"
_FIRST_LOOKS: Final = 20
_MOST_LOOKS: Final = 5_000
"""Waiting jobs that are looked at where another tool or an older version has written them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueFigures:
    """How a queue is doing.

    Attributes:
        counts: jobs by state.
        oldest_ready: seconds for which the job that waits longest could have been claimed; ``None`` if none waits.
        ended: by state, how many jobs have ended within the last minute and hour.
    """

    counts: dict[str, int]
    oldest_ready: float | None
    ended: dict[str, dict[str, int]]


class QueueStore:
    """Counts, and what is done to all jobs of a queue."""

    def __init__(self, database: Database, now: Now = SERVER_NOW) -> None:
        self.now = now
        self.collection = database.collection("jobs")
        self._clock = database.clock

    @guarded
    async def names(self) -> list[str]:
        """Return the names of all queues that have jobs, in order."""
        # Documents that another tool has put here may have no queue, or something else in its place.
        return sorted(name for name in await self.collection.distinct("queue") if isinstance(name, str))

    @guarded
    async def figures(self, queue: str) -> QueueFigures:
        """Return how a queue is doing."""
        now = await self._clock.now()
        counts, oldest, minute, hour = await asyncio.gather(
            self._count_all(queue),
            self._oldest_ready(queue, now),
            self._ended(queue, now, 60),
            self._ended(queue, now, 3600),
        )
        return QueueFigures(counts=counts, oldest_ready=oldest, ended={"minute": minute, "hour": hour})

    @guarded
    async def oldest_ready(self, queue: str) -> float | None:
        """Return for how many seconds the job that waits longest could have been claimed, if one waits."""
        return await self._oldest_ready(queue, await self._clock.now())

    @guarded
    async def count_unfinished(self, queue: str) -> int:
        """Return how many jobs of a queue have not ended."""
        return sum([await self._count(queue, state) for state in UNFINISHED])

    @guarded
    async def kill_waiting(self, queue: str, reason: str) -> int:
        """Kill every job of a queue that waits; return how many."""
        done = await self.collection.update_many(
            queue_statements.waiting(queue), queue_statements.kill_waiting(reason, self.now)
        )
        return int(done.modified_count)

    @guarded
    async def running(self, queue: str) -> list[str]:
        """Return the ids of the running jobs of a queue."""
        cursor = self.collection.find({"queue": queue, "state": State.PROCESSING.value}, {"_id": 1}, hint=_BY_QUEUE)
        return [str(one["_id"]) async for one in cursor]

    @guarded
    async def ahead_of(self, job: Job, most: int = 10_000) -> tuple[int, bool]:
        """Return how many waiting jobs of its queue are to be claimed before a job, and whether that is all of them."""
        found = queue_statements.ahead_of(job)
        count = int(await self.collection.count_documents(found, hint=statements.CLAIM_INDEX, limit=most))
        return count, count < most

    @guarded
    async def unfulfilled(self, job_ids: Sequence[str], most: int) -> list[tuple[str, str]]:
        """Return the ids and states of those jobs that have not succeeded."""
        wanted = {"_id": {"$in": [ObjectId(one) for one in job_ids]}, "state": {"$ne": State.SUCCESS.value}}
        cursor = self.collection.find(wanted, {"state": 1}).limit(most)
        return [(str(one["_id"]), str(one.get("state"))) async for one in cursor]

    async def _count_all(self, queue: str) -> dict[str, int]:
        counts = await asyncio.gather(*(self._count(queue, state) for state in State))
        return {state.value: count for state, count in zip(State, counts, strict=True)}

    async def _count(self, queue: str, state: State) -> int:
        return int(await self.collection.count_documents({"queue": queue, "state": state.value}, hint=_BY_QUEUE))

    async def _ended(self, queue: str, now: datetime, seconds: float) -> dict[str, int]:
        since = now - timedelta(seconds=seconds)
        states = sorted(state.value for state in FINAL)
        found = [
            await self.collection.count_documents(
                {"queue": queue, "state": state, "endAt": {"$gt": since}}, hint=_BY_END
            )
            for state in states
        ]
        return dict(zip(states, map(int, found), strict=True))

    async def _oldest_ready(self, queue: str, now: datetime) -> float | None:
        """Return for how many seconds the job that waits longest could have been claimed."""
        searches = queue_statements.oldest(queue)
        found = await asyncio.gather(*(self._earliest(search, field) for search, field in searches))
        since = min((moment for moment in found if moment is not None), default=None)
        return None if since is None else max(0.0, (now - since).total_seconds())

    async def _earliest(self, search: Document, field: str) -> datetime | None:
        """Return since when the job could have been claimed that waits longest, of a search as in `oldest`."""
        cursor = (
            self.collection.find(search, {"at": f"${field}", "ready": statements.ready()}, hint=statements.READY_INDEX)
            .sort(field, 1)
            .limit(_MOST_LOOKS)
            .batch_size(_FIRST_LOOKS)
        )
        earliest: datetime | None = None
        try:
            async for one in cursor:
                at, ready = one.get("at"), one.get("ready")
                if earliest is not None and isinstance(at, datetime) and at >= earliest:
                    break
                if isinstance(ready, datetime) and (earliest is None or ready < earliest):
                    earliest = ready
        finally:
            await cursor.close()
        return earliest
