"""Login by a token, and logout."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from aiohttp import hdrs, web

from jobqueue.api.http.keys import OPEN_TO_ALL, RUNTIME
from jobqueue.api.http.problems import ProblemError
from jobqueue.api.http.proxies import is_secure
from jobqueue.api.security.authentication import caller_of_token
from jobqueue.api.security.token_watch import SESSION_COOKIE
from jobqueue.dashboard.frame.answer import page_reply
from jobqueue.dashboard.frame.preferences import local_path, preferences
from jobqueue.dashboard.frame.templates import ENVIRONMENT
from jobqueue.dashboard.frame.view import View
from jobqueue.services.access.sessions import SESSION_TIME

if TYPE_CHECKING:
    from collections.abc import Mapping

_MOST_FORM: Final = 16 * 1024
_UNAUTHORIZED: Final = 401
_UNPROCESSABLE: Final = 422


async def form(request: web.Request) -> web.StreamResponse:
    """Return the page that asks for a token; where none is needed, go on."""
    back = local_path(request.query.get("next", "/"))
    if request.app[OPEN_TO_ALL]:
        return _gone_to(back)
    return _page(request, back)


async def login(request: web.Request) -> web.StreamResponse:
    """Begin a session for the holder of a valid token."""
    try:
        fields = await _fields(request)
    except web.HTTPRequestEntityTooLarge:
        return _page(request, "/", "This is not a token.", status=413)
    except (ValueError, LookupError, RuntimeError, web.HTTPException):
        # The ways in which forms can be broken are many: wrong encodings, wrong boundaries, parts without names.
        return _page(request, "/", "This form cannot be read.", status=_UNPROCESSABLE)
    back = local_path(fields.get("next", "/"))
    text = fields.get("token", "").strip()
    if not text:
        return _page(request, back, "Enter a token.", status=_UNPROCESSABLE)
    try:
        caller = await caller_of_token(request, text)
    except ProblemError as error:
        status = error.problem.status
        detail = "This token is not valid." if status == _UNAUTHORIZED else error.problem.detail
        return _page(request, back, detail, status=status, headers=error.problem.headers)
    response = _gone_to(back)
    response.set_cookie(
        SESSION_COOKIE,
        await request.app[RUNTIME].sessions.begin(caller),
        max_age=int(SESSION_TIME.total_seconds()),
        path="/",
        httponly=True,
        secure=is_secure(request),
        # A link from elsewhere, as in a chat, opens its page. No GET changes anything, and no other method takes the
        # cookie but the forms of this server's own pages.
        samesite="Lax",
    )
    return response


async def logout(_request: web.Request) -> web.StreamResponse:
    """End the session of this browser."""
    response = _gone_to("/login")
    response.del_cookie(SESSION_COOKIE, path="/")
    return response


async def _fields(request: web.Request) -> dict[str, str]:
    posted = await request.clone(client_max_size=_MOST_FORM).post()
    return {name: value for name, value in posted.items() if isinstance(value, str)}


def _page(
    request: web.Request,
    back: str,
    problem: str = "",
    *,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
) -> web.Response:
    view = View(request, datetime.now(UTC), preferences(request))
    html = ENVIRONMENT.get_template("access/login.html").render(view=view, next=back, problem=problem)
    kept = {name: value for name, value in (headers or {}).items() if name != hdrs.WWW_AUTHENTICATE}
    return page_reply(html, status=status, headers=kept)


def _gone_to(path: str) -> web.Response:
    return web.Response(status=303, headers={hdrs.LOCATION: path})
