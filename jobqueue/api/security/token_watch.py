"""Re-check of a caller's token while a long request waits."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final

from aiohttp import hdrs

from jobqueue.api.http.keys import CALLER, RUNTIME
from jobqueue.api.http.problems import ProblemError
from jobqueue.domain.errors import DatabaseError
from jobqueue.loop_errors import LoopErrors

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from aiohttp import web

    from jobqueue.domain.access.access import Caller

SESSION_COOKIE: Final = "jobqueue_session"
"""The cookie of a session of the dashboard."""
_CHECK_SECONDS: Final = 1.0


class TokenWatch:
    """The connection and the token of a caller since the request came.

    Attributes:
        refusal: the reply once the token is not valid any more.
    """

    def __init__(self, request: web.Request) -> None:
        self._request = request
        self.refusal: ProblemError | None = None

    def gone(self) -> bool:
        """Return True if the connection is closed, or the token not valid any more."""
        transport = self._request.transport
        return self.refusal is not None or transport is None or transport.is_closing()

    async def check(self) -> None:
        """Check the token now.

        Raises:
            ProblemError: 401, the token is not valid any more.
        """
        if self.refusal is None:
            try:
                await confirm(self._request)
            except ProblemError as error:
                self.refusal = error
        if self.refusal is not None:
            raise self.refusal


@contextlib.asynccontextmanager
async def watched(request: web.Request, *, ending: bool = False) -> AsyncIterator[TokenWatch]:
    """Check the caller's token every second while the block runs.

    Args:
        request: the request that waits.
        ending: cancel the block as soon as the token is not valid any more; else the block ends by itself, and the
            token is checked once more then.

    Raises:
        ProblemError: 401, the token is not valid any more.
    """
    watch = TokenWatch(request)
    if request[CALLER].token_id is None:
        yield watch
        return
    limit = asyncio.timeout(None)
    count = request.app[RUNTIME].metrics.loop_failed
    task = asyncio.create_task(_watch(watch, limit if ending else None, count))
    try:
        async with limit:
            yield watch
    except TimeoutError:
        if watch.refusal is None:
            raise
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    if watch.refusal is not None or not ending:
        await watch.check()


async def _watch(watch: TokenWatch, limit: asyncio.Timeout | None, count: Callable[[str], None]) -> None:
    turns = LoopErrors("tokens of waiting requests", count)
    while watch.refusal is None:
        await asyncio.sleep(max(_CHECK_SECONDS, turns.pause))
        # While the database is away the check cannot find anything.
        with turns.turn(), contextlib.suppress(DatabaseError, ProblemError):
            await watch.check()
    if limit is not None:
        limit.reschedule(asyncio.get_running_loop().time())


def bearer(request: web.Request) -> str:
    """Return the API token of a request; empty if it has none, or several."""
    return credentials(request, "bearer")


def credentials(request: web.Request, scheme: str) -> str:
    """Return the token that a request sends under a scheme of ``Authorization``; empty if it has none, or several."""
    headers = request.headers.getall(hdrs.AUTHORIZATION, [])
    name, _, token = (headers[0] if len(headers) == 1 else "").partition(" ")
    return token.strip() if name.lower() == scheme else ""


async def confirm(request: web.Request) -> None:
    """Check once more the stored token of a request that was admitted.

    Raises:
        ProblemError: 401, the token is not valid any more.
    """
    if request[CALLER].token_id is None:
        return
    text = bearer(request)
    present = await request.app[RUNTIME].access.caller(text) if text else await visitor_of(request)
    if present is None:
        raise unauthorized()


async def visitor_of(request: web.Request) -> Caller | None:
    """Return the caller of the session of the dashboard that a request's cookie names, if it is valid."""
    cookie = request.cookies.get(SESSION_COOKIE, "")
    return await request.app[RUNTIME].sessions.caller(cookie) if cookie else None


def unauthorized() -> ProblemError:
    """Return the reply to a request without a valid token."""
    detail = "send a valid token: Authorization: Bearer <token>"
    return ProblemError(401, "unauthorized", "Unauthorized", detail, {"WWW-Authenticate": 'Bearer realm="jobqueue"'})
