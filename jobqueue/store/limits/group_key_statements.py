"""Filters and updates for the keys of groups: they compare the key of a waiting job with the value behind it.

`domain.limits.limits.limit_key` derives a key from a value. The server derives the same text from most values itself.
Of all others, such as objects and long texts, only this program can make the key.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from jobqueue.domain.attempts.states import WAITING
from jobqueue.domain.limits import limits

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from bson import ObjectId

    from jobqueue.domain.jobs.job import Job
    from jobqueue.store.documents.statements import Document

Place = tuple[str, "datetime", "ObjectId"]
"""The place of a walk: state, ``insertAt`` and ``_id`` of the last job."""
STATES: Final = tuple(sorted(state.value for state in WAITING))
KEY: Final = "limitKey"
_ESCAPED: Final = ('"', "\\", *map(chr, range(0x20)))
"""Characters that JSON does not leave as they are."""
_UNREADABLE: Final = "\ufffd"
"""Read in place of bytes that are no UTF-8, as some drivers write them."""
_LONGEST_PLAIN: Final = limits.LONGEST_VALUE - 2
_LARGEST_EXACT: Final = 2**53
_BEYOND_INT64: Final = 2**63
_SCALARS: Final = ["string", "int", "long", "double", "bool", "null"]
_NEVER_HASHED: Final = ["int", "long", "bool", "null"]
_NOTHING: Final[Document] = {"$expr": False}


def value_at(path: str) -> Document:
    """Return the value at a path, as `limits.limit_value` does: through objects only, else ``None``."""
    root, *steps = path.split(".")
    value: Any = f"${root}"
    for step in steps:
        value = {"$getField": {"field": {"$literal": step}, "input": value}}
    return {"$ifNull": [value, None]}


def key_at(path: str) -> Document:
    """Return the key of the value at a path; ``None`` if only this program can make it."""
    kind: Document = {"$type": "$$value"}
    is_whole = {
        "$and": [
            {"$eq": [kind, "double"]},
            # Of all numbers NaN is the least here.
            {"$gte": ["$$value", -_LARGEST_EXACT]},
            {"$lte": ["$$value", _LARGEST_EXACT]},
            {"$eq": ["$$value", {"$trunc": "$$value"}]},
        ]
    }
    is_plain = {
        "$and": [
            {"$eq": [kind, "string"]},
            {"$lte": [{"$strLenCP": "$$value"}, _LONGEST_PLAIN]},
            # A regular expression would fail on bytes that are no UTF-8.
            *({"$eq": [{"$indexOfBytes": ["$$value", character]}, -1]} for character in _ESCAPED),
        ]
    }
    branches = [
        (is_plain, {"$concat": [f'{path}="', "$$value", '"']}),
        ({"$in": [kind, ["int", "long"]]}, {"$concat": [f"{path}=", {"$toString": "$$value"}]}),
        ({"$eq": [kind, "bool"]}, {"$cond": ["$$value", f"{path}=true", f"{path}=false"]}),
        ({"$eq": ["$$value", None]}, f"{path}=null"),
        (is_whole, {"$concat": [f"{path}=", {"$toString": {"$toLong": "$$value"}}]}),
    ]
    switch = {"branches": [{"case": case, "then": then} for case, then in branches], "default": None}
    return {"$let": {"vars": {"value": value_at(path)}, "in": {"$switch": switch}}}


def agrees(key: str) -> Document:
    """Match jobs of a group unless their value certainly belongs to another group.

    The filter fails on no document: a failure would block all claims of the group.
    """
    path, _, text = key.partition("=")
    kind: Document = {"$type": value_at(path)}
    if text.startswith(limits.HASHED):
        return {"$expr": {"$not": [{"$in": [kind, _NEVER_HASHED]}]}}
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return _NOTHING
    if text != limits.value_text(value):
        return _NOTHING
    if isinstance(value, int) and abs(value) >= _BEYOND_INT64:
        value = float(value)
    return {"$expr": {"$or": [_is_as_read(path, value), {"$not": [{"$in": [kind, _SCALARS]}]}]}}


def path_of(key: str) -> str:
    """Return the path by which a queue is limited from the key of a group."""
    return key.partition("=")[0]


def regrouped(path: str | None, job: Job, changes: Mapping[str, Any]) -> Document:
    """Return the group key of a job after a change, as a stage of an update sets it.

    The value may stand in a part that does not change. Others may have changed that part since the job was read: then
    the job has no group until the next look at its value. Without a path the queue has no limit of groups.
    """
    if path is None:
        return {KEY: "$$REMOVE"}
    data, meta = changes.get("data", job.data), changes.get("meta", job.meta)
    key = {"$literal": limits.limit_key(path, data, meta)}
    if path.partition(".")[0] in changes:
        return {KEY: key}
    return {KEY: {"$cond": [same_value(path, data, meta), key, "$$REMOVE"]}}


def same_value(path: str, data: Any, meta: Any) -> Document:
    """Return an expression that is true if the value at a path is still as it was read."""
    return _is_as_read(path, limits.limit_value(path, data, meta))


def _is_as_read(path: str, value: Any) -> Document:
    if isinstance(value, str) and _UNREADABLE in value:
        return {"$eq": [{"$type": value_at(path)}, "string"]}
    return {"$eq": [value_at(path), {"$literal": value}]}


def misplaced(queue: str, path: str) -> Document:
    """Match jobs of a queue, in any state, whose key may not be that of their value."""
    return {"queue": queue, "$expr": {"$ne": [f"${KEY}", key_at(path)]}}


def newer(since: datetime) -> Document:
    """Match waiting jobs that were inserted since a date."""
    return {"state": {"$in": list(STATES)}, "insertAt": {"$gte": since}}


def beyond(place: Place) -> Document:
    """Match the jobs of a state that come after a place."""
    state, moment, job_id = place
    return {"state": state, "insertAt": {"$gte": moment}, "$nor": [{"insertAt": moment, "_id": {"$lte": job_id}}]}


def between(place: Place, edge: Place) -> Document:
    """Match the jobs of a state from a place to an edge."""
    span = beyond(place)
    _, moment, job_id = edge
    span["insertAt"]["$lte"] = moment
    span["$nor"].append({"insertAt": moment, "_id": {"$gt": job_id}})
    return span


def regroup(document: Mapping[str, Any], queue: str, path: str) -> tuple[Document, Document] | None:
    """Return the filter and the update that correct the key of a waiting job; ``None`` if the key is right.

    Both the key and the value must still be as read: a person may change the job at this moment.
    """
    data, meta = document.get("data"), document.get("meta")
    key = limits.limit_key(path, data, meta)
    if document.get(KEY) == key:
        return None
    same: Document = {"_id": document["_id"], "queue": queue, "state": {"$in": list(STATES)}}
    same[KEY] = {"$eq": document[KEY]} if KEY in document else {"$exists": False}
    return same | {"$expr": same_value(path, data, meta)}, {"$set": {KEY: key}}
