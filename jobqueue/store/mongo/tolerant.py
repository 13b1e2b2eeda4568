"""Expressions and readers of a field for any value that another tool may have put there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Sequence

T = TypeVar("T")


def typed(kind: type[T], value: object) -> T | None:
    """Return a value of a kind, and ``None`` for any other value."""
    return value if isinstance(value, kind) else None


def number(path: str, default: Any) -> dict[str, Any]:
    """Return the number in a field: a spoilt job must not hold up the jobs behind it."""
    return {"$cond": [{"$isNumber": path}, path, default]}


def array(path: str) -> dict[str, Any]:
    """Return the list in a field, as `number`."""
    return {"$cond": [{"$isArray": path}, path, []]}


def without(path: str, values: Sequence[Any]) -> dict[str, Any]:
    """Return the list in a field less some values, as `array`."""
    return {"$filter": {"input": array(path), "cond": {"$not": [{"$in": ["$$this", list(values)]}]}}}


def unless_empty(path: str) -> dict[str, Any]:
    """Return the list in a field; an empty list removes the field."""
    return {"$cond": [{"$eq": [path, []]}, "$$REMOVE", path]}
