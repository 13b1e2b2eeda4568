"""Health, and the list of routes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import hdrs

from jobqueue.api.http.accept import wants_page
from jobqueue.api.http.json_reply import reply
from jobqueue.api.http.keys import HOME, ROUTE_TABLE, RUNTIME

if TYPE_CHECKING:
    from aiohttp import web


async def index(request: web.Request) -> web.StreamResponse:
    """Return the list of routes; browsers get the dashboard."""
    if HOME in request.app and wants_page(request):
        return await request.app[HOME].show(request)
    routes = [f"{route.method} {route.path}" for route in request.app[ROUTE_TABLE]]
    return reply({"name": "jobqueue", "routes": routes}, headers={hdrs.VARY: hdrs.ACCEPT})


async def healthz(_request: web.Request) -> web.Response:
    """Return ok while the process lives."""
    return reply({"status": "ok"})


async def readyz(request: web.Request) -> web.Response:
    """Check that MongoDB lets this server read and write, and that a majority confirms writes."""
    await request.app[RUNTIME].readiness.check()
    return reply({"status": "ready"})
