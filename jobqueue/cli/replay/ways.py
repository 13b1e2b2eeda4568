"""The ways in which a job is run once more: by a handler in Python, by a command, or by a webhook."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from ipaddress import ip_network
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from jobqueue.cli.render import output
from jobqueue.cli.running.working import find_handlers
from jobqueue.domain.durations import is_number
from jobqueue.domain.work.processing import WebhookConfig
from jobqueue.processors.commands.command import CommandProcessor
from jobqueue.processors.commands.commands_file import load_commands
from jobqueue.processors.webhooks.webhook import WebhookClient
from jobqueue.services.queues.queues import new_secret
from jobqueue.settings import Settings
from jobqueue.testing.replays.replay import TOKEN, Replay, Replayed

if TYPE_CHECKING:
    from jobqueue.domain.work.bundle import Bundle
    from jobqueue.processors.callbacks.handlers import Handler

Way = Callable[[Replay], Coroutine[Any, Any, Replayed]]
_ANYWHERE: Final = (ip_network("0.0.0.0/0"), ip_network("::/0"))
"""The person at the command line names the receiver, and the bundle does not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """The program that runs a job, as the command line names it.

    Attributes:
        target: ``MODULE:QUEUE``.
        commands: the file of commands.
        url: of a receiver of webhooks.
        secret: by which webhooks are signed.
    """

    target: str | None = None
    commands: str | None = None
    url: str | None = None
    secret: str | None = None


def way_of(bundle: Bundle, program: Program) -> Way:
    """Return a function that runs a replay: by a handler in Python, by a command, or by a webhook.

    Raises:
        click.UsageError: nothing, or more than one thing, is named that runs the job.
    """
    target, commands, url = program.target, program.commands, program.url
    named = [name for name, value in (("MODULE:QUEUE", target), ("--commands", commands), ("--url", url)) if value]
    if len(named) > 1:
        raise click.UsageError(f"{named[0]} and {named[1]} do not go together: name one thing that runs the job")
    if target is not None:
        handler = _handler(bundle, target)

        async def run(replay: Replay) -> Replayed:
            return await replay.by_handler(handler)

        return run
    if url is not None:
        return _webhook(bundle, url, program.secret)
    processor = bundle.processor()
    if processor is None:
        raise click.UsageError("name the program that runs the job: MODULE:QUEUE, as for jobqueue worker")
    if processor.get("kind") == "webhook":
        raise click.UsageError(
            f"a webhook runs the jobs of type {bundle.job.type}: send it to a receiver on this machine by --url "
            "http://127.0.0.1:PORT/PATH, signed by --secret; the bundle has no secret"
        )
    return _command(bundle, processor, commands)


def _handler(bundle: Bundle, target: str) -> Handler:
    handlers, job = find_handlers(target).handlers, bundle.job
    handler = handlers.get((job.queue, job.type))
    if handler is None:
        known = ", ".join("/".join(key) for key in sorted(handlers)) or "none"
        raise click.UsageError(f"{target} has no handler for {job.queue}/{job.type}; it has {known}")
    return handler


def _command(bundle: Bundle, processor: Any, commands: str | None) -> Way:
    path = Path(commands).absolute() if commands is not None else Settings.load({}).commands
    if path is None:
        raise click.UsageError(f"a command runs the jobs of type {bundle.job.type}: name its file by --commands FILE")
    known, name = load_commands(path), str(processor.get("name"))
    if name not in known:
        raise click.UsageError(f"{path} has no command {name}; it has {', '.join(sorted(known)) or 'none'}")
    command = known[name]

    async def run(replay: Replay) -> Replayed:
        return await replay.by_processor(CommandProcessor(command, token=TOKEN, url=None))

    return run


def _webhook(bundle: Bundle, url: str, secret: str | None) -> Way:
    known = bundle.processor() or {}
    timeout: Any = known.get("timeout")
    usual = timeout if is_number(timeout) and timeout > 0 else 30
    config = WebhookConfig(url=url, secret=secret or new_secret(), timeout=usual)
    headers = known.get("headers")
    if isinstance(headers, dict) and headers:
        output.note(f"without the headers {', '.join(map(str, headers))}: their values are not in the bundle")
    if secret is None:
        output.note("signed by a secret made for this run: give that of the receiver by --secret")

    async def run(replay: Replay) -> Replayed:
        async with WebhookClient(allow=_ANYWHERE) as client:
            return await replay.by_processor(client.processor(config, TOKEN))

    return run
