"""Compiled pipelines, run within the bounds of searches."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import takewhile
from typing import TYPE_CHECKING, Any, Final

import bson

from jobqueue.domain.access.access import EVERYTHING
from jobqueue.domain.search import expressions
from jobqueue.domain.search.fields import FIELDS, SECRET
from jobqueue.domain.search.filters import Filter, every
from jobqueue.domain.search.pipelines import GroupBy, Match, Pipeline, Plain, Project, Sort, SortByCount, Stage, Unwind
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
"""Documents in the reply of a pipeline."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """The documents of a pipeline; ``truncated`` if there are more."""

    items: tuple[Document, ...]
    truncated: bool


class AggregateStore:
    """Run pipelines."""

    def __init__(self, database: Database, search: SearchStore) -> None:
        self._jobs = database.collection("jobs")
        self._search = search

    @guarded
    async def rows(self, pipeline: Pipeline, scope: Scope = EVERYTHING, *, slow: bool = False) -> Rows:
        """Return the documents that a pipeline makes of the jobs in a scope.

        Raises:
            TooCostlyError: the pipeline would look at too many jobs, and is not ``slow``.
            TooSlowError: the pipeline took too long.
            InvalidInputError: MongoDB cannot run the pipeline, such as a division by zero.
        """
        query, rest = leading(pipeline)
        bounded = _is_bounded(rest, self._search.most_read)
        await self._search.check(query, scope, ordered=bounded, slow=slow, at="pipeline")
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
    query, rest = leading(pipeline)
    stages = [{"$match": filters.matching(query, scope)}, *(_stage(stage) for stage in rest)]
    if pipeline.names.jobs:
        stages.append({"$project": dict.fromkeys([*sorted(_shown()), *sorted(pipeline.names.made)], 1)})
    return [*stages, {"$limit": MOST_ROWS + 1}]


def leading(pipeline: Pipeline) -> tuple[Filter, tuple[Stage, ...]]:
    """Return the filter of the first stages, and the stages after them."""
    matches = list(takewhile(lambda stage: isinstance(stage, Match), pipeline.stages))
    return every(*(stage.filter for stage in matches if isinstance(stage, Match))), pipeline.stages[len(matches) :]


def expression(compiled: Expression) -> Any:
    """Return an expression for the database."""
    match compiled:
        case expressions.Field(path, of_job):
            return f"${filters.name(path) if of_job else path}"
        case expressions.Now():
            return "$$NOW"
        case expressions.Constant(value):
            return {"$literal": filters.value(value)}
        case expressions.Several(items):
            return [expression(item) for item in items]
        case expressions.Record(items):
            return {name: expression(item) for name, item in items}
        case expressions.Call(operator, argument):
            return {operator: expression(argument)}


def _stage(stage: Stage) -> Document:
    document: Document
    match stage:
        case Match(query, exact, of_jobs):
            document = {"$match": filters.document(query, exact=exact, of_jobs=of_jobs)}
        case Sort(keys):
            document = {"$sort": {filters.name(path) if of_job else path: way for path, of_job, way in keys}}
        case Plain(operator, argument):
            document = {operator: argument}
        case GroupBy(key, made):
            sums = {name: {operator: {} if item is None else expression(item)} for name, operator, item in made}
            document = {"$group": {"_id": expression(key), **sums}}
        case Project():
            document = {"$project": _projected(stage)}
        case SortByCount(key):
            document = {"$sortByCount": _by_count(expression(key))}
        case Unwind(path, index, keep_empty):
            named = {} if index is None else {"includeArrayIndex": index}
            document = {"$unwind": {"path": f"${path}", "preserveNullAndEmptyArrays": keep_empty, **named}}
    return document


def _by_count(key: Any) -> Any:
    # $sortByCount takes a field or an operator only.
    is_operator = isinstance(key, dict) and next(iter(key)).startswith("$")
    return key if isinstance(key, str) or is_operator else {"$ifNull": [key, None]}


def _projected(stage: Project) -> Document:
    own: Document = {"_id": 1 if stage.with_id and not stage.of_jobs else 0}
    if stage.with_id and stage.of_jobs:
        own["id"] = "$_id"
    return own | dict.fromkeys(stage.kept, 1) | {name: expression(item) for name, item in stage.made}


def _shown() -> set[str]:
    """Return the fields of a job to show; of a field with a secret, the harmless fields below it."""
    inside = {path for path in FIELDS if path.partition(".")[0] in SECRET and path not in SECRET}
    inside = {path for path in inside if not any(path.startswith(f"{other}.") for other in inside)}
    return {filters.name(path) for path in SHOWN - SECRET} | inside


def _is_bounded(rest: tuple[Stage, ...], most: int) -> bool:
    """Tell whether at most ``most`` jobs are read, if an index gives them in its order."""
    for stage in rest:
        if isinstance(stage, Plain) and stage.operator == "$limit" and isinstance(stage.argument, int):
            return stage.argument <= most
        if not isinstance(stage, Sort) or [key[0] for key in stage.keys][:1] != ["insertAt"]:
            return False
    return not rest
