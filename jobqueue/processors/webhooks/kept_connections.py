"""Connections that are kept for the next webhook of the same receiver.

A receiver may close a kept connection at the moment in which a request is sent over it. Such a request fails although
nobody has refused it: see `was_stale`.
"""

from __future__ import annotations

import functools
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final

import aiohttp
from aiohttp.client_proto import ResponseHandler

if TYPE_CHECKING:
    import asyncio

    from aiohttp.client_reqrep import ConnectionKey

KEPT_SECONDS: Final = 4.0
"""Seconds for which a connection is kept; servers usually close theirs after five, or later."""
LONGEST_SECONDS: Final = 60.0
"""Age in seconds from which a connection takes no further request, so that a name may get other addresses."""
MOST_KEPT: Final = 100
"""Connections that are kept at a time, to all receivers together."""
_IN_USE: ContextVar[_KeptConnection | None] = ContextVar("connection_in_use", default=None)
"""The connection of the last request of the present task."""


class KeptConnections(aiohttp.TCPConnector):
    """Keeps connections; the options are those of `aiohttp.TCPConnector`.

    Host names are looked up, and addresses checked, for each connection. A kept connection leads to the address that
    was checked, and takes requests only for the scheme, the host name and the port that it was made for.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(keepalive_timeout=KEPT_SECONDS, **options)
        self._factory = functools.partial(_KeptConnection, loop=self._loop)  # type: ignore[assignment]

    def _release(self, key: ConnectionKey, protocol: ResponseHandler, *, should_close: bool = False) -> None:
        """Keep a connection whose reply is complete, or close it."""
        is_full = sum(map(len, self._conns.values())) >= MOST_KEPT
        if isinstance(protocol, _KeptConnection):
            protocol.is_idle = True
        super()._release(key, protocol, should_close=should_close or is_full)


class _KeptConnection(ResponseHandler):
    """A connection.

    Attributes:
        is_idle: no request waits for its reply.
        requests: the number of requests so far.
        has_reply: any byte has come since the last request.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self._until = loop.time() + LONGEST_SECONDS
        self.is_idle = False
        self.requests = 0
        self.has_reply = False

    def set_response_params(self, **options: Any) -> None:
        """Get ready for the reply to a request that is sent now."""
        self.is_idle = False
        self.requests += 1
        self.has_reply = False
        _IN_USE.set(self)
        super().set_response_params(**options)

    def data_received(self, data: bytes) -> None:
        """Take bytes of a reply; bytes that no request has asked for must not become the reply to the next request.

        aiohttp calls this without any bytes, too, to go on with what has come.
        """
        if data and self.is_idle:
            self.close()
            return
        self.has_reply = self.has_reply or bool(data)
        super().data_received(data)

    def is_connected(self) -> bool:
        """Return True if the connection can take another request."""
        return super().is_connected() and self._loop.time() < self._until


def begin() -> None:
    """Forget the connection of the last request of this task."""
    _IN_USE.set(None)


def was_stale() -> bool:
    """Return True if this task's request went over a kept connection, from which no byte of a reply has come."""
    connection = _IN_USE.get()
    return connection is not None and connection.requests > 1 and not connection.has_reply
