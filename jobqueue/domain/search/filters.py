"""Filters in MongoDB's language, compiled into a tree of known fields, operators and scalars.

Only the store turns the tree into a filter for the database, so nothing that is unknown here gets there.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Literal

from jobqueue.domain.search.fields import JOB, Kind
from jobqueue.domain.search.values import Pattern, Value, operand, pattern
from jobqueue.domain.search.walker import Budget, Node, gathered
from jobqueue.domain.values.checks import check_flag

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
_OPERATORS: Final = frozenset().union(*_BY_KIND.values(), {"$not", "$options"})
_NAMES: Final = re.compile(r"[ -~]+")


@dataclass(frozen=True, slots=True)
class Comparison:
    """A comparison of one field with a value.

    Attributes:
        path: the field by its JSON name.
        operator: an operator of MongoDB. Two others never come from JSON: ``$has`` tests that a field exists with one
            of several values, ``$text`` finds a text anywhere in the texts below a field.
    """

    path: str
    operator: str
    value: Value | tuple[Value, ...] | Pattern


@dataclass(frozen=True, slots=True)
class Group:
    """All, one or none of several filters; an ``$and`` of no parts matches everything."""

    operator: Literal["$and", "$or", "$nor"]
    parts: tuple[Filter, ...] = ()


@dataclass(frozen=True, slots=True)
class Element:
    """A member of a list that matches ``inner``, whose paths are whole."""

    path: str
    inner: Filter


Filter = Comparison | Group | Element
EVERYTHING: Final = Group("$and")


def compile_filter(query: Any, at: str = "filter", vocabulary: Vocabulary = JOB) -> Filter:
    """Read a filter from JSON; ``{}`` is `EVERYTHING`.

    Args:
        query: any JSON value.
        at: the name of the filter in problems.
        vocabulary: the names that the filter may use.

    Raises:
        InvalidInputError: naming each unknown field or operator and each unacceptable value; or the filter is too
            large.
    """
    return _filter(Node(query, at, vocabulary, Budget(MOST_NODES, DEEPEST, "comparisons and groups")))


def conjuncts(query: Filter) -> Iterator[Filter]:
    """Yield the filters that have to match all together."""
    if isinstance(query, Group) and query.operator == "$and":
        for part in query.parts:
            yield from conjuncts(part)
    else:
        yield query


def every(*parts: Filter) -> Filter:
    """Return a filter that matches where all parts do."""
    flat = tuple(conjunct for part in parts for conjunct in conjuncts(part))
    return flat[0] if len(flat) == 1 else Group("$and", flat)


def _filter(node: Node) -> Filter:
    if not isinstance(node.value, dict):
        raise node.error("must be an object")
    node.count()
    return every(*gathered(_clause, _members(node)))


def _members(node: Node) -> list[Node]:
    return [node.child(name, value, _shown(name)) for name, value in node.value.items()]


def _clause(node: Node) -> Filter:
    if node.name in _GROUPS:
        parts = gathered(_filter, node.items(MOST_BRANCHES, "filters"))
        return every(*parts) if node.name == "$and" else Group(node.name, tuple(parts))
    if isinstance(node.name, str) and node.name.startswith("$"):
        raise node.error("is not an operator that is known here")
    path, kind = node.names.kind(node.name, node.at)
    if isinstance(node.value, dict) and not _OPERATORS.isdisjoint(node.value):
        return _tests(node, path, kind)
    return _comparison(node, path, kind, "$eq")


def _tests(node: Node, path: str, kind: Kind) -> Filter:
    tests = [test for test in _members(node) if test.name != "$options" or "$regex" not in node.value]
    options = node.value.get("$options", "")
    return every(*gathered(partial(_test, path=path, kind=kind, options=options), tests))


def _test(node: Node, path: str, kind: Kind, options: Any) -> Filter:
    if node.name != "$not" and node.name not in _BY_KIND[kind]:
        raise node.error(f"cannot be asked of {kind.value}" if node.name in _OPERATORS else "is not known here")
    match node.name:
        case "$not":
            node.deeper().count()
            if not isinstance(node.value, dict) or not node.value:
                raise node.error("must be an object of operators")
            return Group("$nor", (_tests(node.deeper(), path, kind),))
        case "$elemMatch":
            node.count()
            return Element(path, _filter(replace(node.deeper(), names=node.names.below(path))))
        case "$regex":
            node.count()
            return Comparison(path, "$regex", pattern(node.value, options, node.at))
    return _comparison(node, path, kind, node.name)


def _comparison(node: Node, path: str, kind: Kind, operator: str) -> Filter:
    node.count()
    value: Value | tuple[Value, ...]
    match operator:
        case "$exists":
            value = check_flag(node.value, node.at)
        case "$size":
            value = node.whole(0, MOST_SIZE)
        case "$in" | "$nin" | "$all":
            value = tuple(operand(item.value, kind, item.at) for item in node.items(MOST_VALUES, "values"))
        case _:
            value = operand(node.value, kind, node.at)
            if value is None and operator in _ORDERED:
                raise node.error("must not be null")
    return Comparison(path, operator, value)


def _shown(name: object) -> str:
    text = str(name)[:_SHOWN]
    return text if _NAMES.fullmatch(text) else repr(text)[1:-1]
