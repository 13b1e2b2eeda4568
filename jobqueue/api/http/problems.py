"""Errors as ``application/problem+json`` (RFC 9457), and the one table of which error is which status."""

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
    TooLargeError,
    WriteRefusedError,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiohttp import web

MEDIA_TYPE: Final = "application/problem+json"
RETRY_SECONDS: Final = 2
"""What ``Retry-After`` says while the database cannot be reached."""
MOST_PATHS: Final = 100
_LONGEST_DETAIL: Final = 1000
_STATUSES: Final[Mapping[type[JobQueueError], tuple[int, str]]] = {
    InvalidInputError: (422, "The request has unacceptable values"),
    TooLargeError: (413, "Too large"),
    ForbiddenError: (403, "Forbidden"),
    NotFoundError: (404, "Not found"),
    ChangedMeanwhileError: (412, "Changed meanwhile"),
    ConflictError: (409, "Conflict with the present state"),
    OneAtATimeError: (429, "One at a time"),
    BusyError: (503, "Too much at once"),
    NotReadyError: (503, "Not ready"),
    WriteRefusedError: (503, "The database refuses the change"),
    DatabaseError: (503, "The database is not available"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One problem as RFC 9457 describes it.

    Attributes:
        slug: a stable name of the kind; the last part of ``type``.
        extra: members besides the standard ones.
        headers: of the response.
    """

    status: int
    slug: str
    title: str
    detail: str
    extra: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)

    def response(self) -> web.Response:
        """Return the problem as a response."""
        body = {"type": f"/problems/{self.slug}", "title": self.title, "status": self.status, "detail": self.detail}
        return reply({**body, **self.extra}, status=self.status, headers=self.headers, media_type=MEDIA_TYPE)


class ProblemError(Exception):
    """Raised where only HTTP knows what is wrong; carries the answer."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        super().__init__(problem.detail)


def of_error(error: JobQueueError) -> Problem:
    """Return the problem that an error of this package is."""
    for kind, (status, title) in _STATUSES.items():
        if isinstance(error, kind):
            return Problem(
                status=status,
                slug=error.slug,
                title=title,
                detail=_detail(error),
                extra=_extra(error),
                headers=_headers(error, status),
            )
    return internal()


def _headers(error: JobQueueError, status: int) -> dict[str, str]:
    if isinstance(error, OneAtATimeError):
        return {"Retry-After": str(max(1, math.ceil(error.seconds)))}
    return {"Retry-After": str(RETRY_SECONDS)} if status == HTTPStatus.SERVICE_UNAVAILABLE else {}


def of_http(error: web.HTTPException) -> Problem:
    """Return the problem that an error of the HTTP framework is."""
    status = HTTPStatus(error.status)
    allowed = error.headers.get("Allow")
    detail = f"this path takes {allowed.replace(',', ', ')}" if allowed else status.description or status.phrase
    return Problem(
        status=status,
        slug=status.phrase.lower().replace(" ", "-"),
        title=status.phrase.capitalize(),
        detail=detail,
        headers={"Allow": allowed} if allowed else {},
    )


def not_http(status: int, reason: str) -> Problem:
    """Return the problem of bytes that are no HTTP request, or of one whose head is too long."""
    return Problem(
        status=status,
        slug="bad-request",
        title="Bad request",
        detail=f"this is no HTTP request that can be taken: {_first_line(reason) or 'its head is broken'}",
        headers={"Connection": "close"},
    )


def expectation_failed() -> Problem:
    """Return the problem of an ``Expect`` that nobody knows."""
    return Problem(
        status=417,
        slug="expectation-failed",
        title="Expectation failed",
        detail="only 100-continue can be expected: leave out the header Expect",
    )


def _first_line(text: str) -> str:
    line = text.strip().partition("\n")[0].strip(" :")
    return "".join(letter if letter.isprintable() else "?" for letter in line[:200])


def internal() -> Problem:
    """Return the problem of a mistake in the program; what it was is only in the log."""
    return Problem(
        status=500,
        slug="internal",
        title="Internal error",
        detail="the server made a mistake; its log tells more under the X-Request-Id of this answer",
    )


def _detail(error: JobQueueError) -> str:
    if isinstance(error, DatabaseError):
        # Drivers name hosts and ports: those are for the log.
        return "MongoDB cannot be reached or cannot answer now; try again"
    text = str(error)
    return text if len(text) <= _LONGEST_DETAIL else text[:_LONGEST_DETAIL] + " …"


def _extra(error: JobQueueError) -> dict[str, Any]:
    if isinstance(error, InvalidInputError):
        return {"errors": dict(list(error.problems.items())[:MOST_PATHS])}
    if isinstance(error, KeyConflictError):
        return {"jobId": error.job_id or None}
    return {}
