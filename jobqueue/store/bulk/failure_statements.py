"""Filters and pipelines that group failures by what went wrong, as named pure functions.

All they need is in one index, which holds nothing but jobs that have failed or were killed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from jobqueue.domain.work.failure import BY_COUNT, FAILURES

if TYPE_CHECKING:
    from jobqueue.domain.work.failure import FailureQuery
    from jobqueue.store.documents.statements import Document

INDEX: Final = "failures"
KEYS: Final = (
    *(("fingerprint", 1), ("insertAt", 1), ("_id", 1)),
    *(("queue", 1), ("type", 1), ("state", 1), ("endAt", 1)),
)
"""A group in the order in which its jobs are gone through, and whatever it can be narrowed by."""
STATES: Final = sorted(state.value for state in FAILURES)
MOST_QUEUES: Final = 100
LATEST: Final = [("insertAt", -1), ("_id", -1)]


def unmarked() -> Document:
    """Match failures without a fingerprint: they were ended by another tool, or by an update on many jobs."""
    return {"state": {"$in": STATES}, "fingerprint": None}


def matching(query: FailureQuery) -> Document:
    """Match the failures that a query is about."""
    found: Document = {
        "state": {"$in": sorted(state.value for state in query.states)},
        "fingerprint": {"$gt": ""} if query.fingerprint is None else query.fingerprint,
    }
    if query.queue is not None:
        found["queue"] = query.queue
    if query.type is not None:
        found["type"] = query.type
    inserted: Document = {}
    if query.inserted_after is not None:
        inserted["$gte"] = query.inserted_after
    if query.inserted_before is not None:
        inserted["$lt"] = query.inserted_before
    if inserted:
        found["insertAt"] = inserted
    if query.ended_after is not None:
        found["endAt"] = {"$gte": query.ended_after}
    return found


def groups(query: FailureQuery, found: Document) -> list[Document]:
    """Return the pipeline of a page of groups, and one more, of the failures that are found."""
    # The parts of a group are counted first: so few values have to be looked at for its queues.
    parts = {
        "_id": {"f": "$fingerprint", "q": "$queue", "s": "$state"},
        "count": {"$sum": 1},
        "firstAt": {"$min": "$endAt"},
        "lastAt": {"$max": "$endAt"},
    }
    whole: Document = {
        "_id": "$_id.f",
        "count": {"$sum": "$count"},
        "firstAt": {"$min": "$firstAt"},
        "lastAt": {"$max": "$lastAt"},
        "queues": {"$addToSet": "$_id.q"},
    }
    for state in STATES:
        whole[state] = {"$sum": {"$cond": [{"$eq": ["$_id.s", state]}, "$count", 0]}}
    key = "count" if query.sort == BY_COUNT else "lastAt"
    pipeline: list[Any] = [{"$match": found}, {"$group": parts}, {"$group": whole}]
    if query.after is not None:
        value, fingerprint = query.after
        pipeline.append(
            {"$match": {"$or": [{key: {"$lt": value}}, {key: value, "_id": {"$gt": fingerprint}}]}},
        )
    return [
        *pipeline,
        {"$sort": {key: -1, "_id": 1}},
        {"$limit": query.limit + 1},
        {"$set": {"queues": {"$slice": ["$queues", MOST_QUEUES]}}},
    ]
