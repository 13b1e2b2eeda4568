"""A network between a process and its MongoDB: it holds bytes back, is slow, or cuts connections in the middle."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import Counter
from typing import TYPE_CHECKING, Final, Self

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from types import TracebackType

_CHUNK: Final = 65_536


class Proxy:
    """Forwards TCP to a port of this machine, for the time of a block.

    Args:
        port: where to.
        seed: for what is left to chance.

    Attributes:
        cuts: share of the chunks at which a connection is cut, after a part of the chunk.
        slowest: seconds; each chunk is late by a random time up to that.
        late: seconds by which each chunk of a reply is late.
        faults: what has been done so far.
    """

    def __init__(self, port: int, seed: int = 1) -> None:
        self._target = port
        self._rng = random.Random(seed)  # noqa: S311 - no secret
        self._flows = asyncio.Event()
        self._flows.set()
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.cuts = 0.0
        self.slowest = 0.0
        self.late = 0.0
        self.faults: Counter[str] = Counter()
        self.port = 0

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._server is not None:
            self._server.close()
        for task in list(self._tasks):
            task.cancel()
        self.cut()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def url(self) -> str:
        """The URL of the one node behind it: a client that knows the others would bypass the proxy."""
        return f"mongodb://127.0.0.1:{self.port}/?directConnection=true"

    def freeze(self) -> None:
        """Hold all bytes back; connections stay, and new ones get no answer."""
        self._flows.clear()
        self.faults["frozen"] += 1

    def thaw(self) -> None:
        """Pass on the bytes that were held back, and all others."""
        self._flows.set()

    def cut(self) -> None:
        """Cut all connections."""
        self.faults["cut"] += len(self._writers) // 2
        for writer in list(self._writers):
            writer.transport.abort()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            await self._flows.wait()
            with contextlib.suppress(OSError):
                there, back = await asyncio.open_connection("127.0.0.1", self._target)
                self._writers.add(back)
                ways = [self._begin(self._pump(reader, back)), self._begin(self._pump(there, writer, is_reply=True))]
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
                for way in ways:
                    way.cancel()
                self._end(back)
        finally:
            self._end(writer)

    def _begin(self, way: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(way)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _pump(
        self, source: asyncio.StreamReader, target: asyncio.StreamWriter, *, is_reply: bool = False
    ) -> None:
        with contextlib.suppress(OSError):
            while chunk := await source.read(_CHUNK):
                await self._flows.wait()
                if is_reply and self.late:
                    await asyncio.sleep(self.late)
                if self.slowest:
                    await asyncio.sleep(self._rng.uniform(0, self.slowest))
                if self.cuts and self._rng.random() < self.cuts:
                    target.write(chunk[: self._rng.randrange(len(chunk))])
                    self.faults["cut in the middle"] += 1
                    return
                target.write(chunk)
                await target.drain()

    def _end(self, writer: asyncio.StreamWriter) -> None:
        self._writers.discard(writer)
        writer.close()
