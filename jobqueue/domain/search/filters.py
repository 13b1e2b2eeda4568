"""Filters in MongoDB's language, compiled: what comes out has only known fields, operators and scalars in it.

`compile_filter` reads JSON into a small tree; only the store makes a filter for the database of that. So whatever
is not foreseen here cannot get there.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from jobqueue.domain.errors import InvalidInputError, Problems
from jobqueue.domain.search.fields import JOB, Kind
from jobqueue.domain.search.values import Pattern, Value, operand, pattern

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jobqueue.domain.search.fields import Vocabulary

DEEPEST: Final = 6
"""Levels of ``$and``, ``$or``, ``$nor``, ``$not`` and ``$elemMatch`` within each other."""
MOST_NODES: Final = 200
"""Comparisons and groups in one filter."""
MOST_BRANCHES: Final = 20
MOST_VALUES: Final = 100
"""Values of one ``$in``, ``$nin`` or ``$all``."""
MOST_SIZE: Final = 1_000_000
_SHOWN: Final = 80
_GROUPS: Final = frozenset({"$and", "$or", "$nor"})
_ORDERED: Final = frozenset({"$gt", "$gte", "$lt", "$lte"})
_EQUAL: Final = frozenset({"$eq", "$ne", "$in", "$nin", "$exists"})
_LISTS: Final = frozenset({"$in", "$nin", "$all"})
_BY_KIND: Final[dict[Kind, frozenset[str]]] = {
    Kind.TEXT: _EQUAL | _ORDERED | {"$regex"},
    Kind.STATE: _EQUAL,
    Kind.NUMBER: _EQUAL | _ORDERED,
    Kind.DATE: _EQUAL | _ORDERED,
    Kind.ID: _EQUAL | _ORDERED,
    Kind.IDS: _EQUAL | {"$all", "$size"},
    Kind.FLAG: _EQUAL,
    Kind.ANY: _EQUAL | _ORDERED | {"$regex", "$all", "$size", "$elemMatch"},
    Kind.LIST: frozenset({"$eq", "$ne", "$exists", "$size", "$elemMatch"}),
    Kind.PART: frozenset({"$eq", "$ne", "$exists"}),
}
_NAMES: Final = re.compile(r"[ -~]+")


@dataclass(frozen=True, slots=True)
class Comparison:
    """One field compared with something.

    Attributes:
        path: the field by its JSON name.
        operator: one of MongoDB's; or, which no filter in JSON can say, ``$has``, one of several values that is really
            there, and ``$text``, a text anywhere in the texts below the field.
    """

    path: str
    operator: str
    value: Value | tuple[Value, ...] | Pattern


@dataclass(frozen=True, slots=True)
class Group:
    """All, one or none of several; of no parts at all everything is in ``$and``."""

    operator: Literal["$and", "$or", "$nor"]
    parts: tuple[Filter, ...] = ()


@dataclass(frozen=True, slots=True)
class Element:
    """A member of a list that passes all of ``inner``, whose paths are whole ones."""

    path: str
    inner: Filter


Filter = Comparison | Group | Element
EVERYTHING: Final = Group("$and")


def compile_filter(given: Any, at: str = "filter", vocabulary: Vocabulary = JOB) -> Filter:
    """Return what a filter in JSON asks for; ``{}`` asks for nothing and is `EVERYTHING`.

    Args:
        given: any JSON value.
        at: what the problems call it.
        vocabulary: the names that may be used.

    Raises:
        InvalidInputError: naming each unknown field or operator and each unacceptable value; or it is too large.
    """
    reader = _Reader()
    found = reader.read(given, at, vocabulary, 0)
    if reader.problems:
        raise InvalidInputError(reader.problems)
    return found


def conjuncts(wanted: Filter) -> Iterator[Filter]:
    """Yield what has to be true all together."""
    if isinstance(wanted, Group) and wanted.operator == "$and":
        for part in wanted.parts:
            yield from conjuncts(part)
    else:
        yield wanted


def every(*parts: Filter) -> Filter:
    """Return what asks for all of the parts."""
    flat = tuple(one for part in parts for one in conjuncts(part))
    return flat[0] if len(flat) == 1 else Group("$and", flat)


class _TooLargeError(Exception):
    """There is no use in reading on."""


class _Reader:
    """Reads one filter, and gathers what is wrong with it."""

    def __init__(self) -> None:
        self.problems: Problems = {}
        self._nodes = 0

    def read(self, given: Any, at: str, vocabulary: Vocabulary, depth: int) -> Filter:
        try:
            return self._object(given, at, vocabulary, depth)
        except _TooLargeError:
            return EVERYTHING

    def _object(self, given: Any, at: str, vocabulary: Vocabulary, depth: int) -> Filter:
        if not isinstance(given, dict):
            self._wrong(at, "must be an object")
            return EVERYTHING
        self._count(at, depth)
        parts: list[Filter] = []
        for name, inner in given.items():
            below = f"{at}.{_shown(name)}"
            if name in _GROUPS:
                parts.append(self._group(name, inner, below, vocabulary, depth))
            elif isinstance(name, str) and name.startswith("$"):
                self._wrong(below, "is not an operator that is known here")
            else:
                parts += self._field(name, inner, below, vocabulary, depth)
        return every(*parts)

    def _group(self, operator: Any, given: Any, at: str, vocabulary: Vocabulary, depth: int) -> Filter:
        if not isinstance(given, list) or not 1 <= len(given) <= MOST_BRANCHES:
            self._wrong(at, f"must be a list of 1 to {MOST_BRANCHES} filters")
            return EVERYTHING
        parts = [self._object(one, f"{at}.{index}", vocabulary, depth + 1) for index, one in enumerate(given)]
        return every(*parts) if operator == "$and" else Group(operator, tuple(parts))

    def _field(self, name: Any, given: Any, at: str, vocabulary: Vocabulary, depth: int) -> list[Filter]:
        try:
            path, kind = vocabulary.kind(name, at)
        except InvalidInputError as error:
            self.problems.update(error.problems)
            return []
        if isinstance(given, dict) and any(isinstance(key, str) and key in _OPERATORS for key in given):
            return self._operators(path, kind, given, at, vocabulary, depth)
        return self._test(path, kind, "$eq", given, at)

    def _operators(
        self, path: str, kind: Kind, given: dict[Any, Any], at: str, vocabulary: Vocabulary, depth: int
    ) -> list[Filter]:
        parts: list[Filter] = []
        for operator, inner in given.items():
            below = f"{at}.{_shown(operator)}"
            if operator == "$options" and "$regex" in given:
                continue
            if operator == "$not":
                parts.append(self._negation(path, kind, inner, below, vocabulary, depth))
            elif operator not in _BY_KIND[kind]:
                self._wrong(
                    below, f"cannot be asked of {kind.value}" if operator in _OPERATORS else "is not known here"
                )
            elif operator == "$elemMatch":
                self._count(below, depth)
                parts.append(Element(path, self._object(inner, below, vocabulary.below(path), depth + 1)))
            elif operator == "$regex":
                parts += self._regex(path, inner, given.get("$options", ""), below)
            else:
                parts += self._test(path, kind, operator, inner, below)
        return parts

    def _negation(self, path: str, kind: Kind, given: Any, at: str, vocabulary: Vocabulary, depth: int) -> Filter:
        self._count(at, depth + 1)
        if not isinstance(given, dict) or not given:
            self._wrong(at, "must be an object of operators")
            return EVERYTHING
        return Group("$nor", (every(*self._operators(path, kind, given, at, vocabulary, depth + 1)),))

    def _regex(self, path: str, text: Any, options: Any, at: str) -> list[Filter]:
        self._count(at, 0)
        try:
            return [Comparison(path, "$regex", pattern(text, options, at))]
        except InvalidInputError as error:
            self.problems.update(error.problems)
            return []

    def _test(self, path: str, kind: Kind, operator: str, given: Any, at: str) -> list[Filter]:
        self._count(at, 0)
        try:
            return [Comparison(path, operator, _value(kind, operator, given, at))]
        except InvalidInputError as error:
            self.problems.update(error.problems)
            return []

    def _count(self, at: str, depth: int) -> None:
        self._nodes += 1
        if self._nodes > MOST_NODES:
            self._wrong(at, f"is one of more than {MOST_NODES} comparisons and groups")
            raise _TooLargeError
        if depth > DEEPEST:
            self._wrong(at, f"is nested deeper than {DEEPEST} levels")
            raise _TooLargeError

    def _wrong(self, at: str, message: str) -> None:
        self.problems.setdefault(at, []).append(message)


_OPERATORS: Final = frozenset().union(*_BY_KIND.values(), {"$not", "$options"})


def _value(kind: Kind, operator: str, given: Any, at: str) -> Value | tuple[Value, ...]:
    if operator == "$exists":
        if not isinstance(given, bool):
            raise InvalidInputError({at: ["must be true or false"]})
        return given
    if operator == "$size":
        if isinstance(given, bool) or not isinstance(given, int) or not 0 <= given <= MOST_SIZE:
            raise InvalidInputError({at: [f"must be a whole number from 0 to {MOST_SIZE:,}"]})
        return given
    if operator in _LISTS:
        if not isinstance(given, list) or not 1 <= len(given) <= MOST_VALUES:
            raise InvalidInputError({at: [f"must be a list of 1 to {MOST_VALUES} values"]})
        return tuple(operand(one, kind, f"{at}.{index}") for index, one in enumerate(given))
    read = operand(given, kind, at)
    if read is None and operator in _ORDERED:
        raise InvalidInputError({at: ["must not be null"]})
    return read


def _shown(name: object) -> str:
    text = str(name)[:_SHOWN]
    return text if _NAMES.fullmatch(text) else repr(text)[1:-1]
