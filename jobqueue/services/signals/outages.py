"""Calls that outlive an outage of the database."""

from __future__ import annotations

from typing import TYPE_CHECKING

import stamina

from jobqueue.domain.errors import DatabaseError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from typing import TypeVar

    T = TypeVar("T")


async def outlive(call: Callable[[], Awaitable[T]]) -> T:
    """Return the result of a call, which is made again for as long as the database fails.

    Nearly every call succeeds at once: only the others pay for the bookkeeping of retries, a fifth of a worker's time.
    """
    try:
        return await call()
    except DatabaseError:
        pass
    async for attempt in stamina.retry_context(on=DatabaseError, attempts=None, timeout=None):
        with attempt:
            return await call()
    raise AssertionError("stamina tries until a call returns")
