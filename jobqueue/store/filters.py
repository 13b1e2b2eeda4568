"""Compiled filters as filters for the database."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from bson import ObjectId
from bson.regex import Regex

from jobqueue.domain import attributes
from jobqueue.domain.access import EVERYTHING
from jobqueue.domain.filters import Comparison, Element, Filter, Group, conjuncts
from jobqueue.domain.operands import Id, Pattern
from jobqueue.store import scoping

if TYPE_CHECKING:
    from jobqueue.domain.access import Scope
    from jobqueue.store.statements import Document

FIRST_DATE: Final = datetime(1, 1, 1, tzinfo=UTC)
_META: Final = "meta."
_BY_ATTRIBUTE: Final = frozenset({"$eq", "$in", "$all"})


def matching(wanted: Filter, scope: Scope = EVERYTHING) -> Document:
    """Return what finds the jobs that a filter asks for within a scope, and nothing but jobs."""
    # What is left of a deleted job for a while has no such date.
    parts = [{"insertAt": {"$gte": FIRST_DATE}}] if not _has_bound(wanted) else []
    return merged([*scoping.clauses(scope), *(document(part) for part in conjuncts(wanted)), *parts])


def document(wanted: Filter, *, exact: bool = True) -> Document:
    """Return a filter for the database.

    Args:
        wanted: a compiled filter.
        exact: the documents are jobs as they are stored, so that values of ``meta`` can be found by their attributes.
    """
    match wanted:
        case Group(operator, parts):
            inner = [document(part, exact=exact) for part in parts]
            return {operator: inner} if inner else {}
        case Element(path, part):
            return {name(path): {"$elemMatch": _below(part, f"{path}.")}}
        case Comparison():
            found = _attribute(wanted) if exact else None
            return found or {name(wanted.path): _comparison(wanted)}


def merged(parts: list[Document]) -> Document:
    """Return one filter that asks for all of the parts; an index is chosen by what stands on top."""
    found: Document = {}
    rest: list[Document] = []
    for part in parts:
        if part.keys() & found.keys() or any(key.startswith("$") for key in part):
            rest.append(part)
        else:
            found |= part
    if rest:
        found["$and"] = rest
    return found


def name(path: str) -> str:
    """Return what a field of a job is called in its document."""
    return "_id" if path == "id" else path


def value(given: Any) -> Any:
    """Return a value as it is stored."""
    if isinstance(given, Id):
        return ObjectId(given.hex)
    return [value(one) for one in given] if isinstance(given, tuple) else given


def _comparison(one: Comparison) -> Document:
    if isinstance(one.value, Pattern):
        return {"$regex": Regex(one.value.text, one.value.options)}
    return {one.operator: value(one.value)}


def _below(wanted: Filter, prefix: str) -> Document:
    match wanted:
        case Group(operator, parts):
            inner = [_below(part, prefix) for part in parts]
            return {operator: inner} if inner else {}
        case Element(path, part):
            return {path.removeprefix(prefix): {"$elemMatch": _below(part, f"{path}.")}}
        case Comparison():
            return {wanted.path.removeprefix(prefix): _comparison(wanted)}


def _attribute(one: Comparison) -> Document | None:
    """Return the same test as one of the array by which all values of ``meta`` are indexed, if it is the same."""
    path = one.path.removeprefix(_META)
    # A number may also be a place in a list, which attributes do not have.
    if one.operator not in _BY_ATTRIBUTE or path == one.path or any(part.isdecimal() for part in path.split(".")):
        return None
    given = one.value if isinstance(one.value, tuple) else (one.value,)
    # Null also finds what is not there at all.
    encoded = [None if one is None else attributes.encode(path, one) for one in given]
    if None in encoded:
        return None
    return {"attrs": encoded[0] if len(encoded) == 1 else {one.operator: encoded}}


def _has_bound(wanted: Filter) -> bool:
    return any(
        isinstance(one, Comparison) and one.path == "insertAt" and one.operator in {"$gt", "$gte", "$lt", "$lte", "$eq"}
        for one in conjuncts(wanted)
    )
