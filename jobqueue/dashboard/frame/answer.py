"""Replies with pages: rendered once a second at most for each visitor and address, and not sent twice unchanged."""

from __future__ import annotations

import asyncio
import hashlib
import re
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import orjson
from aiohttp import hdrs, web

from jobqueue.api.http.accept import HTML, wants_page
from jobqueue.api.http.keys import CALLER, RUNTIME
from jobqueue.api.http.problems import MEDIA_TYPE
from jobqueue.dashboard.frame.acts import flash, guard
from jobqueue.dashboard.frame.around import around
from jobqueue.dashboard.frame.preferences import preferences
from jobqueue.dashboard.frame.templates import link, rendered
from jobqueue.dashboard.frame.view import View
from jobqueue.domain.access.access import Caller
from jobqueue.domain.errors import ForbiddenError
from jobqueue.lru_cache import LruCache

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from jobqueue.dashboard.frame.page import Page

    Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HTMX: Final = "HX-Request"
KEPT_SECONDS: Final = 1.0
_MOST_KEPT: Final = 200
_TIMES: Final = re.compile(r"(<time\b[^>]*\bdata-t=[^>]*>)[^<]*")
"""Times whose text changes by itself, which the page's script keeps right."""
_STRANGER: Final = Caller(name="stranger", roles=frozenset())
_UNAUTHORIZED: Final = 401


@dataclass(frozen=True, slots=True)
class _Kept:
    html: str
    tag: str
    until: float


class Pages:
    """Pages of one application that were rendered within the last second."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._kept: LruCache[tuple[Any, ...], _Kept] = LruCache(_MOST_KEPT)
        self._making: dict[tuple[Any, ...], asyncio.Task[_Kept]] = {}
        self._clock = clock

    async def get(self, key: tuple[Any, ...], make: Callable[[], Awaitable[str]]) -> tuple[str, str]:
        """Return a page and its entity tag; requests at the same time share the work."""
        kept = self._kept.get(key)
        if kept is None or kept.until < self._clock():
            making = self._making.get(key)
            if making is None:
                making = self._making[key] = asyncio.create_task(self._make(key, make))
                making.add_done_callback(lambda done: self._made(key, done))
            kept = await asyncio.shield(making)
        return kept.html, kept.tag

    def forget(self) -> None:
        """Forget all pages, as a visitor who has changed something wants to see it."""
        self._kept.clear()

    async def _make(self, key: tuple[Any, ...], make: Callable[[], Awaitable[str]]) -> _Kept:
        html = await make()
        digest = hashlib.sha256(_TIMES.sub(r"\1", html).encode()).hexdigest()
        kept = _Kept(html, f'W/"{digest[:32]}"', self._clock() + KEPT_SECONDS)
        self._kept.keep(key, kept)
        return kept

    def _made(self, key: tuple[Any, ...], done: asyncio.Task[_Kept]) -> None:
        del self._making[key]
        if not done.cancelled():
            # Requests that wait raise the error.
            done.exception()


PAGES: Final = web.AppKey("pages", Pages)


def shown(page: Page) -> Handler:
    """Return the handler of a page."""

    async def handle(request: web.Request) -> web.StreamResponse:
        if not request[CALLER].may(page.role):
            raise ForbiddenError(f"this needs the role {page.role}")
        fragment = HTMX in request.headers
        wanted = preferences(request)
        said, token = await flash.told(request), await guard.form_token(request)
        # Forms have the token of a session, and two sessions may be of one visitor.
        key = (request.path_qs, fragment, request[CALLER], wanted, token, said)

        async def make() -> str:
            now = await request.app[RUNTIME].database.clock.now()
            view = View(request, now, wanted, form_token=token, said=said)
            values, surroundings = await asyncio.gather(page.load(view), around(view))
            events = None if page.events is None else f"/v1/events?{page.events.format_map(request.match_info)}"
            # A page may say that this visit of it follows no changes.
            given: dict[str, Any] = {"events": events, "around": surroundings} | values
            return rendered(page.template, view, nav=page.nav, fragment=fragment, **given)

        html, tag = await request.app[PAGES].get(key, make)
        headers: dict[str, str] = {hdrs.ETAG: tag, hdrs.VARY: f"{HTMX}, {hdrs.COOKIE}, {hdrs.ACCEPT}"}
        if tag in request.headers.get(hdrs.IF_NONE_MATCH, ""):
            return web.Response(status=304, headers=headers)
        return page_reply(html, headers=headers)

    return handle


def page_reply(html: str, *, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    """Return a page as a response that may load nothing from elsewhere, and no script or style in the page."""
    # Without a referrer a browser hides the origin of forms, too.
    headers = {"Content-Security-Policy": POLICY, "Referrer-Policy": "same-origin"} | (headers or {})
    return web.Response(text=html, status=status, content_type=HTML, charset="utf-8", headers=headers)


@web.middleware
async def show_problems(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn problems into pages for browsers; who is not logged in goes to the login."""
    response = await handler(request)
    if not isinstance(response, web.Response) or response.content_type != MEDIA_TYPE or request.path.startswith("/v1/"):
        return response
    is_fragment = HTMX in request.headers
    if response.status == _UNAUTHORIZED and (is_fragment or wants_page(request)):
        # A form whose session has ended has a page under the same address.
        login = link("/login", next=request.path_qs)
        if is_fragment:
            response.headers["HX-Redirect"] = login
            return response
        return web.Response(status=303, headers={hdrs.LOCATION: login})
    if is_fragment or not wants_page(request):
        return response
    return _problem_page(request, response)


def _problem_page(request: web.Request, response: web.Response) -> web.Response:
    problem = orjson.loads(response.text or "{}")
    if CALLER not in request:
        request[CALLER] = _STRANGER
    # The clock of the database may be what is missing.
    view = View(request, datetime.now(UTC), preferences(request))
    html = rendered("frame/problem.html", view, nav="", fragment=False, events=None, problem=problem)
    kept = {name: value for name, value in response.headers.items() if name in {"Retry-After", "Allow"}}
    return page_reply(html, status=response.status, headers=kept)
