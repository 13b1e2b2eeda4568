"""The log of a job: a page of lines, new lines as they come, or all lines as text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from aiohttp import hdrs, web

from jobqueue.api.http.json_reply import reply
from jobqueue.api.http.keys import QUERY, RUNTIME
from jobqueue.api.http.problems import ProblemError
from jobqueue.api.jobs.download import send_parts
from jobqueue.api.jobs.handlers import path_id
from jobqueue.api.jobs.schemas import line_cursor
from jobqueue.api.security.caller import caller
from jobqueue.api.security.token_watch import watched
from jobqueue.domain.errors import InvalidInputError
from jobqueue.domain.jobs import json_form
from jobqueue.domain.work.logs import LogQuery, text
from jobqueue.journal import get_logger
from jobqueue.services.signals.log_signals import TooManyFollowingError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

log = get_logger(__name__)
_TEXT: Final = "text/plain"


async def logs(request: web.Request) -> web.StreamResponse:
    """Return log lines in order, or all of them as text.

    ``next`` is null if there are no more lines at present. ``resume`` is always the cursor after the last line, to
    follow a running job with ``wait`` seconds for new lines.
    """
    job_id, parameters = path_id(request), request[QUERY].copy()
    media, wait = parameters.pop("format"), parameters.pop("wait")
    is_text = _is_text(request, media, wait)
    query = _query(parameters, is_backward_refused=is_text or wait > 0)
    if is_text:
        return await _download(request, job_id, query)

    try:
        async with watched(request, ending=True) as watch:
            page = await request.app[RUNTIME].logs.following(
                job_id, query, wait, scope=caller(request).scope, gone=watch.gone
            )
    except TooManyFollowingError:
        detail = "this process lets no more requests wait for lines; try again, or ask another one"
        raise ProblemError(503, "too-many-waiting", "Too many requests wait", detail, {"Retry-After": "1"}) from None
    resume = line_cursor(page.resume)
    items = [json_form.log_line(line) | {"number": number + 1} for number, line in page.lines]
    following = {"next": resume if page.more else None, "resume": resume, "ended": page.ended}
    earlier = None if page.earlier is None else page.earlier + 1
    return reply({"items": items, **following, "count": page.count, "earlier": earlier})


def _query(parameters: dict[str, Any], *, is_backward_refused: bool) -> LogQuery:
    """Return a query; the numbers of its parameters count from 1.

    Raises:
        InvalidInputError: naming each unacceptable parameter.
    """
    line, before = parameters.pop("line", None), parameters.pop("before", None)
    if sum((line is not None, before is not None, parameters["after"] > 0)) > 1:
        raise InvalidInputError({"line" if before is None else "before": ["cannot be given with another place"]})
    if before is not None and is_backward_refused:
        raise InvalidInputError({"before": ["cannot be given together with wait, or for text"]})
    if line is not None:
        parameters["after"] = max(0, line - 1)
    return LogQuery(**parameters, before=None if before is None else max(0, before - 1))


def _is_text(request: web.Request, media: str | None, wait: float) -> bool:
    """Return True for text: the parameter decides, else the header ``Accept``."""
    if media is not None:
        is_text = media == "text"
    else:
        ranges = request.headers.get(hdrs.ACCEPT, "").split(",")
        accepted = {media_range.partition(";")[0].strip().lower() for media_range in ranges}
        is_text = _TEXT in accepted and not accepted & {"application/json", "*/*"}
    if is_text and wait:
        raise InvalidInputError({"wait": ["cannot be given for text"]})
    return is_text


async def _download(request: web.Request, job_id: str, query: LogQuery) -> web.StreamResponse:
    """Send all lines, a part at a time."""
    parts = request.app[RUNTIME].logs.all(job_id, query, scope=caller(request).scope)
    # An error has to come before the first byte.
    first = await anext(parts)
    response = web.StreamResponse(
        headers={
            hdrs.CONTENT_TYPE: f"{_TEXT}; charset=utf-8",
            hdrs.CONTENT_DISPOSITION: f'attachment; filename="job-{job_id}.log"',
        }
    )

    async def encoded() -> AsyncIterator[bytes]:
        yield _encoded(first)
        async for part in parts:
            yield _encoded(part)

    def aborted(reason: str) -> None:
        log.warning("log download aborted", job_id=job_id, error=reason)

    return await send_parts(request, response, encoded(), aborted)


def _encoded(part: Any) -> bytes:
    return "".join(f"{text(line)}\n" for _, line in part).encode(errors="replace")
