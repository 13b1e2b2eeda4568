"""Filters and pipelines that group failures by their causes, as named pure functions.

One index answers them; it holds only jobs that have failed or were killed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from jobqueue.domain.attempts.states import FAILURES
from jobqueue.domain.work.failure import BY_COUNT
from jobqueue.store.documents.statements import state_in

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

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
_MARKED: Final = {"$gt": ""}
LATEST: Final = [("insertAt", -1), ("_id", -1)]


def unmarked() -> Document:
    """Match failures without a fingerprint, of another tool or of an update on many jobs."""
    return {"state": {"$in": STATES}, "fingerprint": None}


def matching(query: FailureQuery) -> Document:
    """Match the failures of a query."""
    search: Document = {
        "state": state_in(query.states),
        "fingerprint": _MARKED if query.fingerprint is None else query.fingerprint,
    }
    inserted = {"$gte": query.inserted_after, "$lt": query.inserted_before}
    narrowing: Document = {
        "queue": query.queue,
        "type": query.type,
        "insertAt": {name: date for name, date in inserted.items() if date is not None} or None,
        "endAt": None if query.ended_after is None else {"$gte": query.ended_after},
    }
    return search | {name: condition for name, condition in narrowing.items() if condition is not None}


def parts_until(until: datetime) -> list[Document]:
    """Return the pipeline of all groups of the failures until a date, each with its parts by queue and state."""
    # Failures of unknown ends are not among those since the date.
    search: Document = {"state": {"$in": STATES}, "fingerprint": _MARKED, "endAt": {"$not": {"$gt": until}}}
    return [{"$match": search}, *_parts()]


def parts_since(since: datetime, queues: Sequence[str], most: int) -> list[Document]:
    """Return the pipeline of the groups of the failures after a date, some of very many."""
    ended: Document = {"queue": {"$in": list(queues)}, "state": {"$in": STATES}, "endAt": {"$gt": since}}
    return [{"$match": ended}, {"$limit": most}, {"$match": {"fingerprint": _MARKED}}, *_parts()]


def _parts() -> list[Document]:
    part: Document = {
        "_id": {"f": "$fingerprint", "q": "$queue", "s": "$state"},
        "t": {"$first": "$type"},
        "n": {"$sum": 1},
        "first": {"$min": "$endAt"},
        "last": {"$max": "$endAt"},
        "newest": {"$max": {"i": "$insertAt", "d": "$_id"}},
    }
    names = {name: f"${name}" for name in ("t", "n", "first", "last", "newest")}
    whole: Document = {
        "_id": "$_id.f",
        "n": {"$sum": "$n"},
        "last": {"$max": "$last"},
        "parts": {"$push": {"q": "$_id.q", "s": "$_id.s"} | names},
    }
    return [{"$group": part}, {"$group": whole}, {"$set": {"parts": {"$slice": ["$parts", MOST_QUEUES]}}}]


def newest(fingerprint: str, search: Document, most: int) -> list[Document]:
    """Return the pipeline that finds the newest job of a search among the newest ones of a group."""
    group = {"fingerprint": fingerprint, "state": {"$in": STATES}}
    return [{"$match": group}, {"$sort": dict(LATEST)}, {"$limit": most}, {"$match": search}, {"$limit": 1}]


def dated(query: FailureQuery, queues: Sequence[str]) -> tuple[Document, str]:
    """Return the filter for the dates of a query with states and queues, and its index."""
    states = {"state": state_in(query.states)}
    if query.ended_after is not None:
        return {"queue": {"$in": list(queues)}, "endAt": {"$gte": query.ended_after}} | states, "ended"
    search = {name: condition for name, condition in matching(query).items() if name in {"queue", "insertAt"}}
    return search | states, "newestOfState" if query.queue is None else "newestOfQueue"


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
