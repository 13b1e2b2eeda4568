"""Every filter, update and sort on `jobs`, as named pure functions.

``now`` is an expression: ``"$$NOW"`` in production, so that only the server's clock counts, or a fixed date in tests.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from bson import ObjectId

from jobqueue.domain.jobs import json_form
from jobqueue.domain.jobs.job import INLINE_LOGS
from jobqueue.domain.jobs.states import FINAL, UNFINISHED, WAITING, State
from jobqueue.domain.jobs.transitions import DEPENDENTS, UNSET, Transition
from jobqueue.store.documents import suspect_statements, unsound_statements
from jobqueue.store.mongo.tolerant import array as _array
from jobqueue.store.mongo.tolerant import number as _number

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jobqueue.store.mongo.clock import Now


Document = dict[str, Any]
UNREAD: Final = "unread"
"""The field, and the index, of jobs that are deleted as soon as all have read them."""
OPERATIONS: Final = "inOperations"
"""The field with the ids of the last operations that have changed a job, also in what a deleted job leaves behind."""
_MOST_OPERATIONS: Final = 20
CLAIM_ORDER: Final = [("priority", -1), ("insertAt", 1), ("_id", 1)]
ADOPTED: Final[Document] = {"run": {"$ne": None}}
"""Match documents that this package has written or taken over, not those another tool has just put there."""
SOUND: Final[Document] = {"$nor": unsound_statements.waiting_faults()}
"""Match waiting jobs that nobody has spoilt with another tool: the others are to fail, and never to run."""
CLAIM_INDEX: Final = "claim"
CLAIM_TYPE_INDEX: Final = "claimType"
READY_INDEX: Final = "ready"
_MILLISECONDS: Final = 1000


_LEASE: Final = _number("$lease", 60)


def claimable(queue: str, types: Sequence[str] | None, excluded: Sequence[str] = ()) -> Document:
    """Match the claimable jobs of a queue; ``None`` takes all types but the excluded ones."""
    return {"queue": queue, "state": State.PENDING.value, **ADOPTED, **SOUND} | of_types(types, excluded)


def of_types(types: Sequence[str] | None, excluded: Sequence[str]) -> Document:
    """Match jobs of some types, or with ``None`` of all types but the excluded ones."""
    if types is not None:
        return {"type": types[0] if len(types) == 1 else {"$in": list(types)}}
    return {"type": {"$nin": list(excluded)}} if excluded else {}


def claim(
    token: str,
    worker: str,
    now: Now,
    *,
    lease: float | None = None,
    margin: float = 0,
    slots: Sequence[str] = (),
) -> list[Document]:
    """Begin an attempt: count it, lease the job and open its history entry.

    ``margin`` is how many seconds beyond the job's timeout the lease may last: what a worker that ends its runs itself
    needs for that. ``slots`` are the places of the queue's limits that the job takes as long as it is processing.
    """
    held: Document = {"token": token, "worker": worker}
    seconds: Any = _LEASE
    if lease is not None:
        held["lease"] = seconds = lease
    if margin:
        held["margin"] = margin
    number = {"$add": [_number("$attemptsMade", 0), 1]}
    entry = {
        "attempt": number,
        "token": {"$literal": token},
        "worker": {"$literal": worker},
        "readyAt": ready(),
        "startAt": now,
        "endAt": None,
        "outcome": None,
        "error": None,
        "code": None,
    }
    return [
        {
            "$set": {
                "state": State.PROCESSING.value,
                "startAt": now,
                "resetAt": _lease_end(now, seconds, now, margin),
                "claim": {"$literal": held},
                "attemptsMade": number,
                "progress": 0,
                "delayTil": None,
                "history": {"$concatArrays": [_array("$history"), [entry]]},
                "slots": suspect_statements.slots(worker, slots),
            }
        }
    ]


def held(job_id: str, queue: str, token: str) -> Document:
    """Match a job as long as this claim is its current one."""
    return {
        "_id": ObjectId(job_id),
        "queue": queue,
        "state": State.PROCESSING.value,
        "claim.token": token,
    }


def held_any(claims: Sequence[tuple[str, str, str]]) -> Document:
    """Match the jobs of which a claim, of the ids, queues and tokens of some, is the current one."""
    ids, queues, tokens = zip(*claims, strict=True)
    query = {"_id": {"$in": [ObjectId(job_id) for job_id in ids]}, "claim.token": {"$in": list(tokens)}}
    return query | {"queue": {"$in": sorted(set(queues))}, "state": State.PROCESSING.value}


def renew(now: Now, progress: float | None = None, lines: Sequence[Document] = ()) -> list[Document]:
    """Extend the lease, at most to the end of the attempt's time; note progress and log lines on the way.

    Lines get the server's time, and the job's attempt where they name none; those beyond the first `INLINE_LOGS` are
    only counted here.
    """
    seconds = _number("$claim.lease", _LEASE)
    changed: Document = {"resetAt": _lease_end(now, seconds, "$startAt", _number("$claim.margin", 0))}
    if progress is not None:
        changed["progress"] = progress
    return [{"$set": changed | (appended(now, lines) if lines else {})}]


def appended(now: Now, lines: Sequence[Document]) -> Document:
    """Return the fields that change when log lines are added; only as many as there is room for are stored here."""
    room = {"$max": [0, {"$subtract": [INLINE_LOGS, {"$size": _array("$logs")}]}]}
    stamped = [
        {"t": now, "attempt": "$attemptsMade", **{name: {"$literal": inner} for name, inner in line.items()}}
        for line in lines
    ]
    joined = {"$concatArrays": [_array("$logs"), {"$slice": [stamped, {"$max": [1, room]}]}]}
    return {
        "logs": {"$cond": [{"$gt": [room, 0]}, joined, "$logs"]},
        "logCount": {"$add": [_number("$logCount", 0), len(lines)]},
        "logAt": now,
    }


def guard(job_id: str, queue: str, transition: Transition, now: Now) -> Document:
    """Match the job if the transition may still happen to it."""
    query: Document = {"_id": ObjectId(job_id), "queue": queue, "state": transition.source.value}
    if transition.token is not None:
        query["claim.token"] = transition.token
        query["history.token"] = transition.token
    if transition.run is not None:
        # Not an equality: another tool may have put a text there.
        query["run"] = {"$not": {"$gt": transition.run}}
    if transition.target in FINAL and DEPENDENTS not in transition.outbox:
        # Since the job was claimed another one may have come to depend on it: then that has to follow too.
        query["dependents"] = {"$ne": True}
    if transition.operation is not None:
        query[OPERATIONS] = {"$ne": ObjectId(transition.operation)}
    if transition.expired_only:
        query["$expr"] = {"$lte": ["$resetAt", now]}
    if transition.unmarked_at is not None:
        query["claim.beside"] = {"$ne": transition.unmarked_at}
    return query


def applied(transition: Transition, now: Now) -> Document | list[Document]:
    """Return the update that makes a transition happen.

    A plain update where no date has to be computed, which is quicker, and a pipeline where a delay is added to now.
    """
    changed: Document = {"state": transition.target.value, **_told(transition)}
    entry: Document = {}
    dates = []
    if transition.token is not None:
        changed |= {"claim": None, "resetAt": None}
        entry = {"outcome": transition.outcome.value}
        if transition.code is not None:
            entry["code"] = transition.code
        if transition.error is not None:
            entry["error"] = json_form.error(transition.error)
    if transition.target not in UNFINISHED:
        dates.append("endAt")
    if transition.target is State.PENDING:
        dates.append("readyAt")
    if transition.fingerprint is not None:
        changed["fingerprint"] = transition.fingerprint
    if transition.delay is not None:
        return _with_delay(transition, changed, entry, now)
    if transition.token is None and transition.target is State.KILLED:
        return _while_waiting(transition, changed, now)
    return _plain(transition, changed, entry, dates, now)


def _told(transition: Transition) -> Document:
    told: Document = {}
    if transition.crashes is not None:
        told["crashes"] = transition.crashes
    if transition.error is not None:
        told["error"] = json_form.error(transition.error)
    if transition.result is not UNSET:
        told |= {"result": transition.result, "error": None, "progress": 100}
    return told


def _plain(transition: Transition, changed: Document, entry: Document, dates: list[str], now: Now) -> Document:
    if transition.target is State.FAILED:
        entry["last"] = True
    changed |= {f"history.$.{name}": inner for name, inner in entry.items()}
    if entry:
        dates = [*dates, "history.$.endAt"]
    update: Document = {"$set": changed}
    if transition.outbox:
        update["$push"] = {"outbox": {"$each": list(transition.outbox)}}
    if transition.operation is not None:
        mark = {"$each": [ObjectId(transition.operation)], "$slice": -_MOST_OPERATIONS}
        update.setdefault("$push", {})[OPERATIONS] = mark
    if isinstance(now, datetime):
        changed |= dict.fromkeys(dates, now)
    elif dates:
        update["$currentDate"] = dict.fromkeys(dates, True)
    if transition.refund:
        update["$inc"] = {"attemptsMade": -1}
    if transition.token is not None:
        update["$unset"] = {"slots": ""}
    return update


def more_to_do(names: Any) -> Document:
    """Return the outbox with more in it: an earlier attempt may have left something there."""
    return {"$concatArrays": [_array("$outbox"), names]}


def _values(transition: Transition, changed: Document) -> Document:
    values: Document = {name: {"$literal": inner} for name, inner in changed.items()}
    return values | ({"outbox": more_to_do(list(transition.outbox))} if transition.outbox else {})


def _while_waiting(transition: Transition, changed: Document, now: Now) -> list[Document]:
    values = _values(transition, changed)
    # Should it be started again, it has to be known which of those it depends on had not succeeded.
    values["unmet"] = "$waitsFor"
    if transition.operation is not None:
        values[OPERATIONS] = marked(transition.operation)
    return [{"$set": values | {"endAt": now} | killed(now)}, {"$unset": "waitsFor"}]


def marked(operation: str) -> Document:
    """Return the operations that have changed a job, with this one as the last: so none changes a job twice."""
    return {"$slice": [{"$concatArrays": [_array(f"${OPERATIONS}"), [ObjectId(operation)]]}, -_MOST_OPERATIONS]}


def killed(now: Now) -> Document:
    """Return the field that tells of a job's end of which no attempt tells, also after it is requeued."""
    return {"killedAt": {"$concatArrays": [_array("$killedAt"), [now]]}}


def _with_delay(transition: Transition, changed: Document, entry: Document, now: Now) -> list[Document]:
    values = _values(transition, changed)
    values["delayTil"] = {"$add": [now, int((transition.delay or 0) * _MILLISECONDS)]}
    if transition.refund:
        values["attemptsMade"] = {"$subtract": ["$attemptsMade", 1]}
    if transition.retries is not None:
        # As an expression: a plain object would be merged into whatever another tool has put there.
        values["retries"] = {"$mergeObjects": [{"count": transition.retries, "at": "$startAt"}]}
    ended = {"$mergeObjects": ["$$this", {"$literal": entry}, {"endAt": now}]}
    values["history"] = {
        "$map": {
            "input": "$history",
            "in": {"$cond": [{"$eq": ["$$this.token", {"$literal": transition.token}]}, ended, "$$this"]},
        }
    }
    return [{"$set": values}, {"$unset": "slots"}]


def reported_late(job_id: str, token: str) -> Document:
    """Match a job whose history knows this token and has no late report of it yet."""
    return {"_id": ObjectId(job_id), "history": {"$elemMatch": {"token": token, "late": {"$exists": False}}}}


def same_run(job_id: str, queue: str, run: int) -> Document:
    """Match a job unless it was requeued since; one put there with another tool has no number of its run."""
    return {"_id": ObjectId(job_id), "queue": queue, "run": run or {"$in": [0, None]}}


def due(now: Now) -> Document:
    """Match delayed jobs whose time has come."""
    return {
        "state": State.DELAYED.value,
        "delayTil": {"$type": "date"},
        "$expr": {"$lte": ["$delayTil", now]},
    }


def promote() -> list[Document]:
    """Make due jobs claimable."""
    # An index takes no two lists of a document: a field of another tool may be one, and would hold up all due jobs.
    is_date = {"$eq": [{"$type": ready()}, "date"]}
    return [{"$set": {"state": State.PENDING.value, "readyAt": {"$cond": [is_date, ready(), "$$REMOVE"]}}}]


def expired(now: Now, patience: float) -> Document:
    """Match jobs whose lease has ended and is not longer than ``patience`` seconds."""
    return {
        "state": State.PROCESSING.value,
        "resetAt": {"$type": "date"},
        "$and": [
            {"$expr": {"$lte": ["$resetAt", now]}},
            {"$expr": {"$lte": [_number("$claim.lease", _LEASE), patience]}},
        ],
    }


def drop_empty_outbox() -> Document:
    """Return the stage that leaves no empty outbox, so that the index holds only jobs with something to do."""
    return {"$set": {"outbox": {"$cond": [{"$eq": ["$outbox", []]}, "$$REMOVE", "$outbox"]}}}


def spillable(job_id: str, state: State, least_bytes: int) -> Document:
    """Match a job in a state whose document is so large that its history should be moved out."""
    large = {"$gte": [{"$bsonSize": "$$ROOT"}, least_bytes]}
    return {"_id": ObjectId(job_id), "state": state.value, "$expr": large}


def patch(changes: Document, now: Now, group: Document | None = None) -> list[Document]:
    """Change fields of a job that is not processing; a waiting one is pending or delayed by its due time.

    One that waits for others keeps waiting for them: no date may start it before. ``group`` is as in `regrouped`.
    """
    values: Document = {name: {"$literal": inner} for name, inner in changes.items()} | (group or {})
    if "delayTil" not in changes:
        return [{"$set": values}]
    due = values["delayTil"]
    later = {"$gt": [due, now]} if changes["delayTil"] is not None else False
    waits = {"$gt": ["$waitsFor", []]}
    by_date = {"$cond": [later, State.DELAYED.value, State.PENDING.value]}
    values["state"] = {"$cond": [waits, "$state", by_date]}
    values["delayTil"] = {"$cond": [waits, None, due]}
    values["heldTil"] = {"$cond": [waits, due, "$$REMOVE"]}
    is_freed = {"$and": [{"$ne": ["$state", State.PENDING.value]}, {"$not": [waits]}, {"$not": [later]}]}
    values["readyAt"] = {"$cond": [is_freed, now, "$readyAt"]}
    return [{"$set": values}]


def patchable(job_id: str, queue: str, *, waiting_only: bool) -> Document:
    """Match a job that may be changed."""
    states = WAITING if waiting_only else set(State) - {State.PROCESSING}
    return {"_id": ObjectId(job_id), "queue": queue, "state": {"$in": sorted(state.value for state in states)}}


def deletable(job_id: str, queue: str) -> Document:
    """Match a job that may be deleted: not running, and nothing left to fire."""
    states = sorted(state.value for state in set(State) - {State.PROCESSING})
    return {"_id": ObjectId(job_id), "queue": queue, "state": {"$in": states}, "outbox": {"$exists": False}}


def key_holder(queue: str, key: str) -> Document:
    """Match the unfinished job that holds a key."""
    return {"queue": queue, "key": key, "state": {"$in": sorted(state.value for state in UNFINISHED)}}


def ready() -> Document:
    """Return since when a job could have been claimed: created, due, released, or back from its last attempt.

    Whatever makes a job pending that was not created so writes the same into ``readyAt``. So among the waiting jobs of
    a queue an index names those that wait longest: see `queue_statements.oldest`.
    """
    return {"$max": ["$insertAt", "$delayTil", "$readyAt", {"$max": "$history.endAt"}]}


def _lease_end(now: Now, seconds: Any, start: Any, margin: Any) -> Document:
    renewed = {"$add": [now, {"$multiply": [seconds, _MILLISECONDS]}]}
    limit = {"$add": [start, {"$multiply": [{"$add": ["$timeout", margin]}, _MILLISECONDS]}]}
    return {"$cond": [{"$isNumber": "$timeout"}, {"$min": [renewed, limit]}, renewed]}
