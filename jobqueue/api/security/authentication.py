"""Authentication by bearer tokens, and protection from pages of other sites in a browser."""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING, Final

from aiohttp import hdrs, web

from jobqueue.api.http.keys import CALLER, FORM_PATHS, OPEN_PATHS, OPEN_TO_ALL, PERSON, REMOTE, RUNTIME
from jobqueue.api.http.problems import ProblemError
from jobqueue.api.security import hosts
from jobqueue.api.security.claimant import SCHEME, claimant
from jobqueue.api.security.throttle import THROTTLE, too_many_attempts
from jobqueue.api.security.token_watch import bearer, credentials, unauthorized, visitor_of
from jobqueue.domain.access.access import NOBODY, Caller
from jobqueue.services.access.sessions import ADMIN

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_SAFE: Final = frozenset({hdrs.METH_GET, hdrs.METH_HEAD, hdrs.METH_OPTIONS})
_NOBODY: Final = Caller(name=NOBODY, roles=frozenset({"admin"}))
_STRANGER: Final = Caller(name="stranger", roles=frozenset())


@web.middleware
async def authenticate(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Find the caller, except on paths that are open to everybody; raises as `identify`."""
    foreign = request.app[OPEN_TO_ALL] and not hosts.is_own(request)
    request[CALLER] = _STRANGER if _is_open(request) and not foreign else await identify(request)
    return await handler(request)


async def identify(request: web.Request) -> Caller:
    """Return the caller; a token counts also where none is needed.

    The routes of one running job take the token of its claim in place of an API token, as `claimant` says. Requests
    that only read also take the cookie of a session of the dashboard, and so do its forms.
    On an open server a request without a token must name the server by one of its own names.

    Raises:
        ProblemError: 401 without a valid token; 403 for a foreign name of the server; 429 after too many failed
            attempts from this address.
    """
    if (person := request.app.get(PERSON)) is not None:
        return Caller(name=person.name, roles=ADMIN.roles)
    if request.app[OPEN_TO_ALL] and hdrs.AUTHORIZATION not in request.headers:
        if not hosts.is_own(request):
            raise hosts.refused()
        return _NOBODY
    if credentials(request, SCHEME):
        return await claimant(request)
    text = bearer(request)
    if text:
        return await caller_of_token(request, text)
    if (request.method in _SAFE or _is_form(request)) and (visitor := await visitor_of(request)) is not None:
        return visitor
    raise unauthorized()


async def caller_of_token(request: web.Request, text: str) -> Caller:
    """Return the caller of a token.

    Raises:
        ProblemError: 401, the token is not valid; 429 after too many failed attempts from this address.
    """
    runtime, throttle, address = request.app[RUNTIME], request.app[THROTTLE], request[REMOTE]
    admin = runtime.settings.admin_token
    if admin is not None and hmac.compare_digest(text.encode("utf-8", "surrogateescape"), admin.encode()):
        return ADMIN
    wait = throttle.wait(address)
    # A token that was valid before is checked all the same: nobody else can lock it out.
    if not wait or runtime.access.is_known(text):
        caller = await runtime.access.caller(text)
        if caller is not None:
            return caller
    if wait:
        # An unchecked token counts as no attempt: else one address could use up the bucket of all addresses.
        raise too_many_attempts(wait)
    throttle.failed(address)
    raise unauthorized()


@web.middleware
async def refuse_foreign_pages(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Refuse requests that a browser sends on behalf of a page of another site.

    Any web page can make a browser send requests to a loopback address, where a server may run without tokens.

    Raises:
        ProblemError: 403.
    """
    if request.method not in _SAFE and hdrs.AUTHORIZATION not in request.headers and _is_foreign(request):
        detail = "pages of other sites may not call this API without a token"
        raise ProblemError(403, "foreign-page", "Forbidden", detail)
    return await handler(request)


def _is_open(request: web.Request) -> bool:
    resource = request.match_info.route.resource
    if resource is None:
        # Nothing needs protection: the reply is 404 or 405.
        return not request.path.startswith("/v1/")
    return resource.canonical in request.app[OPEN_PATHS]


def _is_form(request: web.Request) -> bool:
    """Return True for a form of a page, whose handler also checks its origin and its token; never for the API."""
    resource = request.match_info.route.resource
    if resource is None or request.path.startswith("/v1/"):
        return False
    return request.method == hdrs.METH_POST and resource.canonical in request.app.get(FORM_PATHS, frozenset())


def _is_foreign(request: web.Request) -> bool:
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None:
        return site not in {"same-origin", "none"}
    return hdrs.ORIGIN in request.headers and not hosts.has_own_origin(request)
