"""The jobs of a search as a file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from jobqueue.api.http.keys import CALLER, RUNTIME
from jobqueue.api.jobs.export import AT_ONCE, ExportPage, pages, send
from jobqueue.api.jobs.schemas import EXPORT_TYPES
from jobqueue.dashboard.frame.preferences import preferences
from jobqueue.dashboard.frame.texts import between
from jobqueue.dashboard.frame.view import View
from jobqueue.dashboard.jobs.search.address import Address
from jobqueue.dashboard.jobs.search.columns import fields_of, read_columns, value_of
from jobqueue.dashboard.jobs.search.reasons import reason
from jobqueue.dashboard.jobs.search.results import search_body
from jobqueue.domain.errors import ForbiddenError, InvalidInputError
from jobqueue.domain.search.csv_rows import MOST_EXPORTED, cell
from jobqueue.domain.search.projection import SHOWN
from jobqueue.domain.search.terms import read_query

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from aiohttp import web

    from jobqueue.dashboard.jobs.search.columns import Column

_WHOLE: Final = sorted(SHOWN - {"logs", "history", "steps", "signals", "claim"})
_HEADS: Final = {"age": "insertAt", "reason": "error or reason", "ran": "seconds"}


async def export(request: web.Request) -> web.StreamResponse:
    """Return the jobs of a search, newest first or in the order of the list, as CSV or as lines of JSON."""
    if not request[CALLER].may("read"):
        raise ForbiddenError("this needs the role read")
    kind, address = request.query.get("format", "csv"), Address.of(request.query)
    if kind not in EXPORT_TYPES:
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
        "limit": AT_ONCE,
        "fields": fields_of(columns) if kind == "csv" else _WHOLE,
        **({"slow": True} if address.slow else {}),
    }
    heads = [_HEADS.get(column.name, column.name) for column in columns]
    return await send(request, kind, _pages(view, body), heads, _row_of(columns))


def _pages(view: View, body: dict[str, Any]) -> AsyncIterator[ExportPage]:
    async def page(cursor: str | None) -> tuple[list[dict[str, Any]], str | None]:
        found = await view.ask("/v1/jobs/search", body={**body, "cursor": cursor})
        return found["items"], found["next"]

    return pages(page, MOST_EXPORTED)


def _row_of(columns: Sequence[Column]) -> Callable[[dict[str, Any]], list[str]]:
    return lambda job: [_cell(column, job) for column in columns]


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
    return cell(value)
