"""``jobqueue queue``: show, configure, pause and resume queues."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import click

from jobqueue.cli import exits, output, values
from jobqueue.cli.options import database_flags, database_options, json_option
from jobqueue.cli.session import with_runtime
from jobqueue.domain import wire
from jobqueue.domain.checks import check_queue
from jobqueue.domain.errors import InvalidInputError

if TYPE_CHECKING:
    from jobqueue.domain.queue import QueueConfig
    from jobqueue.services.runtime import Runtime

_SET: Final = exits.epilog(
    """queue set media '{"attempts": 5, "processors": {"*": {"kind": "webhook", "url": "https://…"}}}'""",
    "queue set media @media.json",
)


@click.group(epilog=exits.epilog())
def queue() -> None:
    """Show, configure, pause and resume queues. Changes hold within a second on every process."""


@queue.command(epilog=exits.epilog())
@click.argument("name")
@json_option
@database_options
def show(name: str, *, as_json: bool, **options: Any) -> None:
    """Print the configuration of a queue, secrets masked."""
    check_queue(name)

    async def use(runtime: Runtime) -> QueueConfig:
        return await runtime.queues.get(name)

    _print(wire.queue(with_runtime(database_flags(options), use)), as_json=as_json)


@queue.command(name="set", epilog=_SET)
@click.argument("name")
@click.argument("config", type=values.JsonText())
@json_option
@database_options
def set_config(name: str, config: values.Given, *, as_json: bool, **options: Any) -> None:
    """Replace the whole configuration of a queue.

    CONFIG is a JSON object with what is to differ from the defaults, @FILE to read it from, or - for stdin. A secret
    that is made for a webhook is printed now and masked from then on.
    """
    check_queue(name)
    given = config.value
    if not isinstance(given, dict):
        raise InvalidInputError({"config": ["must be an object"]})

    async def use(runtime: Runtime) -> tuple[QueueConfig, dict[str, str]]:
        return await runtime.queues.put(name, given)

    stored, made = with_runtime(database_flags(options), use)
    shown = wire.queue(stored)
    for kind, secret in made.items():
        shown["processors"][kind]["secret"] = secret
        output.note(f"the secret of processor {kind} is shown only this once")
    _print(shown, as_json=as_json)


@queue.command(epilog=exits.epilog())
@click.argument("name")
@json_option
@database_options
def pause(name: str, *, as_json: bool, **options: Any) -> None:
    """Let nothing be claimed from a queue any more."""
    _set_paused(name, options, paused=True, as_json=as_json)


@queue.command(epilog=exits.epilog())
@click.argument("name")
@json_option
@database_options
def resume(name: str, *, as_json: bool, **options: Any) -> None:
    """Let jobs of a queue be claimed again."""
    _set_paused(name, options, paused=False, as_json=as_json)


def _set_paused(name: str, options: dict[str, Any], *, paused: bool, as_json: bool) -> None:
    check_queue(name)

    async def use(runtime: Runtime) -> QueueConfig:
        return await runtime.queues.set_paused(name, paused=paused)

    config = with_runtime(database_flags(options), use)
    if as_json:
        output.print_json(wire.queue(config))
    else:
        output.print_line(f"{name} {'paused' if config.paused else 'resumed'}")


def _print(shown: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        output.print_json(shown)
        return
    width = max(map(len, shown))
    for field, value in shown.items():
        output.print_line(f"{field:<{width}}  {output.compact(value)}")
