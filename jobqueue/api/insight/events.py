"""Changes of jobs as they happen: server-sent events, and a request that waits for a change of a job."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import orjson
from aiohttp import hdrs, web

from jobqueue.api.http.keys import QUERY, RUNTIME
from jobqueue.api.http.preconditions import answered, etag, preconditions
from jobqueue.api.http.problems import ProblemError
from jobqueue.api.security.caller import caller, shown
from jobqueue.api.security.token_watch import watched
from jobqueue.domain.errors import NotFoundError
from jobqueue.domain.insight.event import EventFilter, JobEvent, check_position
from jobqueue.domain.values.checks import check_id
from jobqueue.services.insight.events import KeepAlive, TooManyReadersError
from jobqueue.services.jobs.job_tags import phase, phase_of, tag

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from jobqueue.services.insight.events import Item

EVENT_STREAM: Final = "text/event-stream"
LAST_EVENT_ID: Final = "Last-Event-ID"
_SEND_SECONDS: Final = 30.0
_AGAIN_MS: Final = 2000


async def stream(request: web.Request) -> web.StreamResponse:
    """Stream changes of jobs as server-sent events."""
    event_filter = EventFilter(**request[QUERY], scope=caller(request).scope)
    last = request.headers.get(LAST_EVENT_ID)
    after = None if not last else check_position(last)
    if request.method == hdrs.METH_HEAD:
        return web.Response(content_type=EVENT_STREAM)
    async with contextlib.aclosing(request.app[RUNTIME].events.follow(event_filter, after)) as items:
        try:
            first = await anext(items, None)
        except TooManyReadersError:
            raise _crowded("too many readers of events are here already") from None
        response = web.StreamResponse(headers={hdrs.CONTENT_TYPE: EVENT_STREAM, "X-Accel-Buffering": "no"})
        await response.prepare(request)
        with contextlib.suppress(ConnectionError):
            with contextlib.suppress(ProblemError):
                async with watched(request, ending=True):
                    await _send(request, response, b"retry: %d\n\n" % _AGAIN_MS)
                    if first is not None:
                        await _send(request, response, written(first))
                    async for item in items:
                        await _send(request, response, written(item))
            await _bounded(request, response.write_eof())
    return response


async def show(request: web.Request) -> web.Response:
    """Return a job, at once or as soon as it has changed."""
    job_id, seconds = check_id(request.match_info["id"]), request[QUERY]["wait"]
    runtime = request.app[RUNTIME]
    only = preconditions(request)
    if not seconds:
        job = await runtime.jobs.whole(job_id)
        return answered(("job", job_id), tag(job), only, shown(request, job))
    known = only.none_match
    try:
        async with watched(request, ending=True) as watch:
            job = await runtime.waiting.changed(job_id, seconds, known, watch.gone)
    except TooManyReadersError:
        raise _crowded("too many requests wait for changes already") from None
    if not caller(request).scope.has(job):
        # Its meta has changed meanwhile.
        raise NotFoundError("job", job_id)
    if known is not None and phase(job) in map(phase_of, known):
        # Log lines and a later end of the lease are no change for a request that waits.
        return web.Response(status=304, headers=etag(tag(job)))
    return answered(("job", job_id), tag(job), replace(only, none_match=None), shown(request, job))


def written(item: Item) -> bytes:
    """Return the bytes of an item of the event stream; a keep-alive is no event, but moves the reader's last id on."""
    mark = b"" if item.position is None else b"id: %s\n" % item.position.encode()
    if isinstance(item, KeepAlive):
        return b":\n%s\n" % mark
    if isinstance(item, JobEvent):
        return b"%sevent: %s\ndata: %s\n\n" % (mark, item.kind.encode(), orjson.dumps(item.wire()))
    text = "changes before this may have been missed"
    return b"%sevent: gap\ndata: %s\n\n" % (mark, orjson.dumps({"event": "gap", "detail": text}))


async def _send(request: web.Request, response: web.StreamResponse, data: bytes) -> None:
    """Send a part; a reader that does not take it is disconnected.

    Raises:
        ConnectionError: the reader does not take it.
    """
    await _bounded(request, response.write(data))


async def _bounded(request: web.Request, sending: Awaitable[None]) -> None:
    try:
        async with asyncio.timeout(_SEND_SECONDS):
            await sending
    except TimeoutError:
        if request.transport is not None:
            request.transport.abort()
        raise ConnectionError("the reader takes nothing") from None


def _crowded(detail: str) -> ProblemError:
    return ProblemError(503, "too-many-readers", "Too many readers", detail, {"Retry-After": "5"})
