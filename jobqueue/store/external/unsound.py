"""Faults of jobs that another tool has spoilt: fields with values that no job has."""

from __future__ import annotations

import math
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from bson import Code, DatetimeMS, ObjectId

from jobqueue.domain.attempts.states import State
from jobqueue.domain.text import cut
from jobqueue.store.documents.unsound_statements import BOUNDED, HAD, MOST, OF_UNFINISHED, OF_WAITING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jobqueue.domain.errors import Problems
    from jobqueue.store.documents.statements import Document

_LONGEST_SHOWN: Final = 100
_LONGEST_TYPE: Final = 200
_CLASSES: Final[dict[str, tuple[type, ...]]] = {
    "double": (float,),
    "int": (int,),
    "long": (int,),
    "string": (str,),
    "object": (dict,),
    "array": (list,),
    "objectId": (ObjectId,),
    "bool": (bool,),
    "date": (datetime, DatetimeMS),
    "null": (type(None),),
}
_NAMES: Final = {
    "double": "a number",
    "string": "text",
    "object": "an object",
    "array": "a list",
    "objectId": "an id",
    "bool": "true or false",
    "date": "a date",
    "null": "null",
}
_LISTS: Final = frozenset({"dependsOn", "waitsFor", "history", "logs", "outbox"})


def faults(document: Mapping[str, Any]) -> Problems:
    """Return the faults of a document by the names of its fields."""
    problems: Problems = {}
    state = document.get("state")
    if type(state) is not str or state not in set(State):
        problems["state"] = [f"{_shown(state)} is none of {', '.join(State)}"]
    if state == State.DELAYED and all(document.get(name) in (None, []) for name in ("delayTil", "waitsFor", "wait")):
        problems["delayTil"] = ["is missing: the job is delayed, and nothing would ever start it"]
    if state == State.PROCESSING and not _is(document.get("resetAt"), ("date",)):
        problems["resetAt"] = [f"must be a date, not {_shown(document.get('resetAt'))}: the job is processing"]
    if not document.get("type"):
        problems["type"] = ["is missing"]
    # The mark of a spoilt document has renamed its number of runs.
    values = {"run": document[HAD], **document} if HAD in document else document
    for name, kinds in (OF_UNFINISHED | OF_WAITING).items():
        if name in values and (fault := _fault(name, values[name], kinds)):
            problems[name] = [fault]
    return problems


def mended(document: Mapping[str, Any]) -> Document:
    """Return sound values for spoilt fields that a person could not change afterwards."""
    wrong = faults(document)
    sound: Document = {"key": None, "delay": 0, "onSuccessDelete": False}
    sound |= dict.fromkeys(("onComplete", "onSuccess", "onFailure"))
    sound |= {name: _objects(document.get(name)) for name in ("history", "logs")}
    text = "".join(letter for letter in str(document.get("type") or "") if letter.isprintable())
    sound["type"] = text[:_LONGEST_TYPE] or "unknown"
    return {name: sound[name] for name in wrong if name in sound}


def _objects(value: Any) -> list[Any]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _fault(name: str, value: Any, kinds: tuple[str, ...]) -> str | None:
    if not _is(value, kinds) or (isinstance(value, list) and not all(_is(item, kinds) for item in value)):
        allowed = ("array",) if name in _LISTS else kinds
        words = dict.fromkeys(_NAMES[kind] for kind in allowed if kind in _NAMES)
        return f"must be {' or '.join(words)}, not {_shown(value)}"
    if name in {"queue", "type"} and not value:
        return "is empty"
    if name in BOUNDED and value is not None and not _is_within(name, value):
        return f"is out of range: {_shown(value)}"
    return None


def _is(value: Any, kinds: tuple[str, ...]) -> bool:
    if isinstance(value, bool):
        return "bool" in kinds
    if isinstance(value, Code):
        # A subclass of text.
        return False
    return isinstance(value, tuple(item for kind in kinds for item in _CLASSES.get(kind, ())))


def _is_within(name: str, value: float) -> bool:
    least = {"attempts": 1, "lease": math.ulp(0), "timeout": math.ulp(0)}.get(name, -MOST)
    return least <= value <= MOST


def _shown(value: Any) -> str:
    return cut(repr(value), _LONGEST_SHOWN)
