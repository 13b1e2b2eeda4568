"""Compiled pipelines, carried out within the bounds that searches have."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import bson

from jobqueue.domain.access.access import EVERYTHING
from jobqueue.domain.search import expressions
from jobqueue.domain.search.fields import FIELDS, SECRET
from jobqueue.domain.search.filters import Filter, every
from jobqueue.domain.search.pipelines import (
    Count,
    Cut,
    GroupBy,
    Match,
    Pipeline,
    Project,
    Sort,
    SortByCount,
    Stage,
    Unwind,
)
from jobqueue.domain.search.projection import SHOWN
from jobqueue.store.mongo.database import guarded
from jobqueue.store.mongo.driver import aggregate
from jobqueue.store.search import filters
from jobqueue.store.search.search import MOST_BYTES

if TYPE_CHECKING:
    from jobqueue.domain.access.access import Scope
    from jobqueue.domain.search.expressions import Expression
    from jobqueue.store.documents.statements import Document
    from jobqueue.store.mongo.database import Database
    from jobqueue.store.search.search import SearchStore

MOST_ROWS: Final = 1000
"""Documents that a pipeline may give."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """What a pipeline gives; ``truncated`` if there is more than is shown."""

    items: tuple[Document, ...]
    truncated: bool


class AggregateStore:
    """Carries out pipelines."""

    def __init__(self, database: Database, search: SearchStore) -> None:
        self._jobs = database.collection("jobs")
        self._search = search

    @guarded
    async def rows(self, pipeline: Pipeline, scope: Scope = EVERYTHING, *, slow: bool = False) -> Rows:
        """Return what a pipeline makes of the jobs in a scope.

        Raises:
            TooCostlyError: it would have to look at too many jobs, and does not insist.
            TooSlowError: it took too long.
            InvalidInputError: MongoDB cannot carry it out, such as a division by zero.
        """
        wanted, rest = leading(pipeline)
        bounded = _is_bounded(rest, self._search.most_read)
        await self._search.check(wanted, scope, ordered=bounded, slow=slow, at="pipeline")
        with self._search.limited("pipeline", slow=slow):
            return await self._rows(statement(pipeline, scope), of_jobs=pipeline.names.jobs)

    async def _rows(self, stages: list[Document], *, of_jobs: bool) -> Rows:
        items: list[Document] = []
        size = 0
        async for row in await aggregate(self._jobs, stages, allowDiskUse=False):
            size += len(bson.encode(row))
            if len(items) == MOST_ROWS or (items and size > MOST_BYTES):
                return Rows(items=tuple(items), truncated=True)
            items.append({"id": row.pop("_id"), **row} if of_jobs and "_id" in row else row)
        return Rows(items=tuple(items), truncated=False)


def statement(pipeline: Pipeline, scope: Scope = EVERYTHING) -> list[Document]:
    """Return the pipeline for the database."""
    wanted, rest = leading(pipeline)
    found = [{"$match": filters.matching(wanted, scope)}, *(_stage(one) for one in rest)]
    if pipeline.names.jobs:
        found.append({"$project": dict.fromkeys([*sorted(_shown()), *sorted(pipeline.names.made)], 1)})
    return [*found, {"$limit": MOST_ROWS + 1}]


def leading(pipeline: Pipeline) -> tuple[Filter, tuple[Stage, ...]]:
    """Return what the first stages say which jobs are looked at, and the other stages."""
    wanted: list[Filter] = []
    for index, one in enumerate(pipeline.stages):
        if not isinstance(one, Match):
            return every(*wanted), pipeline.stages[index:]
        wanted.append(one.filter)
    return every(*wanted), ()


def expression(given: Expression) -> Any:
    """Return an expression for the database."""
    match given:
        case expressions.Field(path, of_job):
            return f"${filters.name(path) if of_job else path}"
        case expressions.Now():
            return "$$NOW"
        case expressions.Constant(inner):
            return {"$literal": filters.value(inner)}
        case expressions.Several(items):
            return [expression(one) for one in items]
        case expressions.Record(items):
            return {name: expression(one) for name, one in items}
        case expressions.Call(operator, argument):
            return {operator: expression(argument)}


def _stage(stage: Stage) -> Document:
    found: Document
    match stage:
        case Match(wanted, exact, of_jobs):
            found = {"$match": filters.document(wanted, exact=exact, of_jobs=of_jobs)}
        case Sort(keys):
            found = {"$sort": {filters.name(path) if of_job else path: way for path, of_job, way in keys}}
        case Cut(operator, number):
            found = {operator: number}
        case GroupBy(key, made):
            accumulated = {name: {one: {} if inner is None else expression(inner)} for name, one, inner in made}
            found = {"$group": {"_id": expression(key), **accumulated}}
        case Project():
            found = {"$project": _projected(stage)}
        case Count(name):
            found = {"$count": name}
        case SortByCount(key):
            found = {"$sortByCount": _by_count(expression(key))}
        case Unwind(path, index, keep_empty):
            named = {} if index is None else {"includeArrayIndex": index}
            found = {"$unwind": {"path": f"${path}", "preserveNullAndEmptyArrays": keep_empty, **named}}
    return found


def _by_count(key: Any) -> Any:
    # It takes a field or an operator only.
    return (
        key
        if isinstance(key, str) or (isinstance(key, dict) and next(iter(key)).startswith("$"))
        else {"$ifNull": [key, None]}
    )


def _projected(stage: Project) -> Document:
    own: Document = {"_id": 1 if stage.with_id and not stage.of_jobs else 0}
    if stage.with_id and stage.of_jobs:
        own["id"] = "$_id"
    return own | dict.fromkeys(stage.kept, 1) | {name: expression(one) for name, one in stage.made}


def _shown() -> set[str]:
    """Return what is shown of a job; where there is a secret, what there is besides."""
    inside = {path for path in FIELDS if path.partition(".")[0] in SECRET and path not in SECRET}
    inside = {path for path in inside if not any(path.startswith(f"{other}.") for other in inside)}
    return {filters.name(path) for path in SHOWN - SECRET} | inside


def _is_bounded(rest: tuple[Stage, ...], most: int) -> bool:
    """Tell whether no more jobs than may be are looked at, if an index gives them in its order."""
    for one in rest:
        if isinstance(one, Cut) and one.operator == "$limit":
            return one.number <= most
        if not isinstance(one, Sort) or [key[0] for key in one.keys][:1] != ["insertAt"]:
            return False
    return not rest
