"""The HTTP API of this process, which works on the database itself: commands have one face for both."""

from __future__ import annotations

import contextlib
import socket
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import aiohttp
from aiohttp import web

from jobqueue.api.app import make_app
from jobqueue.api.http import problems
from jobqueue.api.http.connection import Runner
from jobqueue.cli.process.api import Api
from jobqueue.client.errors import UnexpectedReplyError
from jobqueue.client.transport import Transport, Tries
from jobqueue.domain.errors import DatabaseError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from datetime import datetime

    from jobqueue.cli.process.api import Listener
    from jobqueue.client.transport import Reply
    from jobqueue.domain.insight.audit import Actor
    from jobqueue.services.application import Runtime

    Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_WHOLE_DAY: Final = 86_400.0
_MOST_BODY: Final = 1024 * 1024 * 1024
"""Bytes of a request: no stranger can send one here."""


class _OwnApi(Api):
    """The API of this process.

    Args:
        runtime: the services.
        transport: to the application of this process.
        faults: errors of the database, whose messages the API keeps from strangers.
    """

    def __init__(self, runtime: Runtime, transport: Transport, faults: list[DatabaseError]) -> None:
        super().__init__(transport, lambda: None)
        self._runtime, self._faults = runtime, faults

    async def now(self) -> datetime:
        return await self._runtime.database.clock.now()

    async def carry_on(self, operation_id: str) -> bool:
        return await self._runtime.operations.carry_on(operation_id)

    async def _send(self, method: str, *parts: str, **call: Any) -> Reply:
        self._faults.clear()
        # No reply gets lost on the way.
        call["keyed"] = False
        try:
            return await super()._send(method, *parts, **call)
        except DatabaseError:
            raise self._faults[-1] if self._faults else UnexpectedReplyError(503, "no reply") from None


@contextlib.asynccontextmanager
async def of_runtime(runtime: Runtime, person: Actor, told: Listener) -> AsyncIterator[Api]:
    """Give the API of this process to a person, who may do anything, for the time of the block.

    No other process reaches it: connections are pairs of sockets within the process.
    """
    app, faults = make_app(runtime, person=person, most_body=_MOST_BODY), list[DatabaseError]()
    app.middlewares.append(_keeping(faults))
    runner = Runner(app, shutdown_timeout=0)
    await runner.setup()
    tries = Tries(
        seconds=_WHOLE_DAY,
        patience=told.patience,
        failed=lambda error: told(faults[-1] if faults else error),
        connector=partial(_Connector, runner.server),
    )
    api = _OwnApi(runtime, Transport("http://localhost", "", None, tries), faults)
    try:
        yield api
    finally:
        await api.close()
        await runner.cleanup()


def _keeping(faults: list[DatabaseError]) -> Any:
    """Return a middleware that keeps errors of the database."""

    @web.middleware
    async def keep(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            return await handler(request)
        except DatabaseError as error:
            faults.append(error)
            return problems.of_error(error).response()

    return keep


class _Connector(aiohttp.BaseConnector):
    """Connects to a server of this process by pairs of sockets."""

    def __init__(self, accept: Callable[[], Any] | None, **options: Any) -> None:
        super().__init__(**options)
        assert accept is not None  # noqa: S101 - the runner is set up
        self._accept = accept

    async def _create_connection(self, *_args: Any, **_options: Any) -> Any:
        near, far = socket.socketpair()
        await self._loop.connect_accepted_socket(self._accept, far)
        _, protocol = await self._loop.create_connection(self._factory, sock=near)
        return protocol
