"""The list of jobs."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web

from jobqueue.dashboard.frame.page import Page
from jobqueue.dashboard.frame.texts import shorten
from jobqueue.dashboard.jobs.search import results as found
from jobqueue.dashboard.jobs.search.address import Address
from jobqueue.dashboard.jobs.search.box import chips, with_term, wrong_parts
from jobqueue.dashboard.jobs.search.columns import (
    MADE,
    PICKED,
    aligned,
    are_wide,
    column,
    joined,
    read_columns,
)
from jobqueue.dashboard.jobs.search.room import Links, rows_of, size
from jobqueue.dashboard.jobs.search.rows import rows, widened
from jobqueue.dashboard.jobs.search.shortcuts import meant
from jobqueue.domain.search.terms import LONGEST_QUERY, Query, read_query

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jobqueue.dashboard.frame.view import View
    from jobqueue.dashboard.jobs.search.columns import Column
    from jobqueue.dashboard.jobs.search.results import Results

_SLOW_SECONDS: Final = 1.0
"""A page that takes longer does not follow changes by itself."""
_STATES: Final = ("pending", "processing", "delayed", "failed", "killed", "success")


async def _load(view: View) -> dict[str, Any]:
    began = time.monotonic()
    asked = Address.of(view.request.query)
    _go_to_picked_columns(view, asked)
    address = asked.in_links()
    query = read_query(asked.q, view.now)
    if address.q != asked.q and not query.problem:
        query = Query(
            problem="takes too many bytes in an address: words in other scripts, and signs, take several each"
        )
    chosen = await _follow_shortcut(view, address, query)
    columns, unknown = read_columns(address.cols)
    links = _links(query, columns, address, asked.q)
    result = await found.results(view, address, found.search_body(query, chosen), columns, rows_of(columns, links))
    reasons, hints = await asyncio.gather(
        found.reasons(view, result.jobs),
        found.hints(view, query) if not result.jobs and not result.problem and not address.cursor else _nothing(),
    )
    columns = widened(aligned(columns, result.jobs), result.jobs)
    is_live = not address.slow and time.monotonic() - began < _SLOW_SECONDS
    return {
        "place": address,
        "typed": asked.q,
        "longest": LONGEST_QUERY,
        "chips": chips(query, address),
        "wrong": wrong_parts(asked.q, query),
        "wrong_all": query.problem,
        "result": result,
        "columns": columns,
        "heads": [_head(each, address) for each in columns],
        "is_wide": are_wide(columns),
        "unknown": [shorten(name, 60) for name in unknown],
        "picks": _picks(columns),
        "known_fields": [*(name for name in MADE), *PICKED],
        **rows(result.jobs, columns, reasons, address.back, links),
        "links": links.kinds,
        "states": _states(query, address, result),
        "hints": [(address.link(q=str(left)), shorten(term, 60), number, more) for left, term, number, more in hints],
        "is_live": is_live,
        "refetch": _refetch(address, result),
    } | ({} if is_live else {"events": None})


def _links(query: Query, columns: Sequence[Column], address: Address, typed: str) -> Links:
    numbers = {"heads": len(columns), "states": len(_STATES), "chips": len(query.terms), "others": 8}
    return Links(len(address.link()), numbers, 2 * size(typed))


def _go_to_picked_columns(view: View, address: Address) -> None:
    """Redirect from the form of columns to the address that has them.

    Raises:
        web.HTTPSeeOther: the form was sent.
    """
    names = [name.strip() for name in view.request.query.getall("col", []) if name.strip()]
    for step, name in ((-1, view.query("up")), (1, view.query("down"))):
        if name in names:
            names = _moved(names, names.index(name), step)
    if names:
        raise web.HTTPSeeOther(address.link(cols=joined(names)))


async def _follow_shortcut(view: View, address: Address, query: Query) -> dict[str, Any] | None:
    """Return a filter for the jobs that a short id, key or ref stands for, if there are several.

    Raises:
        web.HTTPSeeOther: it stands for one.
    """
    if address.cursor or address.slow:
        return None
    path, chosen = await meant(view, query)
    if path is not None:
        raise web.HTTPSeeOther(path)
    return chosen


async def _nothing() -> list[Any]:
    return []


def _refetch(address: Address, result: Results) -> str:
    """Return the address of the page with the jobs that it shows, so that these stay where they are."""
    rows = ",".join(job["id"] for job in result.jobs)
    return address.link(rows=rows) if rows else address.link()


def _head(each: Column, address: Address) -> dict[str, Any]:
    name, descending = address.order
    is_by = bool(each.sort) and name == each.sort
    # The newest jobs are those of the least age.
    rises = descending == (each.name == "age")
    first_down = each.kind in {"age", "time", "number", "attempts"}
    down = not descending if is_by else first_down
    link = address.link(sort=f"{'-' if down else ''}{each.sort}") if each.sort else ""
    return {
        "column": each,
        "link": link,
        "order": ("ascending" if rises else "descending") if is_by else "",
        "arrow": (" ↑" if rises else " ↓") if is_by else "",
    }


def _picks(columns: Sequence[Column]) -> list[dict[str, Any]]:
    """Return the entries of the menu of columns: those that are shown in their order, then the others."""
    names = [each.name for each in columns]
    entries = []
    for place, each in enumerate(columns):
        entries.append(
            {
                "name": each.name,
                "label": each.name if "." in each.name else each.label,
                "is_shown": True,
                "up": place > 0,
                "down": place + 1 < len(names),
            }
        )
    others = [name for name in (*MADE, "queue", "priority", "key", "batchId", "endAt") if name not in names]
    more = [known for name in others if (known := column(name)) is not None]
    return entries + [{"name": each.name, "label": each.label, "is_shown": False} for each in more]


def _moved(names: Sequence[str], place: int, step: int) -> list[str]:
    moved = list(names)
    moved.insert(max(0, place + step), moved.pop(place))
    return moved


def _states(query: Query, address: Address, result: Results) -> list[dict[str, Any]]:
    counts = (result.count or {}).get("states")
    return [
        {
            "name": name,
            "count": None if counts is None else counts.get(name, 0),
            "link": address.link(q=with_term(query, "state", name)),
        }
        for name in _STATES
        if counts is None or counts.get(name)
    ]


JOBS: Final = Page(path="/jobs", template="jobs/search.html", load=_load, nav="Jobs", events="")
