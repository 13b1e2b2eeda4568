"""Connect one command to the API of a server, or to the database."""

from __future__ import annotations

import asyncio
import contextlib
import getpass
import os
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from jobqueue.cli.process import log_output
from jobqueue.cli.render import errors, output
from jobqueue.cli.render.options import DATABASE
from jobqueue.domain.errors import InvalidInputError
from jobqueue.domain.insight.audit import Actor
from jobqueue.settings import Settings, secret

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

    from jobqueue.cli.process.api import Api
    from jobqueue.domain.errors import JobQueueError
    from jobqueue.services.application import Runtime

T = TypeVar("T")
PATIENCE_SECONDS: Final = 10.0
"""Seconds for which a call is repeated when there is no answer."""
_SILENT_SECONDS: Final = 0.9
"""Seconds after which a command says that there is no answer."""
_PLACES: Final = ("mongo_url", "db", "data_dir", "mongod")
_LOGGING: Final = ("log_level", "log_format")
_URL: Final = "JOBQUEUE_URL"
_TOKEN: Final = "JOBQUEUE_API_TOKEN"  # noqa: S105 - the name of a variable
_IN_SCRIPT: Final = "JOBQUEUE_JOB_ID"
_NAMES: Final = {"url": f"--server, or {_URL}", "token": f"--token, or {_TOKEN}"}
_DATABASE_URL: Final = ("JOBQUEUE_MONGO_URL", "JOBQUEUE_MONGO_URL_FILE")


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A server of the API; ``token`` is empty for none."""

    url: str
    token: str


def with_api(flags: Mapping[str, Any], use: Callable[[Api], Awaitable[T]], *, creates: bool = False) -> T:
    """Connect as the flags and the environment say, and return the result of ``use``.

    Args:
        flags: those of `CONNECTION`; others are ignored.
        use: the command.
        creates: make a missing database, which a command that only reads or changes never does.

    Raises:
        click.UsageError: the flags exclude each other.
        NoDatabaseError: the database is missing, and is not to be made.
        SettingsError: with every mistake.
        DatabaseError, ServerUnreachableError: from connecting or from ``use``.
    """

    async def run() -> T:
        async with opened(flags, creates=creates) as api:
            return await use(api)

    return asyncio.run(run())


def operator() -> Actor:
    """Return the person at the command line, for the audit."""
    try:
        name = getpass.getuser()
    except (OSError, KeyError):
        name = "unknown"
    return Actor(name=name, via="cli", address=socket.gethostname())


def named_server(flags: Mapping[str, Any]) -> Server | None:
    """Return the server that a command is for; ``None`` if it is for a database.

    Flags win over the environment. In the script of a job, whose JOBQUEUE_URL is not of its own choice, a database in
    the environment wins too.

    Raises:
        click.UsageError: flags exclude each other, or a token comes without a server.
    """
    url, token = flags.get("server"), flags.get("token")
    places = [f"--{name.replace('_', '-')}" for name in _PLACES if flags.get(name) is not None]
    if url is not None and places:
        raise click.UsageError(
            f"--server and {places[0]} exclude each other: say either which server or which database"
        )
    if url is None and not places:
        present = os.environ.get(_URL, "").strip()
        is_forced = _IN_SCRIPT in os.environ and any(os.environ.get(name, "").strip() for name in _DATABASE_URL)
        url = None if is_forced else present or None
    if url is None:
        if token is not None:
            raise click.UsageError(f"--token is for a server: name it by --server or {_URL}")
        return None
    return Server(url=url, token=secret(_TOKEN, os.environ, Path.cwd()) if token is None else token)


@contextlib.asynccontextmanager
async def opened(flags: Mapping[str, Any], *, creates: bool, quiet: bool = False) -> AsyncIterator[Api]:
    """Give the API that a command is for, for the time of the block; ``quiet`` tells nobody of missing answers.

    Raises:
        JobQueueError, click.UsageError: as `with_api`.
    """
    server = named_server(flags)
    settings = Settings.load({name: flags[name] for name in (_LOGGING if server else DATABASE)})
    log_output.configure(settings, service=False)
    told = Told("MongoDB" if server is None else server.url, quiet=quiet)
    async with _database(settings, told, creates=creates) if server is None else _server(server, told) as api:
        yield api


@contextlib.asynccontextmanager
async def _server(server: Server, told: Told) -> AsyncIterator[Api]:
    from jobqueue.cli.process.api import of_server  # noqa: PLC0415 - aiohttp takes 0.3 s to import, --help must not

    try:
        api = of_server(server.url, server.token, told)
    except InvalidInputError as error:
        raise InvalidInputError({_NAMES.get(path, path): texts for path, texts in error.problems.items()}) from None
    told.expect()
    try:
        yield api
    finally:
        told.answered()
        await api.close()


@contextlib.asynccontextmanager
async def _database(settings: Settings, told: Told, *, creates: bool) -> AsyncIterator[Api]:
    from jobqueue.cli.process.own_api import of_runtime  # noqa: PLC0415 - the driver takes 0.2 s to import, --help must not

    async with connected(settings, creates=creates, told=told) as runtime, of_runtime(runtime, operator(), told) as api:
        yield api


class Told:
    """Tells people on stderr, once, that there is no answer.

    Args:
        whom: the name of that which is to answer.
        quiet: tell nobody.
    """

    patience = PATIENCE_SECONDS

    def __init__(self, whom: str, *, quiet: bool = False) -> None:
        self._whom, self._has_told = whom, quiet or errors.is_json()
        self._timer: asyncio.TimerHandle | None = None

    def __call__(self, error: JobQueueError) -> None:
        """Tell the reason why a call is repeated."""
        self._tell(str(error))

    def expect(self) -> None:
        """Expect an answer at once."""
        silence = f"no answer yet from {self._whom}"
        self._timer = asyncio.get_running_loop().call_later(_SILENT_SECONDS, self._tell, silence)

    def answered(self) -> None:
        """Expect nothing any more."""
        if self._timer is not None:
            self._timer.cancel()

    def _tell(self, text: str) -> None:
        self.answered()
        if not self._has_told:
            self._has_told = True
            output.note(f"{text}: trying for {self.patience:g} seconds")


@contextlib.asynccontextmanager
async def connected(settings: Settings, *, creates: bool, told: Told | None = None) -> AsyncIterator[Runtime]:
    """Open the services for the time of the block.

    An embedded MongoDB that this starts goes on for a while: another command may follow.
    """
    from jobqueue.services.application import Runtime  # noqa: PLC0415 - the driver takes 0.2 s to import, --help must not

    told = told or Told("MongoDB")
    if settings.mongo_url is not None:
        told.expect()
    try:
        runtime = await Runtime.open(settings, creates=creates, answered=told.answered)
    finally:
        told.answered()
    try:
        yield runtime
    finally:
        if runtime.embedded is not None:
            await asyncio.to_thread(runtime.embedded.release, linger=True)
        await runtime.close()
