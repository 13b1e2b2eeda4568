"""The log of a job: a page of it, new lines as they come, or all of it as text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from aiohttp import hdrs, web

from jobqueue.api.http.json_reply import reply
from jobqueue.api.http.keys import QUERY, RUNTIME
from jobqueue.api.http.problems import Problem, ProblemError
from jobqueue.api.jobs.handlers import path_id
from jobqueue.api.schemas.queries import line_cursor
from jobqueue.api.security.caller import caller
from jobqueue.api.security.token_watch import watched
from jobqueue.domain.errors import InvalidInputError, JobQueueError
from jobqueue.domain.jobs import json_form
from jobqueue.domain.work.logs import LogQuery, text
from jobqueue.journal import get_logger
from jobqueue.services.signals.log_signals import TooManyFollowingError

if TYPE_CHECKING:
    from collections.abc import Mapping

log = get_logger(__name__)
_TEXT: Final = "text/plain"


async def logs(request: web.Request) -> web.StreamResponse:
    """Return log lines in order, or all of them as text.

    ``next`` is null when there are no more lines at present; ``resume`` is always the cursor after the last line, to
    follow a job that runs, with ``wait`` seconds to wait for the next ones.
    """
    job_id, given = path_id(request), request[QUERY]
    query = LogQuery(after=given["cursor"], limit=given["limit"], levels=given["level"], attempt=given.get("attempt"))
    if _is_text(request, given):
        return await _download(request, job_id, query)

    try:
        async with watched(request, ending=True) as watch:
            page = await request.app[RUNTIME].logs.following(
                job_id, query, given["wait"], scope=caller(request).scope, gone=watch.gone
            )
    except TooManyFollowingError:
        raise ProblemError(
            Problem(
                status=503,
                slug="too-many-waiting",
                title="Too many requests wait",
                detail="this process lets no more requests wait for lines; try again, or ask another one",
                headers={"Retry-After": "1"},
            )
        ) from None
    resume = line_cursor(page.resume)
    items = [json_form.log_line(line) for _, line in page.lines]
    return reply({"items": items, "next": resume if page.more else None, "resume": resume, "ended": page.ended})


def _is_text(request: web.Request, given: Mapping[str, Any]) -> bool:
    """Tell whether text is asked for: by the parameter, else by the header, where that says so plainly."""
    if given["format"] is not None:
        wanted = bool(given["format"] == "text")
    else:
        accepted = {one.partition(";")[0].strip().lower() for one in request.headers.get(hdrs.ACCEPT, "").split(",")}
        wanted = _TEXT in accepted and not accepted & {"application/json", "*/*"}
    if wanted and given["wait"]:
        raise InvalidInputError({"wait": ["cannot be given for text"]})
    return wanted


async def _download(request: web.Request, job_id: str, query: LogQuery) -> web.StreamResponse:
    """Send all lines there are, a part at a time, however many they are."""
    parts = request.app[RUNTIME].logs.all(job_id, query, scope=caller(request).scope)
    # What is wrong is to be told before anything is sent.
    first = await anext(parts)
    response = web.StreamResponse(
        headers={
            hdrs.CONTENT_TYPE: f"{_TEXT}; charset=utf-8",
            hdrs.CONTENT_DISPOSITION: f'attachment; filename="job-{job_id}.log"',
        }
    )
    await response.prepare(request)
    if request.method == hdrs.METH_HEAD:
        return response
    try:
        async with watched(request, ending=True):
            await response.write(_encoded(first))
            async for part in parts:
                await response.write(_encoded(part))
    except (JobQueueError, ProblemError) as error:
        # Only a transfer that is cut off still says that something is missing.
        log.warning("a download of a log is cut off", job_id=job_id, error=str(error))
        if request.transport is not None:
            request.transport.close()
        return response
    await response.write_eof()
    return response


def _encoded(part: Any) -> bytes:
    return "".join(f"{text(line)}\n" for _, line in part).encode(errors="replace")
