"""Filters and updates for jobs that have to start before a date, as named pure functions; ``now`` as in `statements`.

The start of a job removes its limit. So an index of the limits holds only jobs that have not started, and a race
between a claim and the expiry is decided by one update of one document.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from jobqueue.domain.attempts.states import WAITING, State
from jobqueue.domain.jobs.transitions import AWAITED, DEPENDENTS
from jobqueue.store.documents import statements
from jobqueue.store.mongo.clock import EPOCH

if TYPE_CHECKING:
    from jobqueue.store.documents.statements import Document
    from jobqueue.store.mongo.clock import Now

FIELD: Final = "startBefore"
INDEX: Final = "expiry"
EXPIRED: Final = "expired"
"""Kind of the error of a job that has not started in time."""
# The server uses a partial index for a comparison, and not for a $type.
LIMITED: Final[Document] = {FIELD: {"$gt": EPOCH.replace(tzinfo=None)}, "state": statements.state_in(WAITING)}
"""Match jobs that have to start before a date."""
_MARK: Final = "isExpired"


def to_expire() -> Document:
    """Match jobs that can expire: external documents and lists of dates cannot, until they are adopted or mended."""
    limit = LIMITED[FIELD] | {"$not": {"$type": "array"}}
    return {**LIMITED, FIELD: limit, **statements.ADOPTED}


def expired(now: Now) -> Document:
    """Match jobs whose time to start is over."""
    return {**LIMITED, **statements.ADOPTED, "$expr": _is_over(now)}


def expire(now: Now) -> list[Document]:
    """Kill a job whose time to start is over, with the notes of the work that follows."""
    return [{"$set": _killed(now)}, statements.drop_empty_outbox(), {"$unset": ["waitsFor", "wait"]}]


def unless_expired(begin: list[Document], now: Now) -> list[Document]:
    """Return the update of a claim that kills the job instead if its time to start is over.

    A claim does not look for another job by itself: it would examine all expired jobs at the head of a queue.

    Args:
        begin: the update of the claim, of one stage.
        now: the present.
    """
    started: Document = {**begin[0]["$set"], FIELD: "$$REMOVE"}
    killed = _killed(now)
    either = {
        name: {"$cond": [f"${_MARK}", killed.get(name, f"${name}"), started.get(name, f"${name}")]}
        for name in {**started, **killed}
    }
    mark = {_MARK: {"$cond": [_is_over(now), True, "$$REMOVE"]}}
    return [{"$set": mark}, {"$set": either}, statements.drop_empty_outbox(), {"$unset": _MARK}]


def _is_over(now: Now) -> Document:
    # A null, and a number of another tool, are less than any date.
    return {"$and": [{"$eq": [{"$type": f"${FIELD}"}, "date"]}, {"$lte": [f"${FIELD}", now]}]}


def _killed(now: Now) -> Document:
    until = {"$dateToString": {"date": f"${FIELD}", "format": "%Y-%m-%dT%H:%M:%S.%LZ"}}
    return {
        "state": State.KILLED.value,
        "endAt": now,
        "error": {"kind": EXPIRED, "message": {"$concat": ["not started by ", until]}},
        "outbox": statements.more_to_do(_outbox()),
        # A later restart has to know which dependencies had not succeeded.
        "unmet": "$waitsFor",
        **statements.killed(now),
    }


def _outbox() -> Document:
    """Return the notes of the work that follows from the end of a killed job, as `transitions.outbox`."""
    conditions = {
        "children": {"$or": [_has_jobs("onComplete"), _has_jobs("onFailure")]},
        DEPENDENTS: {"$eq": ["$dependents", True]},
        "batch": {"$eq": [{"$type": "$batchId"}, "objectId"]},
        AWAITED: {"$eq": [{"$type": "$awaitedBy"}, "objectId"]},
    }
    return {"$concatArrays": [{"$cond": [condition, [note], []]} for note, condition in conditions.items()]}


def _has_jobs(name: str) -> Any:
    return {"$in": [{"$type": f"${name}"}, ["object", "array"]]}
