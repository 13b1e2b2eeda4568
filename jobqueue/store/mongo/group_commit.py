"""Group commit: calls that come during a round trip share the next one.

No call waits for company: a lone call goes out at once.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

Op = TypeVar("Op")
Out = TypeVar("Out")


class Batcher(Generic[Op, Out]):
    """Gather calls and hand them to one function in batches.

    Args:
        write: carries out a batch; returns for each call its result or the exception to raise.
        most: calls in one batch.
    """

    def __init__(
        self,
        write: Callable[[Sequence[Op]], Awaitable[Sequence[Out | BaseException]]],
        *,
        most: int = 100,
    ) -> None:
        self._write = write
        self._most = most
        self._waiting: list[tuple[Op, asyncio.Future[Out]]] = []
        self._is_busy = False
        self._task: asyncio.Task[None] | None = None

    async def __call__(self, call: Op) -> Out:
        """Carry out a call, possibly together with others."""
        if not self._is_busy:
            return await self._alone(call)
        future: asyncio.Future[Out] = asyncio.get_running_loop().create_future()
        self._waiting.append((call, future))
        return await future

    async def _alone(self, call: Op) -> Out:
        """Carry out a call at once; the calls that come meanwhile share the next round trip."""
        self._is_busy = True
        try:
            (result,) = await self._write([call])
        finally:
            self._is_busy = bool(self._waiting)
            if self._waiting:
                self._task = asyncio.create_task(self._drain())
        if isinstance(result, BaseException):
            raise result
        return result

    async def _drain(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting[: self._most], self._waiting[self._most :]
            try:
                results: Sequence[Out | BaseException] = await self._write([call for call, _ in batch])
                if len(results) != len(batch):
                    results = [RuntimeError(f"{len(results)} results of {len(batch)} calls")] * len(batch)
            except BaseException as error:  # noqa: BLE001 - every caller of the batch must get the error
                results = [error] * len(batch)
            for (_, future), result in zip(batch, results, strict=True):
                if future.done():
                    continue
                if isinstance(result, BaseException):
                    future.set_exception(result)
                else:
                    future.set_result(result)
        self._is_busy = False
