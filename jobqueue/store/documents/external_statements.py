"""Filters and updates for external documents, which another tool has put into `jobs`, as named pure functions.

Every document of this package has the number of its requeues in ``run``. A document without it is external.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from bson import ObjectId

from jobqueue.domain.attempts.states import State
from jobqueue.store.documents.statements import ADOPTED
from jobqueue.store.documents.unsound_statements import HAD

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from jobqueue.store.documents.statements import Document

INDEX: Final = "foreign"
"""The stored name of the index of external documents."""
EXTERNAL: Final[dict[str, Any]] = {"run": None}
"""Match external documents that are not adopted yet."""
MOVED: Final = "movedTo"
WAS: Final = "was"


def unchanged(document: Mapping[str, Any]) -> Document:
    """Match an external document that is still external, and in the state that was read."""
    return {"_id": {"$eq": document["_id"]}, **EXTERNAL, "state": {"$eq": document.get("state")}}


def changed(document: Mapping[str, Any], fields: Document, obsolete: Sequence[str]) -> Document:
    """Return the update that gives a document its proper fields; fields that are right stay untouched."""
    differing = {
        name: value for name, value in fields.items() if name not in document or not _is(document[name], value)
    }
    gone = {name: "" for name in obsolete if name in document and name not in fields}
    return {"$set": differing} | ({"$unset": gone} if gone else {})


def hide(to: ObjectId) -> list[Document]:
    """Wrap a document in another one, from which a document with a new ``_id`` is made."""
    hidden = {"_id": "$_id", "queue": "$queue", MOVED: {"$literal": to}, WAS: "$$ROOT"}
    return [{"$replaceWith": hidden}]


def seen(document: Mapping[str, Any]) -> Document:
    """Match an external document as `unchanged` does, unless it is hidden: hidden again, it would become two."""
    is_hidden = [{"$eq": [{"$type": f"${MOVED}"}, "objectId"]}, {"$eq": [{"$type": f"${WAS}"}, "object"]}]
    return unchanged(document) | {"$expr": {"$not": [{"$and": is_hidden}]}}


def hidden(document: Mapping[str, Any]) -> Document:
    """Match a hidden document."""
    return {"_id": {"$eq": document["_id"]}, **EXTERNAL, MOVED: document[MOVED]}


def moved() -> Document:
    """Reduce a hidden document to the place of its successor."""
    return {"$set": {"run": 0}, "$unset": {WAS: ""}}


def disown() -> Document:
    """Make a document external again, so that it is checked anew; that makes no document larger."""
    return {"$rename": {"run": HAD}}


def oversized(least_bytes: int) -> Document:
    """Match documents that may have no room for the changes of a running job."""
    return {"$expr": {"$gte": [{"$bsonSize": "$$ROOT"}, least_bytes]}}


def unknown_claim(job_id: str, token: str | None) -> Document:
    """Match a running job without a claim, or with a claim that its history lacks: no worker can end that job."""
    claim: Document = {"claim.token": {"$not": {"$type": "string"}}}
    if token is not None:
        claim = {"claim.token": token, "history.token": {"$ne": token}}
    return {"_id": ObjectId(job_id), "state": State.PROCESSING.value, **ADOPTED, **claim}


def _is(stored: Any, value: Any) -> bool:
    return type(stored) is type(value) and bool(stored == value)
