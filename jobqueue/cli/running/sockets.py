"""Sockets of the server, and their addresses."""

from __future__ import annotations

import errno
import socket
import ssl
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final

from jobqueue.domain.errors import JobQueueError, SettingsError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jobqueue.settings import Settings

_TRIES: Final = 10
_BACKLOG: Final = 1024
_HINTS: Final = {
    errno.EADDRINUSE: "is in use: stop what listens there, or choose another by --port (0 takes a free one)",
    errno.EACCES: "may not be used by this user: choose one above 1023 by --port",
    errno.EADDRNOTAVAIL: "is no address of this machine: choose another by --host",
}


class ListenError(JobQueueError):
    """An address that cannot be listened on."""

    slug = "listen"


def resolve(host: str) -> list[str]:
    """Return the addresses of a host name or an address, each once.

    Raises:
        SettingsError: it has none.
    """
    try:
        infos = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        raise SettingsError([f"--host {host} has no address: {error}"]) from None
    return list(dict.fromkeys(str(address[0]) for *_, address in infos))


def is_private(addresses: Sequence[str]) -> bool:
    """Tell whether only this machine can reach these addresses."""
    return all(ip_address(address.partition("%")[0]).is_loopback for address in addresses)


def bind(addresses: Sequence[str], port: int) -> list[socket.socket]:
    """Return a socket for each address, all on one port, that do not listen yet.

    Args:
        addresses: from `resolve`.
        port: 0 takes a free one.

    Raises:
        ListenError: the port cannot be taken.
    """
    tries = _TRIES if port == 0 else 1
    while True:
        tries -= 1
        bound: list[socket.socket] = []
        try:
            for address in addresses:
                bound.append(_bind(address, bound[0].getsockname()[1] if bound else port))
        except OSError as error:
            for listener in bound:
                listener.close()
            if error.errno != errno.EADDRINUSE or not tries:
                raise _explained(error, addresses, port) from None
        else:
            return bound


def listen(sockets: Sequence[socket.socket]) -> None:
    """Accept connections from now on.

    Raises:
        ListenError: another process was faster.
    """
    for listener in sockets:
        address, port = listener.getsockname()[:2]
        try:
            listener.listen(_BACKLOG)
        except OSError as error:
            raise _explained(error, [address], port) from None


def url(host: str, listener: socket.socket, *, tls: bool = False) -> str:
    """Return the URL of a socket."""
    return f"{'https' if tls else 'http'}://{f'[{host}]' if ':' in host else host}:{listener.getsockname()[1]}"


def local_url(host: str, listener: socket.socket, *, tls: bool = False) -> str:
    """Return the URL of a socket for programs on this machine."""
    return url(local_host(host), listener, tls=tls)


def local_host(host: str) -> str:
    """Return the host of a server that listens on ``host``, for programs on this machine."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - compared with, not bound to


def tls(settings: Settings) -> ssl.SSLContext | None:
    """Return the TLS context, or ``None`` without a certificate.

    Raises:
        SettingsError: only one of certificate and key is given, or they cannot be used.
    """
    cert, key = settings.tls_cert, settings.tls_key
    if cert is None and key is None:
        return None
    if cert is None or key is None:
        raise SettingsError(
            [f"tls_{'key' if cert is None else 'cert'} needs tls_{'cert' if cert is None else 'key'} too"]
        )
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        # Nobody is there to type a password.
        context.load_cert_chain(cert, key, password=lambda: b"")
    except FileNotFoundError:
        missing = cert if not cert.exists() else key
        raise SettingsError([f"there is no file {missing}"]) from None
    except OSError as error:
        raise SettingsError([f"tls_cert {cert} and tls_key {key} cannot be used: {error.strerror or error}"]) from None
    return context


def _bind(address: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind((address, port))
    except OSError:
        listener.close()
        raise
    return listener


def _explained(error: OSError, addresses: Sequence[str], port: int) -> ListenError:
    where = " and ".join(addresses)
    hint = _HINTS.get(error.errno or 0, f"cannot be listened on: {error.strerror}")
    subject = where if error.errno == errno.EADDRNOTAVAIL else f"port {port} of {where}"
    return ListenError(f"{subject} {hint}")
