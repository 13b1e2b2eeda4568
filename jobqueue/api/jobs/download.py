"""Files that are sent part by part, so that their size needs no memory.

A transfer that breaks off never looks whole: its last chunk is missing. A client that takes nothing is left.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from aiohttp import hdrs

from jobqueue.api.http.problems import ProblemError
from jobqueue.api.security.token_watch import watched
from jobqueue.domain.errors import JobQueueError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from aiohttp import web

STALLED: Final = 60.0
"""Seconds after which a client that takes nothing of a file is left."""
_PIECE: Final = 256 * 1024


async def send_parts(
    request: web.Request,
    response: web.StreamResponse,
    parts: AsyncIterator[bytes],
    aborted: Callable[[str], None],
) -> web.StreamResponse:
    """Send a file; it ends as soon as the token of its request does.

    Args:
        request: of the file.
        response: its head.
        parts: its bytes; a request of ``HEAD`` gets none.
        aborted: is told why the file broke off.
    """
    await response.prepare(request)
    if request.method == hdrs.METH_HEAD:
        return response
    try:
        async with watched(request, ending=True):
            async for part in parts:
                for start in range(0, len(part), _PIECE):
                    await _write(request, response, part[start : start + _PIECE])
        await response.write_eof()
    except ConnectionError:
        aborted("the client is gone, or takes nothing")
    except (JobQueueError, ProblemError) as error:
        # Only an aborted transfer still shows the client that a part is missing.
        aborted(str(error))
    except BaseException:
        # The reply to an unforeseen error must not end up in the file.
        _close(request)
        raise
    else:
        return response
    _close(request)
    return response


async def _write(request: web.Request, response: web.StreamResponse, piece: bytes) -> None:
    try:
        async with asyncio.timeout(STALLED):
            await response.write(piece)
    except TimeoutError:
        if request.transport is not None:
            # What waits to be sent would keep the connection open.
            request.transport.abort()
        raise ConnectionError("the client takes nothing") from None


def _close(request: web.Request) -> None:
    if request.transport is not None:
        request.transport.close()
