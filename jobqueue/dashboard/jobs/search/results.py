"""The jobs of a search as the list shows them, and their number."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from jobqueue.dashboard.frame.view import Refused, quoted
from jobqueue.dashboard.jobs.search.columns import fields_of
from jobqueue.dashboard.jobs.search.room import MOST_ROWS
from jobqueue.domain.errors import BusyError, InvalidInputError, NotFoundError, TooCostlyError
from jobqueue.domain.values.checks import is_id

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jobqueue.dashboard.frame.view import View
    from jobqueue.dashboard.jobs.search.address import Address
    from jobqueue.dashboard.jobs.search.columns import Column
    from jobqueue.domain.search.terms import Query

COUNTED: Final = 1000
MOST_COUNTED: Final = 10_000
_MOST_QUEUES: Final = 4
"""Queues on a page whose reasons are asked for."""
_MOST_HINTS: Final = 8
_Result = dict[str, Any]


@dataclass(slots=True, kw_only=True)
class Results:
    """The findings of a search.

    Attributes:
        jobs: of the page.
        fresh: jobs that match by now and are not on the page.
        problem: why there is no result; empty if there is one.
        may_insist: a search that insists may find what this one has not.
    """

    jobs: list[_Result] = field(default_factory=list)
    next: str = ""
    previous: str = ""
    fresh: int = 0
    count: _Result | None = None
    problem: str = ""
    may_insist: bool = False


def search_body(query: Query, chosen: _Result | None = None) -> _Result:
    """Return the part of a search's body that says what to find."""
    if chosen is not None:
        return {"filter": chosen}
    return {"filter": query.filter} | ({"q": query.words} if query.words else {})


async def results(view: View, address: Address, what: _Result, columns: Sequence[Column], most: int) -> Results:
    """Return the results of a search; a search that is refused has a problem in place of jobs.

    Args:
        view: the visit; its parameter ``rows`` names the jobs that the page shows already, which it goes on showing.
        address: of the list.
        what: as of `search_body`.
        columns: to be shown.
        most: jobs of a page.
    """
    if address.slow:
        what = {**what, "slow": True}
    shown = [name for name in view.query("rows").split(",") if is_id(name)][:most]
    name, descending = address.order
    body = {**what, "sort": {name: -1 if descending else 1}, "limit": most, "fields": fields_of(columns)}
    if address.cursor:
        body["cursor"] = address.cursor
    try:
        page, counted = await asyncio.gather(view.ask("/v1/jobs/search", body=body), _count(view, address, what))
    except TooCostlyError as error:
        return Results(problem=_told(error), may_insist=not address.slow)
    except (InvalidInputError, BusyError) as error:
        return Results(problem=_told(error))
    found = Results(jobs=page["items"], next=page["next"] or "", previous=page.get("previous", ""), count=counted)
    return await _kept(view, found, shown, body["fields"], is_first=not address.cursor) if shown else found


async def reasons(view: View, jobs: list[_Result]) -> dict[str, list[_Result]]:
    """Return the reasons why no job of a queue starts, for the queues of most pending jobs."""
    queues = Counter(job["queue"] for job in jobs if job["state"] == "pending")
    names = [name for name, _ in queues.most_common(_MOST_QUEUES)]
    replies = await asyncio.gather(*(_why(view, name) for name in names))
    return dict(zip(names, replies, strict=True))


async def hints(view: View, query: Query) -> list[tuple[Query, str, int, bool]]:
    """Return for each term of a query without results the query without it and its number of jobs, most first."""
    if len(query.terms) < 2:  # noqa: PLR2004 - without the only term there is no query
        return []
    terms = query.terms[:_MOST_HINTS]
    counts = await asyncio.gather(*(_ask_count(view, search_body(query.without(term)), COUNTED) for term in terms))
    found = [
        (query.without(term), term.raw, counted["count"], counted["truncated"])
        for term, counted in zip(terms, counts, strict=True)
        if counted is not None and counted["count"]
    ]
    return sorted(found, key=lambda hint: -hint[2])[:3]


async def _kept(view: View, found: Results, shown: list[str], fields: list[str], *, is_first: bool) -> Results:
    """Return results with the jobs that were shown, in their order, as they are now."""
    known = {job["id"]: job for job in found.jobs}
    if missing := [name for name in shown if name not in known]:
        body = {"filter": {"id": {"$in": missing}}, "fields": fields, "limit": MOST_ROWS}
        known |= {job["id"]: job for job in (await view.ask("/v1/jobs/search", body=body))["items"]}
    found.fresh = sum(job["id"] not in shown for job in found.jobs) if is_first else 0
    found.jobs = [known[name] for name in shown if name in known]
    return found


async def _count(view: View, address: Address, what: _Result) -> _Result | None:
    return await _ask_count(view, what, MOST_COUNTED if address.count else COUNTED)


async def _ask_count(view: View, what: _Result, most: int) -> _Result | None:
    try:
        return await view.ask("/v1/jobs/count", body={**what, "most": most})
    except (InvalidInputError, BusyError):
        return None


async def _why(view: View, queue: str) -> list[_Result]:
    try:
        reply = await view.try_ask(f"/v1/queues/{quoted(queue)}/why")
    except NotFoundError:
        return []
    if isinstance(reply, Refused):
        return []
    reasons: list[_Result] = reply["reasons"]
    return reasons


def _told(error: InvalidInputError | BusyError) -> str:
    if isinstance(error, BusyError):
        return str(error)
    texts = [text for messages in error.problems.values() for text in messages]
    # The page has a link for it.
    return "; ".join(texts).partition("; or insist")[0]
