"""``jobqueue queue``: show, configure, pause, resume and delete a queue."""

from __future__ import annotations

import getpass
import socket
from typing import TYPE_CHECKING, Any, Final

import click

from jobqueue.cli.process.session import with_runtime
from jobqueue.cli.render import errors, output, values
from jobqueue.cli.render.options import database_flags, database_options, json_option
from jobqueue.domain.errors import InvalidInputError
from jobqueue.domain.insight.audit import Actor
from jobqueue.domain.jobs import json_form
from jobqueue.domain.jobs.checks import check_queue
from jobqueue.domain.queues import queue_form

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jobqueue.domain.insight.audit import Entry
    from jobqueue.domain.queues.queue import QueueConfig
    from jobqueue.services.application import Runtime

_SET: Final = errors.epilog(
    "queue set media concurrency=5 rate.limit=100 rate.per=60",
    "queue set media limitBy=meta.user_id timeout=null",
    """queue set media '{"attempts": 5, "processors": {"*": {"kind": "webhook", "url": "https://…"}}}'""",
    "queue set media @media.json",
)
_WHOLE: Final = ("{", "[", "@")
Changed = tuple["QueueConfig", dict[str, str]]


@click.group(epilog=errors.epilog())
def queue() -> None:
    """Show, configure, pause, resume and delete queues. Changes hold within a second on every process."""


@queue.command(epilog=errors.epilog())
@click.argument("name")
@json_option
@database_options
def show(name: str, *, as_json: bool, **options: Any) -> None:
    """Print the configuration of a queue, secrets masked, and how it is doing."""
    check_queue(name)

    async def use(runtime: Runtime) -> dict[str, Any]:
        return (await runtime.queues.view(name, urls=True))[0]

    _print(with_runtime(database_flags(options), use), as_json=as_json)


@queue.command(name="set", epilog=_SET)
@click.argument("name")
@click.argument("config", metavar="CONFIG...", nargs=-1, required=True)
@json_option
@database_options
def set_config(name: str, config: tuple[str, ...], *, as_json: bool, **options: Any) -> None:
    """Change the configuration of a queue, or replace it.

    CONFIG is FIELD=VALUE for each field to change, its value JSON or a text, null for the default. Or it is a JSON
    object, @FILE to read it from, or - for stdin: that replaces the whole configuration. A secret that is made for a
    webhook is printed now and masked from then on.
    """
    check_queue(name)
    given, is_whole = _given(config)

    async def use(runtime: Runtime) -> Changed:
        change = runtime.queues.put if is_whole else runtime.queues.patch
        return await change(name, given, by=person())

    _print_changed(with_runtime(database_flags(options), use, creates=True), as_json=as_json)


@queue.command(name="rotate-secret", epilog=errors.epilog())
@click.argument("name")
@click.argument("kind", metavar="TYPE")
@json_option
@database_options
def rotate_secret(name: str, kind: str, *, as_json: bool, **options: Any) -> None:
    """Give the webhook for jobs of TYPE a new secret, printed only now; the present one goes on signing beside it.

    When all receivers know the new one: set NAME 'processors.TYPE.previousSecrets=[]'
    """
    check_queue(name)

    async def use(runtime: Runtime) -> Changed:
        return await runtime.queues.rotate(name, kind, by=person())

    _print_changed(with_runtime(database_flags(options), use), as_json=as_json)


@queue.command(epilog=errors.epilog())
@click.argument("name")
@json_option
@database_options
def pause(name: str, *, as_json: bool, **options: Any) -> None:
    """Let nothing be claimed from a queue any more."""
    _set_paused(name, options, paused=True, as_json=as_json)


@queue.command(epilog=errors.epilog())
@click.argument("name")
@json_option
@database_options
def resume(name: str, *, as_json: bool, **options: Any) -> None:
    """Let jobs of a queue be claimed again, and close its circuit breakers."""
    _set_paused(name, options, paused=False, as_json=as_json)


@queue.command(epilog=errors.epilog())
@click.argument("name")
@click.option("--force", is_flag=True, help="Kill its unfinished jobs first.")
@json_option
@database_options
def delete(name: str, *, force: bool, as_json: bool, **options: Any) -> None:
    """Take away the configuration of a queue; its ended jobs are kept. Unfinished jobs prevent that."""
    check_queue(name)

    async def use(runtime: Runtime) -> int:
        return await runtime.queues.delete(name, force=force, by=person())

    killed = with_runtime(database_flags(options), use)
    if as_json:
        output.print_json({"name": name, "killed": killed})
    else:
        output.print_line(f"{name} deleted" + (f", {killed:,} jobs killed" if killed else ""))


@queue.command(epilog=errors.epilog())
@click.argument("name")
@click.option("--limit", type=click.IntRange(1, 200), default=20, show_default=True, help="How many.")
@json_option
@database_options
def changes(name: str, *, limit: int, as_json: bool, **options: Any) -> None:
    """Print who changed the configuration of a queue, when and how, newest first."""
    check_queue(name)

    async def use(runtime: Runtime) -> list[Entry]:
        return await runtime.audit.store.page("queue", name, limit=limit)

    found = with_runtime(database_flags(options), use)
    if as_json:
        from jobqueue.api.insight.schemas import ChangeResponse  # noqa: PLC0415 - marshmallow takes 0.1 s to import, --help must not

        output.print_json({"items": ChangeResponse.many(found)})
        return
    rows = [
        [json_form.date(one.at), str(one.by.get("name")), str(one.by.get("via")), one.action, _difference(one)]
        for one in found
    ]
    output.print_table(["AT", "BY", "VIA", "ACTION", "CHANGED"], rows)


def person() -> Actor:
    """Return who uses the command line, for the audit."""
    try:
        name = getpass.getuser()
    except (OSError, KeyError):
        name = "unknown"
    return Actor(name=name, via="cli", address=socket.gethostname())


def _given(config: tuple[str, ...]) -> tuple[dict[str, Any], bool]:
    """Return what was given, and whether it is a whole configuration."""
    if len(config) == 1 and (config[0] == "-" or config[0].startswith(_WHOLE)):
        try:
            whole = values.parse_json(values.read_source(config[0]))
        except ValueError as error:
            raise InvalidInputError({"config": [f"is not JSON: {error}"]}) from None
        if not isinstance(whole, dict):
            raise InvalidInputError({"config": ["must be an object"]})
        return whole, True
    return values.nested([values.pair(text, "config") for text in config], "config"), False


def _set_paused(name: str, options: dict[str, Any], *, paused: bool, as_json: bool) -> None:
    check_queue(name)

    async def use(runtime: Runtime) -> QueueConfig:
        return await runtime.queues.set_paused(name, paused=paused, by=person())

    config = with_runtime(database_flags(options), use, creates=True)
    if as_json:
        output.print_json(queue_form.queue(config, urls=True))
    else:
        output.print_line(f"{name} {'paused' if config.paused else 'resumed'}")


def _print_changed(changed: Changed, *, as_json: bool) -> None:
    config, made = changed
    shown = queue_form.queue(config, urls=True)
    for kind, secret in made.items():
        shown["processors"][kind]["secret"] = secret
        output.note(f"the secret of processor {kind} is shown only this once")
    _print(shown, as_json=as_json)


def _difference(entry: Entry) -> str:
    before, after = entry.before or {}, entry.after or {}
    fields: Mapping[str, Any] = {**before, **after}
    return ", ".join(
        f"{field}: {output.compact(before.get(field))} → {output.compact(after.get(field))}"
        for field in fields
        if before.get(field) != after.get(field)
    )


def _print(shown: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        output.print_json(shown)
        return
    width = max(map(len, shown))
    for field, value in shown.items():
        output.print_line(f"{field:<{width}}  {output.compact(value)}")
