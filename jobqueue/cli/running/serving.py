"""Run the server: the API, webhooks, commands and the maintenance on one database."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from aiohttp import web

from jobqueue.api.http.connection import Runner
from jobqueue.cli.process import log_output, process
from jobqueue.cli.render.output import announce
from jobqueue.cli.running import sockets as listening
from jobqueue.dashboard.app import make_app
from jobqueue.domain.errors import SettingsError
from jobqueue.journal import get_logger
from jobqueue.processors.commands.commands_file import load_commands
from jobqueue.processors.webhooks.webhook import WebhookClient
from jobqueue.services.alerts.sending import AlertLanes
from jobqueue.services.application import Runtime
from jobqueue.services.server import ConfiguredLanes, LocalProcessors
from jobqueue.settings import Settings

if TYPE_CHECKING:
    import socket
    import ssl
    from collections.abc import Mapping, Sequence

    from jobqueue.cli.process.process import StopSignals
    from jobqueue.processors.commands.commands_file import Command

log = get_logger(__name__)
_REQUEST_SECONDS: Final = 5.0
"""Longest time that requests may take after the stop."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """An address that the server listens on.

    Attributes:
        is_private: only this machine can reach it.
        tls: the TLS context; ``None`` for plain HTTP.
    """

    is_private: bool
    tls: ssl.SSLContext | None


def run(flags: Mapping[str, str | None]) -> int:
    """Serve until a signal, and return the exit code.

    Raises:
        SettingsError: with every mistake, or because others could reach a server without a token.
        ListenError: the port cannot be taken.
    """
    settings = Settings.load(flags)
    addresses = listening.resolve(settings.host)
    endpoint = Endpoint(is_private=listening.is_private(addresses), tls=listening.tls(settings))
    log_output.configure(settings, service=True)
    commands = load_commands(settings.commands) if settings.commands else {}
    process.raise_file_limit()
    sockets = listening.bind(addresses, settings.port)
    try:
        return process.run_service(lambda stop: _serve(settings, commands, sockets, endpoint, stop))
    finally:
        for listener in sockets:
            listener.close()


async def check_token(runtime: Runtime, endpoint: Endpoint) -> None:
    """Refuse a public address while no token exists.

    Raises:
        SettingsError: others could call the API without a token.
    """
    if endpoint.is_private or runtime.settings.admin_token is not None or await runtime.access.any_valid():
        return
    fix = (
        "set JOBQUEUE_ADMIN_TOKEN or JOBQUEUE_ADMIN_TOKEN_FILE, "
        "make a token by jobqueue token create, or listen on 127.0.0.1"
    )
    raise SettingsError([f"--host {runtime.settings.host} lets others reach this server: {fix}"])


async def _serve(
    settings: Settings,
    commands: Mapping[str, Command],
    sockets: Sequence[socket.socket],
    endpoint: Endpoint,
    stop: StopSignals,
) -> None:
    opening = process.open_runtime(stop, lambda: Runtime.open(settings), embedded=settings.mongo_url is None)
    runtime = await opening
    if runtime is None:
        return
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(runtime.close)
        await check_token(runtime, endpoint)
        await stack.enter_async_context(process.background(runtime))
        client = WebhookClient(allow=settings.webhook_allow, ports=settings.webhook_ports)
        await client.start()
        stack.push_async_callback(client.close)
        app = make_app(runtime, open_to_all=endpoint.is_private and settings.admin_token is None)
        runner = Runner(app, shutdown_timeout=_REQUEST_SECONDS)
        await _listen(runner, sockets, endpoint.tls)
        is_secure = endpoint.tls is not None
        url = listening.url(settings.host, sockets[0], tls=is_secure)
        local = LocalProcessors(client, commands, listening.local_url(settings.host, sockets[0], tls=is_secure))
        lanes = AlertLanes(ConfiguredLanes(runtime.configs, local), client, runtime.detector, settings.public_url)
        dispatcher = runtime.dispatcher(lanes)
        claiming = asyncio.create_task(dispatcher.run(), name="claiming")
        try:
            announce(f"listening on {url}")
            log.info("server started", worker=runtime.name, database=runtime.database.name)
            await process.first(claiming, stop.asked)
        finally:
            log.info("shutdown started")
            await asyncio.gather(process.drain(dispatcher, claiming, stop, settings.drain_timeout), runner.cleanup())


async def _listen(runner: web.AppRunner, sockets: Sequence[socket.socket], tls: ssl.SSLContext | None) -> None:
    try:
        await runner.setup()
        listening.listen(sockets)
        for listener in sockets:
            await web.SockSite(runner, listener, ssl_context=tls).start()
    except BaseException:
        await runner.cleanup()
        raise
