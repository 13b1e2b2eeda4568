"""Filters and updates of the steps of jobs, as named pure functions; ``now`` as in `statements`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from jobqueue.domain.jobs import json_form
from jobqueue.domain.steps.step import (
    INLINE_RESULTS,
    INLINE_STEPS,
    MOST_RESULTS,
    MOST_STEPS,
    SMALL_RESULT,
    StepKind,
)
from jobqueue.store.documents import statements
from jobqueue.store.documents.sleep_statements import woken
from jobqueue.store.mongo.tolerant import array

if TYPE_CHECKING:
    from datetime import datetime

    from jobqueue.domain.attempts.attempt import JobError
    from jobqueue.store.documents.statements import Document
    from jobqueue.store.mongo.clock import Now

_STEPS: Final = array("$steps")
_OUTSIDE: Final = "outside"
"""The size of a result that is kept outside of the document, once more."""
# Paths into the list are quick; an expression for each of a thousand steps takes milliseconds.
_BYTES: Final[Document] = {"$sum": "$steps.size"}
_INLINE_BYTES: Final[Document] = {"$subtract": [_BYTES, {"$sum": f"$steps.{_OUTSIDE}"}]}
_INLINE_COUNT: Final[Document] = {"$subtract": [{"$size": _STEPS}, {"$size": array(f"$steps.{_OUTSIDE}")}]}
_MILLISECONDS: Final = 1000


def record(
    token: str, name: str, entry: Document, now: Now, *, size: int, inline: bool, seconds: float
) -> list[Document]:
    """Keep the result of a step, unless the step has finished already or its result has no room.

    Args:
        token: of the claim.
        name: of the step.
        entry: the fields of the step besides those that are computed here.
        now: as in `statements`.
        size: bytes of the result.
        inline: the result is in the entry.
        seconds: how long the step ran.
    """
    allowed = [
        {"$not": [_is_finished(named(name))]},
        {"$lt": [_count(name), MOST_STEPS]},
        {"$lte": [{"$add": [_BYTES, size]}, MOST_RESULTS]},
    ]
    if inline:
        allowed.append({"$lte": [{"$add": [_INLINE_BYTES, size]}, INLINE_RESULTS]})
        if size > SMALL_RESULT:
            allowed.append({"$lt": [_INLINE_COUNT, INLINE_STEPS]})
    is_allowed = {"$and": allowed}
    made = _finished(name, entry, now, size=size, inline=inline, seconds=seconds)
    changed = {
        "steps": {"$cond": [is_allowed, _with(name, made), _STEPS]},
        "history": {"$cond": [is_allowed, _told(token, name), "$history"]},
    }
    return _recorded(name, changed, now)


def has_room(name: str, *, size: int, inline: bool) -> Document:
    """Match jobs that certainly have room for the result of a step of a new name; others may have room.

    Sums over a thousand steps take a millisecond, and a bound of each result takes a tenth. Fewer than `MOST_STEPS`
    results within the bound are within all limits together.
    """
    # One walk through the list: two conditions on paths into it walk twice.
    against = {"$elemMatch": {"$or": [{"name": name}, {"size": {"$gt": _bound(inline=inline)}}]}}
    query: Document = {"steps": {"$not": against}, f"steps.{MOST_STEPS - 1}": {"$exists": False}}
    if inline and size > SMALL_RESULT:
        query[f"steps.{INLINE_STEPS - 1}"] = {"$exists": False}
    return query


def may_have_room(size: int, *, inline: bool) -> bool:
    """Tell whether `has_room` can match a job."""
    return size <= _bound(inline=inline)


def append(
    token: str, name: str, entry: Document, now: Now, *, size: int, inline: bool, seconds: float
) -> list[Document]:
    """Keep the result of a step in a job that `has_room`; arguments as of `record`."""
    made = _finished(name, entry, now, size=size, inline=inline, seconds=seconds)
    changed = {"steps": {"$concatArrays": [_STEPS, [made]]}, "history": _told(token, name)}
    return _recorded(name, changed, now)


def _bound(*, inline: bool) -> int:
    return (INLINE_RESULTS if inline else MOST_RESULTS) // MOST_STEPS


def _finished(name: str, entry: Document, now: Now, *, size: int, inline: bool, seconds: float) -> Document:
    return {
        "name": {"$literal": name},
        **{key: {"$literal": value} for key, value in entry.items()},
        "startAt": {"$subtract": [now, int(seconds * _MILLISECONDS)]},
        "endAt": now,
        "attempt": "$attemptsMade",
        "size": size,
        **({} if inline else {_OUTSIDE: size}),
    }


def _told(token: str, name: str) -> Document:
    """Return the history, in which the attempt of a claim has finished a step."""
    steps = {"$concatArrays": [array("$$this.steps"), [{"$literal": name}]]}
    is_own = {"$eq": ["$$this.token", {"$literal": token}]}
    entry = {"$cond": [is_own, {"$mergeObjects": ["$$this", {"steps": steps}]}, "$$this"]}
    return {"$map": {"input": array("$history"), "in": entry}}


def _recorded(name: str, changed: Document, now: Now) -> list[Document]:
    present = {"$cond": [{"$eq": ["$claim.step", {"$literal": name}]}, "$$REMOVE", "$claim.step"]}
    return [{"$set": changed | {"claim.step": present}}, *statements.renew(now)]


def begin_sleep(name: str, now: Now, *, seconds: float | None, until: datetime | None) -> list[Document]:
    """Note when a sleep ends, unless that is noted already; finish a sleep whose time is over."""
    due: Any = {"$literal": until} if until is not None else {"$add": [now, int((seconds or 0) * _MILLISECONDS)]}
    made = {
        "name": {"$literal": name},
        "kind": StepKind.SLEEP.value,
        "startAt": now,
        "endAt": None,
        "attempt": "$attemptsMade",
        "tries": 1,
        "size": 0,
        "result": None,
        "until": due,
    }
    has_room = {"$lt": [{"$size": _STEPS}, MOST_STEPS]}
    known = {"$gt": [{"$size": named(name)}, 0]}
    steps = {"$cond": [{"$or": [known, {"$not": [has_room]}]}, _STEPS, {"$concatArrays": [_STEPS, [made]]}]}
    return [{"$set": {"steps": steps}}, {"$set": {"steps": woken(now)}}, *statements.renew(now)]


def failed(name: str, now: Now, *, tries: int, error: JobError, wait: float) -> list[Document]:
    """Keep why a step failed, and how many seconds pass before its next try."""
    made = {
        "name": {"$literal": name},
        "kind": StepKind.STEP.value,
        "startAt": now,
        "endAt": None,
        "attempt": "$attemptsMade",
        "tries": tries,
        "size": 0,
        "error": {"$literal": json_form.error(error)},
        "until": {"$add": [now, int(wait * _MILLISECONDS)]},
    }
    has_room = {"$lt": [_count(name), MOST_STEPS]}
    is_open = {"$not": [_is_finished(named(name))]}
    return [
        {"$set": {"steps": {"$cond": [{"$and": [is_open, has_room]}, _with(name, made), _STEPS]}}},
        *statements.renew(now),
    ]


def forget(name: str, now: Now) -> list[Document]:
    """Forget a step, which runs again."""
    return [{"$set": {"steps": _others(name)}}, *statements.renew(now)]


def under_way(name: str | None) -> Document:
    """Keep the name of the step under way in the claim."""
    return {"$set": {"claim.step": "$$REMOVE" if name is None else {"$literal": name}}}


def before(name: str) -> Document:
    """Project a job on the step of a name, and on what its steps take together."""
    return {
        "step": named(name),
        "steps": _count(name),
        "bytes": _BYTES,
        "inlineSteps": _INLINE_COUNT,
        "inlineBytes": _INLINE_BYTES,
        "attemptsMade": 1,
    }


def without_results() -> Document:
    """Return the steps of a job without their results, which can be large together."""
    is_object = {"$eq": [{"$type": "$$this"}, "object"]}
    bare = {
        "$arrayToObject": {
            "$filter": {"input": {"$objectToArray": "$$this"}, "as": "part", "cond": {"$ne": ["$$part.k", "result"]}}
        }
    }
    steps = {"$map": {"input": "$steps", "in": {"$cond": [is_object, bare, "$$this"]}}}
    return {"$cond": [{"$isArray": "$steps"}, steps, "$$REMOVE"]}


def named(name: str) -> Document:
    """Return the entries of steps of a name."""
    found = {"$filter": {"input": _STEPS, "cond": {"$eq": ["$$this.name", {"$literal": name}]}}}
    return {"$cond": [_has(name), found, []]}


def _has(name: str) -> Document:
    return {"$in": [{"$literal": name}, array("$steps.name")]}


def _others(name: str) -> Document:
    others = {"$filter": {"input": _STEPS, "cond": {"$ne": ["$$this.name", {"$literal": name}]}}}
    return {"$cond": [_has(name), others, _STEPS]}


def _count(name: str) -> Document:
    return {"$size": _others(name)}


def _with(name: str, made: Document) -> Document:
    return {"$concatArrays": [_others(name), [made]]}


def _is_finished(steps: Document) -> Document:
    return {"$in": ["date", {"$map": {"input": steps, "in": {"$type": "$$this.endAt"}}}]}
