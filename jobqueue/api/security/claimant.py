"""Claim tokens as credentials: a program that runs a job needs no other token for the routes of that job."""

from __future__ import annotations

from typing import Final

from aiohttp import hdrs, web

from jobqueue.api.http.keys import CLAIM_TOKEN, REMOTE, ROUTE_TABLE, RUNTIME
from jobqueue.api.security.throttle import THROTTLE, too_many_attempts
from jobqueue.api.security.token_watch import credentials, unauthorized
from jobqueue.domain.access.access import Caller, Role
from jobqueue.domain.errors import StaleTokenError
from jobqueue.domain.values.checks import is_id
from jobqueue.lru_cache import LruCache

SCHEME: Final = "claim"
LONGEST_TOKEN: Final = 200
_MOST_KNOWN: Final = 10_000
_ROLES: Final[frozenset[Role]] = frozenset({"read", "work"})

KNOWN_CLAIMS: Final = web.AppKey("known_claims", LruCache[tuple[str, str], bool])
"""Pairs of job and token that this process has accepted before."""


def known_claims() -> LruCache[tuple[str, str], bool]:
    """Return an empty memory of accepted claims."""
    return LruCache(_MOST_KNOWN)


async def claimant(request: web.Request) -> Caller:
    """Return a caller by the token of a claim of the job in the path, and note the token in the request.

    A report passes also after the end of the claim: it is refused later as stale, or answered once more.

    Raises:
        ProblemError: 401, the route takes no claims, or the job never had this claim; 429 as
            `authentication.authenticate`.
        StaleTokenError: the request reads, and the claim has ended.
    """
    job_id, token = request.match_info.get("id", ""), credentials(request, SCHEME)
    if not _takes_claims(request) or not is_id(job_id) or not (token.isascii() and 0 < len(token) <= LONGEST_TOKEN):
        raise unauthorized()
    throttle, address, known = request.app[THROTTLE], request[REMOTE], request.app[KNOWN_CLAIMS]
    wait = throttle.wait(address)
    if wait and known.get((job_id, token)) is None:
        raise too_many_attempts(wait)
    state = await request.app[RUNTIME].claims.state_under(job_id, token)
    if state is None:
        throttle.failed(address)
        raise unauthorized()
    known.keep((job_id, token), value=True)
    if request.method in {hdrs.METH_GET, hdrs.METH_HEAD} and not state.is_current:
        raise StaleTokenError(job_id, state.state)
    request[CLAIM_TOKEN] = token
    return Caller(name=f"claim of job {job_id}", roles=_ROLES)


def _takes_claims(request: web.Request) -> bool:
    resource = request.match_info.route.resource
    method = hdrs.METH_GET if request.method == hdrs.METH_HEAD else request.method
    return resource is not None and any(
        route.path == resource.canonical and route.method == method and route.has_claim
        for route in request.app[ROUTE_TABLE]
    )
