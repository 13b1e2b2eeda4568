"""``jobqueue queue``: show, configure, pause, resume and delete a queue."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import click

from jobqueue.cli.process import complete
from jobqueue.cli.process.pausing import change_all, check_choice
from jobqueue.cli.process.session import with_api
from jobqueue.cli.render import errors, output, tables, values
from jobqueue.cli.render.help import Group
from jobqueue.cli.render.options import command_options
from jobqueue.cli.render.tables import Column
from jobqueue.domain.access.masking import MASK
from jobqueue.domain.queues.queue import check_reason
from jobqueue.domain.values.checks import check_queue
from jobqueue.domain.work.processing import LONGEST_PING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from datetime import datetime

    from jobqueue.cli.process.api import Api

_SET: Final = errors.epilog(
    "queue set media concurrency=5 rate.limit=100 rate.per=60",
    "queue set media limitBy=meta.user_id timeout=null",
    """queue set media '{"attempts": 5, "processors": {"*": {"kind": "webhook", "url": "https://…"}}}'""",
    "queue set media @media.json",
)
_WHOLE: Final = ("{", "[", "@")


@click.group(cls=Group, epilog=errors.epilog())
def queue() -> None:
    """Show, configure, pause, resume and delete queues. Changes hold in every process within a second."""


@queue.command(epilog=errors.epilog())
@click.argument("name", shell_complete=complete.queues)
@command_options
def show(name: str, *, as_json: bool, **options: Any) -> None:
    """Print the configuration of a queue with secrets masked, and its state."""
    check_queue(name)
    _print(with_api(options, lambda api: api.get("queues", name)), as_json=as_json)


@queue.command(name="set", epilog=_SET)
@click.argument("name", shell_complete=complete.queues)
@click.argument("config", metavar="CONFIG...", nargs=-1, required=True)
@command_options
def set_config(name: str, config: tuple[str, ...], *, as_json: bool, **options: Any) -> None:
    """Change the configuration of a queue, or replace it.

    CONFIG is FIELD=VALUE for each field to change, its value JSON or a text, null for the default. Or it is a JSON
    object, @FILE to read it from, or - for stdin: that replaces the whole configuration. A secret that is made for a
    webhook is printed now and masked from then on.
    """
    check_queue(name)
    if len(config) == 1 and (config[0] == "-" or config[0].startswith(_WHOLE)):
        whole = values.read_object(config[0], "config")
        _change(options, lambda api: api.put("queues", name, body=whole), as_json=as_json, creates=True)
        return
    patch = values.nested([values.pair(text, "config") for text in config], "config")
    _change(options, lambda api: api.patch("queues", name, body=patch), as_json=as_json, creates=True)


@queue.command(name="rotate-secret", epilog=errors.epilog())
@click.argument("name", shell_complete=complete.queues)
@click.argument("kind", metavar="TYPE")
@command_options
def rotate_secret(name: str, kind: str, *, as_json: bool, **options: Any) -> None:
    """Make a new secret for the webhook of TYPE, printed only now; the present secret goes on signing beside it.

    When all receivers have the new secret: set NAME 'processors.TYPE.previousSecrets=[]'
    """
    check_queue(name)
    _change(options, lambda api: api.post("queues", name, "rotate-secret", body={"type": kind}), as_json=as_json)


@queue.command(name="test-webhook", epilog=errors.epilog("queue rotate-secret media thumbnail"))
@click.argument("name", shell_complete=complete.queues)
@click.argument("kind", metavar="TYPE")
@command_options
def test_webhook(name: str, kind: str, *, as_json: bool, **options: Any) -> int:
    """Send a signed ping to the webhook of TYPE, which is no job; print the status, the time and the reply.

    The exit code is 1 unless the status is one from 200 to 299.
    """
    check_queue(name)
    body = {"type": kind}
    test = with_api(options, lambda api: api.post("queues", name, "test-webhook", body=body, wait=LONGEST_PING))
    error, status = test["error"], test["status"]
    took = f"{test['seconds'] * 1000:,.0f} ms"
    told = f"{status} in {took}" if error is None else f"{error['message']} (after {took})"
    output.print_document(test, f"{told}\n{test['excerpt']}".rstrip(), as_json=as_json)
    return errors.OK if test["ok"] else errors.ERROR


@queue.command(epilog=errors.epilog("queue pause media", 'queue pause --all --reason "restored from a backup"'))
@click.argument("name", shell_complete=complete.queues, required=False)
@click.option("--all", "every", is_flag=True, help="Each queue that is configured or has jobs and is not paused yet.")
@click.option("--reason", help="For people: why it is paused.")
@command_options
def pause(name: str | None, *, every: bool, reason: str | None, as_json: bool, **options: Any) -> int:
    """Pause a queue: workers claim no more of its jobs."""
    check_choice(name, every=every, kind="queue")
    body = None if reason is None else {"reason": check_reason(reason)}
    if name is not None:
        _set_paused(name, options, paused=True, as_json=as_json, body=body)
        return errors.OK
    return change_all("queues", "pause", options, is_meant=lambda view: not view["paused"], as_json=as_json, body=body)


@queue.command(epilog=errors.epilog("queue resume media", 'queue resume --all --reason "restored from a backup"'))
@click.argument("name", shell_complete=complete.queues, required=False)
@click.option("--all", "every", is_flag=True, help="Each queue that is paused.")
@click.option("--reason", help="Of --all: only queues that were paused for this reason.")
@command_options
def resume(name: str | None, *, every: bool, reason: str | None, as_json: bool, **options: Any) -> int:
    """Resume a queue: workers claim its jobs again. Its circuit breakers close."""
    check_choice(name, every=every, kind="queue")
    if name is not None:
        if reason is not None:
            raise click.UsageError("--reason goes with --all")
        _set_paused(name, options, paused=False, as_json=as_json)
        return errors.OK
    if reason is not None:
        check_reason(reason)

    def is_meant(view: Mapping[str, Any]) -> bool:
        return bool(view["paused"]) and reason in {None, view["pauseReason"]}

    return change_all("queues", "resume", options, is_meant=is_meant, as_json=as_json)


@queue.command(epilog=errors.epilog())
@click.argument("name", shell_complete=complete.queues)
@click.option("--force", is_flag=True, help="Kill its unfinished jobs first.")
@command_options
def delete(name: str, *, force: bool, as_json: bool, **options: Any) -> None:
    """Delete the configuration of a queue; its ended jobs are kept. Unfinished jobs prevent that."""
    check_queue(name)
    deleted = with_api(options, lambda api: api.delete("queues", name, query={"force": force}))
    text = f"{name} deleted" + (f", {deleted['killed']:,} jobs killed" if deleted["killed"] else "")
    output.print_document(deleted, text, as_json=as_json)


@queue.command(epilog=errors.epilog())
@click.argument("name", shell_complete=complete.queues)
@click.option("--limit", type=click.IntRange(1, 200), default=20, show_default=True, help="How many.")
@command_options
def changes(name: str, *, limit: int, as_json: bool, **options: Any) -> None:
    """List changes of the configuration of a queue, newest first."""
    check_queue(name)
    items = with_api(options, lambda api: api.get("queues", name, "changes", query={"limit": limit}))["items"]
    empty = f"the configuration of queue {name} was never changed"
    tables.print_items(items, _CHANGES, as_json=as_json, empty=empty)


def _set_paused(
    name: str, options: dict[str, Any], *, paused: bool, as_json: bool, body: dict[str, Any] | None = None
) -> None:
    check_queue(name)
    verb = "pause" if paused else "resume"
    document = with_api(options, lambda api: api.post("queues", name, verb, body=body, safe=True), creates=True)
    output.print_document(document, f"{name} {'paused' if document['paused'] else 'resumed'}", as_json=as_json)


def _change(
    options: dict[str, Any],
    change: Callable[[Api], Awaitable[dict[str, Any]]],
    *,
    as_json: bool,
    creates: bool = False,
) -> None:
    """Change a configuration, and print it with the secrets that were made."""
    document = with_api(options, change, creates=creates)
    for kind in new_secrets(document):
        output.note(f"the secret of processor {kind} is shown only this once")
    _print(document, as_json=as_json)


def new_secrets(document: Mapping[str, Any]) -> dict[str, str]:
    """Return the secrets that a change has made, by the types of jobs; others are masked."""
    secrets = {kind: processor.get("secret") for kind, processor in document["processors"].items()}
    return {kind: secret for kind, secret in secrets.items() if secret not in {None, MASK}}


def _difference(entry: Mapping[str, Any], _: datetime) -> str:
    before, after = entry["before"] or {}, entry["after"] or {}
    fields: Mapping[str, Any] = {**before, **after}
    return ", ".join(
        f"{field}: {output.compact(before.get(field))} → {output.compact(after.get(field))}"
        for field in fields
        if before.get(field) != after.get(field)
    )


_CHANGES: Final = tables.plain_view(
    tables.field("at", rank=2),
    tables.field("by", "by.name", least=8),
    tables.field("via", "by.via", rank=1),
    tables.field("action"),
    Column(name="changed", cell=_difference, answers=True),
)


def _print(document: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        output.print_json(document)
    else:
        output.print_fields(document)
