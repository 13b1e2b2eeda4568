"""``jobqueue audit``: list changes made by people."""

from __future__ import annotations

from typing import Any

import click

from jobqueue.cli.process.session import with_runtime
from jobqueue.cli.render import errors, output
from jobqueue.cli.render.options import command_options
from jobqueue.domain.insight.audit import AuditQuery


@click.command(epilog=errors.epilog("audit --kind job --limit 20", "audit --actor ann"))
@click.option(
    "--kind",
    type=click.Choice(["job", "batch", "queue", "schedule", "token", "operation"]),
    help="Changes of this kind of target.",
)
@click.option("--name", help="Changes of this target: an id, or the name of a queue or schedule.")
@click.option("--actor", help="Changes by this person.")
@click.option("--action", help="Changes by this action, such as kill.")
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True, help="How many at most.")
@command_options
def audit(*, limit: int, as_json: bool, **options: Any) -> None:
    """List changes made by people, newest first."""
    query = AuditQuery(**{name: options[name] for name in ("kind", "name", "actor", "action")}, limit=limit)
    from jobqueue.api.insight.schemas import ChangeResponse  # noqa: PLC0415 - marshmallow takes 0.1 s to import, --help must not

    entries = ChangeResponse.many(with_runtime(options, lambda runtime: runtime.audit.store.find(query)))
    headings = ["AT", "BY", "ACTION", "WHAT", "BEFORE", "AFTER"]
    output.print_items(entries, headings, [_row(entry) for entry in entries], as_json=as_json)


def _row(entry: dict[str, Any]) -> list[str]:
    by = f"{entry['by'].get('name')} ({entry['by'].get('via')})"
    target = f"{entry['target']['kind']} {entry['target']['name']}"
    action = entry["action"] + (" (begun; not known to be done)" if entry["unconfirmed"] else "")
    return [entry["at"], by, action, target, output.compact(entry["before"]), output.compact(entry["after"])]
