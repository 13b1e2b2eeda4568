"""Wait for conditions: look again and again, never sleep for a fixed time."""

from __future__ import annotations

import asyncio
import inspect
from typing import TYPE_CHECKING, Any, Final, TypeVar, overload

from tests.support.data.scale import sized

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from jobqueue.services.work.dispatcher import Dispatcher

T = TypeVar("T")
SLOWNESS: Final = sized(2, 5)
"""A machine may be this much slower than a quiet one; the full tests run beside many processes of their own."""


@overload
async def eventually(look: Callable[[], Awaitable[T]], *, within: float = 20, every: float = 0.01) -> T: ...
@overload
async def eventually(look: Callable[[], T], *, within: float = 20, every: float = 0.01) -> T: ...
async def eventually(look: Callable[[], Any], *, within: float = 20, every: float = 0.01) -> Any:
    """Return the value of a look as soon as it is true; a plain or an async function may look.

    Args:
        look: takes a look.
        within: seconds of a quiet machine.
        every: seconds between the first looks; later ones are up to five times as far apart, as a look costs something.

    Raises:
        TimeoutError: it is not within as many seconds of a quiet machine.
    """
    pause = every
    async with asyncio.timeout(within * SLOWNESS):
        while True:
            seen = look()
            result = await seen if inspect.isawaitable(seen) else seen
            if result:
                return result
            await asyncio.sleep(pause)
            pause = min(pause * 1.2, every * 5)


def has_nothing_to_do(dispatcher: Dispatcher) -> bool:
    """Tell whether a worker has looked for jobs and will not look again by itself."""
    return all(one.known == 0 and not one.taken for one in dispatcher._demands.values())
