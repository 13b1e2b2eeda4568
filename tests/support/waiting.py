"""Waiting for what happens by itself: look again and again, never sleep for a fixed time."""

from __future__ import annotations

import asyncio
import inspect
from typing import TYPE_CHECKING, Any, TypeVar, overload

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from jobqueue.services.work.dispatcher import Dispatcher

T = TypeVar("T")


@overload
async def eventually(look: Callable[[], Awaitable[T]], *, within: float = 20, every: float = 0.01) -> T: ...
@overload
async def eventually(look: Callable[[], T], *, within: float = 20, every: float = 0.01) -> T: ...
async def eventually(look: Callable[[], Any], *, within: float = 20, every: float = 0.01) -> Any:
    """Return what is seen as soon as it is true; a plain or an async function may look.

    Raises:
        TimeoutError: it is not within as many seconds.
    """
    async with asyncio.timeout(within):
        while True:
            seen = look()
            found = await seen if inspect.isawaitable(seen) else seen
            if found:
                return found
            await asyncio.sleep(every)


def has_nothing_to_do(dispatcher: Dispatcher) -> bool:
    """Tell whether a worker has looked for jobs and will not look again by itself."""
    return all(one.known == 0 and not one.taken for one in dispatcher._appetites.values())
