"""Pipelines that read the activity within a span of time out of the documents of jobs, by minute.

They read facts that never change again: the creation of a job, the ended attempts in its history, and its kills while
it waited. So each reading finds the same; also in the tombstones of deleted jobs.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from jobqueue.domain.attempts.states import Outcome, State
from jobqueue.domain.insight.activity import TIMED
from jobqueue.domain.insight.histogram import GROWTH
from jobqueue.store.documents import queue_statements
from jobqueue.store.mongo.clock import EPOCH
from jobqueue.store.mongo.tolerant import array

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jobqueue.store.documents.statements import Document

ATTEMPTS_INDEX: Final = "attemptsEnded"
KILLED_INDEX: Final = "killedWaiting"
_SKEW: Final = timedelta(seconds=60)
_UNDECIDED: Final = [Outcome.FAIL.value, Outcome.HANGING.value, Outcome.TIMEOUT.value]
_FINAL_OF: Final = {Outcome.SUCCESS: State.SUCCESS, Outcome.DIE: State.KILLED, Outcome.KILL: State.KILLED}


def within(since: datetime, until: datetime) -> Document:
    """Return the condition that a date lies in a span, its end excluded."""
    return {"$gte": since, "$lt": until}


def _running() -> list[Document]:
    """Return the attempts that go on, by the minute in which they were started."""
    return [
        {"$match": {"state": State.PROCESSING.value}},
        {"$project": {"queue": 1, "type": 1, "h": {"$last": array("$history")}}},
        {"$match": {"h.startAt": {"$type": "date"}}},
        {"$group": {"_id": _of_start(), "n": {"$sum": 1}}},
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One kind of activity and the pipeline that groups it.

    Attributes:
        label: the activity, ``attempts``, ``added``, ``killed`` or ``running``.
        collection: the collection that the pipeline reads.
        pipeline: the pipeline, which returns a document a group.
    """

    label: str
    collection: str
    pipeline: list[Document]


def sources(since: datetime, until: datetime, *, with_running: bool = False) -> list[Source]:
    """Return all kinds of activity within a span, of jobs and their tombstones; the first source reads `jobs`."""
    span = within(since, until)
    ended: Document = {"history.endAt": {"$gt": EPOCH}, "history": {"$elemMatch": {"endAt": span}}}
    added: Document = {"insertAt": span, "state": {"$exists": True}}
    killed: Document = {"killedAt": {"$gt": EPOCH, "$elemMatch": span}}
    stone = timedelta(milliseconds=queue_statements.STONE_MS)
    left: list[Document] = [
        {"$match": {"expireAt": {"$gte": since + stone - _SKEW, "$type": "date"}, "gone": {"$exists": True}}},
        {"$replaceWith": {"$mergeObjects": ["$gone", {"queue": "$queue"}]}},
    ]
    parts = [
        ("attempts", "jobs", [{"$match": ended}, *_attempts(since, until)]),
        ("added", "jobs", [{"$match": added}, *_added()]),
        ("killed", "jobs", [{"$match": killed}, *_killed(since, until)]),
        ("attempts", "attempts", _moved_attempts(since, until)),
        ("attempts", "jobs", [*left, *_attempts(since, until)]),
        ("added", "jobs", [*left, {"$match": {"insertAt": span}}, *_added()]),
        ("killed", "jobs", [*left, {"$match": {"killedAt": {"$gt": EPOCH}}}, *_killed(since, until)]),
        *([("running", "jobs", _running())] if with_running else []),
    ]
    return [Source(label=label, collection=collection, pipeline=pipeline) for label, collection, pipeline in parts]


def united(parts: Sequence[Source]) -> list[Document]:
    """Return one pipeline on `jobs` for several sources, so that all are read at one moment.

    Each group names its source as ``label``.
    """
    first, *others = parts
    unions: list[Document] = [
        {"$unionWith": {"coll": part.collection, "pipeline": [*part.pipeline, {"$set": {"label": part.label}}]}}
        for part in others
    ]
    return [*first.pipeline, {"$set": {"label": first.label}}, *unions]


def _moved_attempts(since: datetime, until: datetime) -> list[Document]:
    """Return ended attempts that were moved out of the documents of their jobs, from the `attempts` collection."""
    owner: Sequence[Document] = [
        {"$lookup": {"from": "jobs", "localField": "jobId", "foreignField": "_id", "as": "job"}},
        {"$unwind": "$job"},
        # An entry that its document still has is counted there.
        {"$match": {"$expr": {"$lt": ["$seq", "$job.spilled"]}}},
        {"$replaceWith": {"queue": "$job.queue", "type": "$job.type", "history": ["$entry"]}},
    ]
    return [{"$match": {"entry.endAt": within(since, until)}}, *owner, *_attempts(since, until)]


def _attempts(since: datetime, until: datetime) -> list[Document]:
    ended = {
        "$and": [
            {"$gte": ["$$this.endAt", since]},
            {"$lt": ["$$this.endAt", until]},
            {"$eq": [{"$type": "$$this.endAt"}, "date"]},
            {"$eq": [{"$type": "$$this.startAt"}, "date"]},
        ]
    }
    # Jobs of versions that did not mark their last attempt.
    unmarked = {"$and": [{"$eq": ["$state", State.FAILED.value]}, {"$eq": ["$h.token", {"$last": "$tokens"}]}]}
    is_last = {"$or": [{"$eq": ["$h.last", True]}, unmarked]}
    branches: list[Document] = [
        {"case": {"$eq": ["$h.outcome", outcome.value]}, "then": state.value} for outcome, state in _FINAL_OF.items()
    ]
    branches.append({"case": {"$and": [{"$in": ["$h.outcome", _UNDECIDED]}, is_last]}, "then": State.FAILED.value})
    timed = {"$in": ["$h.outcome", sorted(TIMED)]}
    counted = {
        "m": _minute("$h.endAt"),
        "o": "$h.outcome",
        "f": {"$switch": {"branches": branches, "default": None}},
        "r": {"$cond": [timed, _bucket("$h.startAt", "$h.endAt"), None]},
    }
    entries = {"tokens": "$history.token", "h": {"$filter": {"input": "$history", "cond": ended}}}
    return [
        {"$project": {"queue": 1, "type": 1, "state": 1, **entries}},
        {"$unwind": "$h"},
        {"$group": {"_id": _of_start() | counted, "n": {"$sum": 1}}},
    ]


def _added() -> list[Document]:
    return [{"$group": {"_id": {"q": "$queue", "t": "$type", "m": _minute("$insertAt")}, "n": {"$sum": 1}}}]


def _killed(since: datetime, until: datetime) -> list[Document]:
    return [
        {"$project": {"queue": 1, "type": 1, "killedAt": 1}},
        {"$unwind": "$killedAt"},
        {"$match": {"killedAt": within(since, until)}},
        {"$group": {"_id": {"q": "$queue", "t": "$type", "m": _minute("$killedAt")}, "n": {"$sum": 1}}},
    ]


def _of_start() -> Document:
    known = {"$eq": [{"$type": "$h.readyAt"}, "date"]}
    return {
        "q": "$queue",
        "t": "$type",
        "s": _minute("$h.startAt"),
        "w": {"$cond": [known, _bucket("$h.readyAt", "$h.startAt"), None]},
    }


def _minute(date: str) -> Document:
    return {"$dateTrunc": {"date": date, "unit": "minute"}}


def _bucket(since: str, until: str) -> Document:
    """Return the expression of `histogram.bucket`."""
    number: Any = {"$add": [1, {"$ceil": {"$log": ["$$ms", GROWTH]}}]}
    counted: Any = {"$cond": [{"$lt": ["$$ms", 1]}, 0, {"$toInt": number}]}
    return {"$let": {"vars": {"ms": {"$subtract": [until, since]}}, "in": counted}}
