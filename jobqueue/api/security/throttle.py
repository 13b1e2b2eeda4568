"""A throttle for invalid tokens."""

from __future__ import annotations

import ipaddress
import math
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from aiohttp import web

from jobqueue.api.http.problems import ProblemError

if TYPE_CHECKING:
    from collections.abc import Callable

BURST: Final = 10
"""Failed attempts of an address before it may try only one token a second."""
BURST_OF_ALL: Final = 200
PER_SECOND_OF_ALL: Final = 20
_MOST_ADDRESSES: Final = 10_000
_IPV4: Final = 4


@dataclass(slots=True)
class _Bucket:
    """A token bucket: full at first, and refilled with time."""

    size: float
    per_second: float
    level: float
    at: float

    def wait(self, now: float) -> float:
        """Return the seconds until the bucket has a token."""
        self._fill(now)
        return 0.0 if self.level >= 1 else (1 - self.level) / self.per_second

    def take(self, now: float) -> None:
        self._fill(now)
        self.level = max(0.0, self.level - 1)

    def _fill(self, now: float) -> None:
        self.level = min(self.size, self.level + max(0.0, now - self.at) * self.per_second)
        self.at = now


def too_many_attempts(wait: int) -> ProblemError:
    """Return the reply to an address that may try no token for some seconds."""
    detail = "too many invalid tokens came from this address; try again later"
    return ProblemError(429, "too-many-attempts", "Too many failed attempts", detail, {"Retry-After": str(wait)})


class Throttle:
    """Counts failed attempts by address and altogether, never by token, so that nobody can lock out another caller.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._all = _Bucket(BURST_OF_ALL, PER_SECOND_OF_ALL, BURST_OF_ALL, clock())
        self._by_address: OrderedDict[str, _Bucket] = OrderedDict()

    def wait(self, address: str) -> int:
        """Return the seconds until an address may try a token; 0 for now."""
        now = self._clock()
        bucket = self._by_address.get(_network(address))
        return math.ceil(max(self._all.wait(now), bucket.wait(now) if bucket else 0.0))

    def failed(self, address: str) -> None:
        """Note a failed attempt."""
        now, network = self._clock(), _network(address)
        bucket = self._by_address.setdefault(network, _Bucket(BURST, 1, BURST, now))
        self._by_address.move_to_end(network)
        bucket.take(now)
        self._all.take(now)
        if len(self._by_address) > _MOST_ADDRESSES:
            self._by_address.popitem(last=False)


def _network(address: str) -> str:
    """Return the address, or the /64 network of an IPv6 address, as a host has all addresses of its network."""
    try:
        read = ipaddress.ip_address(address)
    except ValueError:
        return address
    if read.version == _IPV4:
        return address
    mapped = read.ipv4_mapped
    return str(mapped) if mapped else str(ipaddress.ip_network((int(read), 64), strict=False))


THROTTLE: Final = web.AppKey("throttle", Throttle)
