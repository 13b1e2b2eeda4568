"""Who may call: bearer tokens, and no other site's pages in somebody's browser."""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from aiohttp import hdrs, web

from jobqueue.api.keys import RUNTIME
from jobqueue.api.problems import Problem, ProblemError
from jobqueue.api.routes import OPEN

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_SAFE: Final = frozenset({hdrs.METH_GET, hdrs.METH_HEAD, hdrs.METH_OPTIONS})


@web.middleware
async def authenticate(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Let only callers with the admin token in, if there is one; health is open to everybody.

    Raises:
        ProblemError: 401.
    """
    token = request.app[RUNTIME].settings.admin_token
    if token is not None and not _is_open(request) and not _has(request, token):
        raise ProblemError(
            Problem(
                status=401,
                slug="unauthorized",
                title="Unauthorized",
                detail="send a valid token: Authorization: Bearer <token>",
                headers={"WWW-Authenticate": 'Bearer realm="jobqueue"'},
            )
        )
    return await handler(request)


@web.middleware
async def refuse_foreign_pages(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Refuse what a browser sends by itself on behalf of a page of another site.

    A server on the loopback address may run without tokens, but any web page can make a browser send requests there.

    Raises:
        ProblemError: 403.
    """
    if request.method not in _SAFE and hdrs.AUTHORIZATION not in request.headers and _is_foreign(request):
        raise ProblemError(
            Problem(
                status=403,
                slug="foreign-page",
                title="Forbidden",
                detail="pages of other sites may not call this API without a token",
            )
        )
    return await handler(request)


def _is_open(request: web.Request) -> bool:
    resource = request.match_info.route.resource
    if resource is None:
        # Nothing is there to be protected: the answer is 404 or 405.
        return not request.path.startswith("/v1/")
    return resource.canonical in OPEN


def _has(request: web.Request, token: str) -> bool:
    given = request.headers.getall(hdrs.AUTHORIZATION, [])
    scheme, _, sent = (given[0] if len(given) == 1 else "").partition(" ")
    is_right = hmac.compare_digest(sent.strip().encode("utf-8", "surrogateescape"), token.encode())
    return is_right and scheme.lower() == "bearer"


def _is_foreign(request: web.Request) -> bool:
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None:
        return site not in {"same-origin", "none"}
    origin = request.headers.get(hdrs.ORIGIN)
    return origin is not None and urlsplit(origin).netloc != request.host
