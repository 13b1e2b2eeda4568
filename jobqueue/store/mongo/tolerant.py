"""Expressions that read a field, whatever value another tool has put there."""

from __future__ import annotations

from typing import Any


def number(path: str, default: Any) -> dict[str, Any]:
    """Return the number in a field: a spoilt job must not hold up the jobs behind it."""
    return {"$cond": [{"$isNumber": path}, path, default]}


def array(path: str) -> dict[str, Any]:
    """Return the list in a field, as `number`."""
    return {"$cond": [{"$isArray": path}, path, []]}
