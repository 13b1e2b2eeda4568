"""Expressions of MongoDB's pipelines, compiled: only known operators, readable fields and constants."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from jobqueue.domain.search.fields import SECRET, Kind, is_text
from jobqueue.domain.search.values import EXTENDED, Value, operand

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from collections.abc import Set as AbstractSet

    from jobqueue.domain.search.walker import Node

DEEPEST: Final = 12
MOST_NODES: Final = 300
MOST_ARGUMENTS: Final = 50
MOST_NAMES: Final = 50
_MADE_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,99}")
_NOW: Final = "$$NOW"


@dataclass(frozen=True, slots=True)
class Field:
    """The value of a field at this place of the pipeline; ``of_job`` for a field of a job."""

    path: str
    of_job: bool


@dataclass(frozen=True, slots=True)
class Now:
    """The server's time."""


@dataclass(frozen=True, slots=True)
class Constant:
    """A value."""

    value: Value


@dataclass(frozen=True, slots=True)
class Several:
    """A list of expressions."""

    items: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Record:
    """An object of expressions."""

    items: tuple[tuple[str, Expression], ...]


@dataclass(frozen=True, slots=True)
class Call:
    """An operator with its argument."""

    operator: str
    argument: Expression


Expression = Field | Now | Constant | Several | Record | Call

_ARITIES: Final = {
    (1, MOST_ARGUMENTS): "$add $multiply $and $or $concat $concatArrays $min $max $sum $avg",
    (2, 2): "$subtract $divide $mod $eq $ne $gt $gte $lt $lte $cmp $in $arrayElemAt $split $strcasecmp",
    (1, 1): (
        "$abs $ceil $floor $sqrt $not $toLower $toUpper $strLenCP $toString $toInt $toLong $toDouble $toDate $type "
        "$isNumber $isArray $size $year $month $dayOfMonth $dayOfWeek $dayOfYear $hour $minute $second $isoWeek "
        "$isoWeekYear $first $last $reverseArray"
    ),
    (1, 2): "$round $trunc",
    (2, 3): "$slice",
    (3, 3): "$substrCP $cond",
    (2, 4): "$indexOfCP",
    (2, MOST_ARGUMENTS): "$ifNull",
}
_COUNTS: Final = {name: arity for arity, names in _ARITIES.items() for name in names.split()}
_NAMED: Final = {
    "$cond": ({"if", "then", "else"}, set()),
    "$trim": ({"input"}, {"chars"}),
    "$dateToString": ({"date"}, {"format", "timezone", "onNull"}),
    "$dateTrunc": ({"date", "unit"}, {"binSize", "timezone", "startOfWeek"}),
    "$dateDiff": ({"startDate", "endDate", "unit"}, {"timezone", "startOfWeek"}),
    "$dateAdd": ({"startDate", "unit", "amount"}, {"timezone"}),
    "$dateSubtract": ({"startDate", "unit", "amount"}, {"timezone"}),
}


def read(node: Node) -> Expression:
    """Read an expression; refuse unknown operators and fields that are not readable."""
    node.count()
    if isinstance(node.value, str) and node.value.startswith("$"):
        return field(node)
    if isinstance(node.value, dict):
        return _object(node)
    if isinstance(node.value, list | tuple):
        if len(node.value) > MOST_ARGUMENTS:
            raise node.error(f"takes at most {MOST_ARGUMENTS} values")
        return Several(tuple(map(read, node.each(node.value))))
    return _constant(node)


def field(node: Node, *, whole: bool = False) -> Expression:
    """Read a field, such as ``$meta.user_id``; ``whole`` as in `readable`."""
    name = node.value
    if name == _NOW:
        return Now()
    if name.startswith("$$"):
        raise node.error('must be a field, such as "$meta.user_id", or "$$NOW"')
    return Field(*readable(node, name[1:], whole=whole))


def named(node: Node) -> list[Node]:
    """Return the members of an object, whose names are plain."""
    members = node.fields(MOST_NAMES)
    for member in members:
        made_name(node, member.name)
    return members


def _object(node: Node) -> Expression:
    if not node.is_operator():
        return _record(named(node))
    if len(node.value) > 1:
        raise node.error("must have one operator and nothing besides")
    ((operator, value),) = node.value.items()
    if operator in EXTENDED:
        return _constant(node)
    shown = operator[:40] if operator[1:].isalnum() else f"{operator[:40]!a}"
    return _SPECIAL.get(operator, _call)(node.child(operator, value, shown))


def _call(node: Node) -> Expression:
    operator = node.name
    if operator in _NAMED and (isinstance(node.value, dict) or operator not in _COUNTS):
        return Call(operator, _record(_members(node, *_NAMED[operator])))
    if operator not in _COUNTS:
        raise node.error("is not an operator that is known here")
    least, most = _COUNTS[operator]
    arguments = node.value if isinstance(node.value, list) else [node.value]
    if not least <= len(arguments) <= most:
        count = str(least) if least == most else f"{least} to {most}"
        raise node.error(f"takes {count} argument{'s' if most > 1 else ''}")
    read_arguments = tuple(map(read, node.each(arguments)))
    # $sum and its like add up the members of a single argument that is a list.
    return Call(operator, Several(read_arguments) if isinstance(node.value, list) else read_arguments[0])


def _constant(node: Node) -> Expression:
    return Constant(operand(node.value, Kind.ANY, node.at))


def _size(node: Node) -> Expression:
    if isinstance(node.value, list) and len(node.value) == 1:
        node = replace(node, value=node.value[0])
    is_field = isinstance(node.value, str) and node.value.startswith("$")
    return Call(node.name, field(node, whole=True) if is_field else read(node.deeper()))


def _switch(node: Node) -> Expression:
    members = {member.name: member.deeper() for member in _members(node, {"branches"}, {"default"})}
    branches: list[Expression] = []
    for branch in members["branches"].items(MOST_ARGUMENTS):
        parts = {part.name: replace(part, at=branch.at) for part in _members(branch, {"case", "then"})}
        branches.append(Record(tuple((name, read(parts[name])) for name in ("case", "then"))))
    items: list[tuple[str, Expression]] = [("branches", Several(tuple(branches)))]
    if "default" in members:
        items.append(("default", read(members["default"].deeper())))
    return Call("$switch", Record(tuple(items)))


def _members(node: Node, needed: AbstractSet[str], optional: AbstractSet[str] = frozenset()) -> list[Node]:
    if not isinstance(node.value, dict) or not needed <= node.value.keys() <= needed | optional:
        raise node.error(
            f"takes an object of {', '.join([*sorted(needed), *(f'{name}?' for name in sorted(optional))])}"
        )
    return [node.child(name, value) for name, value in node.value.items()]


def _record(members: list[Node]) -> Expression:
    return Record(tuple((member.name, read(member.deeper())) for member in members))


_SPECIAL: Final[Mapping[str, Callable[[Node], Expression]]] = {
    "$literal": _constant,
    "$switch": _switch,
    "$size": _size,
    "$isArray": _size,
}


def readable(node: Node, name: object, *, whole: bool = False) -> tuple[str, bool]:
    """Return the path of a field, and True for a field of a job; ``whole`` accepts also a field with a secret in it."""
    path, _ = node.names.kind(name, node.at)
    made = path.partition(".")[0] in node.names.made
    if not made and path in SECRET and not whole:
        below = "name" if path == "steps" else "worker"
        raise node.error(f"cannot be read as a whole: name a field below it, such as {path}.{below}")
    return path, not made


def made_name(node: Node, name: object) -> str:
    """Return the plain name of a computed field."""
    if not isinstance(name, str) or not _MADE_NAME.fullmatch(name):
        shown = name if isinstance(name, str) and is_text(name) else type(name).__name__
        raise node.error(f"{shown[:80]!a} is not a name of letters, digits, _ and -")
    return name
