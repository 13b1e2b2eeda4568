"""Errors as ``application/problem+json`` (RFC 9457), and the table of their statuses."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from jobqueue.api.http.json_reply import reply
from jobqueue.domain.errors import (
    BusyError,
    ChangedMeanwhileError,
    ConflictError,
    DatabaseError,
    ForbiddenError,
    InvalidInputError,
    JobQueueError,
    KeyConflictError,
    NotFoundError,
    NotReadyError,
    OneAtATimeError,
    StaleTokenError,
    TooLargeError,
    WriteRefusedError,
    WrongStateError,
)
from jobqueue.domain.work.drain import WorkerDrainedError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiohttp import web

MEDIA_TYPE: Final = "application/problem+json"
RETRY_SECONDS: Final = 2
"""``Retry-After`` while the database cannot be reached."""
MOST_PATHS: Final = 100
_LONGEST_DETAIL: Final = 1000
_STATUSES: Final[Mapping[type[JobQueueError], tuple[int, str]]] = {
    InvalidInputError: (422, "The request has unacceptable values"),
    TooLargeError: (413, "Too large"),
    ForbiddenError: (403, "Forbidden"),
    NotFoundError: (404, "Not found"),
    WorkerDrainedError: (410, "This worker is to leave"),
    ChangedMeanwhileError: (412, "Changed meanwhile"),
    ConflictError: (409, "Conflict with the present state"),
    OneAtATimeError: (429, "One at a time"),
    BusyError: (503, "Too much at once"),
    NotReadyError: (503, "Not ready"),
    WriteRefusedError: (503, "The database refuses the change"),
    DatabaseError: (503, "The database is not available"),
}
_MEMBERS: Final[Mapping[type[JobQueueError], Mapping[str, str]]] = {
    KeyConflictError: {"jobId": "job_id", "queue": "queue", "key": "key"},
    StaleTokenError: {"jobId": "job_id", "state": "state"},
    WrongStateError: {"jobId": "job_id", "state": "state"},
    NotFoundError: {"kind": "kind", "name": "name"},
    WorkerDrainedError: {"name": "name"},
}
"""Members of problems besides the standard ones, with the attributes of the errors."""


@dataclass(frozen=True, slots=True)
class Problem:
    """A problem as RFC 9457 describes it.

    Attributes:
        slug: a stable name of the kind; the last part of ``type``.
        headers: of the response.
        extra: members besides the standard ones.
    """

    status: int
    slug: str
    title: str
    detail: str
    headers: Mapping[str, str] = field(default_factory=dict)
    extra: Mapping[str, Any] = field(default_factory=dict)

    def response(self) -> web.Response:
        """Return the problem as a response."""
        body = {"type": f"/problems/{self.slug}", "title": self.title, "status": self.status, "detail": self.detail}
        return reply({**body, **self.extra}, status=self.status, headers=self.headers, media_type=MEDIA_TYPE)


class ProblemError(Exception):
    """A problem that only the HTTP layer can find."""

    def __init__(
        self, status: int, slug: str, title: str, detail: str, headers: Mapping[str, str] | None = None
    ) -> None:
        self.problem = Problem(status, slug, title, detail, headers or {})
        super().__init__(detail)


def of_error(error: JobQueueError) -> Problem:
    """Return the problem of an error of this package."""
    for kind, (status, title) in _STATUSES.items():
        if isinstance(error, kind):
            return Problem(status, error.slug, title, _detail(error), _headers(error, status), _extra(error))
    return internal()


def _headers(error: JobQueueError, status: int) -> dict[str, str]:
    if isinstance(error, OneAtATimeError):
        return {"Retry-After": str(max(1, math.ceil(error.seconds)))}
    return {"Retry-After": str(RETRY_SECONDS)} if status == HTTPStatus.SERVICE_UNAVAILABLE else {}


def of_http(error: web.HTTPException) -> Problem:
    """Return the problem of an error of the HTTP framework."""
    status = HTTPStatus(error.status)
    slug, title = status.phrase.lower().replace(" ", "-"), status.phrase.capitalize()
    if allowed := error.headers.get("Allow"):
        return Problem(status, slug, title, f"this path takes {allowed.replace(',', ', ')}", {"Allow": allowed})
    if status == HTTPStatus.NOT_FOUND:
        return Problem(status, slug, title, "this server has no such path; GET / names all routes")
    return Problem(status, slug, title, status.description or status.phrase)


def not_http(status: int, reason: str) -> Problem:
    """Return the problem of bytes that are no HTTP request, or of a request whose head is too long."""
    detail = f"this is no HTTP request that can be taken: {_first_line(reason) or 'its head is broken'}"
    return Problem(status, "bad-request", "Bad request", detail, {"Connection": "close"})


def _first_line(text: str) -> str:
    line = text.strip().partition("\n")[0].strip(" :")
    return "".join(letter if letter.isprintable() else "?" for letter in line[:200])


def internal() -> Problem:
    """Return the problem of a fault of the program, which only the log describes."""
    detail = "the server made a mistake; its log tells more under the X-Request-Id of this answer"
    return Problem(500, "internal", "Internal error", detail)


def _detail(error: JobQueueError) -> str:
    if isinstance(error, DatabaseError):
        # Messages of drivers name hosts and ports, which belong into the log only.
        return "MongoDB cannot be reached or cannot answer now; try again"
    text = str(error)
    return text if len(text) <= _LONGEST_DETAIL else text[:_LONGEST_DETAIL] + " …"


def _extra(error: JobQueueError) -> dict[str, Any]:
    if isinstance(error, InvalidInputError):
        return {"errors": dict(list(error.problems.items())[:MOST_PATHS])}
    for kind, members in _MEMBERS.items():
        if isinstance(error, kind):
            return {name: getattr(error, attribute) or None for name, attribute in members.items()}
    return {}
