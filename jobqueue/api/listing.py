"""Query strings: which jobs to list, and which part of a log."""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Final

from jobqueue.api.schemas import moment
from jobqueue.domain import wire
from jobqueue.domain.checks import check_queue, gather
from jobqueue.domain.errors import InvalidInputError, Problems
from jobqueue.domain.job import Job
from jobqueue.domain.query import JobQuery
from jobqueue.domain.state import State

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from aiohttp import web

MOST_LINES: Final = 1000
SORTS: Final = {"-insertAt": False, "insertAt": True}
_META: Final = "meta."
_FIELDS: Final = frozenset(wire.camel(item.name) for item in fields(Job) if item.name not in wire.INTERNAL)
_WHOLE: Final = re.compile(r"[0-9]{1,9}", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """A listing of jobs: which, and which fields of each; no fields are all of them."""

    query: JobQuery
    fields: frozenset[str]


class Parameters:
    """The query string of one request; what is wrong with it is gathered."""

    def __init__(self, request: web.Request, known: frozenset[str], prefix: str = "") -> None:
        self._given = request.query
        self.problems: Problems = {}
        for name in dict.fromkeys(self._given):
            if name not in known and not (prefix and name.startswith(prefix)):
                self.problems[name] = ["is not a known parameter"]
            elif len(self._given.getall(name)) > 1:
                self.problems[name] = ["is given more than once"]

    def text(self, name: str) -> str | None:
        """Return a parameter as it is."""
        return self._given.get(name)

    def read(self, name: str, convert: Callable[[str, str], Any], default: Any = None) -> Any:
        """Return a parameter converted, or the default."""
        given = self._given.get(name)
        return default if given is None else gather(self.problems, convert, given, name)

    def below(self, prefix: str) -> tuple[tuple[str, str], ...]:
        """Return all parameters whose name begins with a prefix, without it."""
        return tuple((name.removeprefix(prefix), text) for name, text in self._given.items() if name.startswith(prefix))

    def check(self) -> None:
        """Refuse the request if anything was wrong.

        Raises:
            InvalidInputError: with all problems.
        """
        if self.problems:
            raise InvalidInputError(self.problems)


_LISTED: Final = frozenset(
    {"queue", "type", "state", "batchId", "parentId", "schedule", "insertedAfter", "insertedBefore"}
    | {"sort", "limit", "cursor", "fields"}
)


def listing(request: web.Request) -> Listing:
    """Return what a request wants to list.

    Raises:
        InvalidInputError: naming each unknown or unacceptable parameter.
    """
    parameters = Parameters(request, _LISTED, _META)
    wanted: dict[str, Any] = {
        "queue": parameters.text("queue"),
        "type": parameters.text("type"),
        "states": parameters.read("state", _states, ()),
        "batch_id": parameters.text("batchId"),
        "parent_id": parameters.text("parentId"),
        "schedule": parameters.text("schedule"),
        "meta": parameters.below(_META),
        "inserted_after": parameters.read("insertedAfter", _moment),
        "inserted_before": parameters.read("insertedBefore", _moment),
        "oldest_first": parameters.read("sort", _sort, default=False),
    }
    most = parameters.read("limit", whole, 50)
    shown = parameters.read("fields", _fields, frozenset())
    query = gather(parameters.problems, _query, {**wanted, "limit": 50 if most is None else most})
    if isinstance(query, JobQuery):
        query = gather(parameters.problems, query.at, parameters.text("cursor"))
    parameters.check()
    return Listing(query=query, fields=shown)


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A part of a log: ``limit`` lines from number ``after`` on."""

    after: int
    limit: int


def part(request: web.Request) -> Part:
    """Return which part of a log a request wants.

    Raises:
        InvalidInputError: naming each unknown or unacceptable parameter.
    """
    parameters = Parameters(request, frozenset({"limit", "cursor"}))
    most = parameters.read("limit", limit(MOST_LINES), MOST_LINES)
    after = parameters.read("cursor", _line_number, 0)
    parameters.check()
    return Part(after=after, limit=most)


def line_cursor(number: int) -> str:
    """Return the cursor at which the line of this number is the first."""
    return base64.urlsafe_b64encode(f"line:{number}".encode()).decode().rstrip("=")


def name_cursor(name: str) -> str:
    """Return the cursor of a listing by name after this one."""
    return base64.urlsafe_b64encode(name.encode()).decode()


def cursor_name(cursor: str, path: str) -> str:
    """Return the name, of the form of a queue's, in a `name_cursor`.

    Raises:
        InvalidInputError: it is none.
    """
    try:
        return check_queue(base64.urlsafe_b64decode(cursor.encode()).decode())
    except (ValueError, InvalidInputError):
        raise InvalidInputError({path: ["is not a cursor of this listing"]}) from None


def none(request: web.Request) -> None:
    """Refuse any query string.

    Raises:
        InvalidInputError: naming each parameter.
    """
    Parameters(request, frozenset()).check()


def whole(text: str, name: str) -> int:
    """Return a whole number.

    Raises:
        InvalidInputError: it is none.
    """
    if not _WHOLE.fullmatch(text):
        raise InvalidInputError({name: ["must be a whole number"]})
    return int(text)


def flag(text: str, name: str) -> bool:
    """Return a truth value; a parameter without a value is true.

    Raises:
        InvalidInputError: it is none.
    """
    if text not in {"", "true", "false"}:
        raise InvalidInputError({name: ["must be true or false"]})
    return text != "false"


def limit(most: int) -> Callable[[str, str], int]:
    """Return what reads how many items a page may have."""

    def read(text: str, name: str) -> int:
        given = whole(text, name)
        if not 1 <= given <= most:
            raise InvalidInputError({name: [f"must be from 1 to {most}"]})
        return given

    return read


def _query(wanted: dict[str, Any]) -> JobQuery:
    return JobQuery(**{**wanted, "states": wanted["states"] or ()})


def _states(text: str, name: str) -> tuple[State, ...]:
    given = text.split(",")
    if not set(given) <= set(State):
        raise InvalidInputError({name: [f"must be one or more of {', '.join(State)}, with commas between them"]})
    return tuple(State(one) for one in dict.fromkeys(given))


def _moment(text: str, name: str) -> datetime:
    try:
        return moment(text)
    except ValueError:
        raise InvalidInputError({name: ["must be an ISO 8601 date such as 2030-01-31T12:00:00Z"]}) from None


def _sort(text: str, name: str) -> bool:
    if text not in SORTS:
        raise InvalidInputError({name: [f"must be {' or '.join(SORTS)}"]})
    return SORTS[text]


def _fields(text: str, name: str) -> frozenset[str]:
    given = frozenset(text.split(","))
    unknown = sorted(given - _FIELDS)
    if unknown:
        raise InvalidInputError({name: [f"{one[:80]!r} is not a field of a job" for one in unknown[:10]]})
    return given | {"id"}


def _line_number(text: str, name: str) -> int:
    try:
        kind, _, number = (
            base64.b64decode(text + "=" * (-len(text) % 4), altchars="-_", validate=True).decode().partition(":")
        )
    except ValueError:
        kind = number = ""
    if kind != "line" or not _WHOLE.fullmatch(number):
        raise InvalidInputError({name: ["is not a cursor of this log"]})
    return int(number)
