"""What may be stored inside a job: any JSON value that MongoDB can keep and give back unchanged."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any, Final

from jobqueue.domain.errors import InvalidInputError, Problems, TooLargeError

MOST_DATA: Final = 1024 * 1024
"""Bytes that ``data`` and ``meta`` may take together."""
MOST_RESULT: Final = 4 * 1024 * 1024
"""Bytes that ``result`` may take."""
DEEPEST: Final = 64
"""Levels of nesting."""
_LOW: Final = -(2**63)
_HIGH: Final = 2**63 - 1
_NAMED: Final = 2
"""Bytes of any value in BSON besides its name and itself."""
_FRAMED: Final = 5
"""Bytes of a text, list or object in BSON besides what is in it."""
_MOST_PROBLEMS: Final = 20


class _Walk:
    """Measure a value and gather what is wrong with it, in one pass."""

    def __init__(self, *, dots: bool) -> None:
        self.problems: Problems = {}
        self.size = 0
        self._dots = dots

    def visit(self, value: Any, path: str, depth: int) -> None:
        if len(self.problems) >= _MOST_PROBLEMS:
            # A value that contains itself would go on for ever.
            return
        self.size += _NAMED
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
            if not _LOW <= value <= _HIGH:
                self._wrong(path, "is a whole number beyond 64 bit")
        elif isinstance(value, float):
            self.size += 8
            if not math.isfinite(value):
                self._wrong(path, "is not a finite number")
        elif isinstance(value, dict | list | tuple):
            self._inside(value, path, depth)
        else:
            self._wrong(path, f"is a {type(value).__name__}, which is not a JSON value")

    def _inside(self, value: dict[Any, Any] | list[Any] | tuple[Any, ...], path: str, depth: int) -> None:
        self.size += _FRAMED
        if depth >= DEEPEST:
            self._wrong(path, f"is nested deeper than {DEEPEST} levels")
        elif isinstance(value, dict):
            for key, inner in value.items():
                if self._name(key, path):
                    self.visit(inner, f"{path}.{key}", depth + 1)
        else:
            for index, inner in enumerate(value):
                # The members of a list are named in BSON too, by their numbers.
                self.size += len(str(index))
                self.visit(inner, f"{path}.{index}", depth + 1)

    def _name(self, key: object, path: str) -> bool:
        if not isinstance(key, str):
            self._wrong(path, f"has a key of type {type(key).__name__}, which is not a string")
            return False
        shown = f"{path}.{repr(key[:80])[1:-1]}"
        if "\0" in key:
            self._wrong(shown, "has a NUL character in its name")
        elif key.startswith("$"):
            self._wrong(shown, "has a name that begins with $")
        elif not self._dots and ("." in key or not key):
            self._wrong(shown, "has a name that is empty or has a dot in it, so it could not be searched")
        else:
            return self._text(key, shown)
        return False

    def _text(self, text: str, path: str) -> bool:
        try:
            self.size += len(text.encode())
        except UnicodeEncodeError:
            self._wrong(path, "has a lone surrogate, which is not Unicode text")
            return False
        return True

    def _date(self, value: datetime, path: str) -> None:
        try:
            value.replace(tzinfo=value.tzinfo or UTC).astimezone(UTC)
        except OverflowError:
            self._wrong(path, "is a date that UTC does not have")

    def _wrong(self, path: str, message: str) -> None:
        if len(self.problems) < _MOST_PROBLEMS:
            self.problems.setdefault(path, []).append(message)


def check(value: Any, path: str, *, dots: bool = True) -> int:
    """Make sure that a value can be stored.

    Args:
        value: any value.
        path: what the problems call it.
        dots: allow dots in names.

    Returns:
        How many bytes it takes at most.

    Raises:
        InvalidInputError: numbers beyond 64 bit or not finite, lone surrogates, names with NUL or a leading ``$``,
            nesting beyond `DEEPEST`, or a type JSON does not have.
    """
    walk = _Walk(dots=dots)
    walk.visit(value, path, 0)
    if walk.problems:
        raise InvalidInputError(walk.problems)
    return walk.size


def check_result(result: Any) -> None:
    """Make sure that a result can be stored.

    Raises:
        InvalidInputError: as `check`.
        TooLargeError: over `MOST_RESULT`.
    """
    size = check(result, "result")
    if size > MOST_RESULT:
        raise TooLargeError("result", size, MOST_RESULT)
