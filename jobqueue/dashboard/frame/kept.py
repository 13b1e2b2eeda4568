"""Values that pages keep for some seconds; visits at the same time share the work."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web

from jobqueue.lru_cache import LruCache

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Hashable

    Make = Callable[[], Coroutine[Any, Any, Any]]

_MOST_KEPT: Final = 500


class Kept:
    """Values of one application by keys, which name the visitor too."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._tasks: LruCache[Hashable, tuple[asyncio.Task[Any], float]] = LruCache(_MOST_KEPT)
        self._values: LruCache[Hashable, tuple[Any, float]] = LruCache(_MOST_KEPT)
        self._clock = clock

    async def get(self, key: Hashable, seconds: float, make: Make) -> Any:
        """Return a value that is at most so many seconds old; raises as the coroutine that makes the value."""
        return await asyncio.shield(self._task(key, seconds, make))

    async def soon(
        self, key: Hashable, seconds: float, make: Make, patience: float, oldest: float = float("inf")
    ) -> Any:
        """Return a value as `get`, or ``None`` after some seconds.

        Args:
            key: of the value.
            seconds: as for `get`.
            make: as for `get`.
            patience: seconds to wait.
            oldest: seconds for which the value before takes the place of ``None``.
        """
        task = self._task(key, seconds, make)
        await asyncio.wait({task}, timeout=patience)
        if task.done() and not task.cancelled() and task.exception() is None:
            return task.result()
        before = self._values.get(key)
        return None if before is None or before[1] + oldest < self._clock() else before[0]

    def forget(self) -> None:
        """Forget all values, as a visitor who has changed something wants to see it."""
        self._tasks.clear()

    def _task(self, key: Hashable, seconds: float, make: Make) -> asyncio.Task[Any]:
        kept = self._tasks.get(key)
        if kept is not None and (not kept[0].done() or (kept[1] > self._clock() and not _has_failed(kept[0]))):
            return kept[0]
        task = asyncio.create_task(make())
        self._tasks.keep(key, (task, self._clock() + seconds))
        task.add_done_callback(lambda done: _has_failed(done) or self._values.keep(key, (done.result(), self._clock())))
        return task


def _has_failed(task: asyncio.Task[Any]) -> bool:
    return task.cancelled() or task.exception() is not None


KEPT: Final = web.AppKey("kept", Kept)
