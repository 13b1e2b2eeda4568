"""Filters and updates for unfinished jobs that another tool has spoilt, as named pure functions.

An index holds exactly the spoilt jobs. So they are found at once among any number of others, and also if no process ran
at the time of the change. A missing field has its default. MongoDB compares the kinds of the members of a list too: a
filter cannot tell a list of objects from an object.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any, Final

from jobqueue.domain.attempts.states import UNFINISHED, WAITING, State

Document = dict[str, Any]
INDEX: Final = "unsound"
SPOILT: Final = "spoilt"
"""The field that marks a spoilt document: a check reports its faults, and no value is guessed."""
HAD: Final = "had"
"""The name of `run` in a marked document: no longer than the first name, as the document may be full."""
_NUMBERS: Final = ("double", "int", "long")
_KINDS: Final = (
    *_NUMBERS,
    *("string", "object", "array", "binData", "undefined", "objectId", "bool", "date", "null", "regex", "dbPointer"),
    *("javascript", "symbol", "javascriptWithScope", "timestamp", "decimal", "minKey", "maxKey"),
)
OF_UNFINISHED: Final[dict[str, tuple[str, ...]]] = {"queue": ("string",), "run": (*_NUMBERS, "null")}
"""Fields of every unfinished job, and the kinds of their values; a field may be missing."""
OF_WAITING: Final[dict[str, tuple[str, ...]]] = {
    "type": ("string",),
    "data": ("object",),
    "meta": ("object",),
    "priority": _NUMBERS,
    "attempts": _NUMBERS,
    "attemptsMade": _NUMBERS,
    "backoff": (*_NUMBERS, "object", "array"),
    "delay": _NUMBERS,
    "lease": _NUMBERS,
    "timeout": (*_NUMBERS, "null"),
    "insertAt": ("date",),
    "delayTil": ("date", "null"),
    "startBefore": ("date", "null"),
    "key": ("string", "null"),
    "batchId": ("objectId", "null"),
    "parentId": ("objectId", "null"),
    "dependsOn": ("array", "objectId"),
    "waitsFor": ("array", "objectId"),
    "history": ("array", "object"),
    "logs": ("array", "object"),
    "outbox": ("array", "string"),
    "onSuccessDelete": ("bool",),
    "onComplete": ("object", "array", "null"),
    "onSuccess": ("object", "array", "null"),
    "onFailure": ("object", "array", "null"),
}
"""The same of waiting jobs."""
MOST: Final = 1e12
"""The largest number of a job; MongoDB has dates that are so many seconds from now."""
BOUNDED: Final = ("priority", "attempts", "attemptsMade", "lease", "timeout")


def _other_than(name: str, kinds: tuple[str, ...]) -> Document:
    return {name: {"$type": [kind for kind in _KINDS if kind not in kinds]}}


def _out_of_bounds() -> list[Document]:
    nan = float("nan")
    wrong: list[Document] = [{name: {"$gt": MOST}} for name in BOUNDED]
    wrong += [{name: {"$lt": -MOST}} for name in BOUNDED]
    wrong += [{name: nan} for name in BOUNDED]
    return [*wrong, {"attempts": {"$lt": 1}}, {"lease": {"$lte": 0}}, {"timeout": {"$lte": 0}}]


def waiting_faults() -> list[Document]:
    """Return filters of which a sound waiting job matches none."""
    return [
        *(_other_than(name, kinds) for name, kinds in (OF_UNFINISHED | OF_WAITING).items()),
        # A list of states matches each of its states.
        _other_than("state", ("string",)),
        *_out_of_bounds(),
        {"queue": ""},
        {"type": ""},
        {"type": None},
    ]


def _unheard_of_states() -> list[Document]:
    known = sorted(state.value for state in State)
    gaps = [{"state": {"$gt": low, "$lt": high}} for low, high in pairwise(known)]
    return [
        {"state": {"$lt": known[0]}},
        *gaps,
        {"state": {"$gt": known[-1]}},
        _other_than("state", ("string", "null")),
    ]


def unsound() -> Document:
    """Match jobs that are unfinished, or in no known state, and have a spoilt field."""
    waits_for_nothing: Document = {"delayTil": None, "waitsFor": {"$in": [None, []]}, "wait": None}
    unfinished = {"$in": sorted(state.value for state in UNFINISHED)}
    waiting = {"$in": sorted(state.value for state in WAITING)}
    return {
        "$or": [
            *_unheard_of_states(),
            {"state": None, "type": {"$exists": True}, "run": {"$exists": True}},
            *({"state": unfinished} | _other_than(name, kinds) for name, kinds in OF_UNFINISHED.items()),
            {"state": unfinished, "queue": ""},
            *({"state": waiting} | fault for fault in waiting_faults()),
            {"state": State.DELAYED.value} | waits_for_nothing,
            {"state": State.PROCESSING.value} | _other_than("resetAt", ("date",)),
            {"state": State.PROCESSING.value, "resetAt": None},
        ]
    }


def spoilt() -> Document:
    """Match unsound jobs without a mark."""
    return unsound() | {"run": {"$ne": None}}


def content(name: str, value: Any) -> Document:
    """Match a job with this ``data`` or ``meta``; an empty value stands for any value that is no object, too."""
    return {name: value} if value else {"$or": [{name: {}}, {name: None}, _other_than(name, ("object",))]}


def mark() -> Document:
    """Make a job external, so that a check reports its faults."""
    return {"$rename": {"run": HAD}, "$set": {SPOILT: True}}
