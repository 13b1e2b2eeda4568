"""A proxy between a client and a server that cuts, delays, repeats and refuses requests, by chance."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from typing import TYPE_CHECKING, Final, Self

import aiohttp
from aiohttp import web

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

FAULTS: Final = ("cut before", "cut after", "delay", "repeat", "503", "502", "429")
_SLOWEST: Final = 0.05
_HOP: Final = frozenset({"host", "content-length", "transfer-encoding", "connection", "content-encoding"})


class BadProxy:
    """Forwards requests to a server, for the time of a block.

    Args:
        url: of the server.
        seed: for what is left to chance.

    Attributes:
        share: of the requests that get a fault.
        faults: kinds of faults, chosen by chance.
        plan: faults of the next requests, one each, in place of chance; ``None`` for none.
        done: the faults so far.
        requests: methods and paths of all requests that came.
    """

    def __init__(self, url: str, seed: int = 1) -> None:
        self._target = url.rstrip("/")
        self._rng = random.Random(seed)  # noqa: S311 - no secret
        self.share = 0.0
        self.faults: tuple[str, ...] = FAULTS
        self.plan: list[str | None] = []
        self.done: Counter[str] = Counter()
        self.requests: list[tuple[str, str]] = []
        self.url = ""

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(auto_decompress=False)
        app = web.Application(client_max_size=2**27)
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._runner.cleanup()
        await self._session.close()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        self.requests.append((request.method, request.path))
        fault = self._fault()
        body = await request.read()
        if fault is not None:
            self.done[fault] += 1
        if fault == "cut before":
            return self._cut(request)
        if fault in {"502", "503", "429"}:
            return web.Response(status=int(fault), text="not now", headers={"Retry-After": "0"})
        if fault == "delay":
            await asyncio.sleep(self._rng.uniform(0, _SLOWEST))
        if fault == "repeat":
            await self._forward(request, body)
        status, headers, reply = await self._forward(request, body)
        if fault == "cut after":
            return self._cut(request)
        return web.Response(status=status, headers=headers, body=reply)

    def _fault(self) -> str | None:
        if self.plan:
            return self.plan.pop(0)
        return self._rng.choice(self.faults) if self._rng.random() < self.share else None

    async def _forward(self, request: web.Request, body: bytes) -> tuple[int, Mapping[str, str], bytes]:
        headers = {name: value for name, value in request.headers.items() if name.lower() not in _HOP}
        url = f"{self._target}{request.raw_path}"
        async with self._session.request(request.method, url, data=body or None, headers=headers) as reply:
            kept = {name: value for name, value in reply.headers.items() if name.lower() not in _HOP}
            return reply.status, kept, await reply.read()

    @staticmethod
    def _cut(request: web.Request) -> web.StreamResponse:
        if request.transport is not None:
            request.transport.abort()
        return web.Response()
