"""Values to compare with: JSON scalars, and dates, ids and numbers in MongoDB's Extended JSON.

No other object becomes a value, because it could carry operators of the database.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from jobqueue.domain.attempts.states import State
from jobqueue.domain.durations import is_64_bit, is_whole
from jobqueue.domain.errors import InvalidInputError
from jobqueue.domain.search.fields import Kind, is_text
from jobqueue.domain.values.checks import check_id
from jobqueue.domain.values.iso8601 import EPOCH, NO_DATE, aware, moment

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

LONGEST_TEXT: Final = 4096
"""Characters of a text."""
LONGEST_PATTERN: Final = 128
MOST_WILD: Final = 6
"""Unbounded repetitions in a regular expression."""
_WHOLE: Final = re.compile(r"-?\d{1,19}", re.ASCII)
_OPTIONS: Final = re.compile(r"[ims]{0,3}")
_UNBOUNDED: Final = re.compile(r"[*+]|\{\d*,\}|\{\d{3,}|\{\d*,\d{3,}")
_ESCAPED: Final = re.compile(r"\\[^a-zA-Z0-9]", re.DOTALL)
_FOREIGN: Final = re.compile(r"\\(?![dDwWsSbBtnr])")
_SET: Final = re.compile(r"\[\^?\]?[^\]]*\]")
_REPEATED: Final = re.compile(r"[*+?{]")


@dataclass(frozen=True, slots=True)
class Id:
    """An id, 24 hex digits."""

    hex: str


@dataclass(frozen=True, slots=True)
class Pattern:
    """A regular expression that is fast on any text."""

    text: str
    options: str = ""


Value = str | int | float | bool | datetime | Id | None


def operand(json_value: Any, kind: Kind, at: str) -> Value:
    """Return a value to compare a field of this kind with; refuse objects, lists and values of other kinds."""
    value: Value = _unwrapped(json_value, at) if isinstance(json_value, dict) else json_value
    if value is None:
        return None
    if isinstance(value, str) and (kind is Kind.DATE or kind in {Kind.ID, Kind.IDS}):
        value = _date(value, at) if kind is Kind.DATE else Id(check_id(value, at))
    if not isinstance(value, _TYPES[kind]) or (isinstance(value, bool) and kind is Kind.NUMBER):
        raise InvalidInputError({at: [f"must be {_SHOWN.get(kind, kind.value)}"]})
    if isinstance(value, str):
        _check_text(value, at)
        if kind is Kind.STATE and value not in set(State):
            raise InvalidInputError({at: [f"must be one of {', '.join(State)}"]})
    elif isinstance(value, float) and not math.isfinite(value):
        raise InvalidInputError({at: ["is not a finite number"]})
    elif isinstance(value, int) and not is_64_bit(value):
        raise InvalidInputError({at: ["is a whole number beyond 64 bit"]})
    return aware(value, at) if isinstance(value, datetime) else value


def pattern(text: Any, options: Any, at: str) -> Pattern:
    """Return a regular expression.

    Raises:
        InvalidInputError: the text is too long, or of a form that may take for ever: repeated groups with repetitions
            inside, references, and extensions that begin with ``(?``.
    """
    if not (isinstance(text, str) and isinstance(options, str)):
        raise InvalidInputError({at: ["must be text"]})
    _check_text(text, at)
    problem = _pattern_problem(text)
    if problem is None and not _OPTIONS.fullmatch(options):
        problem = "has options other than i, m and s"
    if problem is not None:
        raise InvalidInputError({at: [problem]})
    return Pattern(text, "".join(sorted(set(options))))


def _pattern_problem(text: str) -> str | None:
    plain = _ESCAPED.sub("_", text)
    tight = _SET.sub("_", plain.replace("\\", ""))
    for is_refused, reason in (
        (len(text) > LONGEST_PATTERN, f"is longer than {LONGEST_PATTERN} characters"),
        ("\0" in text, "has a NUL character in it"),
        (_FOREIGN.search(plain), "has a reference or an escape other than of d D w W s S b B t n r"),
        ("[" in tight or "(?" in tight or "(*" in tight, "has an endless set, or a group that begins with (? or (*"),
        (not _is_linear(tight), "repeats a group that has a repetition or a choice in it"),
        (len(_UNBOUNDED.findall(tight)) > MOST_WILD, f"has more than {MOST_WILD} repetitions that know no end"),
    ):
        if is_refused:
            return reason
    try:
        re.compile(text)
    except (re.error, RecursionError, OverflowError):
        return "is not a regular expression"
    return None


def _is_linear(plain: str) -> bool:
    """Tell whether no repeated group has a repetition or a choice inside."""
    groups: list[bool] = []
    for index, char in enumerate(plain):
        if char == "(":
            groups.append(False)
        elif char == ")" and groups:
            restless = groups.pop()
            repeated = bool(_REPEATED.match(plain[index + 1 : index + 2]))
            if restless and repeated:
                return False
            if groups:
                groups[-1] = groups[-1] or restless or repeated
        elif groups and (char == "|" or _REPEATED.match(char)):
            groups[-1] = True
    return True


def _unwrapped(value: Mapping[str, Any], at: str) -> Value:
    if len(value) == 1:
        ((name, inner),) = value.items()
        if name in EXTENDED:
            return EXTENDED[name](inner, f"{at}.{name}")
    raise InvalidInputError({at: ['must be a value; an object is none, but for {"$date": …} and {"$oid": …}']})


def _date(value: Any, at: str) -> datetime:
    if isinstance(value, dict) and set(value) == {"$numberLong"}:
        value = _whole(value["$numberLong"], at)
    try:
        if is_whole(value):
            return EPOCH + timedelta(milliseconds=value)
    except OverflowError:
        raise InvalidInputError({at: [NO_DATE]}) from None
    try:
        date = moment(value)
    except ValueError as error:
        raise InvalidInputError({at: [str(error)]}) from None
    return date.replace(microsecond=date.microsecond // 1000 * 1000)


def _whole(value: Any, at: str) -> int:
    if isinstance(value, str) and _WHOLE.fullmatch(value):
        return int(value)
    raise InvalidInputError({at: ["must be a whole number as text"]})


def _double(value: Any, at: str) -> float:
    try:
        return float(value) if isinstance(value, str) else math.nan
    except ValueError:
        raise InvalidInputError({at: ["must be a number as text"]}) from None


EXTENDED: Final[Mapping[str, Callable[[Any, str], Value]]] = {
    "$date": _date,
    "$oid": lambda given, at: Id(check_id(given, at)),
    "$numberInt": _whole,
    "$numberLong": _whole,
    "$numberDouble": _double,
}
_TYPES: Final[Mapping[Kind, tuple[type, ...]]] = {
    Kind.TEXT: (str,),
    Kind.STATE: (str,),
    Kind.NUMBER: (int, float),
    Kind.DATE: (datetime,),
    Kind.ID: (Id,),
    Kind.IDS: (Id,),
    Kind.FLAG: (bool,),
    Kind.ANY: (str, bool, int, float, datetime, Id),
    Kind.LIST: (),
    Kind.PART: (),
}
_SHOWN: Final = {
    Kind.ID: "an id, 24 hexadecimal digits",
    Kind.IDS: "an id, 24 hexadecimal digits",
    Kind.TEXT: "text",
    Kind.ANY: "a value",
    Kind.DATE: "an ISO 8601 date such as 2030-01-31T12:00:00Z",
    Kind.LIST: "null, or compared with $size, $exists or $elemMatch",
    Kind.PART: "null, or compared with $exists",
}


def _check_text(text: str, at: str) -> None:
    if len(text) > LONGEST_TEXT:
        raise InvalidInputError({at: [f"is longer than {LONGEST_TEXT:,} characters"]})
    if not is_text(text):
        raise InvalidInputError({at: ["has a lone surrogate, which is not Unicode text"]})
