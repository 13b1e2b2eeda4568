"""The names under which an open server may be addressed.

Any web page can make its own name resolve to a loopback address (DNS rebinding). To a browser an open server there is
then part of that page's site, so that neither the same-origin policy nor ``Origin`` keeps the page out: only the name
in ``Host`` tells. See RFC 9110, 7.2 and 17.1.
"""

from __future__ import annotations

import re
from ipaddress import IPv6Address, ip_address
from typing import TYPE_CHECKING, Final

from aiohttp import hdrs

from jobqueue.api.http.keys import RUNTIME
from jobqueue.api.http.problems import Problem, ProblemError
from jobqueue.api.http.proxies import is_proxied

if TYPE_CHECKING:
    from collections.abc import Collection

    from aiohttp import web

_AUTHORITY: Final = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_.-]+)(?::[0-9]{0,5})?")
_ABSOLUTE: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://([^/?#]*)")
_FORWARDED_HOST: Final = "X-Forwarded-Host"


def is_own(request: web.Request) -> bool:
    """Tell whether a request names this server as a loopback name or address, or by a name that is allowed.

    Every name that the request carries counts: ``Host``, exactly once; the name in an absolute target; and of trusted
    proxies ``X-Forwarded-Host``.
    """
    settings = request.app[RUNTIME].settings
    allowed = {*settings.allowed_hosts, settings.host.lower()}
    given = request.headers.getall(hdrs.HOST, [])
    if len(given) != 1:
        return False
    if absolute := _ABSOLUTE.match(request.raw_path):
        given.append(absolute[1])
    if is_proxied(request):
        forwarded = request.headers.getall(_FORWARDED_HOST, [])
        given += [name.strip() for one in forwarded for name in one.split(",")]
    return all(is_allowed(authority, allowed) for authority in given)


def is_allowed(authority: str, allowed: Collection[str]) -> bool:
    """Tell whether a host, perhaps with a port, is a loopback name or address, or allowed.

    Args:
        authority: as ``Host`` has it.
        allowed: names in lower case without a last dot, and addresses without brackets.
    """
    found = _AUTHORITY.fullmatch(authority)
    if found is None:
        return False
    name = found[1].lower().removesuffix(".")
    if name in allowed or name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        address = ip_address(name.strip("[]"))
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return address.is_loopback or (mapped is not None and mapped.is_loopback) or str(address) in allowed


def refused() -> ProblemError:
    """Return the answer to a request without a token that names this server by an unknown name."""
    return ProblemError(
        Problem(
            status=403,
            slug="foreign-host",
            title="Forbidden",
            detail=(
                "without a token this server answers only to localhost and loopback addresses as Host; "
                "set JOBQUEUE_ALLOWED_HOSTS to allow other names, or send a token"
            ),
        )
    )
