"""Differences of two values as lines, for people."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Final

from jobqueue.dashboard.frame.texts import shorten

_MOST_LINES: Final = 6
_LONGEST: Final = 100
_MISSING: Final = object()


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a difference; ``sign`` is ``-`` or ``+``."""

    sign: str
    path: str
    value: str


@dataclass(frozen=True, slots=True)
class Difference:
    """Lines, and the number of those that are left out."""

    lines: tuple[Line, ...]
    hidden: int


def difference(before: Any, after: Any, most: int = _MOST_LINES) -> Difference:
    """Return the fields that differ, each with its value before and after; a field is named by its path."""
    old, new = _fields(before), _fields(after)
    lines: list[Line] = []
    for path in dict.fromkeys((*old, *new)):
        was, becomes = old.get(path, _MISSING), new.get(path, _MISSING)
        if was is becomes or (type(was) is type(becomes) and was == becomes):
            continue
        lines += [
            Line(sign, path, _text(value)) for sign, value in (("-", was), ("+", becomes)) if value is not _MISSING
        ]
    return Difference(tuple(lines[:most]), max(0, len(lines) - most))


def _fields(value: Any) -> dict[str, Any]:
    """Return the values of an object by their paths; null and an empty object say as little as no value."""
    found: dict[str, Any] = {}
    todo = [("", value)]
    while todo:
        path, inner = todo.pop()
        if isinstance(inner, dict):
            todo += reversed([(f"{path}.{name}" if path else str(name), part) for name, part in inner.items()])
        elif inner is not None:
            found[path] = inner
    return found


def _text(value: Any) -> str:
    return shorten(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False), _LONGEST)
