"""One connection to the database for the time of one command."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, TypeVar

from jobqueue.cli.process import log_output
from jobqueue.settings import Settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

    from jobqueue.services.application import Runtime

T = TypeVar("T")


def with_runtime(flags: Mapping[str, object], use: Callable[[Runtime], Awaitable[T]], *, creates: bool = False) -> T:
    """Connect as the settings say, and return what ``use`` makes of the services.

    Args:
        flags: of the command.
        use: the command.
        creates: make the database if it is not there, which a command that only reads or changes never does.

    Raises:
        NoDatabaseError: there is none, and none is to be made.
        SettingsError: with every mistake.
        DatabaseError: from connecting or from ``use``.
    """

    async def run() -> T:
        async with connected(Settings.load(flags), creates=creates) as runtime:
            return await use(runtime)

    return asyncio.run(run())


@contextlib.asynccontextmanager
async def connected(settings: Settings, *, creates: bool) -> AsyncIterator[Runtime]:
    """Open the services for the time of the block.

    An embedded MongoDB that was started for it outlives it a little: another command may follow.
    """
    from jobqueue.services.application import Runtime  # noqa: PLC0415 - the driver takes 0.2 s to import, --help must not

    log_output.configure(settings, service=False)
    runtime = await Runtime.open(settings, creates=creates)
    try:
        yield runtime
    finally:
        if runtime.embedded is not None:
            await asyncio.to_thread(runtime.embedded.release, linger=True)
        await runtime.close()
