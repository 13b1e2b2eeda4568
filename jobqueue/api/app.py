"""The web application."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import hdrs, web

from jobqueue.api.auth import authenticate, refuse_foreign_pages
from jobqueue.api.desk import Desk
from jobqueue.api.keys import DESK, QUERY, RUNTIME
from jobqueue.api.middleware import answer_problems, harden, note
from jobqueue.api.reading import MOST_BODY
from jobqueue.api.routes import ROUTES
from jobqueue.api.schemas import queries

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from jobqueue.api.operations import Route
    from jobqueue.services.runtime import Runtime

    Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def make_app(runtime: Runtime) -> web.Application:
    """Return the application for a runtime, which the caller starts and closes.

    It logs its requests itself, so its runner needs no access log.
    """
    app = web.Application(
        client_max_size=MOST_BODY, middlewares=[note, answer_problems, refuse_foreign_pages, authenticate]
    )
    app[RUNTIME] = runtime
    app[DESK] = Desk(runtime)
    for route in ROUTES:
        if route.method == hdrs.METH_GET:
            app.router.add_get(route.path, _handler(route), allow_head=True)
        else:
            app.router.add_route(route.method, route.path, _handler(route))
    app.on_response_prepare.append(harden)
    app.on_shutdown.append(_close_desk)
    app.on_cleanup.append(_drain_desk)
    return app


def _handler(route: Route) -> Handler:
    """Return what reads the query string as the route's operation says, and calls the route's handler."""
    schema = route.operation.query() if route.operation.query is not None else None

    async def handle(request: web.Request) -> web.StreamResponse:
        if route.role is not None:
            request[QUERY] = queries.load(schema, request.query)
        return await route.handler(request)

    return handle


async def _close_desk(app: web.Application) -> None:
    app[DESK].close()


async def _drain_desk(app: web.Application) -> None:
    await app[DESK].drain()
