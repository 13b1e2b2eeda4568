"""Listings, searches and pipelines over jobs."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from jobqueue.api.http.json_body import read_body
from jobqueue.api.http.json_reply import reply
from jobqueue.api.http.keys import QUERY, RUNTIME
from jobqueue.api.jobs.schemas import (
    USUALLY_COUNTED,
    AggregateSchema,
    CountResponse,
    CountSchema,
    SearchSchema,
    SuggestionsResponse,
)
from jobqueue.api.security.caller import caller, shown, slow_search_key
from jobqueue.domain.jobs import json_form
from jobqueue.domain.search.filters import Comparison, every
from jobqueue.domain.search.pipelines import compile_pipeline
from jobqueue.domain.search.projection import Projection
from jobqueue.domain.search.query import MOST_LISTED, JobQuery
from jobqueue.domain.search.search import Search, check_most, read_filter, search
from jobqueue.domain.search.suggestions import SuggestionQuery
from jobqueue.domain.search.values import Id

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from aiohttp import web


async def list_jobs(request: web.Request) -> web.Response:
    """List jobs, a page at a time."""
    short = request[QUERY]["id"]
    matches = None
    if short is not None:
        matches = await request.app[RUNTIME].short_ids.jobs(short, MOST_LISTED, caller(request).scope)
    return await _page(request, listing(request[QUERY], matches))


async def search_jobs(request: web.Request) -> web.Response:
    """Find jobs by a filter in MongoDB's language, a page at a time."""
    body = await read_body(request, SearchSchema, optional=True)
    query = search(
        body.get("filter"),
        text=body.get("q"),
        sort=body.get("sort"),
        fields=body.get("fields_"),
        limit=body.get("limit", 50),
        cursor=body.get("cursor"),
        slow=body.get("slow", False),
    )
    return await _page(request, query)


async def count_jobs(request: web.Request) -> web.Response:
    """Count the jobs of a filter, up to a bound."""
    body = await read_body(request, CountSchema, optional=True)
    query = Search(filter=read_filter(body.get("filter"), body.get("q")), slow=body.get("slow", False))
    most = check_most(body.get("most", USUALLY_COUNTED))
    searches, scope = request.app[RUNTIME].searches, caller(request).scope
    count = await searches.count(query, most=most, scope=scope, caller=slow_search_key(request))
    return reply(CountResponse.of(count))


async def aggregate(request: web.Request) -> web.Response:
    """Aggregate jobs by a pipeline in MongoDB's language."""
    body = await read_body(request, AggregateSchema)
    pipeline = compile_pipeline(body["pipeline"])
    searches, scope, slow = request.app[RUNTIME].searches, caller(request).scope, body.get("slow", False)
    rows = await searches.aggregate(pipeline, scope=scope, caller=slow_search_key(request), slow=slow)
    return reply({"items": [json_form.value(row) for row in rows.items], "truncated": rows.truncated})


async def suggest(request: web.Request) -> web.Response:
    """Suggest fields of filters, or values of a field, from a sample of the newest jobs."""
    query = SuggestionQuery(**request[QUERY])
    found, size = await request.app[RUNTIME].suggestions.find(query, scope=caller(request).scope)
    return reply(SuggestionsResponse.of({"items": found, "sampled": size}))


def listing(parameters: dict[str, Any], matches: Sequence[Mapping[str, Any]] | None) -> Search:
    """Return the search of a listing.

    Args:
        parameters: the values of `JobsQuery`.
        matches: the jobs for which its short id may stand; ``None`` for any jobs.

    Raises:
        InvalidInputError: naming each unacceptable parameter.
    """
    rest = parameters.copy()
    (sort, descending), names, cursor = rest.pop("sort"), rest.pop("fields_"), rest.pop("cursor")
    del rest["id"]
    whole = JobQuery(**rest).search()
    if matches is not None:
        whole = replace(whole, filter=every(whole.filter, Comparison("id", "$in", _ids(matches))))
    return replace(whole, sort=sort, descending=descending, projection=Projection.read(names)).at(cursor)


def _ids(matches: Sequence[Mapping[str, Any]]) -> tuple[Id, ...]:
    return tuple(Id(match["id"]) for match in matches)


async def _page(request: web.Request, query: Search) -> web.Response:
    searches, scope = request.app[RUNTIME].searches, caller(request).scope
    page = await searches.page(query, scope=scope, caller=slow_search_key(request))
    items = [query.projection.pick(shown(request, job)) for job in page.items]
    back = {} if page.previous is None else {"previous": page.previous}
    return reply({"items": items, "next": page.next, **back})
