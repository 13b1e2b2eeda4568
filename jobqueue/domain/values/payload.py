"""Values of a job: any JSON value that MongoDB stores and returns unchanged."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, TypeVar

from jobqueue.domain.durations import is_64_bit
from jobqueue.domain.errors import InvalidInputError, Problems, TooLargeError
from jobqueue.domain.text import words

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

MOST_DATA: Final = 1024 * 1024
"""Bytes of ``data`` and ``meta`` together."""
MOST_RESULT: Final = 4 * 1024 * 1024
"""Bytes of ``result``."""
DEEPEST: Final = 64
"""Levels of nesting."""
_NAMED: Final = 2
"""Bytes of any value in BSON besides its name and itself."""
_FRAMED: Final = 5
"""Bytes of a text, list or object in BSON besides its content."""
_MOST_PROBLEMS: Final = 20
_SURROGATE: Final = "has a lone surrogate, which is not Unicode text"
_MOST_WALKED: Final = 2 * MOST_RESULT
"""Bytes after which a walk ends, because lists within each other can make any number of values."""
_PLAIN: Final = frozenset({str, int, float, bool, type(None), dict, list, tuple, datetime})
"""Types that the driver writes without running code of the value."""


_Path = str | tuple["_Path", object]
"""The path of a value: the name of the outermost one, or the path of the value around it and its name in that."""


class _Walk:
    """Measure a value and gather its problems, in one pass.

    Paths are only written out for problems: most values have none.
    """

    def __init__(self, *, dots: bool, naive: bool = False) -> None:
        self.problems: Problems = {}
        self.size = 0
        self.is_plain = True
        self._dots = dots
        self._naive = naive

    def visit(self, value: Any, path: _Path, depth: int) -> None:
        if len(self.problems) >= _MOST_PROBLEMS or self.size > _MOST_WALKED:
            # A value that contains itself would go on for ever.
            return
        self.size += _NAMED
        self.is_plain = self.is_plain and type(value) in _PLAIN
        if isinstance(value, str):
            self.size += _FRAMED
            self._text(value, path)
        elif value is None or isinstance(value, bool):
            self.size += 1
        elif isinstance(value, datetime):
            self.size += 8
            self._date(value, path)
        elif isinstance(value, int):
            self.size += 8
            if not is_64_bit(value):
                self._wrong(path, "is a whole number beyond 64 bit")
        elif isinstance(value, float):
            self.size += 8
            if not math.isfinite(value):
                self._wrong(path, "is not a finite number")
        elif isinstance(value, dict | list | tuple):
            self._inside(value, path, depth)
        else:
            self._wrong(path, f"is of type {type(value).__name__}, which is no JSON value")

    def _inside(self, value: dict[Any, Any] | list[Any] | tuple[Any, ...], path: _Path, depth: int) -> None:
        self.size += _FRAMED
        if depth >= DEEPEST:
            self._wrong(path, f"is nested deeper than {DEEPEST} levels")
        elif isinstance(value, dict):
            for key, inner in value.items():
                if self._name(key, path):
                    self.visit(inner, (path, key), depth + 1)
        else:
            for index, inner in enumerate(value):
                # The members of a list are named in BSON too, by their numbers.
                self.size += len(str(index))
                self.visit(inner, (path, index), depth + 1)

    def _name(self, key: object, path: _Path) -> bool:
        if type(key) is str and key.isascii() and key.isidentifier():
            # As nearly all names are.
            self.size += len(key)
            return True
        if not isinstance(key, str):
            self._wrong(path, f"has a key of type {type(key).__name__}, which is not a string")
            return False
        if type(key) is not str:
            self.is_plain = False
        if "\0" in key:
            wrong = "has a NUL character in its name"
        elif key.startswith("$"):
            wrong = "has a name that begins with $"
        elif not self._dots and ("." in key or not key):
            wrong = "has a name that is empty or has a dot in it, so it could not be searched"
        elif (size := _bytes(key)) is None:
            wrong = _SURROGATE
        else:
            self.size += size
            return True
        self._wrong((path, repr(key[:80])[1:-1]), wrong)
        return False

    def _text(self, text: str, path: _Path) -> None:
        size = _bytes(text)
        if size is None:
            self._wrong(path, _SURROGATE)
        else:
            self.size += size

    def _date(self, value: datetime, path: _Path) -> None:
        try:
            _utc(value)
            if not self._naive and value.utcoffset() is None:
                self._wrong(path, "is a date without a time zone, which says no moment")
        except (OverflowError, ValueError, TypeError):
            self._wrong(path, "is a date that UTC does not have")

    def _wrong(self, path: _Path, message: str) -> None:
        if len(self.problems) < _MOST_PROBLEMS:
            self.problems.setdefault(_written(path), []).append(message)


def _written(path: _Path) -> str:
    names = []
    while isinstance(path, tuple):
        path, name = path
        names.append(name)
    return ".".join((path, *map(str, reversed(names))))


def _bytes(text: str) -> int | None:
    """Return the number of bytes of a text in UTF-8; ``None`` if it has a lone surrogate."""
    if text.isascii():
        return len(text)
    try:
        return len(text.encode())
    except UnicodeEncodeError:
        return None


def check(value: Any, path: str, *, dots: bool = True, naive: bool = False) -> int:
    """Check that a value can be stored.

    Args:
        value: any value.
        path: the name of the value in the problems.
        dots: allow dots in names.
        naive: take dates without a time zone for UTC.

    Returns:
        The largest size in bytes; a walk ends at 8 MiB.

    Raises:
        InvalidInputError: a number is beyond 64 bit or not finite, a text has a lone surrogate, or a name has NUL or a
            leading ``$``. Or the value is nested deeper than `DEEPEST`, of a type unknown to JSON, or unreadable.
    """
    return _walked(value, path, dots=dots, naive=naive).size


def plain(value: Any, path: str, *, dots: bool = True, naive: bool = False) -> tuple[Any, int]:
    """Return a value made of Python's own types, as MongoDB returns it, and its size as `check` does.

    Subclasses become the type itself, so that none of their code runs when the driver writes the value.

    Raises:
        InvalidInputError: as `check`.
    """
    if type(value) is dict and not value:
        return value, _NAMED + _FRAMED
    walk = _walked(value, path, dots=dots, naive=naive)
    if walk.is_plain or walk.size > _MOST_WALKED:
        return value, walk.size
    made = _read(_plain, value, path)
    # The code of the value may have shown something else the second time.
    return made, check(made, path, dots=dots, naive=naive)


def check_result(result: Any) -> Any:
    """Return a result made of Python's own types.

    A date without a time zone counts as UTC, so that finished work is not lost.

    Raises:
        InvalidInputError: as `check`.
        TooLargeError: the result is over `MOST_RESULT`.
    """
    stored, size = plain(result, "result", naive=True)
    if size > MOST_RESULT:
        raise TooLargeError("result", size, MOST_RESULT)
    return stored


def _walked(value: Any, path: str, *, dots: bool, naive: bool) -> _Walk:
    walk = _Walk(dots=dots, naive=naive)
    _read(lambda whole: walk.visit(whole, path, 0), value, path)
    if walk.problems:
        raise InvalidInputError(walk.problems)
    return walk


def _read(reading: Callable[[Any], T], value: Any, path: str) -> T:
    """Read a value whose own code may raise anything."""
    try:
        return reading(value)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001 - whatever the value's own code raises, the value cannot be stored
        raise InvalidInputError({path: [f"cannot be read: {words(error)}"]}) from None


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, bool):
        return value
    for kind, as_kind in _SCALARS:
        if isinstance(value, kind):
            return as_kind(value)
    if isinstance(value, dict):
        return {str.__str__(key): _plain(inner) for key, inner in value.items()}
    return [_plain(inner) for inner in value]


def _date(value: datetime) -> datetime:
    moment = _utc(value)
    return datetime.combine(datetime.date(moment), datetime.timetz(moment))


_SCALARS: Final[tuple[tuple[type, Callable[[Any], Any]], ...]] = (
    (str, str.__str__),
    (datetime, _date),
    (int, int.__int__),
    (float, float.__float__),
)
"""The types of scalars, each with the function that makes the very type of a subclass."""


def _utc(moment: datetime) -> datetime:
    """Return a date in UTC.

    Raises:
        OverflowError: UTC has no such date.
        ValueError, TypeError: the value is a date by its type only, as ``NaT`` of pandas.
    """
    date: object = moment.replace(tzinfo=moment.tzinfo or UTC).astimezone(UTC)
    if isinstance(date, datetime) and date == date:  # noqa: PLR0124 - as NaN, a date that is none is not itself
        return date
    raise ValueError("not a date")
