"""Filters and updates for entries of the audit that wait in the document whose change they note.

A document keeps them in the field `audit`; `audit_outbox` moves them on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import bson
from bson import ObjectId

from jobqueue.store.mongo.tolerant import array, unless_empty

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jobqueue.store.documents.statements import Document

FIELD: Final = "audit"
INDEX: Final = "audit"
MOST_ENTRIES: Final = 100
MOST_BYTES: Final = 4 * 1024 * 1024
"""Bytes of waiting entries beyond which a document takes no further entry."""
MOST_VALUE: Final = 64 * 1024
"""Bytes that the audit keeps of the state before a change, and of the state after it."""
NOTHING_WAITS: Final[Document] = {FIELD: {"$exists": False}}
WAITING: Final[Document] = {f"{FIELD}._id": {"$gt": ObjectId("0" * 24)}}
"""Match documents with waiting entries, in the words of the partial index."""
GONE: Final[Document] = {"gone": True, "incarnation": {"$exists": False}}
"""Match a deleted schedule whose document remains only for its waiting entries."""
_ENTRIES: Final = array(f"${FIELD}")
_BYTES: Final = {"$bsonSize": {FIELD: _ENTRIES}}
FEW_ENTRIES: Final[Document] = {f"{FIELD}.{MOST_ENTRIES - 1}": {"$exists": False}}
"""Match a document that can take another entry."""
HAS_ROOM: Final[Document] = FEW_ENTRIES | {"$expr": {"$lt": [_BYTES, MOST_BYTES]}}
"""Match a document that can take another entry beside much else; the server refuses this in an upsert."""


def with_entry(entry: Document) -> Document:
    """Return the value of the field after another entry, for an update with a pipeline.

    Args:
        entry: the server sets its time.
    """
    stamped = {field: {"$literal": value} for field, value in entry.items()} | {"at": "$$NOW"}
    return {"$concatArrays": [_ENTRIES, [stamped]]}


def without(ids: Sequence[Any]) -> list[Document]:
    """Take entries out of a document, and all values that are no entries."""
    is_entry: Any = {"$eq": [{"$type": "$$this._id"}, "objectId"]}
    stays: Any = {"$and": [is_entry, {"$not": [{"$in": ["$$this._id", {"$literal": list(ids)}]}]}]}
    rest = {"$filter": {"input": _ENTRIES, "cond": stays}}
    return [{"$set": {FIELD: rest}}, {"$set": {FIELD: unless_empty(f"${FIELD}")}}]


def bounded(value: Any) -> Any:
    """Return a value, or only the size of a very large one."""
    size = len(bson.encode({"value": value}))
    return value if size <= MOST_VALUE else {"omitted": f"{size:,} bytes"}
