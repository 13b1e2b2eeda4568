"""Connect one command to the database."""

from __future__ import annotations

import asyncio
import contextlib
import getpass
import socket
from typing import TYPE_CHECKING, TypeVar

from jobqueue.cli.process import log_output
from jobqueue.cli.render.options import DATABASE
from jobqueue.domain.insight.audit import Actor
from jobqueue.settings import Settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

    from jobqueue.services.application import Runtime

T = TypeVar("T")


def with_runtime(flags: Mapping[str, object], use: Callable[[Runtime], Awaitable[T]], *, creates: bool = False) -> T:
    """Connect as the settings say, and return the result of ``use``.

    Args:
        flags: those of `DATABASE`; others are ignored.
        use: the command.
        creates: make a missing database, which a command that only reads or changes never does.

    Raises:
        NoDatabaseError: the database is missing, and is not to be made.
        SettingsError: with every mistake.
        DatabaseError: from connecting or from ``use``.
    """

    async def run() -> T:
        async with connected(Settings.load({name: flags[name] for name in DATABASE}), creates=creates) as runtime:
            return await use(runtime)

    return asyncio.run(run())


def operator() -> Actor:
    """Return the person at the command line, for the audit."""
    try:
        name = getpass.getuser()
    except (OSError, KeyError):
        name = "unknown"
    return Actor(name=name, via="cli", address=socket.gethostname())


@contextlib.asynccontextmanager
async def connected(settings: Settings, *, creates: bool) -> AsyncIterator[Runtime]:
    """Open the services for the time of the block.

    An embedded MongoDB that this starts goes on for a while: another command may follow.
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
