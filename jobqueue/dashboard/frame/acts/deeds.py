"""Forms that were sent lately: a second click on a button, and a form that is sent again, do nothing twice."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web

from jobqueue.dashboard.frame.acts.form import Preview
from jobqueue.lru_cache import LruCache

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Hashable

KEPT_SECONDS: Final = 600.0
_MOST_KEPT: Final = 1000


class Deeds:
    """Outcomes of forms of one application by their keys, which name the visitor too.

    Requests for the same outcome at the same time share the work.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._kept: LruCache[Hashable, tuple[asyncio.Task[Any], float]] = LruCache(_MOST_KEPT)
        self._clock = clock

    def __len__(self) -> int:
        return len(self._kept)

    async def once(self, key: Hashable, do: Callable[[], Coroutine[Any, Any, Any]]) -> tuple[Any, bool]:
        """Return the outcome of a form, and whether it was there before.

        A preview and a failure do not count: the form may be sent again. The work goes on if the browser has gone away,
        as it has after a second click.
        """
        now = self._clock()
        for old in [old for old in self._kept if self._kept.peek(old)[1] <= now]:
            self._kept.forget(old)
        kept = self._kept.get(key)
        if kept is not None and _counts(kept[0]):
            return await asyncio.shield(kept[0]), True
        task = asyncio.create_task(do())
        self._kept.keep(key, (task, now + KEPT_SECONDS))
        task.add_done_callback(lambda done: self._ended(key, done))
        return await asyncio.shield(task), False

    def _ended(self, key: Hashable, done: asyncio.Task[Any]) -> None:
        # The traceback of a failure would keep all that was typed.
        if not _counts(done) and (kept := self._kept.get(key)) is not None and kept[0] is done:
            self._kept.forget(key)


def _counts(task: asyncio.Task[Any]) -> bool:
    if not task.done():
        return True
    return not task.cancelled() and task.exception() is None and not isinstance(task.result(), Preview)


DEEDS: Final = web.AppKey("deeds", Deeds)
