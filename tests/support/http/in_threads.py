"""A blocking client as a test on an event loop calls it: in threads, so that the server of the test can answer."""

from __future__ import annotations

import asyncio
import functools
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from jobqueue import BlockingProducer

_EXECUTOR: Final = ThreadPoolExecutor(40, thread_name_prefix="blocking")
"""Threads of their own: those of the event loop have to be free for the server."""
_ITERATING = {"jobs", "search", "rows", "logs", "schedules", "batches"}


class InThreads:
    """The calls of a blocking client, awaited."""

    def __init__(self, client: BlockingProducer) -> None:
        self.client = client

    async def run(self, function: Callable[..., Any], *args: Any) -> Any:
        """Call a function in a thread."""
        return await in_thread(function, *args)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self.client, name)
        if name in _ITERATING:
            return functools.partial(_all, method)
        return functools.partial(in_thread, method)


async def _all(method: Callable[..., Iterator[Any]], *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
    for item in await in_thread(lambda: list(method(*args, **kwargs))):
        yield item


async def in_thread(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Call a function in a thread."""
    return await asyncio.get_running_loop().run_in_executor(_EXECUTOR, functools.partial(function, *args, **kwargs))
