"""Pipelines in MongoDB's language, compiled as filters are: known stages, operators and readable fields only.

What a stage may name depends on those before it: the fields of jobs, or what has been made of them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from jobqueue.domain.errors import InvalidInputError
from jobqueue.domain.search.expressions import MOST_NAMES, Expression, Reader, made_name, named, readable
from jobqueue.domain.search.fields import JOB, Vocabulary
from jobqueue.domain.search.filters import Filter, compile_filter
from jobqueue.domain.search.projection import SHOWN

if TYPE_CHECKING:
    from collections.abc import Callable

MOST_STAGES: Final = 20
MOST_KEYS: Final = 5
MOST_NUMBER: Final = 10_000_000
ACCUMULATORS: Final = frozenset(
    {"$sum", "$avg", "$min", "$max", "$first", "$last", "$push", "$addToSet", "$stdDevPop", "$stdDevSamp", "$count"}
)


@dataclass(frozen=True, slots=True)
class Match:
    """Go on with what a filter finds.

    Attributes:
        exact: the documents are jobs as they are stored.
        of_jobs: the paths are those of a job.
    """

    filter: Filter
    exact: bool
    of_jobs: bool


@dataclass(frozen=True, slots=True)
class Sort:
    """Put in order: paths, whether they are a job's own, and 1 or -1."""

    keys: tuple[tuple[str, bool, int], ...]


@dataclass(frozen=True, slots=True)
class Cut:
    """``$limit`` or ``$skip``."""

    operator: str
    number: int


@dataclass(frozen=True, slots=True)
class GroupBy:
    """Put together what has the same key: names with an accumulator and what it accumulates."""

    key: Expression
    made: tuple[tuple[str, str, Expression | None], ...]


@dataclass(frozen=True, slots=True)
class Project:
    """Make other documents.

    Attributes:
        kept: paths, and whether they are a job's own.
        made: names with what they are to have.
        with_id: keep the id too.
        of_jobs: what comes in are jobs.
    """

    kept: tuple[str, ...]
    made: tuple[tuple[str, Expression], ...]
    with_id: bool
    of_jobs: bool


@dataclass(frozen=True, slots=True)
class Count:
    """Only say how many there are."""

    name: str


@dataclass(frozen=True, slots=True)
class SortByCount:
    """Say how many there are of each, the most frequent first."""

    key: Expression


@dataclass(frozen=True, slots=True)
class Unwind:
    """Make a document for each member of a list."""

    path: str
    index: str | None
    keep_empty: bool


Stage = Match | Sort | Cut | GroupBy | Project | Count | SortByCount | Unwind


@dataclass(frozen=True, slots=True)
class Pipeline:
    """What to make of the jobs.

    Attributes:
        names: that what comes out has.
    """

    stages: tuple[Stage, ...]
    names: Vocabulary


def compile_pipeline(given: Any, at: str = "pipeline") -> Pipeline:
    """Return what a pipeline in JSON asks for.

    Raises:
        InvalidInputError: naming the stage, operator, field or value that is not acceptable.
    """
    if not isinstance(given, list) or not 1 <= len(given) <= MOST_STAGES:
        raise InvalidInputError({at: [f"must be a list of 1 to {MOST_STAGES} stages"]})
    compiler = _Compiler()
    return Pipeline(tuple(compiler.stage(one, f"{at}.{index}") for index, one in enumerate(given)), compiler.names)


class _Compiler:
    """Reads one stage after the other."""

    def __init__(self) -> None:
        self.names = JOB
        self._exact = True
        self._expressions = Reader()

    def stage(self, given: Any, at: str) -> Stage:
        if not isinstance(given, dict) or len(given) != 1:
            raise InvalidInputError({at: ["must be an object with one stage"]})
        ((name, inner),) = given.items()
        if name not in _STAGES:
            raise InvalidInputError({at: [f"{str(name)[:80]!a} is not one of {', '.join(sorted(_STAGES))}"]})
        return _STAGES[name](self, inner, f"{at}.{name}")

    def match(self, given: Any, at: str) -> Stage:
        return Match(compile_filter(given, at, self.names), exact=self._exact, of_jobs=self.names.jobs)

    def sort(self, given: Any, at: str) -> Stage:
        if not isinstance(given, dict) or not 1 <= len(given) <= MOST_KEYS:
            raise InvalidInputError({at: [f"must be an object with 1 to {MOST_KEYS} fields"]})
        keys = []
        for name, direction in given.items():
            path, of_job = readable(name, at, self.names)
            if isinstance(direction, bool) or direction not in (1, -1):
                raise InvalidInputError({at: ["must have 1 or -1 for each field"]})
            keys.append((path, of_job, 1 if direction == 1 else -1))
        return Sort(tuple(keys))

    def limit(self, given: Any, at: str) -> Stage:
        return Cut("$limit", _number(given, at, 1))

    def skip(self, given: Any, at: str) -> Stage:
        return Cut("$skip", _number(given, at, 0))

    def group(self, given: Any, at: str) -> Stage:
        items = dict(named(given, at, MOST_NAMES))
        if "_id" not in items:
            raise InvalidInputError({at: ["must have an _id, by which to group; null for all together"]})
        key = self._expressions.read(items.pop("_id"), f"{at}._id", self.names)
        made = tuple((name, *self._accumulator(inner, f"{at}.{name}")) for name, inner in items.items())
        self._made("_id", *items)
        return GroupBy(key, made)

    def _accumulator(self, given: Any, at: str) -> tuple[str, Expression | None]:
        if not isinstance(given, dict) or len(given) != 1:
            raise InvalidInputError({at: ["must be an object with one accumulator"]})
        ((name, inner),) = given.items()
        if name not in ACCUMULATORS:
            raise InvalidInputError({at: [f"{str(name)[:80]!a} is not one of {', '.join(sorted(ACCUMULATORS))}"]})
        if name != "$count":
            return name, self._expressions.read(inner, f"{at}.{name}", self.names)
        if inner != {}:
            raise InvalidInputError({f"{at}.$count": ["takes an empty object"]})
        return name, None

    def project(self, given: Any, at: str) -> Stage:
        if not isinstance(given, dict) or not 1 <= len(given) <= MOST_NAMES:
            raise InvalidInputError({at: [f"must be an object with 1 to {MOST_NAMES} fields"]})
        kept: list[str] = []
        made: list[tuple[str, Expression]] = []
        with_id, of_jobs = True, self.names.jobs
        for name, inner in given.items():
            if name == "_id" or (name == "id" and of_jobs):
                with_id = self._keeps(inner, at)
            elif isinstance(inner, bool | int | float):
                if not self._keeps(inner, at):
                    raise InvalidInputError({at: ["can leave out the id only: name what is to be kept"]})
                kept.append(readable(name, at, self.names)[0])
            else:
                made.append((made_name(name, at), self._computed(inner, f"{at}.{name}")))
        if not kept and not made and not with_id:
            raise InvalidInputError({at: ["must keep something"]})
        _check_apart([*kept, *(name for name, _ in made)], at)
        own = ["id" if of_jobs else "_id"] if with_id else []
        self._made(*own, *(path.partition(".")[0] for path in kept), *(name for name, _ in made))
        return Project(tuple(kept), tuple(made), with_id, of_jobs)

    def _computed(self, given: Any, at: str) -> Expression:
        if isinstance(given, dict) and not any(isinstance(key, str) and key.startswith("$") for key in given):
            raise InvalidInputError({at: ["must be 1 or an expression; name fields within others with dots"]})
        return self._expressions.read(given, at, self.names)

    def _keeps(self, given: Any, at: str) -> bool:
        if given not in (0, 1):
            raise InvalidInputError({at: ["must be 0 or 1 for a field, or an expression"]})
        return bool(given)

    def count(self, given: Any, at: str) -> Stage:
        name = made_name(given, at)
        self._made(name)
        return Count(name)

    def sort_by_count(self, given: Any, at: str) -> Stage:
        key = self._expressions.read(given, at, self.names)
        self._made("_id", "count")
        return SortByCount(key)

    def unwind(self, given: Any, at: str) -> Stage:
        asked = {"path": given} if isinstance(given, str) else given
        if not isinstance(asked, dict) or not {"path"} <= asked.keys() <= {"path", *_UNWIND}:
            raise InvalidInputError({at: [f"must be a field, or an object of path, {', '.join(sorted(_UNWIND))}"]})
        path, keep = asked["path"], asked.get("preserveNullAndEmptyArrays", False)
        if not isinstance(path, str) or not path.startswith("$") or not isinstance(keep, bool):
            raise InvalidInputError({at: ['takes a path such as "$meta.tags", and true or false']})
        place, _ = readable(path[1:], at, self.names, whole=path == "$history")
        index = asked.get("includeArrayIndex")
        if index is not None:
            if made_name(index, at) in SHOWN | {"_id"} | self.names.made:
                raise InvalidInputError({at: ["has an includeArrayIndex that is the name of something else"]})
            self.names = replace(self.names, made=self.names.made | {index})
        self._exact = False
        return Unwind(place, index, keep)

    def _made(self, *names: str) -> None:
        self.names = Vocabulary(made=frozenset(names), jobs=False)
        self._exact = False


_UNWIND: Final = frozenset({"includeArrayIndex", "preserveNullAndEmptyArrays"})
_STAGES: Final[dict[str, Callable[[_Compiler, Any, str], Stage]]] = {
    "$match": _Compiler.match,
    "$group": _Compiler.group,
    "$sort": _Compiler.sort,
    "$limit": _Compiler.limit,
    "$skip": _Compiler.skip,
    "$project": _Compiler.project,
    "$count": _Compiler.count,
    "$sortByCount": _Compiler.sort_by_count,
    "$unwind": _Compiler.unwind,
}


def _number(given: Any, at: str, least: int) -> int:
    if isinstance(given, bool) or not isinstance(given, int) or not least <= given <= MOST_NUMBER:
        raise InvalidInputError({at: [f"must be a whole number from {least} to {MOST_NUMBER:,}"]})
    return given


def _check_apart(paths: list[str], at: str) -> None:
    for one in paths:
        if paths.count(one) > 1 or any(one.startswith(f"{other}.") for other in paths):
            raise InvalidInputError({at: [f"names {one[:80]!a} and what it is in, or names it twice"]})
