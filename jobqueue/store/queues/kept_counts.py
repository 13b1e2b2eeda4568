"""Counts of ended jobs by queue and state, kept because history may be long.

Nothing is incremented where jobs end. One process at a time counts: the jobs that have ended since the last count, and
now and then all of them anew, as deletions and requeues take some away.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from jobqueue.domain.attempts.states import FINAL
from jobqueue.store.mongo.clock import EPOCH
from jobqueue.store.mongo.database import guarded
from jobqueue.store.mongo.driver import aggregate
from jobqueue.store.mongo.turns import Turn

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from jobqueue.store.documents.statements import Document
    from jobqueue.store.mongo.database import Database

FEW: Final = 100
"""Ended jobs of a queue and a state that are counted at each request."""
SETTLED: Final = timedelta(seconds=10)
"""An end that is dated before this time is in the database, however slow its write was."""
_MOST_UNKEPT: Final = 10_000
"""Ended jobs that are counted for a request as long as there is no kept count; if there are more, this is told."""
_BY_END: Final = "ended"
_BY_QUEUE: Final = "newestOfQueue"
_TURN: Final = "counts"
_AT_ONCE: Final = 100
_LONGEST_TURN: Final = 60.0
"""Seconds after which another process takes over a turn that has not ended."""
Pair = tuple[str, str]
"""The name of a queue, and a final state."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptCount:
    """The kept number of jobs that have ended.

    Attributes:
        number: of jobs.
        up_to: the latest end among them.
        counted_at: when all were counted.
        cost: seconds that it took to count all.
    """

    number: int
    up_to: datetime
    counted_at: datetime
    cost: float


class KeptCountStore:
    """Keeps counts in the collection `counts`, a document for each queue and final state."""

    def __init__(self, database: Database) -> None:
        self._clock = database.clock
        self._jobs = database.collection("jobs")
        self._turn = Turn(database, _TURN)
        self.collection = database.collection("counts")

    @guarded
    async def take_turn(self) -> str | None:
        """Return a mark of the turn, unless another process counts now or has just counted."""
        return await self._turn.take(_LONGEST_TURN)

    @guarded
    async def end_turn(self, mark: str, pause: float) -> None:
        """End a turn; the next one may begin after a pause in seconds."""
        await self._turn.end(mark, pause)

    @guarded
    async def kept(self, queues: Iterable[str] | None = None) -> dict[Pair, KeptCount]:
        """Return the kept counts of some queues, or of all."""
        query: Document = {} if queues is None else {"queue": {"$in": list(queues)}}
        return {
            (document["queue"], document["state"]): KeptCount(
                number=int(document["number"]),
                up_to=document["upTo"],
                counted_at=document["countedAt"],
                cost=float(document["cost"]),
            )
            async for document in self.collection.find(query)
        }

    @guarded
    async def ended(self, pairs: Sequence[Pair], kept: Mapping[Pair, KeptCount]) -> dict[Pair, int]:
        """Return how many jobs have ended, by queue and state: few are counted, of many those since the kept count."""
        counts: dict[Pair, int] = {}
        many: list[Pair] = []
        for pair in pairs:
            known = kept.get(pair)
            if known is not None and known.number > FEW:
                many.append(pair)
            else:
                counts[pair] = await self._count(pair, limit=_MOST_UNKEPT)
        for start in range(0, len(many), _AT_ONCE):
            counts |= await self._since(many[start : start + _AT_ONCE], kept)
        return counts

    @guarded
    async def settled_until(self) -> datetime:
        """Return the date before which all ends are in the database."""
        return await self._clock.ask() - SETTLED

    @guarded
    async def advance(self, pair: Pair, known: KeptCount, until: datetime) -> None:
        """Add the jobs that have ended since to a kept count, unless it has changed."""
        since = await self._count(pair, {"$gt": known.up_to, "$lte": until})
        if not since:
            return
        same: Document = {"_id": _id(pair), "upTo": known.up_to, "countedAt": known.counted_at}
        await self.collection.update_one(same, {"$set": {"number": known.number + since, "upTo": until}})

    @guarded
    async def count(self, pair: Pair, until: datetime) -> int:
        """Return how many jobs have ended until a date."""
        return await self._count(pair, {"$lte": until})

    @guarded
    async def keep(self, pair: Pair, count: KeptCount) -> None:
        """Keep a count; no jobs need no count."""
        if not count.number:
            await self.collection.delete_one({"_id": _id(pair)})
            return
        queue, state = pair
        fields = {
            "queue": queue,
            "state": state,
            "number": count.number,
            "upTo": count.up_to,
            "countedAt": count.counted_at,
            "cost": count.cost,
        }
        await self.collection.update_one({"_id": _id(pair)}, {"$set": fields}, upsert=True)

    async def _since(self, pairs: Sequence[Pair], kept: Mapping[Pair, KeptCount]) -> dict[Pair, int]:
        clauses = [
            {"queue": queue, "state": state, "endAt": {"$gt": kept[queue, state].up_to}} for queue, state in pairs
        ]
        groups: list[Document] = [
            {"$match": {"$or": clauses}},
            {"$group": {"_id": {"queue": "$queue", "state": "$state"}, "count": {"$sum": 1}}},
        ]
        counts = {pair: kept[pair].number for pair in pairs}
        async for group in await aggregate(self._jobs, groups, hint=_BY_END):
            counts[group["_id"]["queue"], group["_id"]["state"]] += int(group["count"])
        return counts

    async def _count(self, pair: Pair, end_at: Document | None = None, *, limit: int = 0) -> int:
        queue, state = pair
        query: dict[str, Any] = {"queue": queue, "state": state}
        options: dict[str, Any] = {"limit": limit} if limit else {}
        if end_at is None:
            return int(await self._jobs.count_documents(query, hint=_BY_QUEUE, **options))
        query["endAt"] = {"$gt": EPOCH, **end_at}
        return int(await self._jobs.count_documents(query, hint=_BY_END, **options))


def pairs_of(queues: Iterable[str]) -> list[Pair]:
    """Return the pairs of some queues with all final states."""
    return [(queue, state.value) for queue in queues for state in sorted(FINAL)]


def _id(pair: Pair) -> str:
    queue, state = pair
    return f"{state}|{queue}"
