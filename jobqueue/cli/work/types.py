"""``jobqueue types``: list the types of jobs that are served."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import click

from jobqueue.cli.process import complete
from jobqueue.cli.process.session import with_api
from jobqueue.cli.render import errors, output, tables
from jobqueue.cli.render.help import Command
from jobqueue.cli.render.options import command_options
from jobqueue.cli.render.tables import Column

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jobqueue.cli.render.tables import View


def arguments(schema: Mapping[str, Any] | None) -> str:
    """Return the arguments of a task as one line: ``src: string, width: integer = 320``."""
    if schema is None:
        return "-"
    plain = schema.get("anyOf", [schema])[0]
    texts = [_argument(name, each) for name, each in plain.get("properties", {}).items()]
    return ", ".join(texts) or "none"


def _argument(name: str, schema: Mapping[str, Any]) -> str:
    kind = schema.get("type") or str(schema.get("$ref", "any")).rpartition("/")[2]
    default = f" = {output.compact(schema['default'])}" if "default" in schema else ""
    return f"{name}: {kind}{default}"


def _by(served: Mapping[str, Any]) -> str:
    workers = f"{served['workers']:,} worker{'' if served['workers'] == 1 else 's'}"
    return workers if served["processor"] is None else f"{served['processor']}, {workers}"


_COLUMNS: Final = (
    tables.field("queue", least=8),
    tables.field("type", answers=True),
    Column(name="served", heading="SERVED BY", cell=lambda served, _: _by(served)),
    Column(name="arguments", cell=lambda served, _: arguments(served["schema"]), answers=True),
)


@click.command(cls=Command, epilog=errors.epilog("types --queue media", "types --json"))
@click.option("--queue", metavar="NAME", shell_complete=complete.queues, help="Only of this queue.")
@tables.table_options(_COLUMNS)
@command_options
def types(queue: str | None, *, view: View, as_json: bool, **options: Any) -> None:
    """List the types of jobs that living workers and processors serve, with the arguments of tasks."""
    items = with_api(options, lambda api: api.items("types", query={"queue": queue}))
    empty = "no living worker names its types, and no queue has processors"
    tables.print_items(items, view, as_json=as_json, empty=empty)
