"""Counts of failures by group, kept because there may be very many failures.

Nothing is incremented where jobs fail. One process at a time counts all failures, over an index that holds whatever
that needs. A request adds the failures since the last count, up to a number.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from jobqueue.domain.work.failure import BY_COUNT
from jobqueue.store.bulk import failure_statements
from jobqueue.store.bulk.failure_statements import MOST_QUEUES, STATES
from jobqueue.store.mongo.clock import EPOCH
from jobqueue.store.mongo.database import guarded
from jobqueue.store.mongo.driver import aggregate
from jobqueue.store.mongo.odd_values import date_or_none
from jobqueue.store.mongo.tolerant import typed
from jobqueue.store.mongo.turns import Turn

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from jobqueue.domain.access.access import Scope
    from jobqueue.domain.work.failure import FailureQuery
    from jobqueue.store.documents.statements import Document
    from jobqueue.store.mongo.database import Database

FEW: Final = 1_000
"""Failures that are grouped at each request."""
KEPT: Final = 1_000
"""Groups with most failures that are kept, and groups that failed last."""
_MOST_NEW: Final = 5_000
"""Failures since the last count that a request adds; further ones come with the next count."""
_MOST_PARTS: Final = 20_000
_AT_ONCE: Final = 500
_KEY: Final = {"_id": "failures"}
_TURN: Final = "failures"
_TURN_SECONDS: Final = 120.0
_BY_STATE: Final = "newestOfState"
_BY_END: Final = "ended"
Part = list[Any]
"""The failures of a group in a queue and a state: fingerprint, type, queue, state, number, first and last end, the
creation of the newest job, and its id."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptFailures:
    """The kept counts.

    Attributes:
        parts: of the kept groups, and of the failures since the count.
        groups: the fingerprints of the kept groups.
    """

    parts: list[Part]
    groups: frozenset[str]


class FailureCountStore:
    """Keeps the counts of the largest and of the latest groups in one document of the collection `failureGroups`."""

    def __init__(self, database: Database) -> None:
        self._jobs = database.collection("jobs")
        self._turn = Turn(database, _TURN)
        self.collection = database.collection("failureGroups")

    @guarded
    async def take_turn(self) -> str | None:
        """Return a mark of the turn, unless another process counts now or has just counted."""
        return await self._turn.take(_TURN_SECONDS)

    @guarded
    async def end_turn(self, mark: str, pause: float) -> None:
        """End a turn; the next one may begin after a pause in seconds."""
        await self._turn.end(mark, pause)

    async def are_few(self, fingerprint: str | None = None) -> bool:
        """Tell whether there are few failures, of a group or of all."""
        query: Document = {"state": {"$in": STATES}}
        hint = _BY_STATE
        if fingerprint is not None:
            query, hint = query | {"fingerprint": fingerprint}, failure_statements.INDEX
        return await self._jobs.count_documents(query, limit=FEW + 1, hint=hint) <= FEW

    @guarded
    async def count(self, until: datetime) -> bool:
        """Count the failures that ended until a date, and keep the counts of the largest and of the latest groups.

        Returns:
            False if there are few failures, of which no counts are kept.
        """
        if await self.are_few():
            await self.collection.delete_one(_KEY)
            return False
        pipeline = failure_statements.parts_until(until)
        largest: list[tuple[int, str, Document]] = []
        latest: list[tuple[datetime, str, Document]] = []
        cursor = await aggregate(
            self._jobs, pipeline, hint=failure_statements.INDEX, allowDiskUse=True, batchSize=_AT_ONCE
        )
        async for group in cursor:
            _push(largest, (group["n"], group["_id"], group))
            _push(latest, (date_or_none(group["last"]) or EPOCH, group["_id"], group))
        kept = {name: group for _, name, group in [*largest, *latest]}
        parts = [_part(name, part) for name, group in kept.items() for part in group["parts"]]
        parts.sort(key=lambda part: -part[4])
        await self.collection.replace_one(_KEY, {"upTo": until, "parts": parts[:_MOST_PARTS]}, upsert=True)
        return True

    async def kept(self) -> KeptFailures | None:
        """Return the kept counts with the failures since; ``None`` if there are none."""
        document = await self.collection.find_one(_KEY)
        if document is None:
            return None
        since = await self._since(document["upTo"])
        groups = frozenset(part[0] for part in document["parts"])
        return KeptFailures(parts=document["parts"] + since, groups=groups)

    async def _since(self, up_to: datetime) -> list[Part]:
        pipeline = failure_statements.parts_since(up_to, await self._jobs.distinct("queue"), _MOST_NEW)
        cursor = await aggregate(self._jobs, pipeline, hint=_BY_END)
        return [_part(group["_id"], part) async for group in cursor for part in group["parts"]]


def grouped(parts: Iterable[Part], query: FailureQuery, scope: Scope) -> list[Document]:
    """Return the groups of a page and all that follow, in the order of a query, as `failure_statements.groups` does.

    ``newest`` is the id of the newest job of a group, as far as it is known.
    """
    groups: dict[str, Document] = {}
    states = {state.value for state in query.states}
    for fingerprint, kind, queue, state, count, first, last, inserted, newest in parts:
        in_scope = isinstance(queue, str) and scope.has_queue(queue) if scope.queues else True
        is_wanted = state in states and query.queue in {None, queue} and query.type in {None, kind}
        if not in_scope or not is_wanted or query.fingerprint not in {None, fingerprint}:
            continue
        group = groups.setdefault(fingerprint, _empty(fingerprint))
        group["count"] += count
        group[state] += count
        group["firstAt"] = min(filter(None, (group["firstAt"], first)), default=None)
        group["lastAt"] = max(filter(None, (group["lastAt"], last)), default=None)
        if queue not in group["queues"] and len(group["queues"]) < MOST_QUEUES:
            group["queues"].append(queue)
        if (inserted or EPOCH) >= group["inserted"]:
            group |= {"newest": newest, "inserted": inserted or EPOCH}
    return _after(groups.values(), query)


def _after(groups: Iterable[Document], query: FailureQuery) -> list[Document]:
    def rank(value: Any) -> Any:
        value = value or (0 if query.sort == BY_COUNT else EPOCH)
        return -value if query.sort == BY_COUNT else EPOCH - value

    key = "count" if query.sort == BY_COUNT else "lastAt"
    ordered = sorted(groups, key=lambda group: (rank(group[key]), group["_id"]))
    if query.after is None:
        return ordered
    value, last = query.after
    return [group for group in ordered if (rank(group[key]), group["_id"]) > (rank(value), last)]


def _empty(fingerprint: str) -> Document:
    none: Document = {"_id": fingerprint, "count": 0, "firstAt": None, "lastAt": None, "queues": []}
    return none | dict.fromkeys(STATES, 0) | {"newest": None, "inserted": EPOCH}


def _push(heap: list[Any], entry: tuple[Any, str, Document]) -> None:
    """Add a group to the greatest ones; fingerprints differ, so that no groups are compared."""
    if len(heap) < KEPT:
        heapq.heappush(heap, entry)
    else:
        heapq.heappushpop(heap, entry)


def _part(fingerprint: str, part: Document) -> Part:
    """Return a part as it is kept; values of other tools are left out."""
    newest = part["newest"]
    kind, queue = typed(str, part["t"]), typed(str, part["q"])
    dates = [date_or_none(date) for date in (part["first"], part["last"], newest.get("i"))]
    return [fingerprint, kind, queue, part["s"], part["n"], *dates, newest["d"]]
