"""Who may call: bearer tokens, and no other site's pages in somebody's browser."""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from aiohttp import hdrs, web

from jobqueue.api.http.keys import CALLER, OPEN_TO_ALL, REMOTE, ROUTE_TABLE, RUNTIME
from jobqueue.api.http.problems import Problem, ProblemError
from jobqueue.api.security import hosts
from jobqueue.api.security.throttle import THROTTLE
from jobqueue.api.security.token_watch import bearer, unauthorized
from jobqueue.domain.access.access import NOBODY, Caller

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_SAFE: Final = frozenset({hdrs.METH_GET, hdrs.METH_HEAD, hdrs.METH_OPTIONS})
_ADMIN: Final = Caller(name="admin", roles=frozenset({"admin"}))
_NOBODY: Final = Caller(name=NOBODY, roles=frozenset({"admin"}))
_STRANGER: Final = Caller(name="stranger", roles=frozenset())


@web.middleware
async def authenticate(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Find out who calls; a token that is sent counts also where none is needed.

    Where nobody needs a token, a request without a valid one must name this server by a name that is its own.

    Raises:
        ProblemError: 401 without a valid token, 403 by a name that is not its own, 429 after too many failed attempts
            from this address.
    """
    if request.app[OPEN_TO_ALL] and not hosts.is_own(request):
        if hdrs.AUTHORIZATION not in request.headers:
            raise hosts.refused()
        request[CALLER] = await _caller(request)
    elif _is_open(request):
        request[CALLER] = _STRANGER
    elif hdrs.AUTHORIZATION not in request.headers and request.app[OPEN_TO_ALL]:
        request[CALLER] = _NOBODY
    else:
        request[CALLER] = await _caller(request)
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


async def _caller(request: web.Request) -> Caller:
    text = bearer(request)
    runtime, throttle, address = request.app[RUNTIME], request.app[THROTTLE], request[REMOTE]
    if text:
        admin = runtime.settings.admin_token
        if admin is not None and hmac.compare_digest(text.encode("utf-8", "surrogateescape"), admin.encode()):
            return _ADMIN
        wait = throttle.wait(address)
        # Who has shown the secret before is looked at all the same: nobody else can lock it out.
        if not wait or runtime.access.is_known(text):
            found = await runtime.access.caller(text)
            if found is not None:
                return found
        if wait:
            # What is not looked at counts for nothing: else one address could use up what all have together.
            raise ProblemError(
                Problem(
                    status=429,
                    slug="too-many-attempts",
                    title="Too many failed attempts",
                    detail="too many invalid tokens came from this address; try again later",
                    headers={"Retry-After": str(wait)},
                )
            )
        throttle.failed(address)
    raise unauthorized()


def _is_open(request: web.Request) -> bool:
    resource = request.match_info.route.resource
    if resource is None:
        # Nothing is there to be protected: the answer is 404 or 405.
        return not request.path.startswith("/v1/")
    return any(route.path == resource.canonical and route.role is None for route in request.app[ROUTE_TABLE])


def _is_foreign(request: web.Request) -> bool:
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None:
        return site not in {"same-origin", "none"}
    origin = request.headers.get(hdrs.ORIGIN)
    try:
        return origin is not None and urlsplit(origin).netloc != request.host
    except ValueError:
        return True
