"""Filters and pipelines that group failures by their causes, as named pure functions.

One index answers them; it holds only jobs that have failed or were killed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from jobqueue.domain.jobs.states import FAILURES
from jobqueue.domain.work.failure import BY_COUNT
from jobqueue.store.documents.statements import state_in

if TYPE_CHECKING:
    from jobqueue.domain.work.failure import FailureQuery
    from jobqueue.store.documents.statements import Document

INDEX: Final = "failures"
KEYS: Final = (
    *(("fingerprint", 1), ("insertAt", 1), ("_id", 1)),
    *(("queue", 1), ("type", 1), ("state", 1), ("endAt", 1)),
)
"""The keys in the order of the jobs of a group, and then those that narrow it."""
STATES: Final = sorted(state.value for state in FAILURES)
MOST_QUEUES: Final = 100
LATEST: Final = [("insertAt", -1), ("_id", -1)]


def unmarked() -> Document:
    """Match failures without a fingerprint, of another tool or of an update on many jobs."""
    return {"state": {"$in": STATES}, "fingerprint": None}


def matching(query: FailureQuery) -> Document:
    """Match the failures of a query."""
    search: Document = {
        "state": state_in(query.states),
        "fingerprint": {"$gt": ""} if query.fingerprint is None else query.fingerprint,
    }
    inserted = {"$gte": query.inserted_after, "$lt": query.inserted_before}
    narrowing: Document = {
        "queue": query.queue,
        "type": query.type,
        "insertAt": {name: date for name, date in inserted.items() if date is not None} or None,
        "endAt": None if query.ended_after is None else {"$gte": query.ended_after},
    }
    return search | {name: condition for name, condition in narrowing.items() if condition is not None}


def groups(query: FailureQuery, search: Document) -> list[Document]:
    """Return the pipeline of a page of groups, and one more, of the failures of a search."""
    # The parts of a group are counted first: so there are few values to collect its queues from.
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
    pipeline: list[Any] = [{"$match": search}, {"$group": parts}, {"$group": whole}]
    if query.after is not None:
        value, fingerprint = query.after
        pipeline.append({"$match": {"$or": [{key: {"$lt": value}}, {key: value, "_id": {"$gt": fingerprint}}]}})
    return [
        *pipeline,
        {"$sort": {key: -1, "_id": 1}},
        {"$limit": query.limit + 1},
        {"$set": {"queues": {"$slice": ["$queues", MOST_QUEUES]}}},
    ]
