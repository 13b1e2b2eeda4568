"""Listings and searches of jobs: from what a request says to what is asked for."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from jobqueue.api.http.json_body import read_object
from jobqueue.api.http.json_reply import reply
from jobqueue.api.http.keys import QUERY, RUNTIME
from jobqueue.api.jobs.search_schemas import AggregateSchema, SearchSchema
from jobqueue.api.schemas import fields
from jobqueue.api.security.caller import caller, insistent, shown
from jobqueue.domain.jobs import json_form
from jobqueue.domain.search.pipelines import compile_pipeline
from jobqueue.domain.search.projection import Projection
from jobqueue.domain.search.query import JobQuery
from jobqueue.domain.search.search import search

if TYPE_CHECKING:
    from aiohttp import web

    from jobqueue.domain.search.search import Search

_SEARCH: Final = SearchSchema()
_AGGREGATE: Final = AggregateSchema()


async def list_jobs(request: web.Request) -> web.Response:
    """List jobs, a page at a time."""
    return await _page(request, listing(request[QUERY]))


async def search_jobs(request: web.Request) -> web.Response:
    """Find jobs by a filter in MongoDB's language, a page at a time."""
    given = fields.load(_SEARCH, await read_object(request, optional=True))
    asked = search(
        given.get("filter"),
        sort=given.get("sort"),
        fields=given.get("fields_"),
        limit=given.get("limit", 50),
        cursor=given.get("cursor"),
        slow=given.get("slow", False),
    )
    return await _page(request, asked)


async def aggregate(request: web.Request) -> web.Response:
    """Make something of the jobs by a pipeline in MongoDB's language."""
    given = fields.load(_AGGREGATE, await read_object(request))
    pipeline = compile_pipeline(given["pipeline"])
    searches, scope, slow = request.app[RUNTIME].searches, caller(request).scope, given.get("slow", False)
    rows = await searches.aggregate(pipeline, scope=scope, caller=insistent(request), slow=slow)
    return reply({"items": [json_form.value(row) for row in rows.items], "truncated": rows.truncated})


def listing(given: dict[str, Any]) -> Search:
    """Return what is to be listed.

    Args:
        given: the query string as `queries.JobsQuery` has read it.

    Raises:
        InvalidInputError: naming each unacceptable parameter.
    """
    query = JobQuery(
        queue=given.get("queue"),
        type=given.get("type"),
        states=given["state"],
        batch_id=given.get("batch_id"),
        parent_id=given.get("parent_id"),
        schedule=given.get("schedule"),
        meta=given["meta"],
        inserted_after=given.get("inserted_after"),
        inserted_before=given.get("inserted_before"),
        text=given.get("q"),
        limit=given["limit"],
        slow=given["slow"],
    )
    sort, descending = given["sort"]
    shape = {"sort": sort, "descending": descending, "projection": Projection.read(given["fields_"])}
    return replace(query.search(), **shape).at(given["cursor"])


async def _page(request: web.Request, asked: Search) -> web.Response:
    searches, scope = request.app[RUNTIME].searches, caller(request).scope
    page = await searches.page(asked, scope=scope, caller=insistent(request))
    items = [asked.projection.pick(shown(request, job)) for job in page.items]
    return reply({"items": items, "next": page.next})
