"""Filters, updates and orders of single jobs, as named pure functions.

``now`` is an expression: ``"$$NOW"`` in production, so that only the server's clock counts, or a fixed date in tests.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from bson import ObjectId

from jobqueue.domain.attempts.states import FINAL, UNFINISHED, WAITING, State
from jobqueue.domain.jobs import json_form
from jobqueue.domain.jobs.transitions import DEPENDENTS, UNSET, Transition
from jobqueue.store.documents import signal_statements, suspect_statements, unsound_statements
from jobqueue.store.documents.repeat_statements import appended
from jobqueue.store.documents.sleep_statements import as_promoted, woken
from jobqueue.store.mongo.clock import is_over
from jobqueue.store.mongo.tolerant import array as _array
from jobqueue.store.mongo.tolerant import number as _number
from jobqueue.store.mongo.tolerant import unless_empty

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from jobqueue.domain.steps.step import Wait
    from jobqueue.store.mongo.clock import Now

Document = dict[str, Any]
UNREAD: Final = "unread"
"""The field, and the index, of jobs to delete as soon as all readers have read them."""
OPERATIONS: Final = "inOperations"
"""The field with the ids of the last operations that have changed a job, also in a tombstone."""
_MOST_OPERATIONS: Final = 20
CLAIM_ORDER: Final = [("priority", -1), ("insertAt", 1), ("_id", 1)]
ADOPTED: Final[Document] = {"run": {"$ne": None}}
"""Match documents that this package has written or adopted, but not external ones."""
SOUND: Final[Document] = {"$nor": unsound_statements.waiting_faults()}
"""Match waiting jobs that no other tool has spoilt: a spoilt job fails, and never runs."""
CLAIM_INDEX: Final = "claim"
CLAIM_TYPE_INDEX: Final = "claimType"
READY_INDEX: Final = "ready"
_MILLISECONDS: Final = 1000
_ANY: Final[Document] = {"$literal": True}
_LEASE: Final = _number("$lease", 60)


def state_in(states: Iterable[State]) -> Document:
    """Return the condition that a state is one of several."""
    return {"$in": sorted(state.value for state in states)}


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
    key: str | None = None,
    version: str | None = None,
) -> list[Document]:
    """Begin an attempt: count it, lease the job and open its history entry.

    ``margin`` is the time in seconds that the lease may last beyond the job's timeout, for a worker that ends its runs
    itself. ``slots`` are the slots of the queue's limits that the job takes while it is processing. ``key`` identifies
    the request of the worker, and no other running job of the queue may have it. ``version`` is of its program.
    """
    held: Document = {"token": token, "worker": worker}
    seconds: Any = _LEASE
    if lease is not None:
        held["lease"] = seconds = lease
    if margin:
        held["margin"] = margin
    if key is not None:
        held["key"] = key
    number = {"$add": [_number("$attemptsMade", 0), 1]}
    entry = {
        "attempt": number,
        "token": {"$literal": token},
        "worker": {"$literal": worker},
        **({} if version is None else {"version": {"$literal": version}}),
        "readyAt": ready(),
        "startAt": _begun(now),
        **dict.fromkeys(("endAt", "outcome", "error", "code")),
    }
    return [
        {
            "$set": {
                "state": State.PROCESSING.value,
                "startAt": _begun(now),
                "resetAt": _lease_end(now, seconds, _begun(now), margin),
                "claim": {"$literal": held},
                "attemptsMade": number,
                "progress": 0,
                "delayTil": None,
                "history": {"$concatArrays": [_array("$history"), [entry]]},
                "slots": suspect_statements.slots(worker, slots),
                **as_promoted(now),
            }
        }
    ]


def held(job_id: str, queue: str, token: str) -> Document:
    """Match a job as long as a claim is its current one."""
    return {
        "_id": ObjectId(job_id),
        "queue": queue,
        "state": State.PROCESSING.value,
        "claim.token": token,
    }


def held_any(claims: Sequence[tuple[str, str, str]]) -> Document:
    """Match the jobs that some claims, by ids, queues and tokens, still hold."""
    ids, queues, tokens = zip(*claims, strict=True)
    query = {"_id": {"$in": [ObjectId(job_id) for job_id in ids]}, "claim.token": {"$in": list(tokens)}}
    return query | {"queue": {"$in": sorted(set(queues))}, "state": State.PROCESSING.value}


def renew(
    now: Now, progress: float | None = None, lines: Sequence[Document] = (), report: str | None = None
) -> list[Document]:
    """Extend the lease, at most to the end of the attempt's time; store progress and log lines, once for a report.

    Lines get the server's time, and the job's attempt if they name none. Lines beyond the first `INLINE_LOGS` are only
    counted here.
    """
    seconds = _number("$claim.lease", _LEASE)
    changed: Document = {"resetAt": _lease_end(now, seconds, "$startAt", _number("$claim.margin", 0))}
    if progress is not None:
        changed["progress"] = progress
    return [{"$set": changed | (appended(now, lines, report) if lines else {})}]


def guard(job_id: str, queue: str, transition: Transition, now: Now) -> Document:
    """Match the job if the transition may still happen to it."""
    query: Document = {"_id": ObjectId(job_id), "queue": queue, "state": transition.source.value}
    if transition.token is not None:
        query["claim.token"] = transition.token
        query["history.token"] = transition.token
    if transition.run is not None:
        # No equality: another tool may have stored a text.
        query["run"] = {"$not": {"$gt": transition.run}}
    if transition.target in FINAL and DEPENDENTS not in transition.outbox:
        # A job may depend on this one since its claim: then more work follows from its end.
        query["dependents"] = {"$ne": True}
    if transition.operation is not None:
        query[OPERATIONS] = {"$ne": ObjectId(transition.operation)}
    if transition.expired_only:
        query["$expr"] = _is_over(now)
    if transition.repeats is not None:
        # Missing equals null.
        query["claim.repeats"] = transition.repeats or None
    if transition.unmarked_at is not None:
        query["claim.beside"] = {"$ne": transition.unmarked_at}
    return query


def applied(transition: Transition, now: Now) -> Document | list[Document]:
    """Return the update that makes a transition happen.

    A delay needs a pipeline, which adds it to now. All else is a plain update, which is quicker.
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
    if transition.delay is not None or transition.due is not None or transition.wait is not None:
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
        update["$unset"] = {"slots": ""} | ({"retries": ""} if transition.retries == 0 else {})
    return update


def more_to_do(names: Any) -> Document:
    """Return the outbox with more notes: an earlier attempt may have left some there."""
    return {"$concatArrays": [_array("$outbox"), names]}


def _values(transition: Transition, changed: Document) -> Document:
    values: Document = {name: {"$literal": inner} for name, inner in changed.items()}
    return values | ({"outbox": more_to_do(list(transition.outbox))} if transition.outbox else {})


def _while_waiting(transition: Transition, changed: Document, now: Now) -> list[Document]:
    values = _values(transition, changed)
    # A later restart has to know which dependencies had not succeeded.
    values["unmet"] = "$waitsFor"
    if transition.operation is not None:
        values[OPERATIONS] = marked(transition.operation)
    return [{"$set": values | {"endAt": now} | killed(now)}, {"$unset": ["waitsFor", "wait"]}]


def _wait(wait: Wait) -> Document:
    """Return what a job waits for, without the end of the wait."""
    known = {
        "names": list(wait.names),
        "signals": list(wait.signals) if wait.signals else None,
        "jobs": wait.jobs,
        "doubt": wait.doubt,
    }
    return {"$literal": {name: value for name, value in known.items() if value is not None}}


def marked(operation: str) -> Document:
    """Return the operations that have changed a job and, as the last, another: so none changes a job twice."""
    return {"$slice": [{"$concatArrays": [_array(f"${OPERATIONS}"), [ObjectId(operation)]]}, -_MOST_OPERATIONS]}


def killed(now: Now) -> Document:
    """Return the dates of kills outside of attempts, which outlive a requeue."""
    return {"killedAt": {"$concatArrays": [_array("$killedAt"), [now]]}}


def _with_delay(transition: Transition, changed: Document, entry: Document, now: Now) -> list[Document]:
    values = _values(transition, changed)
    due: Any = {"$add": [now, int((transition.delay or 0) * _MILLISECONDS)]}
    due = due if transition.due is None else {"$max": [due, {"$literal": transition.due}]}
    if transition.wait is not None:
        if transition.wait.is_open and transition.delay is None and transition.due is None:
            due = None
        values["wait"] = {"$mergeObjects": [_wait(transition.wait), {"until": due}]}
    values["delayTil"] = due
    if transition.refund:
        values["attemptsMade"] = {"$subtract": ["$attemptsMade", 1]}
    if transition.retries is not None:
        # An expression replaces a value of another tool; a plain object would be merged into it.
        counted = {"$mergeObjects": [{"count": transition.retries, "at": "$startAt"}]}
        values["retries"] = counted if transition.retries else "$$REMOVE"
    ended = {"$mergeObjects": ["$$this", {"$literal": entry}, {"endAt": now}]}
    values["history"] = {
        "$map": {
            "input": "$history",
            "in": {"$cond": [{"$eq": ["$$this.token", {"$literal": transition.token}]}, ended, "$$this"]},
        }
    }
    stages: list[Document] = [{"$set": values}, {"$unset": "slots"}]
    if transition.wait is not None and (transition.wait.signals or transition.wait.doubt):
        # A signal or a decision may have come before the job began to wait.
        stages += [*signal_statements.answered(now, _ANY), signal_statements.woken(now)]
    return stages


def same_run(job_id: str, queue: str, run: int) -> Document:
    """Match a job in the same run; an external document has no number of its run."""
    return {"_id": ObjectId(job_id), "queue": queue, "run": run or {"$in": [0, None]}}


def due(now: Now) -> Document:
    """Match delayed jobs that are due."""
    return {"state": State.DELAYED.value, "delayTil": {"$type": "date"}, "$expr": {"$lte": ["$delayTil", now]}}


def promote(now: Now) -> list[Document]:
    """Make due jobs claimable, and finish the sleeps and waits that are over."""
    # An index takes one list of a document: a list of another tool would hold up all due jobs.
    is_date = {"$eq": [{"$type": ready()}, "date"]}
    changed = {"state": State.PENDING.value, "readyAt": {"$cond": [is_date, ready(), "$$REMOVE"]}}
    promoted = {"$set": changed | {"steps": woken(now), "wait": "$$REMOVE"}}
    return [promoted, *signal_statements.answered(now, _ANY)]


def expired(now: Now, patience: float) -> Document:
    """Match jobs whose lease has ended and was at most ``patience`` seconds."""
    # Two spans of the index: ends that have come, and ends that may lie too far ahead.
    ahead = {"$and": [{"$expr": {"$gt": ["$resetAt", {"$add": [now, 5_000]}]}}, {"$expr": _is_over(now)}]}
    ended = {"$or": [{"$expr": {"$lte": ["$resetAt", now]}}, ahead]}
    held = {"$expr": {"$lte": [_number("$claim.lease", _LEASE), patience]}}
    return {"state": State.PROCESSING.value, "resetAt": {"$type": "date"}, "$and": [ended, held]}


def _is_over(now: Now) -> Document:
    return is_over("$resetAt", {"$multiply": [_number("$claim.lease", _LEASE), _MILLISECONDS]}, now)


def drop_empty_outbox() -> Document:
    """Return the stage that drops an empty outbox, so that the index holds only jobs with open notes."""
    return {"$set": {"outbox": unless_empty("$outbox")}}


def patch(changes: Document, now: Now, group: Document | None = None) -> list[Document]:
    """Change fields of a job that is not processing; its due time makes a waiting job pending or delayed.

    A job with open dependencies keeps waiting for them: no date may start it before. ``group`` is as in `regrouped`.
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
    values["wait"] = {"$cond": [later, "$wait", "$$REMOVE"]}
    return [{"$set": values}]


def patchable(job_id: str, queue: str, *, waiting_only: bool) -> Document:
    """Match a job that a person may change."""
    states = WAITING if waiting_only else set(State) - {State.PROCESSING}
    return {"_id": ObjectId(job_id), "queue": queue, "state": state_in(states), "erased": None}


def deletable(job_id: str, queue: str) -> Document:
    """Match a job that may be deleted: not processing, and with an empty outbox."""
    states = state_in(set(State) - {State.PROCESSING})
    return {"_id": ObjectId(job_id), "queue": queue, "state": states, "outbox": {"$exists": False}}


def key_holder(queue: str, key: str) -> Document:
    """Match the unfinished job that holds a key."""
    return {"queue": queue, "key": key, "state": state_in(UNFINISHED)}


def ready() -> Document:
    """Return the time since which a job is claimable: it was created, due, released, or back from an attempt.

    Every update that makes a job pending writes the same into ``readyAt``. So an index orders the waiting jobs of a
    queue by their waiting time: see `queue_statements.oldest`.
    """
    return {"$max": ["$insertAt", "$delayTil", "$readyAt", {"$max": "$history.endAt"}]}


def _begun(now: Now) -> Document:
    """Return the start of an attempt: now, or the moment that made the job ready while the claim waited."""
    known = {"$max": ["$readyAt", {"$max": "$history.endAt"}]}  # Another tool may write any `insertAt`.
    waited = {"$and": [{"$gt": ["$$ready", now]}, {"$lte": ["$$ready", {"$add": [now, 5_000]}]}]}
    return {"$let": {"vars": {"ready": known}, "in": {"$cond": [waited, "$$ready", now]}}}


def _lease_end(now: Now, seconds: Any, start: Any, margin: Any) -> Document:
    renewed = {"$add": [now, {"$multiply": [seconds, _MILLISECONDS]}]}
    limit = {"$add": [start, {"$multiply": [{"$add": ["$timeout", margin]}, _MILLISECONDS]}]}
    return {"$cond": [{"$isNumber": "$timeout"}, {"$min": [renewed, limit]}, renewed]}
