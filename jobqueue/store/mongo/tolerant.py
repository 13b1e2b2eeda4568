"""Expressions that read a field whatever another tool may have put there."""

from __future__ import annotations

from typing import Any


def number(path: str, default: Any) -> dict[str, Any]:
    """Return the number in a field; one that another tool has spoilt must not keep the jobs behind it waiting."""
    return {"$cond": [{"$isNumber": path}, path, default]}


def array(path: str) -> dict[str, Any]:
    """Return the list in a field, as `number`."""
    return {"$cond": [{"$isArray": path}, path, []]}
