"""Middleware around every handler: request ids, log entries, errors as problems, security headers."""

from __future__ import annotations

import re
import time
import uuid
from typing import TYPE_CHECKING, Final

from aiohttp import HttpVersion11, hdrs, web

from jobqueue import tracing
from jobqueue.api.http import problems
from jobqueue.api.http.keys import CALLER, REMOTE, REQUEST_ID, RUNTIME
from jobqueue.api.http.proxies import is_secure, remote
from jobqueue.domain.errors import DatabaseError, JobQueueError, KeyConflictError
from jobqueue.domain.insight import trace_context
from jobqueue.journal import get_logger

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

log = get_logger(__name__)
REQUEST_ID_HEADER: Final = "X-Request-Id"
_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,100}")
_QUIET: Final = frozenset({"/healthz", "/readyz"})
_FIRST_ERROR: Final = 400
_LINKS: Final = "/answer/"
"""A part of paths that are secrets, perhaps below the prefix of a proxy: a link is enough to answer its question."""
_HEADERS: Final = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
}


@web.middleware
async def log_request(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Give a request its id and log its reply; successful health checks are logged for debugging only."""
    request_id = request.headers.get(REQUEST_ID_HEADER, "")
    request[REQUEST_ID] = request_id if _REQUEST_ID.fullmatch(request_id) else uuid.uuid4().hex
    request[REMOTE] = remote(request)
    began = time.perf_counter()
    response = await handler(request)
    quiet = request.path in _QUIET and response.status < _FIRST_ERROR
    (log.debug if quiet else log.info)(
        "request handled",
        method=request.method,
        path=_told_path(request.path),
        status=response.status,
        ms=round((time.perf_counter() - began) * 1000, 1),
        remote=request[REMOTE],
        request_id=request[REQUEST_ID],
    )
    return response


def _told_path(path: str) -> str:
    """Return a path as the log may have it, without the signature of a link."""
    before, found, _ = path.partition(_LINKS)
    return f"{before}{found}…" if found else path


@web.middleware
async def answer_problems(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn errors into problems; unexpected errors are logged, and their details stay in the log."""
    try:
        return await handler(request)
    except problems.ProblemError as error:
        return error.problem.response()
    except JobQueueError as error:
        if isinstance(error, DatabaseError):
            log.warning("request failed", request_id=request[REQUEST_ID], error=str(error))
        return problems.of_error(await _within_scope(request, error)).response()
    except web.HTTPException as error:
        if error.status < _FIRST_ERROR:
            raise
        return problems.of_http(error).response()
    except Exception:
        log.exception(
            "request crashed", method=request.method, path=_told_path(request.path), request_id=request[REQUEST_ID]
        )
        return problems.internal().response()


@web.middleware
async def join_trace(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Carry out a request in the trace that its headers name (W3C Trace Context)."""
    parents = request.headers.getall(trace_context.PARENT, [])
    context = trace_context.received(parents, request.headers.getall(trace_context.STATE, [])) if parents else None
    if context is None:
        return await handler(request)
    with tracing.joined(context):
        return await handler(request)


async def _within_scope(request: web.Request, error: JobQueueError) -> JobQueueError:
    """Return an error that names no job outside of the caller's scope."""
    if not isinstance(error, KeyConflictError) or not error.job_id or request[CALLER].scope.is_everything:
        return error
    if await request.app[RUNTIME].scope_checks.has_job(error.job_id, request[CALLER].scope):
        return error
    return KeyConflictError(error.queue, error.key, "")


async def answer_expect(request: web.Request) -> web.StreamResponse | None:
    """Answer ``Expect: 100-continue`` before the body arrives; refuse other expectations (RFC 9110, 10.1.1)."""
    if request.headers.get(hdrs.EXPECT, "").lower() == "100-continue":
        if request.version >= HttpVersion11:
            await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            # These bytes do not count as part of the reply.
            request.writer.output_size = 0
        return None
    detail = "only 100-continue can be expected: leave out the header Expect"
    return problems.Problem(417, "expectation-failed", "Expectation failed", detail).response()


def harden(response: web.StreamResponse, *, secure: bool) -> None:
    """Set the headers of all responses, except those that a response has already."""
    response.headers["Server"] = "jobqueue"
    # Proxies replace the name of the server.
    response.headers["Jobqueue-Api"] = "v1"
    if secure:
        response.headers["Strict-Transport-Security"] = "max-age=31536000"
        # A page of another site that has opened a page of this one cannot watch it. Browsers want TLS for that.
        response.headers["Cross-Origin-Opener-Policy"] = "same-origin"
    for name, value in _HEADERS.items():
        response.headers.setdefault(name, value)


async def set_headers(request: web.Request, response: web.StreamResponse) -> None:
    """Set the headers of a response before it is sent."""
    harden(response, secure=is_secure(request))
    if REQUEST_ID in request:
        response.headers[REQUEST_ID_HEADER] = request[REQUEST_ID]
