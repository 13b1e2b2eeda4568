"""Pipelines in MongoDB's language, compiled into known stages, operators and readable fields.

The names that a stage may use depend on the stages before: the fields of jobs, or names that a stage has made.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from jobqueue.domain.search.expressions import DEEPEST, MOST_NAMES, MOST_NODES, made_name, named, read, readable
from jobqueue.domain.search.fields import JOB, Vocabulary
from jobqueue.domain.search.filters import compile_filter
from jobqueue.domain.search.projection import SHOWN
from jobqueue.domain.search.walker import Budget, Node

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from jobqueue.domain.search.expressions import Expression
    from jobqueue.domain.search.filters import Filter

MOST_STAGES: Final = 20
MOST_KEYS: Final = 5
MOST_NUMBER: Final = 10_000_000
ACCUMULATORS: Final = frozenset(
    {"$sum", "$avg", "$min", "$max", "$first", "$last", "$push", "$addToSet", "$stdDevPop", "$stdDevSamp", "$count"}
)


@dataclass(frozen=True, slots=True)
class Match:
    """Keep the documents that match a filter.

    Attributes:
        exact: the documents are jobs as they are stored.
        of_jobs: the paths are those of a job.
    """

    filter: Filter
    exact: bool
    of_jobs: bool


@dataclass(frozen=True, slots=True)
class Sort:
    """Sort by paths; each with the mark of a job's own field, and 1 or -1."""

    keys: tuple[tuple[str, bool, int], ...]


@dataclass(frozen=True, slots=True)
class Plain:
    """``$limit``, ``$skip`` or ``$count``."""

    operator: str
    argument: int | str


@dataclass(frozen=True, slots=True)
class GroupBy:
    """Group by a key; ``made`` are names, each with an accumulator and its argument."""

    key: Expression
    made: tuple[tuple[str, str, Expression | None], ...]


@dataclass(frozen=True, slots=True)
class Project:
    """Make other documents.

    Attributes:
        kept: paths.
        made: names with their expressions.
        with_id: keep the id too.
        of_jobs: the incoming documents are jobs.
    """

    kept: tuple[str, ...]
    made: tuple[tuple[str, Expression], ...]
    with_id: bool
    of_jobs: bool


@dataclass(frozen=True, slots=True)
class SortByCount:
    """Count the documents of each key, the most frequent first."""

    key: Expression


@dataclass(frozen=True, slots=True)
class Unwind:
    """Make a document of each member of a list."""

    path: str
    index: str | None
    keep_empty: bool


Stage = Match | Sort | Plain | GroupBy | Project | SortByCount | Unwind
Step = tuple[Stage, Vocabulary]
"""A stage, and the names that the next stage may use."""


@dataclass(frozen=True, slots=True)
class Pipeline:
    """Compiled stages, and the names of the documents that come out."""

    stages: tuple[Stage, ...]
    names: Vocabulary


def compile_pipeline(query: Any, at: str = "pipeline") -> Pipeline:
    """Read a pipeline from JSON; an `InvalidInputError` names the stage, operator, field or value that is refused."""
    whole = Node(query, at, JOB, Budget(MOST_NODES, DEEPEST, "parts of expressions"))
    stages: list[Stage] = []
    names = JOB
    for node in whole.items(MOST_STAGES, "stages"):
        argument = replace(node, names=names, depth=0).only("stage", _STAGES)
        stage, names = _STAGES[argument.name](argument)
        stages.append(stage)
    return Pipeline(tuple(stages), names)


def _match(node: Node) -> Step:
    names = node.names
    return Match(compile_filter(node.value, node.at, names), exact=names.stored, of_jobs=names.jobs), names


def _sort(node: Node) -> Step:
    keys = []
    for key in node.fields(MOST_KEYS):
        path, of_job = readable(node, key.name)
        if isinstance(key.value, bool) or key.value not in (1, -1):
            raise node.error("must have 1 or -1 for each field")
        keys.append((path, of_job, int(key.value)))
    return Sort(tuple(keys)), node.names


def _cut(node: Node) -> Step:
    return Plain(node.name, node.whole(1 if node.name == "$limit" else 0, MOST_NUMBER)), node.names


def _group(node: Node) -> Step:
    members = {member.name: member for member in named(node)}
    if "_id" not in members:
        raise node.error("must have an _id, by which to group; null for all together")
    key = read(members.pop("_id"))
    accumulators = tuple((name, *_accumulator(member)) for name, member in members.items())
    return GroupBy(key, accumulators), _made("_id", *members)


def _accumulator(node: Node) -> tuple[str, Expression | None]:
    argument = node.only("accumulator", ACCUMULATORS)
    if argument.name != "$count":
        return argument.name, read(argument)
    if argument.value != {}:
        raise argument.error("takes an empty object")
    return argument.name, None


def _project(node: Node) -> Step:
    kept: list[str] = []
    made: list[tuple[str, Expression]] = []
    with_id, of_jobs = True, node.names.jobs
    for member in node.fields(MOST_NAMES):
        if member.name == "_id" or (member.name == "id" and of_jobs):
            with_id = _is_kept(node, member.value)
        elif isinstance(member.value, bool | int | float):
            if not _is_kept(node, member.value):
                raise node.error("can leave out the id only: name what is to be kept")
            kept.append(readable(node, member.name)[0])
        else:
            made.append((made_name(node, member.name), _computed(member)))
    if not kept and not made and not with_id:
        raise node.error("must keep something")
    names = [name for name, _ in made]
    paths = [*kept, *names]
    for path in paths:
        if paths.count(path) > 1 or any(path.startswith(f"{other}.") for other in paths):
            raise node.error(f"names {path[:80]!a} and what it is in, or names it twice")
    own = ["id" if of_jobs else "_id"] if with_id else []
    return (
        Project(tuple(kept), tuple(made), with_id, of_jobs),
        _made(*own, *(path.partition(".")[0] for path in kept), *names),
    )


def _is_kept(node: Node, value: Any) -> bool:
    if value not in (0, 1):
        raise node.error("must be 0 or 1 for a field, or an expression")
    return bool(value)


def _computed(node: Node) -> Expression:
    if isinstance(node.value, dict) and not node.is_operator():
        raise node.error("must be 1 or an expression; name fields within others with dots")
    return read(node)


def _count(node: Node) -> Step:
    name = made_name(node, node.value)
    return Plain("$count", name), _made(name)


def _sort_by_count(node: Node) -> Step:
    return SortByCount(read(node)), _made("_id", "count")


def _unwind(node: Node) -> Step:
    fields = {"path": node.value} if isinstance(node.value, str) else node.value
    if not isinstance(fields, dict) or not {"path"} <= fields.keys() <= {"path", *_UNWIND}:
        raise node.error(f"must be a field, or an object of path, {', '.join(_UNWIND)}")
    path, keep = fields["path"], fields.get("preserveNullAndEmptyArrays", False)
    if not isinstance(path, str) or not path.startswith("$") or not isinstance(keep, bool):
        raise node.error('takes a path such as "$meta.tags", and true or false')
    place, _ = readable(node, path[1:], whole=path in {"$history", "$steps"})
    names, index = replace(node.names, stored=False), fields.get("includeArrayIndex")
    if index is not None:
        if made_name(node, index) in SHOWN | {"_id"} | names.made:
            raise node.error("has an includeArrayIndex that is the name of something else")
        names = replace(names, made=names.made | {index})
    return Unwind(place, index, keep), names


def _made(*names: str) -> Vocabulary:
    return Vocabulary(made=frozenset(names), jobs=False, stored=False)


_UNWIND: Final = ("includeArrayIndex", "preserveNullAndEmptyArrays")
_STAGES: Final[Mapping[str, Callable[[Node], Step]]] = {
    "$match": _match,
    "$group": _group,
    "$sort": _sort,
    "$limit": _cut,
    "$skip": _cut,
    "$project": _project,
    "$count": _count,
    "$sortByCount": _sort_by_count,
    "$unwind": _unwind,
}
