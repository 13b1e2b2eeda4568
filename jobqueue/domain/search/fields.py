"""The fields of a job that may be searched, sorted by, read and shown, and the kinds of their values.

Every other field is out of reach: the tokens of claims, and the fields that the program keeps for itself.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from jobqueue.domain.errors import InvalidInputError
from jobqueue.domain.unknown import hint

if TYPE_CHECKING:
    from collections.abc import Mapping

LONGEST_PATH: Final = 500
_PATH: Final = re.compile(r"[^.$\0][^.\0]*(\.[^.$\0][^.\0]*){0,11}")


class Kind(StrEnum):
    """The kind of the values of a field."""

    TEXT = "text"
    STATE = "a state"
    NUMBER = "a number"
    DATE = "a date"
    ID = "an id"
    IDS = "ids"
    FLAG = "true or false"
    ANY = "anything"
    LIST = "a list of objects"
    PART = "an object"


FIELDS: Final[Mapping[str, Kind]] = {
    name: kind
    for kind, names in {
        Kind.ID: "id batchId parentId callbackOf.batchId",
        Kind.IDS: "dependsOn",
        Kind.STATE: "state",
        Kind.TEXT: (
            "queue type key ref schedule fingerprint dependencyPolicy error.kind error.message error.trace error.step "
            "claim.worker "
            "logs.m logs.level history.worker history.outcome history.error.kind history.error.message "
            "callbackOf.event history.error.step history.steps history.forgot steps.name steps.kind steps.error.kind "
            "steps.error.message wait.names wait.signals wait.doubt signals.id signals.name signals.by signals.taken"
        ),
        Kind.NUMBER: (
            "priority attempts attemptsMade delay lease timeout progress logs.attempt history.attempt history.code "
            "callbackOf.generation crashes steps.attempt steps.tries wait.jobs"
        ),
        Kind.DATE: (
            "insertAt startAt endAt delayTil startBefore resetAt scheduledAt logs.t history.startAt history.endAt "
            "steps.startAt steps.endAt steps.until wait.until signals.at"
        ),
        Kind.FLAG: "onSuccessDelete",
        Kind.ANY: "data meta result backoff",
        Kind.LIST: "logs history steps signals",
        Kind.PART: "error claim callbackOf onComplete onSuccess onFailure history.error steps.error wait",
    }.items()
    for name in names.split()
}
"""Kinds by JSON names."""
FREE: Final = ("data", "meta", "result", "backoff")
"""Fields with values of any form: any path below them may be named."""
SECRET: Final = frozenset({"claim", "history", "steps", "signals"})
"""Fields with a token, the results of steps or the values of signals in them, which cannot be read as a whole."""
SORTS: Final = frozenset(
    {"id", "insertAt", "startAt", "endAt", "delayTil", "resetAt", "priority", "attemptsMade", "progress"}
    | {"queue", "type", "state"}
)
_UNKNOWN: Final = "is not a field that can be searched by"
_KNOWN: Final = (
    f"{', '.join(name for name in FIELDS if '.' not in name and FIELDS[name] not in {Kind.LIST, Kind.PART})}, "
    "error.kind, error.message, claim.worker, and any path below meta, data and result"
)
_ALIASES: Final = {"_id": "id"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Vocabulary:
    """The names that may be used at one place: the fields of a job, or names that a pipeline has made.

    Attributes:
        prefix: the path of a list of objects, with a dot at its end: names are those below it.
        made: names of computed values; any path below them may be asked for.
        jobs: the fields of a job may be named too.
        stored: the documents are jobs as they are stored.
    """

    prefix: str = ""
    made: frozenset[str] = frozenset()
    jobs: bool = True
    stored: bool = True

    def kind(self, name: object, at: str) -> tuple[str, Kind]:
        """Return the full path of a field and the kind of its values; refuse an unknown field."""
        path = self.prefix + check_path(name, at)
        first, dot, _ = path.partition(".")
        if first in self.made:
            return path, Kind.ANY
        if self.jobs:
            path = _ALIASES.get(path, path)
            if path in FIELDS:
                return path, FIELDS[path]
            if dot and first in FREE:
                return path, Kind.ANY
            near = hint(path, FIELDS)
            raise InvalidInputError({at: [f"{_UNKNOWN}{near or '.'} The fields are {_KNOWN}"]})
        raise InvalidInputError({at: [_UNKNOWN]})

    def below(self, path: str) -> Vocabulary:
        """Return the names below a list of objects."""
        return replace(self, prefix=f"{path}.")


JOB: Final = Vocabulary()


def check_path(name: object, at: str) -> str:
    """Return a path of names with dots between them; refuse names that are empty, begin with ``$`` or are no text."""
    if not isinstance(name, str) or len(name) > LONGEST_PATH or not _PATH.fullmatch(name) or not is_text(name):
        raise InvalidInputError({at: ["is not a path of names with dots between them"]})
    return name


def is_text(value: str) -> bool:
    """Tell whether a text is Unicode, without lone surrogates."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True
