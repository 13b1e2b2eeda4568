"""Jobs as rows of CSV."""

from __future__ import annotations

import csv
import io
import json
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

MOST_EXPORTED: Final = 100_000
"""Jobs of a file."""
COLUMNS: Final = ("id", "queue", "type", "state", "insertAt", "startAt", "endAt", "attemptsMade", "error.message")
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n")
"""Spreadsheets compute a text that begins so."""


def cells(names: Sequence[str]) -> Callable[[Mapping[str, Any]], list[str]]:
    """Return a function that returns the values of a job at paths, as cells."""
    paths = [name.split(".") for name in names]

    def row(job: Mapping[str, Any]) -> list[str]:
        return [cell(_at(job, path)) for path in paths]

    return row


def cell(value: Any) -> str:
    """Return a value as a cell of CSV, which no spreadsheet takes for a formula."""
    if value is None:
        return ""
    if not isinstance(value, str):
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return f"'{value}" if value.startswith(_FORMULA) else value


def line(values: Sequence[str]) -> str:
    """Return cells as a line of CSV, with its end."""
    text = io.StringIO()
    csv.writer(text).writerow(values)
    return text.getvalue()


def _at(value: Any, steps: Sequence[str]) -> Any:
    """Return the value at a path; of a list, the values in its objects."""
    for number, step in enumerate(steps):
        if isinstance(value, list):
            return [_at(item, steps[number:]) for item in value if isinstance(item, dict | list)]
        value = value.get(step) if isinstance(value, dict) else None
    return value
