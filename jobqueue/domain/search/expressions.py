"""Expressions of MongoDB's pipelines, compiled: only known operators, readable fields and constants."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from jobqueue.domain.errors import InvalidInputError
from jobqueue.domain.search.fields import SECRET, Kind, is_text
from jobqueue.domain.search.values import Value, operand

if TYPE_CHECKING:
    from jobqueue.domain.search.fields import Vocabulary

DEEPEST: Final = 12
MOST_NODES: Final = 300
MOST_ARGUMENTS: Final = 50
MOST_NAMES: Final = 50
_MADE_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,99}")
_NOW: Final = "$$NOW"


@dataclass(frozen=True, slots=True)
class Field:
    """What is in a field of the documents at this place of the pipeline; ``of_job`` if it is one of a job's own."""

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

_ONE: Final = (1, 1)
_TWO: Final = (2, 2)
_MANY: Final = (1, MOST_ARGUMENTS)
_ARITIES: Final = {
    _MANY: "$add $multiply $and $or $concat $concatArrays $min $max $sum $avg",
    _TWO: "$subtract $divide $mod $eq $ne $gt $gte $lt $lte $cmp $in $arrayElemAt $split $strcasecmp",
    _ONE: (
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
_EXTENDED: Final = frozenset({"$date", "$oid", "$numberInt", "$numberLong", "$numberDouble"})
_COUNTED: Final = frozenset({"$size", "$isArray"})


class Reader:
    """Reads the expressions of one pipeline, and bounds how much they are together."""

    def __init__(self) -> None:
        self._nodes = 0

    def read(self, given: Any, at: str, names: Vocabulary, depth: int = 0) -> Expression:
        """Return an expression.

        Raises:
            InvalidInputError: naming what is not known or not readable.
        """
        self._nodes += 1
        if self._nodes > MOST_NODES:
            raise InvalidInputError({at: [f"is one of more than {MOST_NODES} parts of expressions"]})
        if depth > DEEPEST:
            raise InvalidInputError({at: [f"is nested deeper than {DEEPEST} levels"]})
        if isinstance(given, str) and given.startswith("$"):
            return self.field(given, at, names)
        if isinstance(given, dict):
            return self._object(given, at, names, depth)
        if isinstance(given, list | tuple):
            return self._list(given, at, names, depth)
        return Constant(operand(given, Kind.ANY, at))

    def field(self, given: Any, at: str, names: Vocabulary, *, whole: bool = False) -> Expression:
        """Return what reads a field, which is said with a dollar sign.

        Args:
            given: such as ``$meta.user_id``.
            at: what the problems call it.
            names: that may be used.
            whole: also those that have a secret in them, which is not shown.

        Raises:
            InvalidInputError: it is not readable.
        """
        if given == _NOW:
            return Now()
        if not isinstance(given, str) or not given.startswith("$") or given.startswith("$$"):
            raise InvalidInputError({at: ['must be a field, such as "$meta.user_id", or "$$NOW"']})
        path, of_job = readable(given[1:], at, names, whole=whole)
        return Field(path, of_job)

    def _object(self, given: dict[Any, Any], at: str, names: Vocabulary, depth: int) -> Expression:
        operators = [key for key in given if isinstance(key, str) and key.startswith("$")]
        if not operators:
            items = named(given, at, MOST_NAMES)
            return Record(tuple((name, self.read(one, f"{at}.{name}", names, depth + 1)) for name, one in items))
        if len(given) > 1:
            raise InvalidInputError({at: ["must have one operator and nothing besides"]})
        ((operator, inner),) = given.items()
        below = f"{at}.{operator[:40]!a}" if not operator[1:].isalnum() else f"{at}.{operator[:40]}"
        if operator in _EXTENDED:
            return Constant(operand(given, Kind.ANY, at))
        if operator == "$literal":
            return Constant(operand(inner, Kind.ANY, below))
        if operator == "$switch":
            return self._switch(inner, below, names, depth + 1)
        if operator in _COUNTED:
            return self._counted(operator, inner, below, names, depth)
        return self._call(operator, inner, below, names, depth)

    def _call(self, operator: str, given: Any, at: str, names: Vocabulary, depth: int) -> Expression:
        if operator in _NAMED and isinstance(given, dict):
            needed, more = _NAMED[operator]
            if not needed <= given.keys() <= needed | more:
                wanted = ", ".join([*sorted(needed), *(f"{one}?" for one in sorted(more))])
                raise InvalidInputError({at: [f"takes {wanted}"]})
            parts = ((name, self.read(one, f"{at}.{name}", names, depth + 1)) for name, one in given.items())
            return Call(operator, Record(tuple(parts)))
        if operator not in _COUNTS:
            raise InvalidInputError({at: ["is not an operator that is known here"]})
        least, most = _COUNTS[operator]
        arguments = given if isinstance(given, list) else [given]
        if not least <= len(arguments) <= most:
            count = str(least) if least == most else f"{least} to {most}"
            raise InvalidInputError({at: [f"takes {count} argument{'s' if most > 1 else ''}"]})
        items = (self.read(one, f"{at}.{index}", names, depth + 1) for index, one in enumerate(arguments))
        made = tuple(items)
        # Of a single argument $sum and its like add up the members, if it is a list.
        return Call(operator, made[0] if not isinstance(given, list) else Several(made))

    def _counted(self, operator: str, given: Any, at: str, names: Vocabulary, depth: int) -> Expression:
        if isinstance(given, list) and len(given) == 1:
            given = given[0]
        if isinstance(given, str) and given.startswith("$"):
            return Call(operator, self.field(given, at, names, whole=True))
        return Call(operator, self.read(given, at, names, depth + 1))

    def _switch(self, given: Any, at: str, names: Vocabulary, depth: int) -> Expression:
        if not isinstance(given, dict) or not {"branches"} <= given.keys() <= {"branches", "default"}:
            raise InvalidInputError({at: ["takes branches, default?"]})
        branches = given["branches"]
        if not isinstance(branches, list) or not 1 <= len(branches) <= MOST_ARGUMENTS:
            raise InvalidInputError({f"{at}.branches": [f"must be a list of 1 to {MOST_ARGUMENTS}"]})
        made: list[Expression] = []
        for index, one in enumerate(branches):
            if not isinstance(one, dict) or one.keys() != {"case", "then"}:
                raise InvalidInputError({f"{at}.branches.{index}": ["takes case, then"]})
            below = f"{at}.branches.{index}"
            made.append(
                Record(tuple((name, self.read(one[name], below, names, depth + 1)) for name in ("case", "then")))
            )
        items: list[tuple[str, Expression]] = [("branches", Several(tuple(made)))]
        if "default" in given:
            items.append(("default", self.read(given["default"], f"{at}.default", names, depth + 1)))
        return Call("$switch", Record(tuple(items)))

    def _list(self, given: Any, at: str, names: Vocabulary, depth: int) -> Expression:
        if len(given) > MOST_ARGUMENTS:
            raise InvalidInputError({at: [f"takes at most {MOST_ARGUMENTS} values"]})
        return Several(tuple(self.read(one, f"{at}.{index}", names, depth + 1) for index, one in enumerate(given)))


def readable(name: Any, at: str, names: Vocabulary, *, whole: bool = False) -> tuple[str, bool]:
    """Return the path of a field whose values may be shown, and whether it is one of a job's own.

    Raises:
        InvalidInputError: there is no such field, or it has a secret in it.
    """
    path, _ = names.kind(name, at)
    made = path.partition(".")[0] in names.made
    if not made and path in SECRET and not whole:
        raise InvalidInputError({at: [f"cannot be read as a whole: name a field below it, such as {path}.worker"]})
    return path, not made


def made_name(name: object, at: str) -> str:
    """Return the name of what is made.

    Raises:
        InvalidInputError: it is not a plain one.
    """
    if not isinstance(name, str) or not _MADE_NAME.fullmatch(name):
        shown = name if isinstance(name, str) and is_text(name) else str(type(name).__name__)
        raise InvalidInputError({at: [f"{shown[:80]!a} is not a name of letters, digits, _ and -"]})
    return name


def named(given: Any, at: str, most: int) -> list[tuple[str, Any]]:
    """Return the members of an object with plain names.

    Raises:
        InvalidInputError: it is none, or has too many.
    """
    if not isinstance(given, dict) or not 1 <= len(given) <= most:
        raise InvalidInputError({at: [f"must be an object with 1 to {most} fields"]})
    return [(made_name(name, at), inner) for name, inner in given.items()]
