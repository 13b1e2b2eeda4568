"""``jobqueue settings``: print every setting, its value and its source."""

from __future__ import annotations

from typing import Any, Final

import click

from jobqueue.cli.render import errors, output, tables
from jobqueue.cli.render.help import Command
from jobqueue.cli.render.options import json_option
from jobqueue.cli.render.tables import Column
from jobqueue.settings import Settings, describe


def _text(value: Any) -> str:
    if isinstance(value, list):
        return ",".join(map(str, value)) or "-"
    return "-" if value is None else str(value)


_VIEW: Final = tables.plain_view(
    tables.field("setting", "name"),
    Column(name="value", cell=lambda row, _: _text(row["value"]), answers=True),
    tables.field("source", answers=True),
)


@click.command(cls=Command, epilog=errors.epilog())
@json_option
def settings(*, as_json: bool) -> None:
    """Show every setting, its value with secrets masked, and its source.

    Flags win over JOBQUEUE_* environment variables, those over jobqueue.toml (or the file JOBQUEUE_CONFIG names), and
    that over the defaults. JOBQUEUE_X_FILE reads a secret from a file.
    """
    loaded = Settings.load()
    values = loaded.masked()
    rows: list[dict[str, Any]] = [
        {
            "name": row.name,
            "value": values[row.name],
            "source": loaded.sources[row.name],
            "env": row.env,
            "help": row.help,
        }
        for row in describe()
    ]
    if as_json:
        output.print_json(rows)
        return
    tables.print_rows(rows, _VIEW)
