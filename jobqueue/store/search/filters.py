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
    """Return one filter of several parts; MongoDB chooses the index by the parts at the top."""
    query: Document = {}
    rest: list[Document] = []
    for part in parts:
        if part.keys() & query.keys() or any(key.startswith("$") for key in part):
            rest.append(part)
        else:
            query |= part
    if rest:
        query["$and"] = rest
    return query


def name(path: str) -> str:
    """Return the name of a job's field in its document."""
    return "_id" if path == "id" else path


def value(compiled: Any) -> Any:
    """Return the stored form of a value."""
    if isinstance(compiled, Id):
        return ObjectId(compiled.hex)
    return [value(item) for item in compiled] if isinstance(compiled, tuple) else compiled


def _comparison(test: Comparison) -> Document:
    if isinstance(test.value, Pattern):
        return {"$regex": Regex(test.value.text, test.value.options)}
    if test.operator == "$has" and isinstance(test.value, tuple):
        if len(test.value) == 1 and None not in test.value:
            return {"$eq": value(test.value[0])}
        return {"$in": value(test.value), "$exists": True}
    return {test.operator: value(test.value)}


def attribute(test: Comparison) -> Document | None:
    """Return a comparison as a test of the indexed attributes of ``meta``, if there is an equal one."""
    path = test.path.removeprefix(_META)
    if test.operator not in _BY_ATTRIBUTE or path == test.path:
        return None
    if test.operator != "$has" and _has_number(path):
        # A number may also be a place in a list, which attributes do not have.
        return None
    # Null also finds missing values, except with $has.
    encoded = [
        attributes.encode(path, value) if value is not None or test.operator == "$has" else None
        for value in _values(test)
    ]
    if None in encoded:
        return None
    if len(encoded) == 1:
        return {"attrs": encoded[0]}
    return {"attrs": {"$all" if test.operator == "$all" else "$in": encoded}}


def _by_attribute(test: Comparison) -> Document | None:
    """Return a test of ``meta`` that the index of attributes serves; ``meta`` decides where attributes are older."""
    clause, path = attribute(test), test.path.removeprefix(_META)
    if clause is None or _has_number(path):
        # To MongoDB, a number is a place in a list, too.
        return clause
    return clause | (stored_all if test.operator == "$all" else stored)(path, _values(test))


def _values(test: Comparison) -> tuple[Any, ...]:
    return test.value if isinstance(test.value, tuple) else (test.value,)


def _has_number(path: str) -> bool:
    return any(part.isdecimal() for part in path.split("."))


def _text(text: Any) -> Document:
    """Return a filter for a text anywhere in the texts of ``meta``."""
    quoted = json.dumps(text, ensure_ascii=False)[1:-1]
    return {"attrs": {"$regex": Regex(f'=".*{re.escape(quoted)}', "i")}}


def _has_bound(query: Filter) -> bool:
    return any(
        isinstance(part, Comparison) and part.path == "insertAt" and part.operator in _BOUNDS and part.value is not None
        for part in conjuncts(query)
    )
