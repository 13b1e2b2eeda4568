"""The names under which clients may address an open server.

Any web page can make its own name resolve to a loopback address (DNS rebinding). A browser then takes an open server
there for a part of that page's site, and neither the same-origin policy nor ``Origin`` keeps the page out. Only the
name in ``Host`` gives the page away. See RFC 9110, 7.2 and 17.1.
"""

from __future__ import annotations

import re
from ipaddress import IPv6Address, ip_address
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from aiohttp import hdrs

from jobqueue.api.http.keys import RUNTIME
from jobqueue.api.http.problems import ProblemError
from jobqueue.api.http.proxies import is_proxied

if TYPE_CHECKING:
    from collections.abc import Collection

    from aiohttp import web

_AUTHORITY: Final = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_.-]+)(?::[0-9]{0,5})?")
_ABSOLUTE: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://([^/?#]*)")
_FORWARDED_HOST: Final = "X-Forwarded-Host"


def is_own(request: web.Request) -> bool:
    """Return True if a request names this server by a loopback name or address, or by an allowed name.

    Every name of the request counts: ``Host``, exactly once; the name in an absolute target; and ``X-Forwarded-Host``
    of trusted proxies.
    """
    settings = request.app[RUNTIME].settings
    allowed = {*settings.allowed_hosts, settings.host.lower()}
    names = request.headers.getall(hdrs.HOST, [])
    if len(names) != 1:
        return False
    if absolute := _ABSOLUTE.match(request.raw_path):
        names.append(absolute[1])
    if is_proxied(request):
        forwarded = request.headers.getall(_FORWARDED_HOST, [])
        names += [name.strip() for line in forwarded for name in line.split(",")]
    return all(is_allowed(name, allowed) for name in names)


def has_own_origin(request: web.Request) -> bool:
    """Return True if ``Origin`` is this server, by its name in ``Host`` or by the setting ``public_url``.

    A proxy may replace ``Host``, and browsers send ``Sec-Fetch-Site`` only to origins with TLS and to loopback.
    """
    own = request.app[RUNTIME].settings.public_url
    try:
        origin = urlsplit(request.headers.get(hdrs.ORIGIN, ""))
        public = urlsplit(own or "")
    except ValueError:
        return False
    if not origin.netloc:
        return False
    return origin.netloc == request.host or origin[:2] == (public.scheme, public.netloc.lower())


def is_allowed(authority: str, allowed: Collection[str]) -> bool:
    """Return True if a host, perhaps with a port, is a loopback name or address, or allowed.

    Args:
        authority: the host and the port as in ``Host``.
        allowed: names in lower case without a last dot, and addresses without brackets.
    """
    parts = _AUTHORITY.fullmatch(authority)
    if parts is None:
        return False
    name = parts[1].lower().removesuffix(".")
    if name in allowed or name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        address = ip_address(name.strip("[]"))
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return address.is_loopback or (mapped is not None and mapped.is_loopback) or str(address) in allowed


def refused() -> ProblemError:
    """Return the reply to a request without a token that names this server by an unknown name."""
    detail = (
        "without a token this server answers only to localhost and loopback addresses as Host; "
        "set JOBQUEUE_ALLOWED_HOSTS to allow other names, or send a token"
    )
    return ProblemError(403, "foreign-host", "Forbidden", detail)
