"""Which fields of a job may be searched, sorted by, read and shown, and what kind of values they have.

What is not named here cannot be asked for: the tokens of claims and everything the program keeps for itself.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from jobqueue.domain.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Mapping

LONGEST_PATH: Final = 500
_PATH: Final = re.compile(r"[^.$\0][^.\0]*(\.[^.$\0][^.\0]*){0,11}")


class Kind(StrEnum):
    """What kind of values a field has."""

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


def _fields() -> dict[str, Kind]:
    kinds: dict[Kind, str] = {
        Kind.ID: "id batchId parentId callbackOf.batchId",
        Kind.IDS: "dependsOn",
        Kind.STATE: "state",
        Kind.TEXT: (
            "queue type key ref schedule dependencyPolicy error.kind error.message error.trace claim.worker "
            "logs.m logs.level history.worker history.outcome history.error.kind history.error.message callbackOf.event"
        ),
        Kind.NUMBER: (
            "priority attempts attemptsMade delay lease timeout progress logs.attempt history.attempt history.code "
            "callbackOf.generation crashes"
        ),
        Kind.DATE: ("insertAt startAt endAt delayTil resetAt scheduledAt logs.t history.startAt history.endAt"),
        Kind.FLAG: "onSuccessDelete",
        Kind.ANY: "data meta result backoff",
        Kind.LIST: "logs history",
        Kind.PART: "error claim callbackOf onComplete onSuccess onFailure history.error",
    }
    return {name: kind for kind, names in kinds.items() for name in names.split()}


FIELDS: Final[Mapping[str, Kind]] = _fields()
"""By their JSON names."""
FREE: Final = ("data", "meta", "result", "backoff")
"""Below these any path may be asked for."""
SECRET: Final = frozenset({"claim", "history"})
"""Those have a token in them: they cannot be read as a whole."""
SORTS: Final = frozenset(
    {"id", "insertAt", "startAt", "endAt", "delayTil", "resetAt", "priority", "attemptsMade", "progress"}
    | {"queue", "type", "state"}
)
_ALIASES: Final = {"_id": "id"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Vocabulary:
    """The names that may be used at one place: those of a job, or those a pipeline has made itself.

    Attributes:
        prefix: of a job's fields, ending with a dot: names are those below it.
        made: names that hold what was computed; anything below them may be asked for.
        jobs: the fields of a job are there too.
    """

    prefix: str = ""
    made: frozenset[str] = frozenset()
    jobs: bool = True

    def kind(self, name: object, at: str) -> tuple[str, Kind]:
        """Return the full path of a field and what kind of values it has.

        Raises:
            InvalidInputError: there is no such field to search by.
        """
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
        raise InvalidInputError({at: ["is not a field that can be searched by"]})

    def below(self, path: str) -> Vocabulary:
        """Return the names below a list of objects."""
        return replace(self, prefix=f"{path}.")


JOB: Final = Vocabulary()


def check_path(name: object, at: str) -> str:
    """Return a path of names with dots between them.

    Raises:
        InvalidInputError: it is none, or a name in it is empty, begins with ``$`` or is no Unicode text.
    """
    if not isinstance(name, str) or len(name) > LONGEST_PATH or not _PATH.fullmatch(name) or not is_text(name):
        raise InvalidInputError({at: ["is not a path of names with dots between them"]})
    return name


def is_text(value: str) -> bool:
    """Tell whether it is Unicode text, without lone surrogates."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True
