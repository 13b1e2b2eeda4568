"""``jobqueue operations``: list, show, stop and resume changes of many jobs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import click

from jobqueue.cli.bulk import bulk
from jobqueue.cli.bulk.careful_options import pace_option, rules
from jobqueue.cli.process.session import with_api
from jobqueue.cli.render import errors, moments, output, tables
from jobqueue.cli.render.help import Group
from jobqueue.cli.render.options import command_options
from jobqueue.cli.render.tables import Column
from jobqueue.domain.bulk.operation import Stage
from jobqueue.domain.values.checks import check_id

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from jobqueue.cli.process.api import Api
    from jobqueue.cli.render.tables import View


def _jobs(operation: Mapping[str, Any], _: datetime | None = None) -> str:
    if operation["fingerprint"] is not None:
        return f"failures {operation['fingerprint']}"
    return output.compact(operation["filter"]) if operation["filter"] else "all jobs"


def _reason(operation: Mapping[str, Any], _: datetime | None = None) -> str:
    return str(operation["error"] or (operation["stopped"] or {}).get("message", ""))


_COLUMNS: Final = (
    tables.field("id"),
    tables.field("state"),
    tables.field("action"),
    Column(name="age", cell=lambda operation, now: moments.ago(operation["insertAt"], now), is_number=True),
    Column(name="jobs", cell=_jobs, least=12, rank=1),
    Column(name="progress", cell=lambda operation, _: bulk.counts(operation), answers=True),
    Column(name="why", cell=_reason, answers=True),
    Column(name="by", cell=lambda operation, _: operation["by"]["name"], rank=2),
)


@click.group(cls=Group, epilog=errors.epilog("operations stop 65f0c2a4e1b2c3d4e5f60718"))
def operations() -> None:
    """List, show, stop and resume changes of many jobs."""


@operations.command(name="list", epilog=errors.epilog())
@click.option("--state", type=click.Choice([stage.value for stage in Stage]), help="Only these.")
@click.option("--limit", type=click.IntRange(1, 200), default=20, show_default=True, help="How many.")
@tables.table_options(_COLUMNS)
@command_options
def list_operations(state: str | None, limit: int, *, view: View, as_json: bool, **options: Any) -> None:
    """List operations, newest first."""
    items = with_api(options, lambda api: api.items("operations", query={"state": state}, most=limit))
    empty = "nothing was done to many jobs at once yet" if state is None else f"no operation is {state}"
    tables.print_items(items, view, as_json=as_json, empty=empty)


@operations.command(epilog=errors.epilog("operations show 65f0c2a4e1b2c3d4e5f60718 --follow"))
@click.argument("operation_id", metavar="ID")
@click.option("--follow", is_flag=True, help="Watch it until it has ended.")
@command_options
def show(operation_id: str, *, follow: bool, as_json: bool, **options: Any) -> int:
    """Print an operation: its jobs, its rules, how far it is, and why it stopped."""

    async def use(api: Api) -> dict[str, Any]:
        shown: dict[str, Any] = await api.get("operations", check_id(operation_id))
        return await bulk.follow(api, shown, quiet=as_json, stops=False) if follow else shown

    operation = with_api(options, use)
    if as_json:
        output.print_json(operation)
        return errors.OK
    named = ("trial", "pace", "stopAfter", "dataPatch", "changes", "fromStep", "insertAt", "endAt")
    fields = {"jobs": f"{operation['action']} {_jobs(operation)}", "by": operation["by"]["name"]}
    output.print_fields(fields | {name: operation[name] for name in named if operation.get(name)})
    bulk.print_end(operation, as_json=False)
    return errors.OK


@operations.command(epilog=errors.epilog())
@click.argument("operation_id", metavar="ID")
@command_options
def stop(operation_id: str, *, as_json: bool, **options: Any) -> None:
    """Stop an operation; changes already made stay."""
    place = ("operations", check_id(operation_id), "stop")
    stopped = with_api(options, lambda api: api.post(*place, safe=True))
    output.print_document(stopped, f"{stopped['id']} {stopped['state']}: {bulk.counts(stopped)}", as_json=as_json)


@operations.command(epilog=errors.epilog("operations resume 65f0c2a4e1b2c3d4e5f60718 --pace 5 --follow"))
@click.argument("operation_id", metavar="ID")
@pace_option
@click.option("--follow", is_flag=True, help="Wait until it has ended; an interrupt stops it.")
@command_options
def resume(operation_id: str, *, follow: bool, as_json: bool, **options: Any) -> int:
    """Go on with a stopped operation where it stopped; no job has a second turn."""
    body, place = rules(options), ("operations", check_id(operation_id), "resume")

    async def use(api: Api) -> dict[str, Any]:
        resumed: dict[str, Any] = await api.post(*place, body=body)
        return await bulk.follow(api, resumed, quiet=as_json) if follow else resumed

    return bulk.print_end(with_api(options, use), as_json=as_json)
