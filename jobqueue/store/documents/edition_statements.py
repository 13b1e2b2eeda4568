"""Filters for a document that is as it was read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jobqueue.store.documents.statements import Document

_TOLD_BY_OTHERS: Final = frozenset({"result", "logs"})
"""Large fields that change only together with others: the state, and the number of lines."""


def unchanged(document: Mapping[str, Any]) -> Document:
    """Match a job's document as it was read: all its fields, and no field besides."""
    same: Document = {
        name: {"$eq": value}
        for name, value in document.items()
        if name not in _TOLD_BY_OTHERS and not name.startswith("$") and "." not in name
    }
    return same | {"$expr": {"$eq": [{"$size": {"$objectToArray": "$$ROOT"}}, len(document)]}}


def both(guard: Document, same: Mapping[str, Any] | None) -> Document:
    """Return the conjunction of two filters; ``None`` matches all documents."""
    return guard if same is None else {"$and": [guard, same]}
