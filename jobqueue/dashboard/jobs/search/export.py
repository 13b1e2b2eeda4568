"""The jobs of a search as a file."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, Any, Final

import orjson
from aiohttp import hdrs, web

from jobqueue.api.http.keys import CALLER, RUNTIME
from jobqueue.api.http.problems import ProblemError
from jobqueue.api.security.token_watch import watched
from jobqueue.dashboard.frame.preferences import preferences
from jobqueue.dashboard.frame.texts import between, compact
from jobqueue.dashboard.frame.view import View
from jobqueue.dashboard.jobs.search.address import Address
from jobqueue.dashboard.jobs.search.columns import fields_of, read_columns, value_of
from jobqueue.dashboard.jobs.search.reasons import reason
from jobqueue.dashboard.jobs.search.results import search_body
from jobqueue.domain.errors import ForbiddenError, InvalidInputError, JobQueueError
from jobqueue.domain.search.projection import SHOWN
from jobqueue.domain.search.terms import read_query
from jobqueue.journal import get_logger

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from jobqueue.dashboard.jobs.search.columns import Column

log = get_logger(__name__)
MOST: Final = 100_000
"""Jobs in a file."""
_AT_ONCE: Final = 500
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")
"""Spreadsheets compute a text that begins so."""
_WHOLE: Final = sorted(SHOWN - {"logs", "history", "steps", "signals", "claim"})
_HEADS: Final = {"age": "insertAt", "reason": "error or reason", "ran": "seconds"}
_TYPES: Final = {"csv": "text/csv", "jsonl": "application/x-ndjson"}


async def export(request: web.Request) -> web.StreamResponse:
    """Return the jobs of a search, newest first or in the order of the list, as CSV or as lines of JSON."""
    if not request[CALLER].may("read"):
        raise ForbiddenError("this needs the role read")
    kind, address = request.query.get("format", "csv"), Address.of(request.query)
    if kind not in _TYPES:
        raise InvalidInputError({"format": ["must be csv or jsonl"]})
    view = View(request, await request.app[RUNTIME].database.clock.now(), preferences(request))
    query = read_query(address.q, view.now)
    if problems := [f"{term.raw[:80]} {term.problem}" for term in query.terms if term.problem]:
        raise InvalidInputError({"q": problems})
    columns, _ = read_columns(address.cols)
    name, descending = address.order
    body = {
        **search_body(query),
        "sort": {name: -1 if descending else 1},
        "limit": _AT_ONCE,
        "fields": fields_of(columns) if kind == "csv" else _WHOLE,
        **({"slow": True} if address.slow else {}),
    }
    pages = _pages(view, body)
    # A search that is refused gets a page that says why, and not half a file.
    first = await anext(pages)
    response = web.StreamResponse(headers={"Content-Disposition": f'attachment; filename="jobs.{kind}"'})
    response.content_type, response.charset = _TYPES[kind], "utf-8"
    await response.prepare(request)
    if request.method == hdrs.METH_HEAD:
        return response
    write: Callable[[list[dict[str, Any]]], bytes] = _json_lines
    try:
        async with watched(request, ending=True):
            if kind == "csv":
                await response.write(_row([_HEADS.get(column.name, column.name) for column in columns]))
                write = _rows_of(columns)
            await response.write(write(first))
            async for jobs in pages:
                await response.write(write(jobs))
    except (JobQueueError, ProblemError) as error:
        # Only an aborted transfer still shows the client that jobs are missing.
        log.warning("export aborted", error=str(error))
        if request.transport is not None:
            request.transport.close()
        return response
    await response.write_eof()
    return response


async def _pages(view: View, body: dict[str, Any]) -> AsyncIterator[list[dict[str, Any]]]:
    cursor, left = None, MOST
    while left > 0:
        page = await view.ask("/v1/jobs/search", body={**body, "cursor": cursor})
        yield page["items"][:left]
        cursor, left = page["next"], left - len(page["items"])
        if cursor is None:
            return


def _json_lines(jobs: list[dict[str, Any]]) -> bytes:
    return b"".join(orjson.dumps(job, option=orjson.OPT_APPEND_NEWLINE) for job in jobs)


def _rows_of(columns: Sequence[Column]) -> Callable[[list[dict[str, Any]]], bytes]:
    def write(jobs: list[dict[str, Any]]) -> bytes:
        return b"".join(_row([_cell(column, job) for column in columns]) for job in jobs)

    return write


def _row(values: list[str]) -> bytes:
    line = io.StringIO()
    csv.writer(line).writerow(values)
    return line.getvalue().encode()


def _cell(column: Column, job: dict[str, Any]) -> str:
    value = value_of(job, column.name)
    match column.kind:
        case "age":
            value = job["insertAt"]
        case "attempts":
            value = f"{job['attemptsMade']} of {job['attempts']}"
        case "ran":
            value = between(job.get("startAt"), job.get("endAt"))
        case "reason":
            line = reason(job, {})
            value = " ".join(part for part in (line.text, line.time, line.more) if part)
    if value is None:
        return ""
    return _plain(value) if isinstance(value, str) else compact(value)


def _plain(text: str) -> str:
    """Return a text that no spreadsheet takes for a formula."""
    return f"'{text}" if text.startswith(_FORMULA) else text
