"""From which address a request comes, if there are proxies in between."""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING

from jobqueue.api.http.keys import RUNTIME

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aiohttp import web

    from jobqueue.settings import Settings


def remote(request: web.Request) -> str:
    """Return the address of whoever sent a request; what trusted proxies say of it counts, and nobody else's word."""
    settings: Settings = request.app[RUNTIME].settings
    hops = [hop.strip() for given in request.headers.getall("X-Forwarded-For", []) for hop in given.split(",")]
    return origin(request.remote or "", hops, settings.trusted_proxies)


def is_proxied(request: web.Request) -> bool:
    """Tell whether a trusted proxy has passed a request on."""
    return _within(request.remote or "", request.app[RUNTIME].settings.trusted_proxies)


def origin(peer: str, hops: Sequence[str], proxies: Sequence[object]) -> str:
    """Return the last address before the trusted proxies.

    Args:
        peer: who has connected.
        hops: of ``X-Forwarded-For``; each proxy has added whom it was connected by.
        proxies: trusted networks.
    """
    address = peer
    for hop in reversed(hops):
        if not _within(address, proxies):
            break
        if not _is_address(hop):
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
