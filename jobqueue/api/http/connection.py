"""Connections: a problem answers bytes that are no HTTP, and a silent connection is closed."""

from __future__ import annotations

import http
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from jobqueue.api.http import problems
from jobqueue.api.http.middleware import harden
from jobqueue.journal import get_logger

if TYPE_CHECKING:
    import asyncio

log = get_logger(__name__)
HEAD_SECONDS: Final = 15.0
"""Time for the head of the first request on a connection."""
IDLE_SECONDS: Final = 75.0
"""Time for the head of each later request, from the reply before."""
LINGER_SECONDS: Final = 5.0
"""Time in which a refused body may still arrive, so that its sender can read the reply."""
LONGEST_LINE: Final = 16 * 1024
"""Bytes of the first line of a request, and of a header."""


class Connection(RequestHandler):
    """One connection of a client."""

    __slots__ = ("_head_timer",)

    def __init__(self, manager: web.Server, *, loop: asyncio.AbstractEventLoop, **options: Any) -> None:
        super().__init__(manager, loop=loop, **options)
        self._head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start the timer for the first request."""
        super().connection_made(transport)
        self._head_timer = self._loop.call_later(HEAD_SECONDS, self._close_if_silent)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Stop the timer."""
        if self._head_timer is not None:
            self._head_timer.cancel()
        super().connection_lost(exc)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Return a problem for bytes that are no HTTP request, or for an error outside of the application."""
        if status >= http.HTTPStatus.INTERNAL_SERVER_ERROR:
            log.error("connection failed", remote=request.remote, exc_info=exc)
            response = problems.internal().response()
        else:
            log.info(
                "request unreadable",
                remote=request.remote,
                status=status,
                error=(message or "").partition("\n")[0][:100],
            )
            response = problems.not_http(status, message or "").response()
        harden(response, secure=request.secure)
        response.force_close()
        return response

    def log_exception(self, *args: Any, **options: Any) -> None:
        """Log errors outside of the application; a body that breaks off is logged for debugging only."""
        if isinstance(options.get("exc_info"), web.RequestPayloadError):
            self.log_debug(*args, **options)
        else:
            super().log_exception(*args, **options)

    def _close_if_silent(self) -> None:
        if self._request_count == 0:
            self.force_close()


class _Connections(web.Server):
    """A server whose protocol is `Connection`."""

    def __init__(self, server: web.Server, options: dict[str, Any]) -> None:
        super().__init__(server.request_handler, request_factory=server.request_factory)
        self._options = options

    def __call__(self) -> RequestHandler:
        """Return the protocol of a new connection."""
        return Connection(self, loop=self._loop, **self._options)


class Runner(web.AppRunner):
    """Runs an application that logs its requests itself."""

    def __init__(self, app: web.Application, *, shutdown_timeout: float) -> None:
        super().__init__(app, access_log=None, shutdown_timeout=shutdown_timeout)

    async def _make_server(self) -> web.Server:
        options = {
            "access_log": None,
            "keepalive_timeout": IDLE_SECONDS,
            "lingering_time": LINGER_SECONDS,
            "max_line_size": LONGEST_LINE,
            "max_field_size": LONGEST_LINE,
        }
        return _Connections(await super()._make_server(), options)
