"""Attributes of a stored ``meta``: their derivation, and filters for their values.

The array ``attrs`` has the index. After a change by another tool ``attrs`` may be older than ``meta`` for a moment. So
a filter asks for both: ``attrs`` leads to the jobs, and ``meta`` decides.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from bson import Decimal128, ObjectId
from bson.int64 import Int64

from jobqueue.domain.external import documents
from jobqueue.domain.jobs import attributes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jobqueue.store.documents.statements import Document

FIELD: Final = "attrs"
_LARGEST_WHOLE: Final = 2**63
_OBJECT_ID: Final = re.compile(r"[0-9a-f]{24}")
_NOT_A_LIST: Final[Document] = {"$not": {"$type": "array"}}


def derived(meta: Any) -> list[str]:
    """Return the attributes of a ``meta``; another tool may have spoilt it."""
    return attributes.attributes(plain(meta)) if isinstance(meta, dict) and documents.has_few_values(meta) else []


def indexed(path: str, value: Any) -> Document:
    """Match the jobs whose ``meta`` had a value at the derivation of its attributes."""
    return {FIELD: attributes.encode(path, value)}


def having(path: str, value: Any) -> Document:
    """Match the jobs whose ``meta`` has a scalar at a path, now and in the index.

    A list of objects above a name of digits matches nothing: MongoDB may take the name for a place in the list.

    Args:
        path: below ``meta``.
        value: a scalar.
    """
    steps = path.split(".")
    lists = {".".join(("meta", *steps[:place])): _NOT_A_LIST for place, step in enumerate(steps) if step.isdecimal()}
    # An object in a list without the name has no null there.
    there = {f"meta.{path}": {"$type": "null"}} if value is None else stored(path, (value,))
    return {**indexed(path, value), "meta": _NOT_A_LIST, **lists, **there}


def stored(path: str, values: Sequence[Any]) -> Document:
    """Match the jobs whose ``meta`` has one of several scalars at a path, without the index of ``attrs``."""
    ways = [way for value in values for way in _ways(value)]
    if None in values:
        # A comparison with null would match a missing value too.
        return {f"meta.{path}": {"$in": ways, "$exists": True}}
    return {f"meta.{path}": {"$eq": ways[0]} if len(ways) == 1 else {"$in": ways}}


def stored_all(path: str, values: Sequence[Any]) -> Document:
    """Match the jobs whose ``meta`` has all of several scalars in a list at a path."""
    alike = [value for value in values if len(_ways(value)) == 1]
    query: Document = {f"meta.{path}": {"$all": alike}} if alike else {}
    rest = [stored(path, (value,)) for value in values if value not in alike]
    return query | ({"$and": rest} if rest else {})


def plain(value: Any) -> Any:
    """Return a value with ids as text and numbers as Python's own; ``1.0`` of some shells becomes ``1``."""
    if isinstance(value, ObjectId):
        return str(value)
    if isinstance(value, Int64):
        return int(value)
    if isinstance(value, Decimal128):
        value = _of_decimal(value)
    if isinstance(value, float) and value.is_integer() and abs(value) < _LARGEST_WHOLE:
        return int(value)
    if isinstance(value, dict):
        return {name: plain(inner) for name, inner in value.items()}
    return [plain(inner) for inner in value] if isinstance(value, list) else value


def _ways(value: Any) -> list[Any]:
    """Return the values of MongoDB that have the same attribute and do not compare equal."""
    if isinstance(value, str) and _OBJECT_ID.fullmatch(value):
        return [value, ObjectId(value)]
    if isinstance(value, float) and not value.is_integer():
        return [value, Decimal128(repr(value))]
    return [value]


def _of_decimal(value: Decimal128) -> float:
    number = value.to_decimal()
    return float(number) if number.is_finite() else float("nan")
