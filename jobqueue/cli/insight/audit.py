"""``jobqueue audit``: list changes made by people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import click

from jobqueue.cli.process.session import with_api
from jobqueue.cli.render import errors, output, tables
from jobqueue.cli.render.help import Command
from jobqueue.cli.render.options import command_options
from jobqueue.cli.render.tables import Column

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from jobqueue.cli.render.tables import View


def _action(entry: Mapping[str, Any], _: datetime) -> str:
    return f"{entry['action']}{' (begun; not known to be done)' if entry['unconfirmed'] else ''}"


_COLUMNS: Final = (
    tables.field("at"),
    Column(name="by", cell=lambda entry, _: f"{entry['by'].get('name')} ({entry['by'].get('via')})", least=10),
    Column(name="action", cell=_action),
    Column(name="what", cell=lambda entry, _: f"{entry['target']['kind']} {entry['target']['name']}", answers=True),
    Column(name="before", cell=lambda entry, _: output.compact(entry["before"]), rank=2, least=10),
    Column(name="after", cell=lambda entry, _: output.compact(entry["after"]), rank=1, least=10),
)


@click.command(cls=Command, epilog=errors.epilog("audit --kind job --limit 20", "audit --actor ann"))
@click.option(
    "--kind",
    type=click.Choice(["job", "batch", "queue", "schedule", "token", "operation"]),
    help="Changes of this kind of target.",
)
@click.option("--name", help="Changes of this target: an id, or the name of a queue or schedule.")
@click.option("--actor", help="Changes by this person.")
@click.option("--action", help="Changes by this action, such as kill.")
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True, help="How many at most.")
@tables.table_options(_COLUMNS)
@command_options
def audit(*, view: View, limit: int, as_json: bool, **options: Any) -> None:
    """List changes made by people, newest first."""
    query = {name: options[name] for name in ("kind", "name", "actor", "action")}
    entries = with_api(options, lambda api: api.items("audit", query=query, most=limit))
    tables.print_items(entries, view, as_json=as_json, empty="no change is recorded")
