"""Searches of jobs: what they look at is bounded before they run, and how long they take while they do."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from bson import ObjectId

from jobqueue.domain.access.access import EVERYTHING, Scope
from jobqueue.domain.errors import DatabaseUnavailableError, InvalidInputError, TooCostlyError, TooSlowError
from jobqueue.domain.jobs.states import State
from jobqueue.domain.search.fields import FREE
from jobqueue.domain.search.filters import Comparison, Filter, Group, conjuncts, every
from jobqueue.domain.search.query import Page
from jobqueue.store.documents import documents, scope_filters
from jobqueue.store.mongo.database import brief, guarded
from jobqueue.store.mongo.driver import ExecutionTimeout, NetworkTimeout, OperationFailure, timeout
from jobqueue.store.search import filters

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jobqueue.domain.jobs.job import Job
    from jobqueue.domain.search.search import Search
    from jobqueue.store.documents.statements import Document
    from jobqueue.store.mongo.database import Database

MOST_READ: Final = 100_000
"""Jobs that one search may have to look at unless it insists."""
TIME_LIMIT: Final = 3.0
"""Seconds that a search may take."""
SLOW_LIMIT: Final = 60.0
"""Seconds that a search may take that insists."""
COUNT_LIMIT: Final = 1.0
"""Seconds that it may take to find out how much there is to look at."""
MOST_BYTES: Final = 8 * 1024 * 1024
"""A page ends early when what it shows takes more than this."""
MOST_QUEUES: Final = 30
"""Queues whose indexes can be merged: six states of each, and two hundred ranges in all."""
HELP: Final = (
    "narrow it by id, batchId, parentId, schedule or a value of meta, by a queue, type or state that has fewer jobs, "
    'or by a shorter time of insertAt, and sort by insertAt; or insist with "slow": true'
)
_INDEXED: Final = frozenset({"queue", "type", "state", "batchId", "parentId", "schedule"})
_EQUAL: Final = frozenset({"$eq", "$in", "$has"})
_RANGE: Final = frozenset({"$gt", "$gte", "$lt", "$lte"})
_NOT_ITS_FAULT: Final = frozenset({13, 18, 8000, 64, 91, 189, 262, 10107, 11600, 11602, 13435, 13436})
_INTERRUPTED: Final = frozenset({43, 175, 237})
"""Its cursor is gone, or its plan, because an index or the collection was dropped: it may be repeated."""
_STATES: Final = Comparison("state", "$in", tuple(state.value for state in State))


def statement(search: Search, scope: Scope = EVERYTHING) -> Document:
    """Return the filter of a search; its shape lets an index give the order too."""
    wanted = search.filter
    if search.sort == "insertAt" and (shape := _shape(wanted, scope)) is not None:
        wanted = every(wanted, shape)
    found = filters.matching(wanted, scope)
    if search.after is not None:
        found = {**found, "$and": [*found.get("$and", []), *_beyond(search)]}
    return found


def order(search: Search) -> list[tuple[str, int]]:
    """Return the sort of a search."""
    direction = -1 if search.descending else 1
    by_id = [("_id", direction)]
    return by_id if search.sort == "id" else [(search.sort, direction), *by_id]


def projection(search: Search) -> Document:
    """Return what is read of each job, its size included, and what the cursor needs."""
    shown = search.projection
    if not shown.paths:
        return {"size": {"$bsonSize": "$$ROOT"}, "document": "$$ROOT"}
    # What is not free in its form is read as a whole, to be understood as a whole.
    names = {path if path.partition(".")[0] in FREE else path.partition(".")[0] for path in shown.paths}
    names = {filters.name(path) for path in names | {search.sort}}
    size = {"$bsonSize": {f"f{number}": f"${path}" for number, path in enumerate(sorted(names))}}
    return {**dict.fromkeys(sorted(names), 1), "size": size}


def candidates(wanted: Filter, scope: Scope = EVERYTHING) -> tuple[Document, bool]:
    """Return a filter for what an index leads to, and whether that is all that is asked for.

    What is asked for besides has to be looked at in the jobs themselves, unless it is about indexed fields: then
    another index may do as well, and few jobs are passed over.
    """
    parts = list(conjuncts(wanted))
    served = [one for one in parts if _is_indexed(one)]
    return filters.matching(every(*served), scope, by_index=True), len(served) == len(parts)


class SearchStore:
    """Reads what a search finds.

    Args:
        database: that has the jobs.
        most_read: jobs that a search may have to look at.
        time_limit: seconds it may take.
    """

    def __init__(self, database: Database, *, most_read: int = MOST_READ, time_limit: float = TIME_LIMIT) -> None:
        self._database = database
        self._jobs = database.collection("jobs")
        self.most_read = most_read
        self.time_limit = time_limit

    @guarded
    async def page(self, search: Search, scope: Scope = EVERYTHING) -> Page:
        """Return one page.

        Raises:
            TooCostlyError: no index leads to few enough jobs, and it does not insist.
            TooSlowError: it took too long.
        """
        await self.check(search.filter, scope, ordered=search.sort == "insertAt", slow=search.slow)
        with self.limited("filter", slow=search.slow):
            return await self._page(search, scope)

    def is_light(self, search: Search) -> bool:
        """Tell whether an index leads to all that is asked for, in its order."""
        return search.sort == "insertAt" and candidates(search.filter)[1]

    @guarded
    async def check(self, wanted: Filter, scope: Scope, *, ordered: bool, slow: bool, at: str = "filter") -> None:
        """Make sure that an index leads to few enough jobs.

        Args:
            wanted: what is asked for.
            scope: of the caller.
            ordered: the result is wanted in the order of the indexes, and no more of it than a page.
            slow: whatever it costs.
            at: what the problem is about.

        Raises:
            TooCostlyError: it does not, and there are many.
        """
        found, is_all = candidates(wanted, scope)
        if slow or (ordered and is_all) or _names_jobs(wanted):
            return
        if await self._jobs.estimated_document_count() <= self.most_read:
            return
        if await self._is_more(found):
            what = "it would have to look at" if is_all else "no index serves all of it, so it would have to look at"
            raise TooCostlyError({at: [f"{what} more than {self.most_read:,} jobs: {HELP}"]})

    @contextmanager
    def limited(self, at: str, *, slow: bool) -> Iterator[None]:
        """Bound the time of what is done within, and tell what was wrong with it by ``at``."""
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
        size = 0
        async for one in cursor.limit(search.limit + 1).batch_size(min(search.limit + 1, 51)):
            size += one.pop("size")
            if len(items) == search.limit or (items and size > MOST_BYTES):
                return Page(items=tuple(items), next=search.cursor(items[-1]))
            items.append(documents.job(one.get("document", one)))
        return Page(items=tuple(items), next=None)

    async def _is_more(self, found: Document) -> bool:
        """Tell whether more jobs than may be looked at match."""
        try:
            with timeout(COUNT_LIMIT):
                return await self._jobs.count_documents(found, limit=self.most_read + 1) > self.most_read
        except (ExecutionTimeout, NetworkTimeout):
            return True


def _is_indexed(one: Filter) -> bool:
    if isinstance(one, Group):
        # The branches are merged in the order of their indexes, which for queues alone is another.
        return one.operator == "$or" and all(_gives_order(part) for part in one.parts)
    if not isinstance(one, Comparison):
        return False
    if one.path == "insertAt":
        return one.operator in _RANGE | {"$eq"}
    if one.operator not in _EQUAL:
        return False
    if one.path in _INDEXED:
        values = one.value if isinstance(one.value, tuple) else (one.value,)
        # Of what is missing, there is no index.
        return None not in values and (one.path != "queue" or len(values) <= MOST_QUEUES)
    return one.path == "id" or filters.attribute(one) is not None


def _gives_order(one: Filter) -> bool:
    return isinstance(one, Comparison) and one.path not in {"queue", "insertAt"} and _is_indexed(one)


def _names_jobs(wanted: Filter) -> bool:
    return any(isinstance(one, Comparison) and one.path == "id" and one.operator in _EQUAL for one in conjuncts(wanted))


def _shape(wanted: Filter, scope: Scope) -> Filter | None:
    """Return what makes the index of a queue's states give the order, where no other index does better."""
    tested = {one.path for one in conjuncts(wanted) if isinstance(one, Comparison) and one.operator in _EQUAL}
    of_queue = "queue" in tested or (scope.queues and not tested & _INDEXED and not scope_filters.is_wild(scope))
    return _STATES if of_queue and not tested & {"state", "type", "id"} else None


def _beyond(search: Search) -> list[Document]:
    """Return what is true of what comes after the last job of the page before."""
    if search.after is None:
        return []
    last, job_id = filters.value(search.after[0]), ObjectId(search.after[1])
    past, bound, seen = ("$lt", "$lte", "$gte") if search.descending else ("$gt", "$gte", "$lte")
    if search.sort == "id":
        return [{"_id": {past: job_id}}]
    if search.sort == "insertAt":
        # Said with $or, it might be answered by two indexes and a sort in memory.
        return [{"insertAt": {bound: last}}, {"$nor": [{"insertAt": last, "_id": {seen: job_id}}]}]
    same = {search.sort: last, "_id": {past: job_id}}
    if last is None:
        # Nothing is lower than null.
        return [same if search.descending else {"$or": [same, {search.sort: {"$ne": None}}]}]
    rest = [{search.sort: None}] if search.descending else []
    return [{"$or": [same, {search.sort: {past: last}}, *rest]}]
