"""Searches for jobs, with bounds on the jobs they look at and on their time."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from bson import ObjectId

from jobqueue.domain.access.access import EVERYTHING, Scope
from jobqueue.domain.attempts.states import UNFINISHED, State
from jobqueue.domain.errors import DatabaseUnavailableError, InvalidInputError, TooCostlyError, TooSlowError
from jobqueue.domain.search.fields import FREE
from jobqueue.domain.search.filters import Comparison, Filter, Group, conjuncts, every
from jobqueue.domain.search.query import Count, Page
from jobqueue.store.documents import documents, scope_filters
from jobqueue.store.mongo.database import brief, guarded
from jobqueue.store.mongo.driver import ExecutionTimeout, NetworkTimeout, OperationFailure, aggregate, timeout
from jobqueue.store.search import filters
from jobqueue.store.steps import step_statements

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jobqueue.domain.jobs.job import Job
    from jobqueue.domain.search.search import Search
    from jobqueue.store.documents.statements import Document
    from jobqueue.store.mongo.database import Database

MOST_READ: Final = 100_000
"""Jobs that a search may look at; a ``slow`` search has no such bound."""
TIME_LIMIT: Final = 3.0
"""Seconds of a search."""
SLOW_LIMIT: Final = 60.0
"""Seconds of a ``slow`` search."""
COUNT_LIMIT: Final = 1.0
"""Seconds of the count of the jobs to look at."""
MOST_BYTES: Final = 8 * 1024 * 1024
"""Bytes of a page; a larger page ends early."""
MOST_QUEUES: Final = 30
"""Queues whose indexes MongoDB can merge: six states each, and two hundred ranges in all."""
HELP: Final = (
    "narrow it by id, batchId, parentId, schedule, fingerprint or a value of meta, "
    "by a queue, type or state that has fewer jobs, "
    'or by a shorter time of insertAt, and sort by insertAt; or insist with "slow": true'
)
_INDEXED: Final = frozenset({"queue", "type", "state", "batchId", "parentId", "schedule", "fingerprint"})
_EQUAL: Final = frozenset({"$eq", "$in", "$has"})
_RANGE: Final = frozenset({"$gt", "$gte", "$lt", "$lte"})
_NOT_ITS_FAULT: Final = frozenset({13, 18, 8000, 64, 91, 189, 262, 10107, 11600, 11602, 13435, 13436})
_INTERRUPTED: Final = frozenset({43, 175, 237})
"""Codes of a lost cursor or plan, because an index or the collection was dropped; the search may be repeated."""
_STEPS: Final = step_statements.without_results()
_AWAITED: Final = frozenset({"wait.signals", "wait.jobs", "wait.doubt"})
"""Fields whose presence an index shows."""
_UNFINISHED: Final = frozenset(state.value for state in UNFINISHED)
_STATES: Final = Comparison("state", "$in", tuple(state.value for state in State))


def statement(search: Search, scope: Scope = EVERYTHING) -> Document:
    """Return the filter of a search, in a shape that lets an index give the order."""
    query = search.filter
    if search.sort == "insertAt" and (shape := _shape(query, scope)) is not None:
        query = every(query, shape)
    document = filters.matching(query, scope)
    if beyond := _beyond(search):
        document = {**document, "$and": [*document.get("$and", []), *beyond]}
    return document


def order(search: Search) -> list[tuple[str, int]]:
    """Return the sort of a search."""
    direction = -1 if search.descending != search.backward else 1
    by_id = [("_id", direction)]
    return by_id if search.sort == "id" else [(search.sort, direction), *by_id]


def projection(search: Search) -> Document:
    """Return the fields to read of each job: the shown fields, the sort key for the cursor, and the size.

    Steps are read without their results.
    """
    shown = search.projection
    if not shown.paths:
        document = {"$mergeObjects": ["$$ROOT", {"steps": _STEPS}]}
        return {"size": {"$bsonSize": document}, "document": document}
    # A field of a fixed form is read as a whole.
    names = {path if path.partition(".")[0] in FREE else path.partition(".")[0] for path in shown.paths}
    names = {filters.name(path) for path in names | {search.sort}}
    read = {path: _STEPS if path == "steps" else 1 for path in sorted(names)}
    size = {"$bsonSize": {f"f{number}": _STEPS if path == "steps" else f"${path}" for number, path in enumerate(read)}}
    return {**read, "size": size}


def counted(query: Filter, scope: Scope, most: int) -> list[Document]:
    """Return a pipeline that counts the jobs of a filter by state, one more than ``most`` at most."""
    return [
        {"$match": filters.matching(query, scope)},
        {"$limit": most + 1},
        {"$group": {"_id": "$state", "count": {"$sum": 1}}},
    ]


def candidates(query: Filter, scope: Scope = EVERYTHING) -> tuple[Document, bool]:
    """Return a filter of the parts that an index serves, and True if an index serves all parts.

    Other parts are tested in the jobs themselves.
    """
    parts = list(conjuncts(query))
    by_key = _is_by_key(query)
    served = [part for part in parts if _is_indexed(part) or (by_key and _has_path(part, "key"))]
    return filters.matching(every(*served), scope, by_index=True), len(served) == len(parts)


class SearchStore:
    """Run searches that look at ``most_read`` jobs at most and take ``time_limit`` seconds at most."""

    def __init__(self, database: Database, *, most_read: int = MOST_READ, time_limit: float = TIME_LIMIT) -> None:
        self._jobs = database.collection("jobs")
        self.most_read = most_read
        self.time_limit = time_limit

    @guarded
    async def page(self, search: Search, scope: Scope = EVERYTHING) -> Page:
        """Return one page.

        Raises:
            TooCostlyError: no index leads to few enough jobs, and the search is not ``slow``.
            TooSlowError: the search took too long.
        """
        await self.check(search.filter, scope, ordered=search.sort == "insertAt", slow=search.slow)
        with self.limited("filter", slow=search.slow):
            return await self._page(search, scope)

    def is_light(self, search: Search) -> bool:
        """Tell whether an index serves the whole search in its order."""
        return search.sort == "insertAt" and candidates(search.filter)[1]

    @guarded
    async def check(self, query: Filter, scope: Scope, *, ordered: bool, slow: bool, at: str = "filter") -> None:
        """Check that an index leads to few enough jobs.

        Args:
            query: the compiled filter.
            scope: the scope of the caller.
            ordered: the caller reads one page in the order of the indexes.
            slow: accept any number.
            at: the path of the problem.

        Raises:
            TooCostlyError: there are too many jobs to look at.
        """
        document, is_all = candidates(query, scope)
        if slow or (ordered and is_all) or "id" in _equal_paths(query):
            return
        if await self._jobs.estimated_document_count() <= self.most_read:
            return
        if await self._is_more(document):
            reason = "it would have to look at" if is_all else "no index serves all of it, so it would have to look at"
            raise TooCostlyError({at: [f"{reason} more than {self.most_read:,} jobs: {HELP}"]})

    @contextmanager
    def limited(self, at: str, *, slow: bool) -> Iterator[None]:
        """Bound the time of the block; errors have the path ``at``."""
        seconds = SLOW_LIMIT if slow else self.time_limit
        try:
            with timeout(seconds):
                yield
        except (ExecutionTimeout, NetworkTimeout):
            more = "; it is over even for one that insists" if slow else ""
            raise TooSlowError({at: [f"it takes more than {seconds:g} seconds{more}: {HELP}"]}) from None
        except OperationFailure as error:
            if error.code in _INTERRUPTED:
                raise DatabaseUnavailableError(f"MongoDB has ended a search: {brief(error)}") from error
            if error.code in _NOT_ITS_FAULT or error.timeout:
                raise
            raise InvalidInputError({at: [f"MongoDB refuses it: {brief(error)}"]}) from None

    async def _page(self, search: Search, scope: Scope) -> Page:
        cursor = self._jobs.find(statement(search, scope), projection(search), sort=order(search))
        items: list[Job] = []
        size, is_all = 0, True
        async for document in cursor.limit(search.limit + 1).batch_size(min(search.limit + 1, 51)):
            size += document.pop("size")
            if len(items) == search.limit or (items and size > MOST_BYTES):
                is_all = False
                break
            items.append(documents.job(document.get("document", document)))
        return _made_page(search, items, is_all=is_all)

    @guarded
    async def count(self, query: Filter, scope: Scope, *, most: int, slow: bool) -> Count:
        """Count the jobs of a filter, ``most`` of them at most.

        Raises:
            TooCostlyError: as `page`.
            TooSlowError: as `page`.
        """
        await self.check(query, scope, ordered=True, slow=slow)
        with self.limited("filter", slow=slow):
            rows = [row async for row in await aggregate(self._jobs, counted(query, scope, most))]
        states = {str(row["_id"]): int(row["count"]) for row in rows}
        total = sum(states.values())
        return Count(count=min(total, most), states=states if total <= most else None, truncated=total > most)

    async def _is_more(self, query: Document) -> bool:
        """Tell whether too many jobs match."""
        try:
            with timeout(COUNT_LIMIT):
                return await self._jobs.count_documents(query, limit=self.most_read + 1) > self.most_read
        except (ExecutionTimeout, NetworkTimeout):
            return True


def _made_page(search: Search, items: list[Job], *, is_all: bool) -> Page:
    """Return a page of jobs that are in the order in which they were read; ``is_all`` if no more follow."""
    if search.backward:
        items.reverse()
    has_more = (search.after is not None, not is_all)
    has_previous, has_next = reversed(has_more) if search.backward else has_more
    return Page(
        items=tuple(items),
        next=search.cursor(items[-1]) if items and has_next else None,
        previous=search.cursor_before(items[0]) if items and has_previous else None,
    )


def _is_indexed(query: Filter) -> bool:
    if isinstance(query, Group):
        # MongoDB merges the branches in the order of their indexes; the index of queues alone has another order.
        return query.operator == "$or" and all(_gives_order(part) for part in query.parts)
    if not isinstance(query, Comparison):
        return False
    if query.path == "insertAt":
        return query.operator in _RANGE | {"$eq"}
    if query.operator not in _EQUAL:
        return _is_awaited(query)
    if query.path in _INDEXED:
        values = query.value if isinstance(query.value, tuple) else (query.value,)
        # Missing values are in no index.
        return None not in values and (query.path != "queue" or len(values) <= MOST_QUEUES)
    return query.path == "id" or filters.attribute(query) is not None


def _is_awaited(query: Filter) -> bool:
    if not isinstance(query, Comparison) or query.path not in _AWAITED:
        return False
    return query.operator == "$exists" and query.value is True


def _gives_order(query: Filter) -> bool:
    return isinstance(query, Comparison) and query.path not in {"queue", "insertAt"} and _is_indexed(query)


def _is_by_key(query: Filter) -> bool:
    """Tell whether the unique index of keys serves a filter: it has queues, a key, and no state of ended jobs."""
    tested = _equal_paths(query)
    states = {
        value
        for part in conjuncts(query)
        if isinstance(part, Comparison) and part.path == "state" and part.operator in {"$eq", "$in"}
        for value in (part.value if isinstance(part.value, tuple) else (part.value,))
    }
    return {"queue", "key"} <= tested and bool(states) and states <= _UNFINISHED


def _has_path(query: Filter, path: str) -> bool:
    return isinstance(query, Comparison) and query.path == path and query.operator in _EQUAL


def _equal_paths(query: Filter) -> set[str]:
    return {part.path for part in conjuncts(query) if isinstance(part, Comparison) and part.operator in _EQUAL}


def _shape(query: Filter, scope: Scope) -> Filter | None:
    """Return a filter that lets the index of a queue's states give the order, where no other index is better."""
    tested = _equal_paths(query)
    if any(_is_awaited(part) for part in conjuncts(query)):
        return None
    of_queue = "queue" in tested or (scope.queues and not tested & _INDEXED and not scope_filters.is_wild(scope))
    return _STATES if of_queue and not tested & {"state", "type", "id"} else None


def _beyond(search: Search) -> list[Document]:
    """Return a filter for the jobs after the page before."""
    if search.after is None:
        return []
    last, job_id = filters.value(search.after[0]), ObjectId(search.after[1])
    falls = search.descending != search.backward
    past, bound, seen = ("$lt", "$lte", "$gte") if falls else ("$gt", "$gte", "$lte")
    if search.sort == "id":
        return [{"_id": {past: job_id}}]
    if search.sort == "insertAt":
        # With $or, MongoDB might use two indexes and a sort in memory.
        return [{"insertAt": {bound: last}}, {"$nor": [{"insertAt": last, "_id": {seen: job_id}}]}]
    same = {search.sort: last, "_id": {past: job_id}}
    if last is None:
        # Nothing is lower than null.
        return [same if falls else {"$or": [same, {search.sort: {"$ne": None}}]}]
    rest = [{search.sort: None}] if falls else []
    return [{"$or": [same, {search.sort: {past: last}}, *rest]}]
