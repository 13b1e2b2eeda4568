"""The jobs of a search as a file: lines of JSON, or CSV.

The file is written page by page, so that its size needs no memory. A search with more jobs than the limit ends with a
line that says so, and a transfer that breaks off never looks whole: its last chunk is missing.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import orjson
from aiohttp import web

from jobqueue.api.http.json_body import read_body
from jobqueue.api.http.keys import RUNTIME
from jobqueue.api.jobs.download import send_parts
from jobqueue.api.jobs.schemas import EXPORT_TYPES, ExportSchema
from jobqueue.api.security.caller import caller, shown, slow_search_key
from jobqueue.domain.errors import BusyError, DatabaseUnavailableError, InvalidInputError
from jobqueue.domain.search.csv_rows import COLUMNS, MOST_EXPORTED, cells, line
from jobqueue.domain.search.search import search
from jobqueue.journal import get_logger

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

log = get_logger(__name__)
AT_ONCE: Final = 500
PAUSES: Final = (0.5, 1.0, 2.0, 4.0, 8.0, 15.0)
"""Seconds between the tries to read a page, when a part of the file is sent."""


@dataclass(frozen=True, slots=True)
class ExportPage:
    """A page of an export; ``next`` is the place of the job after the last page that the limit allows."""

    items: Sequence[dict[str, Any]]
    next: str | None = None


async def export(request: web.Request) -> web.StreamResponse:
    """Return the jobs of a search as lines of JSON, or as CSV with a column for each of ``fields``."""
    body = await read_body(request, ExportSchema, optional=True)
    kind, limit = body.get("format_", "jsonl"), body.get("limit", MOST_EXPORTED)
    if not 1 <= limit <= MOST_EXPORTED:
        raise InvalidInputError({"limit": [f"must be from 1 to {MOST_EXPORTED:,}"]})
    if kind not in EXPORT_TYPES:
        raise InvalidInputError({"format": [f"must be {' or '.join(EXPORT_TYPES)}"]})
    names = body.get("fields_") or (COLUMNS if kind == "csv" else None)
    query = search(
        body.get("filter"),
        text=body.get("q"),
        sort=body.get("sort"),
        fields=names,
        limit=min(limit, AT_ONCE),
        slow=body.get("slow", False),
    )
    searches, scope = request.app[RUNTIME].searches, caller(request).scope

    async def page(cursor: str | None) -> tuple[list[dict[str, Any]], str | None]:
        found = await searches.page(query.at(cursor), scope=scope, caller=slow_search_key(request))
        return [query.projection.pick(shown(request, job)) for job in found.items], found.next

    return await send(request, kind, pages(page, limit), list(names or ()), cells(names or ()))


async def send(
    request: web.Request,
    kind: str,
    found: AsyncIterator[ExportPage],
    head: Sequence[str],
    row: Callable[[dict[str, Any]], list[str]],
) -> web.StreamResponse:
    """Send jobs as a file.

    Args:
        request: of the file.
        kind: ``jsonl`` or ``csv``.
        found: pages of jobs.
        head: the names of the columns of CSV.
        row: returns the cells of a job.
    """
    # A search that is refused gets a reply that says why, and not half a file.
    first = await anext(found)
    response = web.StreamResponse(headers={"Content-Disposition": f'attachment; filename="jobs.{kind}"'})
    response.content_type, response.charset = EXPORT_TYPES[kind], "utf-8"

    async def parts() -> AsyncIterator[bytes]:
        if kind == "csv":
            yield _row(head)
        yield _written(kind, first, row)
        async for page in found:
            yield _written(kind, page, row)

    return await send_parts(request, response, parts(), lambda reason: log.warning("export aborted", error=reason))


async def pages(page: Callable[[str | None], Any], limit: int) -> AsyncIterator[ExportPage]:
    """Yield pages of jobs up to a limit; the last one says where the rest begins, if there are more jobs.

    A page after the first one waits for a database that is away, and for searches of others, up to half a minute.

    Args:
        page: returns the jobs at a cursor, and the cursor of the next page.
        limit: jobs of all pages.
    """
    cursor, left = None, limit
    while True:
        items, following = await (page(None) if cursor is None else _patiently(partial(page, cursor)))
        is_cut = len(items) > left or (len(items) == left and following is not None)
        yield ExportPage(items[:left], (following or cursor or "") if is_cut else None)
        cursor, left = following, left - len(items)
        if cursor is None or left <= 0:
            return


async def _patiently(ask: Callable[[], Any]) -> Any:
    for pause in PAUSES:
        try:
            return await ask()
        except (BusyError, DatabaseUnavailableError):
            await asyncio.sleep(pause)
    return await ask()


def _written(kind: str, page: ExportPage, row: Callable[[dict[str, Any]], list[str]]) -> bytes:
    cut = page.next is not None
    if kind == "csv":
        text = f"truncated: the search has more than these jobs, at most {MOST_EXPORTED:,} at a time"
        return b"".join([*(_row(row(job)) for job in page.items), *([_row([text])] if cut else [])])
    lines: list[Any] = [*page.items, *([{"truncated": True, "next": page.next}] if cut else [])]
    return b"".join(orjson.dumps(each, option=orjson.OPT_APPEND_NEWLINE) for each in lines)


def _row(values: Sequence[str]) -> bytes:
    return line(values).encode()
