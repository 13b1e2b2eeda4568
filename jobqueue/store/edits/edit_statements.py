"""Filters and pipelines for jobs with changed `data` or `meta`, as named pure functions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from bson import ObjectId

from jobqueue.store.documents.attributes import FIELD
from jobqueue.store.documents.statements import ADOPTED

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from jobqueue.store.documents.statements import Document

READ: Final = {"queue": 1, "meta": 1, FIELD: 1}
ORDER: Final = [("_id", 1)]
_FIRST: Final = ObjectId("0" * 24)
_CONTENT: Final = ("data", "meta")


def edits() -> list[Document]:
    """Keep the changes of `data` and `meta` by any tool, and of each change the job.

    A change of `run` tells that an external document was adopted, perhaps as it was before an edit. A document whose id
    is not one of a job is never adopted.
    """
    update = "$updateDescription"
    fields = {"$objectToArray": {"$ifNull": [f"{update}.updatedFields", {}]}}
    changed = {"$map": {"input": fields, "as": "field", "in": "$$field.k"}}
    cut = {"$map": {"input": {"$ifNull": [f"{update}.truncatedArrays", []]}, "as": "list", "in": "$$list.field"}}
    names = {"$concatArrays": [changed, cut, {"$ifNull": [f"{update}.removedFields", []]}]}
    # A regular expression would fail on names that are no UTF-8.
    within = [{"$eq": [{"$indexOfBytes": ["$$name", f"{field}."]}, 0]} for field in _CONTENT]
    is_content = {"$or": [{"$in": ["$$name", ["run", *_CONTENT]]}, *within]}
    of_content = {"$anyElementTrue": [{"$map": {"input": names, "as": "name", "in": is_content}}]}
    kinds = [{"operationType": "replace"}, {"operationType": "update", "$expr": of_content}]
    of_jobs = {"documentKey._id": {"$type": "objectId"}, "$or": kinds}
    return [{"$match": of_jobs}, {"$project": {"operationType": 1, "documentKey._id": 1}}]


def jobs(ids: Sequence[Any]) -> Document:
    """Match the adopted jobs of some ids."""
    return {"_id": {"$in": list(ids)}, "state": {"$exists": True}, **ADOPTED}


def beyond(last: Any) -> Document:
    """Match the jobs after an id in the order of a walk; ``None`` stands for its beginning."""
    return {"_id": {"$gt": last if isinstance(last, ObjectId) else _FIRST}, "state": {"$exists": True}, **ADOPTED}


def unchanged(document: Mapping[str, Any]) -> Document:
    """Match a job whose `meta` is as it was read.

    Args:
        document: with a `meta` byte by byte as it is stored.
    """
    same: Document = {"$eq": [{"$type": "$meta"}, "missing"]}
    if "meta" in document:
        same = {"$eq": ["$meta", {"$literal": document["meta"]}]}
    return {"_id": document["_id"], "queue": {"$eq": document.get("queue")}, **ADOPTED, "$expr": same}
