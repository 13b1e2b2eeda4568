"""Compiled filters as filters for the database."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from bson import ObjectId
from bson.regex import Regex

from jobqueue.domain.access.access import EVERYTHING
from jobqueue.domain.jobs import attributes
from jobqueue.domain.search.filters import Comparison, Element, Filter, Group, conjuncts
from jobqueue.domain.search.values import Id, Pattern
from jobqueue.store.documents import scope_filters
from jobqueue.store.documents.attributes import stored, stored_all

if TYPE_CHECKING:
    from jobqueue.domain.access.access import Scope
    from jobqueue.store.documents.statements import Document

FIRST_DATE: Final = datetime(1, 1, 1, tzinfo=UTC)
_BOUNDS: Final = frozenset({"$gt", "$gte", "$lt", "$lte", "$eq"})
_META: Final = "meta."
_BY_ATTRIBUTE: Final = frozenset({"$eq", "$in", "$all", "$has"})


def matching(query: Filter, scope: Scope = EVERYTHING, *, by_index: bool = False) -> Document:
    """Return a filter for the jobs in a scope that a compiled filter matches, and for nothing but jobs.

    ``by_index`` is as in `scope_filters.clauses`.
    """
    # The remains of a deleted job have no such date.
    parts = [{"insertAt": {"$gte": FIRST_DATE}}] if not _has_bound(query) else []
    clauses = [
        (attribute(part) if by_index and isinstance(part, Comparison) else None) or document(part)
        for part in conjuncts(query)
    ]
    return merged([*scope_filters.clauses(scope, by_index=by_index), *clauses, *parts])


def document(query: Filter, *, exact: bool = True, of_jobs: bool = True, prefix: str = "") -> Document:
    """Return a compiled filter as a filter for the database.

    Args:
        query: the compiled filter.
        exact: the documents are jobs as they are stored, so that attributes find the values of ``meta``.
        of_jobs: the paths are the JSON names of a job's fields.
        prefix: the path of the list whose members the filter is about, with a dot at its end.
    """
    match query:
        case Group(operator, parts):
            inner = [document(part, exact=exact, of_jobs=of_jobs, prefix=prefix) for part in parts]
            return {operator: inner} if inner else {}
        case Element(path, part):
            member = document(part, exact=False, of_jobs=False, prefix=f"{path}.")
            return {name(path) if of_jobs else path.removeprefix(prefix): {"$elemMatch": member}}
        case Comparison(_, "$text", text):
            return _text(text)
        case Comparison(path):
            by_attribute = _by_attribute(query) if exact else None
            return by_attribute or {name(path) if of_jobs else path.removeprefix(prefix): _comparison(query)}


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
    if one.operator == "$has" and isinstance(one.value, tuple):
        if len(one.value) == 1 and None not in one.value:
            return {"$eq": value(one.value[0])}
        return {"$in": value(one.value), "$exists": True}
    return {one.operator: value(one.value)}


def attribute(one: Comparison) -> Document | None:
    """Return the same test as one of the array by which all values of ``meta`` are indexed, if it is the same."""
    path = one.path.removeprefix(_META)
    if one.operator not in _BY_ATTRIBUTE or path == one.path:
        return None
    if one.operator != "$has" and any(part.isdecimal() for part in path.split(".")):
        # A number may also be a place in a list, which attributes do not have.
        return None
    given = one.value if isinstance(one.value, tuple) else (one.value,)
    # Null also finds what is not there at all, unless it is said that it must be.
    encoded = [attributes.encode(path, each) if each is not None or one.operator == "$has" else None for each in given]
    if None in encoded:
        return None
    if len(encoded) == 1:
        return {"attrs": encoded[0]}
    return {"attrs": {"$all" if one.operator == "$all" else "$in": encoded}}


def _by_attribute(one: Comparison) -> Document | None:
    """Return a test of ``meta`` that the index of attributes leads to; ``meta`` decides where those are older."""
    found = attribute(one)
    if found is None:
        return None
    path = one.path.removeprefix(_META)
    values = one.value if isinstance(one.value, tuple) else (one.value,)
    if any(part.isdecimal() for part in path.split(".")):
        # There MongoDB has the places in lists, too.
        return found
    return found | (stored_all if one.operator == "$all" else stored)(path, values)


def _text(given: Any) -> Document:
    """Return what finds a text anywhere in the texts of ``meta``."""
    quoted = json.dumps(given, ensure_ascii=False)[1:-1]
    return {"attrs": {"$regex": Regex(f'=".*{re.escape(quoted)}', "i")}}


def _has_bound(wanted: Filter) -> bool:
    return any(
        isinstance(one, Comparison) and one.path == "insertAt" and one.operator in _BOUNDS and one.value is not None
        for one in conjuncts(wanted)
    )
