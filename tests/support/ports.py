"""Ports of loopback for tests that must know a port before somebody listens on it."""

from __future__ import annotations

import contextlib
import itertools
import os
import socket

# The system gives connections, and listeners that ask for port 0, ports from 32768 on (Linux) or 49152 on (macOS).
# A port below is never given away between the moment a test chooses it and the moment its program listens.
_FIRST, _EACH, _SLICES = 20_000, 1_200, 10
_worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % _SLICES
_offsets = itertools.count(os.getpid() % _EACH)


def free_port() -> int:
    """Return a port on which nobody listens, on any address, and which no connection is given."""
    for _ in range(_EACH):
        port = _FIRST + _worker * _EACH + next(_offsets) % _EACH
        if all(_is_free(family, address, port) for family, address in _ANYWHERE):
            return port
    raise OSError(f"no free port between {_FIRST} and {_FIRST + _EACH * _SLICES}")


def free_ports(count: int) -> list[int]:
    """Return different free ports."""
    return [free_port() for _ in range(count)]


_ANYWHERE = [(socket.AF_INET, "0.0.0.0"), *([(socket.AF_INET6, "::")] if socket.has_ipv6 else [])]  # noqa: S104 - only looks


def _is_free(family: socket.AddressFamily, address: str, port: int) -> bool:
    with contextlib.ExitStack() as stack:
        try:
            probe = stack.enter_context(socket.socket(family))
        except OSError:
            return True  # no such protocol here
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        try:
            probe.bind((address, port))
        except OSError:
            return False
    return True
