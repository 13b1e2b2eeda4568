"""Statistics, metrics and the audit."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import hdrs, web

from jobqueue.api.http.json_reply import page_reply, reply
from jobqueue.api.http.keys import QUERY, RUNTIME
from jobqueue.api.insight.schemas import ChangeResponse, ConcernsResponse
from jobqueue.api.security.caller import caller
from jobqueue.domain.insight.audit import AuditQuery
from jobqueue.services.insight.series import SeriesRequest
from jobqueue.services.insight.stats import StatsRequest

if TYPE_CHECKING:
    from collections.abc import Mapping


async def show(request: web.Request) -> web.Response:
    """Count jobs by state, and their activity within the last minutes, hours and days."""
    return reply(await request.app[RUNTIME].stats.view(StatsRequest(**request[QUERY]), caller(request).scope))


async def series(request: web.Request) -> web.Response:
    """Return the activity of jobs in equal steps of time."""
    return reply(await request.app[RUNTIME].series.view(SeriesRequest(**request[QUERY]), caller(request).scope))


async def list_concerns(request: web.Request) -> web.Response:
    """Return what needs somebody, the most urgent kinds first, each with the command that mends it."""
    return reply(ConcernsResponse.of({"items": await request.app[RUNTIME].concerns.all(caller(request).scope)}))


async def metrics(request: web.Request) -> web.Response:
    """Return metrics for Prometheus."""
    accept = ",".join(request.headers.getall(hdrs.ACCEPT, []))
    body, content_type = await request.app[RUNTIME].metrics.text(accept)
    headers: Mapping[str, str] = {hdrs.CONTENT_TYPE: content_type}
    return web.Response(body=body, headers=headers)


async def list_changes(request: web.Request) -> web.Response:
    """Return changes by people, newest first."""
    query = request[QUERY].copy()
    most = query.pop("limit")
    entries = await request.app[RUNTIME].audit.store.find(AuditQuery(**query, limit=most + 1))
    return page_reply(entries, most, ChangeResponse.of, lambda entry: entry.id)
