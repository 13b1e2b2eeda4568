"""How things are going, in figures."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import hdrs, web

from jobqueue.api.http.json_reply import reply
from jobqueue.api.http.keys import QUERY, RUNTIME
from jobqueue.api.security.caller import caller
from jobqueue.services.insight.stats import StatsRequest

if TYPE_CHECKING:
    from collections.abc import Mapping


async def show(request: web.Request) -> web.Response:
    """Count jobs by state, and what has happened to them within the last minutes, hours and days."""
    given = request[QUERY]
    asked = StatsRequest(windows=given["window"], queue=given.get("queue"), type=given.get("type"))
    return reply(await request.app[RUNTIME].stats.view(asked, caller(request).scope))


async def metrics(request: web.Request) -> web.Response:
    """Give figures for Prometheus."""
    accept = ",".join(request.headers.getall(hdrs.ACCEPT, []))
    body, content_type = await request.app[RUNTIME].metrics.text(accept)
    headers: Mapping[str, str] = {hdrs.CONTENT_TYPE: content_type}
    return web.Response(body=body, headers=headers)
