"""Whether who makes a request may still have the answer, when that comes much later than the request."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final

from aiohttp import hdrs

from jobqueue.api.http.keys import CALLER, RUNTIME
from jobqueue.api.http.problems import Problem, ProblemError
from jobqueue.domain.errors import DatabaseError
from jobqueue.loop_errors import LoopErrors

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from aiohttp import web

_LOOK_SECONDS: Final = 1.0


class TokenWatch:
    """What has become of the caller since the request came.

    Attributes:
        refusal: what to answer since its token is not valid any more.
    """

    def __init__(self, request: web.Request) -> None:
        self._request = request
        self.refusal: ProblemError | None = None

    def gone(self) -> bool:
        """Tell whether nobody is to have the answer: the connection is closed, or the token not valid any more."""
        transport = self._request.transport
        return self.refusal is not None or transport is None or transport.is_closing()

    async def look(self) -> None:
        """Look now.

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
    """Look at the caller's token again and again while the block runs.

    Args:
        request: that has come.
        ending: end the block, wherever it waits, as soon as the token is not valid any more; else it is left to end
            by itself, and the token is looked at once more then.

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
        await watch.look()


async def _watch(watch: TokenWatch, limit: asyncio.Timeout | None, count: Callable[[str], None]) -> None:
    turns = LoopErrors("tokens of waiting requests", count)
    while watch.refusal is None:
        await asyncio.sleep(max(_LOOK_SECONDS, turns.pause))
        # While the database is away nobody hears anything of it either.
        with turns.turn(), contextlib.suppress(DatabaseError, ProblemError):
            await watch.look()
    if limit is not None:
        limit.reschedule(asyncio.get_running_loop().time())


def bearer(request: web.Request) -> str:
    """Return the token that is sent; nothing if there is none, or more than one."""
    given = request.headers.getall(hdrs.AUTHORIZATION, [])
    scheme, _, sent = (given[0] if len(given) == 1 else "").partition(" ")
    return sent.strip() if scheme.lower() == "bearer" else ""


async def confirm(request: web.Request) -> None:
    """Look once more at the stored token of a request that has been let in.

    Raises:
        ProblemError: 401, it is not valid any more.
    """
    if request[CALLER].token_id is not None and await request.app[RUNTIME].access.caller(bearer(request)) is None:
        raise unauthorized()


def unauthorized() -> ProblemError:
    """Return the answer to who has no valid token."""
    return ProblemError(
        Problem(
            status=401,
            slug="unauthorized",
            title="Unauthorized",
            detail="send a valid token: Authorization: Bearer <token>",
            headers={"WWW-Authenticate": 'Bearer realm="jobqueue"'},
        )
    )
