"""A guard against webhooks to this machine and its private networks (SSRF).

The guard checks the address that is about to be connected, after DNS and after every notation of an address is
resolved. So neither odd literals nor a name with changing addresses (DNS rebinding) get past it.
"""

from __future__ import annotations

import re
import socket
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, urlsplit

from yarl import URL

if TYPE_CHECKING:
    from collections.abc import Sequence

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

PUBLIC_PORTS: Final = frozenset({80, 443})
"""Ports that may be reached on any public address."""
_NAT64: Final = IPv6Network("64:ff9b::/96")
_TEREDO: Final = IPv6Network("2001::/32")
_UNICAST: Final = IPv6Network("2000::/3")
# Global by the registries, or by an older Python, and yet not the Internet: protocol assignments (RFC 6890), 6to4
# relays (RFC 7526), the host agent of Azure's virtual machines.
_LOCAL: Final = tuple(map(IPv4Network, ("192.0.0.0/24", "192.88.99.0/24", "168.63.129.16/32")))
_LOW_32: Final = 0xFFFF_FFFF
_PARTS: Final = re.compile(r"(?P<scheme>\w+)://(?P<netloc>[^/?#]*)(?P<rest>[^#]*)(#.*)?")
_ASCII: Final = "".join(map(chr, range(0x21, 0x7F)))


class BlockedAddressError(OSError):
    """Refuse to connect to an address that is not public and not allowed."""

    def __init__(self) -> None:
        super().__init__("blocked address")


class BlockedPortError(BlockedAddressError):
    """Refuse to connect to a port of a public address that is not allowed."""


class UnusableURLError(ValueError):
    """Refuse a URL that is not a plain http or https one."""


class AddressGuard:
    """Decides which addresses and ports may be connected to."""

    def __init__(self, *, allow: Sequence[Network] = (), ports: Sequence[int] = ()) -> None:
        """Allow targets besides public addresses on `PUBLIC_PORTS`.

        Args:
            allow: networks that may be reached on any port although they are not public.
            ports: further ports of public addresses.
        """
        self._allow = tuple(allow)
        self._ports = PUBLIC_PORTS | set(ports)

    def check(self, address: str, port: int) -> None:
        """Make sure that an address may be connected to.

        Args:
            address: numeric, as a socket takes it.
            port: of TCP.

        Raises:
            BlockedAddressError: the address is neither public nor in an allowed network; `BlockedPortError` for its
            port.
        """
        try:
            targets = _targets(ip_address(address))
        except ValueError:
            raise BlockedAddressError from None
        if all(any(target in network for network in self._allow) for target in targets):
            return
        if not all(map(_is_public, targets)):
            raise BlockedAddressError
        if port not in self._ports:
            raise BlockedPortError

    def open_socket(self, info: tuple[Any, Any, int, str, tuple[Any, ...]]) -> socket.socket:
        """Return a socket for one entry of ``getaddrinfo``; for `aiohttp.TCPConnector`.

        Raises:
            BlockedAddressError: as `check`.
        """
        family, kind, protocol, _, address = info
        self.check(address[0], address[1])
        return socket.socket(family, kind, protocol)


def check_url(url: str) -> str:
    """Return the host of a URL, after a check of the URL's text.

    Raises:
        UnusableURLError: the URL is not http or https, has no host, or carries a user name or password.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise UnusableURLError("it cannot be read") from None
    if parts.scheme not in {"http", "https"} or not host or port == 0:
        raise UnusableURLError("it must be an absolute http or https URL")
    if "@" in parts.netloc:
        raise UnusableURLError("it must not carry a user name or password; use a header")
    return host


def request_target(url: str) -> URL:
    """Return the URL of a request, whose path and query are those of the text, byte by byte.

    Only the host is put into the form for DNS, and characters beyond ASCII are percent-encoded for HTTP. The fragment
    is dropped.

    Raises:
        UnusableURLError: as `check_url`; or the host is invalid, or the text has a space or a control character.
    """
    check_url(url)
    if " " in url or not url.isprintable():
        raise UnusableURLError("it has a space or a control character")
    parts = _PARTS.fullmatch(url)
    if parts is None or parts["netloc"] != urlsplit(url).netloc:
        raise UnusableURLError("it cannot be read")
    try:
        origin = URL(f"{parts['scheme']}://{parts['netloc']}")
    except ValueError as error:
        raise UnusableURLError(str(error)) from None
    rest = quote(parts["rest"], safe=_ASCII)
    # The query stands in the path: yarl would drop the question mark of an empty query.
    path = rest if rest.startswith("/") else f"/{rest}"
    return URL.build(scheme=origin.scheme, authority=origin.raw_authority, path=path, encoded=True)


def _targets(address: Address) -> tuple[Address, ...]:
    """Return the addresses that a packet may reach: the IPv4 addresses inside an address of a transition mechanism.

    The local-use NAT64 prefix 64:ff9b:1::/48 stays as it is, hence blocked: only its operator knows the place of the
    IPv4 address in it.
    """
    if isinstance(address, IPv4Address):
        return (address,)
    if address.ipv4_mapped is not None:
        return (address.ipv4_mapped,)
    if address.sixtofour is not None:
        return (address.sixtofour,)
    if address in _NAT64:
        return (IPv4Address(int(address) & _LOW_32),)
    if address in _TEREDO and address.teredo is not None:
        return address.teredo
    return (address,)


def _is_public(address: Address) -> bool:
    if address.is_multicast or not address.is_global:
        return False
    if isinstance(address, IPv6Address):
        return address in _UNICAST
    return not (address.is_reserved or address.is_unspecified or any(address in network for network in _LOCAL))
