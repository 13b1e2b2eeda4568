"""The web application of the server: the HTTP API, and the dashboard on it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from jobqueue.api import app as api
from jobqueue.api.http.keys import CALLER, FORM_PATHS, HOME, OPEN_PATHS, Home
from jobqueue.api.security.authentication import identify
from jobqueue.dashboard.access import login
from jobqueue.dashboard.frame import manual
from jobqueue.dashboard.frame.acting import acting
from jobqueue.dashboard.frame.acts.deeds import DEEDS, Deeds
from jobqueue.dashboard.frame.answer import PAGES, Pages, show_problems, shown
from jobqueue.dashboard.frame.kept import KEPT, Kept
from jobqueue.dashboard.frame.preferences import choose
from jobqueue.dashboard.frame.static_files import static_file
from jobqueue.dashboard.jobs.search.export import export
from jobqueue.dashboard.table import TABLE

if TYPE_CHECKING:
    from aiohttp import web

    from jobqueue.dashboard.frame.answer import Handler
    from jobqueue.services.application import Runtime

_HOME: Final = "/"
_OPEN: Final = (
    ("GET", "/login", login.form),
    ("POST", "/login", login.login),
    ("POST", "/logout", login.logout),
    ("GET", "/preferences", choose),
    ("GET", "/static/{file}", static_file),
    ("GET", "/manual", manual.front),
    ("GET", r"/manual/{path:.*}", manual.page),
    ("GET", "/problems/{slug}", manual.problem),
)
"""Routes that need no login."""


def _identified(handler: Handler) -> Handler:
    """Return the handler of the page at ``/``, where the list of routes needs no caller."""

    async def handle(request: web.Request) -> web.StreamResponse:
        request[CALLER] = await identify(request)
        return await handler(request)

    return handle


def make_app(runtime: Runtime, *, open_to_all: bool | None = None) -> web.Application:
    """Return the application with the API and the dashboard; arguments as in `jobqueue.api.app.make_app`."""
    app = api.make_app(runtime, open_to_all=open_to_all)
    app[PAGES] = Pages()
    app[KEPT] = Kept()
    app[DEEDS] = Deeds()
    app[FORM_PATHS] = frozenset(page.path for page in TABLE if page.act is not None)
    # Outside of the middleware that turns errors into problems, and inside of the log.
    app.middlewares.insert(1, show_problems)
    for method, path, handler in _OPEN:
        resource = app.router.add_route(method, path, handler).resource
        app[OPEN_PATHS] |= {resource.canonical} if resource else set()
    app.router.add_get("/jobs/export", export)
    for page in TABLE:
        if page.path == _HOME:
            app[HOME] = Home(_identified(shown(page)))
        else:
            app.router.add_get(page.path, shown(page), allow_head=True)
        if page.act is not None:
            app.router.add_post(page.path, acting(page, page.act))
    return app
