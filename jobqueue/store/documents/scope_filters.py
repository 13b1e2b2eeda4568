"""Filters that keep a caller to its part of all jobs."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from jobqueue.domain.access.access import Scope
from jobqueue.domain.jobs.attributes import encode
from jobqueue.domain.search.query import META_PATH
from jobqueue.store.documents import attributes

if TYPE_CHECKING:
    from jobqueue.store.documents.statements import Document

_WILD: Final = re.compile(r"[*?]")


def read(queues: Any, pairs: list[Any]) -> Scope:
    """Return a stored scope.

    Args:
        queues: the stored names.
        pairs: the stored paths below ``meta``, each with its value.

    Raises:
        TypeError, ValueError: another tool has spoilt the scope. Less of a scope is more jobs.
    """
    if not isinstance(queues, list) or not all(isinstance(name, str) for name in queues):
        raise TypeError
    for path, value in pairs:
        if not isinstance(path, str) or not META_PATH.fullmatch(path) or encode(path, value) is None:
            raise TypeError
    return Scope(queues=tuple(queues), meta=tuple((path, value) for path, value in pairs))


def clauses(scope: Scope, *, by_index: bool = False) -> list[Document]:
    """Return the filters that every job of a scope matches, for an ``$and``.

    Args:
        scope: of the caller.
        by_index: only filters by an index, to estimate the cost. They must not select jobs for a reply or a change.
    """
    required: list[Document] = []
    if scope.queues:
        plain = [glob for glob in scope.queues if not _WILD.search(glob)]
        wild = [{"queue": {"$regex": _anchored(glob)}} for glob in scope.queues if _WILD.search(glob)]
        exact: list[Document] = [{"queue": plain[0] if len(plain) == 1 else {"$in": plain}}] if plain else []
        ways = [*exact, *wild]
        required.append(ways[0] if len(ways) == 1 else {"$or": ways})
    having = attributes.indexed if by_index else attributes.having
    return required + [having(path, value) for path, value in scope.meta]


def is_wild(scope: Scope) -> bool:
    """Return True if a scope has patterns for names of queues."""
    return any(_WILD.search(glob) for glob in scope.queues)


def within(query: Document, scope: Scope) -> Document:
    """Return a filter narrowed to a scope."""
    narrowing = clauses(scope)
    return {**query, "$and": [*query.get("$and", []), *narrowing]} if narrowing else query


def _anchored(glob: str) -> str:
    """Return a pattern of MongoDB with a fixed beginning, by which an index can be searched."""
    body = re.escape(glob).replace(r"\*", ".*").replace(r"\?", ".")
    return f"^{body}$"
