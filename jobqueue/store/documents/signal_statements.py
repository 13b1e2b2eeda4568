"""Updates by which signals come to jobs and to the steps that wait for them, as named pure functions.

``now`` is as in `statements`. A signal is taken, and its value becomes the result of a step, in one update.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from jobqueue.domain.attempts.states import UNFINISHED, State
from jobqueue.domain.steps.signal import MOST_TAKEN, MOST_WAITING, TIMEOUT
from jobqueue.domain.steps.step import MOST_RESULTS, MOST_STEPS, StepKind
from jobqueue.store.mongo.tolerant import array

if TYPE_CHECKING:
    from collections.abc import Collection

Document = dict[str, Any]
_ANSWERS: Final = "answers"
"""A field that lives within an update: signals after it, and the steps that it finishes."""
_SIGNALS: Final = array("$signals")
_STEPS: Final = array("$steps")
_MILLISECONDS: Final = 1000
_LATE: Final = {"kind": TIMEOUT, "message": "the signal has not come in time"}


def answered(now: Any, when: Document) -> list[Document]:
    """Finish open steps whose signals are there, or whose time is over.

    Each step takes the first signal of its name that no step has taken. A signal that is there goes before the time.

    Args:
        now: as in `statements`.
        when: a further condition of the steps, each as ``$$this``.
    """
    is_open = {
        "$and": [
            {"$eq": ["$$this.kind", StepKind.SIGNAL.value]},
            {"$eq": [{"$type": "$$this.signal"}, "string"]},
            {"$ne": [{"$type": "$$this.endAt"}, "date"]},
            when,
        ]
    }
    is_late = {"$and": [{"$eq": [{"$type": "$$this.until"}, "date"]}, {"$lte": ["$$this.until", now]}]}
    late = {"endAt": now, "result": None, "error": {"$literal": _LATE}}
    found = {"$concatArrays": ["$$value.found", [{"$mergeObjects": ["$$this", _with_value(now)]}]]}
    in_vain = {"$concatArrays": ["$$value.found", [{"$mergeObjects": ["$$this", late]}]]}
    answer = {
        "$let": {
            "vars": {"first": _first("$$value.signals", "$$this.signal")},
            "in": {
                "$cond": [
                    {"$eq": [{"$type": "$$first"}, "object"]},
                    {"signals": _taken("$$value.signals"), "found": found},
                    {"$cond": [is_late, {"signals": "$$value.signals", "found": in_vain}, "$$value"]},
                ]
            },
        }
    }
    answers = {
        "$reduce": {
            "input": {"$filter": {"input": _STEPS, "cond": is_open}},
            "initialValue": {"signals": _SIGNALS, "found": []},
            "in": answer,
        }
    }
    same_name = {"$eq": ["$$found.name", "$$this.name"]}
    finished = {
        "$filter": {
            "input": f"${_ANSWERS}.found",
            "as": "found",
            "cond": {"$and": [same_name, {"$eq": ["$$this.kind", StepKind.SIGNAL.value]}]},
        }
    }
    step = {"$cond": [{"$gt": [{"$size": finished}, 0]}, {"$arrayElemAt": [finished, 0]}, "$$this"]}
    changed = {
        "steps": {"$cond": [{"$isArray": "$steps"}, {"$map": {"input": "$steps", "in": step}}, "$$REMOVE"]},
        "signals": {"$cond": [{"$isArray": "$signals"}, f"${_ANSWERS}.signals", "$$REMOVE"]},
    }
    return [{"$set": {_ANSWERS: answers}}, {"$set": changed}, {"$unset": _ANSWERS}]


def woken(now: Any) -> Document:
    """Make a suspended job claimable if a step that it waits for has finished, or is not in doubt any more."""
    awaited = {"$and": [_has_ended("$$this"), {"$in": ["$$this.name", array("$wait.names")]}]}
    in_doubt = {
        "$and": [
            {"$eq": ["$$this.name", "$wait.doubt"]},
            {"$eq": [{"$type": "$$this.once"}, "string"]},
            {"$not": [_has_ended("$$this")]},
        ]
    }
    is_decided = {
        "$and": [
            {"$eq": [{"$type": "$wait.doubt"}, "string"]},
            {"$eq": [{"$size": {"$filter": {"input": _STEPS, "cond": in_doubt}}}, 0]},
        ]
    }
    has_step = {"$gt": [{"$size": {"$filter": {"input": _STEPS, "cond": awaited}}}, 0]}
    is_over = {"$and": [{"$eq": ["$state", State.DELAYED.value]}, {"$or": [has_step, is_decided]}]}
    changed: Document = {"state": State.PENDING.value, "delayTil": None, "readyAt": now, "wait": "$$REMOVE"}
    return {"$set": {name: {"$cond": [is_over, value, f"${name}"]} for name, value in changed.items()}}


def begin(name: str, signal: str, now: Any, *, seconds: float | None) -> list[Document]:
    """Begin to wait for a signal, unless that has begun already; take the signal if it is there."""
    made: Document = {
        "name": {"$literal": name},
        "kind": StepKind.SIGNAL.value,
        "signal": {"$literal": signal},
        "startAt": now,
        "endAt": None,
        "attempt": "$attemptsMade",
        "tries": 1,
        "size": 0,
    }
    if seconds is not None:
        made["until"] = {"$add": [now, int(seconds * _MILLISECONDS)]}
    is_this = {"$eq": ["$$this.name", {"$literal": name}]}
    has_room = {"$and": [{"$lt": [{"$size": _STEPS}, MOST_STEPS]}, {"$lt": [_bytes(), MOST_RESULTS]}]}
    is_known = {"$gt": [{"$size": {"$filter": {"input": _STEPS, "cond": is_this}}}, 0]}
    steps = {
        "$cond": [{"$or": [is_known, {"$not": [has_room]}]}, _STEPS, {"$concatArrays": [_STEPS, [made]]}],
    }
    return [{"$set": {"steps": steps}}, *answered(now, is_this)]


def arrival(entry: Document, now: Any, *, question: str | None) -> list[Document]:
    """Keep a signal, and wake the job if it waits for the signal.

    Nothing changes if the job has ended, knows the signal already, or has too many.

    Args:
        entry: the signal.
        now: as in `statements`.
        question: the step that the signal answers, which must not have finished; ``None`` for whichever asks next.
    """
    allowed = [
        {"$in": ["$state", sorted(state.value for state in UNFINISHED)]},
        {"$not": [known(entry)]},
        {"$lt": [{"$size": waiting()}, MOST_WAITING]},
    ]
    if question is not None:
        allowed.append({"$not": [is_finished(question)]})
    is_allowed = {"$and": allowed}
    literal = {name: {"$literal": value} for name, value in entry.items()} | {"at": now}
    taken = {"$filter": {"input": _SIGNALS, "cond": {"$not": [_is_waiting("$$this")]}}}
    kept = {"$concatArrays": [{"$slice": [taken, -MOST_TAKEN]}, waiting(), [literal]]}
    is_awaited = {
        "$and": [
            {"$eq": ["$state", State.DELAYED.value]},
            {"$in": [{"$literal": entry["name"]}, array("$wait.signals")]},
        ]
    }
    changed = {"signals": kept, "signalAt": now}
    return [
        {"$set": {name: {"$cond": [is_allowed, value, f"${name}"]} for name, value in changed.items()}},
        *answered(now, is_awaited),
        woken(now),
    ]


def known(entry: Document) -> Document:
    """Return True if a job has a signal of the same name and id."""
    same = {"$and": [{"$eq": [f"$$this.{name}", {"$literal": entry[name]}]} for name in ("name", "id")]}
    return {"$gt": [{"$size": {"$filter": {"input": _SIGNALS, "cond": same}}}, 0]}


def waiting() -> Document:
    """Return the signals that no step has taken."""
    return {"$filter": {"input": _SIGNALS, "cond": _is_waiting("$$this")}}


def is_finished(name: str) -> Document:
    """Return True if the step of a name has finished."""
    ended = {"$and": [_has_ended("$$this"), {"$eq": ["$$this.name", {"$literal": name}]}]}
    return {"$gt": [{"$size": {"$filter": {"input": _STEPS, "cond": ended}}}, 0]}


def kept(forgotten: Collection[str] | None) -> Document:
    """Return the signals that a requeue keeps: none that a step has taken which runs again; ``None`` for all steps."""
    is_kept = _is_waiting("$$this")
    if forgotten is not None:
        is_kept = {"$or": [is_kept, {"$not": [{"$in": ["$$this.taken", {"$literal": list(forgotten)}]}]}]}
    return {"$cond": [{"$isArray": "$signals"}, {"$filter": {"input": "$signals", "cond": is_kept}}, "$$REMOVE"]}


def _first(signals: str, name: str) -> Document:
    fits = {"$and": [{"$eq": ["$$entry.name", name]}, _is_waiting("$$entry")]}
    return {"$arrayElemAt": [{"$filter": {"input": signals, "as": "entry", "cond": fits}}, 0]}


def _with_value(now: Any) -> Document:
    """Return the fields of a step that takes the signal ``$$first``."""
    outside = {"stored": True, "storedId": "$$first.storedId"}
    size = {"$cond": [{"$isNumber": "$$first.size"}, "$$first.size", 0]}
    value = {"$cond": [{"$eq": ["$$first.stored", True]}, outside, {"result": "$$first.value"}]}
    return {"$mergeObjects": [{"endAt": now, "size": size}, value]}


def _taken(signals: str) -> Document:
    """Return signals with ``$$first`` taken by the step ``$$this``, and without its value."""
    bare = {name: f"$$entry.{name}" for name in ("id", "name", "at", "by")} | {"taken": "$$this.name"}
    same = {"$and": [{"$eq": [f"$$entry.{name}", f"$$first.{name}"]} for name in ("id", "name")]}
    return {"$map": {"input": signals, "as": "entry", "in": {"$cond": [same, bare, "$$entry"]}}}


def _is_waiting(entry: str) -> Document:
    return {"$ne": [{"$type": f"{entry}.taken"}, "string"]}


def _has_ended(step: str) -> Document:
    return {"$eq": [{"$type": f"{step}.endAt"}, "date"]}


def _bytes() -> Document:
    return {"$sum": {"$map": {"input": _STEPS, "in": {"$cond": [{"$isNumber": "$$this.size"}, "$$this.size", 0]}}}}
