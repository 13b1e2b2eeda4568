"""The web application."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Final, NoReturn

from aiohttp import hdrs, web

from jobqueue.api.description.openapi import DESCRIPTION, Description
from jobqueue.api.http.json_body import MOST_BODY
from jobqueue.api.http.keys import OPEN_PATHS, OPEN_TO_ALL, PERSON, ROUTE_TABLE, RUNTIME
from jobqueue.api.http.middleware import answer_expect, answer_problems, join_trace, log_request, set_headers
from jobqueue.api.route_table import ROUTES
from jobqueue.api.security.authentication import authenticate, refuse_foreign_pages
from jobqueue.api.security.authorization import guarded
from jobqueue.api.security.claimant import KNOWN_CLAIMS, known_claims
from jobqueue.api.security.throttle import THROTTLE, Throttle
from jobqueue.api.work.long_poll import LONG_POLL, LongPoll

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from jobqueue.api.http.route_spec import Route
    from jobqueue.domain.insight.audit import Actor
    from jobqueue.services.application import Runtime

# Without a pattern of its own a parameter would take no braces.
PARAMETER: Final = re.compile(r"{(\w+)}")


def make_app(
    runtime: Runtime, *, open_to_all: bool | None = None, person: Actor | None = None, most_body: int = MOST_BODY
) -> web.Application:
    """Return the application of a runtime, which the caller starts and closes; the application logs its requests.

    Args:
        runtime: the services.
        open_to_all: allow everything to requests without a token; ``None`` does so if there is no admin token.
        person: makes all requests, each of which is allowed; for an application that only its own process reaches.
        most_body: bytes of a request body, where more than usual is allowed.
    """
    app = web.Application(
        client_max_size=most_body,
        middlewares=[log_request, answer_problems, refuse_foreign_pages, authenticate, join_trace],
    )
    app[RUNTIME] = runtime
    if person is not None:
        app[PERSON] = person
    app[ROUTE_TABLE] = ROUTES
    app[OPEN_PATHS] = frozenset(route.path for route in ROUTES if route.role is None)
    app[DESCRIPTION] = Description(ROUTES)
    app[LONG_POLL] = LongPoll(runtime)
    app[KNOWN_CLAIMS] = known_claims()
    app[THROTTLE] = Throttle(time.monotonic)
    app[OPEN_TO_ALL] = runtime.settings.admin_token is None if open_to_all is None else open_to_all
    for route in ROUTES:
        path = PARAMETER.sub(r"{\1:[^/]+}", route.path)
        if route.method == hdrs.METH_GET:
            app.router.add_get(path, guarded(route), allow_head=True, expect_handler=answer_expect)
        else:
            app.router.add_route(route.method, path, guarded(route), expect_handler=answer_expect)
    _refuse_other_methods(app)
    app.on_response_prepare.append(set_headers)
    app.on_shutdown.append(_close_polls)
    return app


def _refuse_other_methods(app: web.Application) -> None:
    """Answer 405 to other methods of paths such as ``/v1/jobs/bulk``: ``bulk`` is no id of a job."""
    methods: dict[str, set[str]] = {}
    for route in ROUTES:
        if "{" not in route.path:
            methods.setdefault(route.path, set()).update(_methods(route))
    above = {route.path.rpartition("/{")[0] for route in ROUTES if route.path.endswith("}")}
    for path, known in methods.items():
        if path.rpartition("/")[0] in above:
            app.router.add_route(hdrs.METH_ANY, path, _refusing(sorted(known)), expect_handler=answer_expect)


def _methods(route: Route) -> set[str]:
    return {route.method, hdrs.METH_HEAD} if route.method == hdrs.METH_GET else {route.method}


def _refusing(allowed: list[str]) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def refuse(request: web.Request) -> NoReturn:
        raise web.HTTPMethodNotAllowed(request.method, allowed)

    return refuse


async def _close_polls(app: web.Application) -> None:
    app[LONG_POLL].close()
    app[RUNTIME].events.close()
    app[RUNTIME].logs.close()
