"""``jobqueue audit``: what people have changed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from jobqueue.cli.process.session import with_runtime
from jobqueue.cli.render import errors, output
from jobqueue.cli.render.options import database_flags, database_options, json_option
from jobqueue.domain.insight.audit import AuditQuery

if TYPE_CHECKING:
    from jobqueue.domain.insight.audit import Entry
    from jobqueue.services.application import Runtime


@click.command(epilog=errors.epilog("audit --kind job --limit 20", "audit --actor ann"))
@click.option("--kind", type=click.Choice(["job", "batch", "queue", "schedule", "token", "operation"]), help="Of what.")
@click.option("--name", help="Of which one: an id, or the name of a queue or schedule.")
@click.option("--actor", help="By whom.")
@click.option("--action", help="What was done, such as kill.")
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True, help="How many at most.")
@json_option
@database_options
def audit(*, limit: int, as_json: bool, **options: Any) -> None:
    """List what people have changed, newest first."""
    flags = database_flags(options)

    from jobqueue.api.insight.schemas import ChangeResponse  # noqa: PLC0415 - marshmallow takes 0.1 s to import, --help must not

    async def use(runtime: Runtime) -> list[Entry]:
        return await runtime.audit.store.find(AuditQuery(**options, limit=limit))

    found = ChangeResponse.many(with_runtime(flags, use))
    if as_json:
        output.print_json({"items": found})
        return
    output.print_table(["AT", "BY", "ACTION", "WHAT", "BEFORE", "AFTER"], [_row(one) for one in found])


def _row(one: dict[str, Any]) -> list[str]:
    by = f"{one['by'].get('name')} ({one['by'].get('via')})"
    what = f"{one['target']['kind']} {one['target']['name']}"
    begun = " (begun; not known to be done)" if one["unconfirmed"] else ""
    return [one["at"], by, one["action"] + begun, what, output.compact(one["before"]), output.compact(one["after"])]
