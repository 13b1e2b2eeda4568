"""The address of a client behind proxies."""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING

from jobqueue.api.http.keys import RUNTIME

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aiohttp import web

    from jobqueue.settings import Settings


def remote(request: web.Request) -> str:
    """Return the address of the client of a request, from ``X-Forwarded-For`` only if a trusted proxy sent it."""
    settings: Settings = request.app[RUNTIME].settings
    hops = [hop.strip() for line in request.headers.getall("X-Forwarded-For", []) for hop in line.split(",")]
    return origin(request.remote or "", hops, settings.trusted_proxies)


def is_proxied(request: web.Request) -> bool:
    """Return True if a trusted proxy has passed a request on."""
    return _within(request.remote or "", request.app[RUNTIME].settings.trusted_proxies)


def is_secure(request: web.Request) -> bool:
    """Return True if the client uses TLS, as a trusted proxy may say.

    Each of several proxies adds the scheme of its own client: the first one is that of the browser.
    """
    if request.secure or not is_proxied(request):
        return bool(request.secure)
    schemes = ",".join(request.headers.getall("X-Forwarded-Proto", []))
    return schemes.partition(",")[0].strip().lower() == "https"


def origin(peer: str, hops: Sequence[str], proxies: Sequence[object]) -> str:
    """Return the last address before the trusted proxies.

    Args:
        peer: the address of the connection.
        hops: of ``X-Forwarded-For``; each proxy adds the address of its own client.
        proxies: trusted networks.
    """
    address = peer
    for hop in reversed(hops):
        if not _within(address, proxies) or not _is_address(hop):
            break
        address = hop
    return address


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _within(text: str, networks: Sequence[object]) -> bool:
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None) or address
    return any(mapped in network for network in networks)  # type: ignore[operator]
