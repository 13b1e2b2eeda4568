"""``jobqueue schedule``: jobs that come again and again."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from jobqueue.cli import exits, output, values
from jobqueue.cli.options import database_flags, database_options, json_option
from jobqueue.cli.queue import person
from jobqueue.cli.session import with_runtime
from jobqueue.domain import schedule as schedules
from jobqueue.domain import wire
from jobqueue.domain.checks import check_queue
from jobqueue.domain.errors import InvalidInputError
from jobqueue.domain.job import NewJob

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from jobqueue.services.runtime import Runtime

Shown = dict[str, Any]


@click.group(epilog=exits.epilog())
def schedule() -> None:
    """Define jobs that come again and again, look at their next and last runs, pause them."""


@schedule.command(name="list", epilog=exits.epilog())
@json_option
@database_options
def list_schedules(*, as_json: bool, **options: Any) -> None:
    """List schedules by name."""

    async def use(runtime: Runtime) -> list[Shown]:
        found: list[Shown] = []
        while some := await runtime.schedules.page(after=found[-1]["name"] if found else "", limit=200):
            found += some
        return found

    found = with_runtime(database_flags(options), use)
    if as_json:
        output.print_json({"items": found})
        return
    rows = [
        [one["name"], one["nextAt"] or ("paused" if one["paused"] else "-"), _when(one), one["job"]["type"]]
        for one in found
    ]
    output.print_table(["NAME", "NEXT", "WHEN", "TYPE"], rows)


@schedule.command(epilog=exits.epilog())
@click.argument("name")
@json_option
@database_options
def show(name: str, *, as_json: bool, **options: Any) -> None:
    """Print a schedule with its next five and its last ten runs."""
    _run(name, options, _nothing, as_json=as_json)


@schedule.command(
    name="set",
    epilog=exits.epilog(
        """schedule set nightly '{"cron": "0 3 * * *", "timezone": "Europe/Berlin", "job": {"type": "backup"}}'""",
        "schedule set pulse @pulse.json",
    ),
)
@click.argument("name")
@click.argument("definition", type=values.JsonText())
@json_option
@database_options
def set_schedule(name: str, definition: values.Given, *, as_json: bool, **options: Any) -> None:
    """Define a schedule: a JSON object, @FILE to read it from, or - for stdin.

    It has cron (5 or 6 fields, or @daily and the like) and perhaps timezone, or every with a number of seconds; job, as
    for add; and perhaps missed: skip, one or all.
    """
    given = definition.value
    if not isinstance(given, dict):
        raise InvalidInputError({"definition": ["must be an object"]})
    job = values.new_job(given.get("job"), "job")
    wanted = schedules.read({**given, "job": job})

    async def change(runtime: Runtime) -> None:
        await runtime.schedules.put(name, wanted, by=person())

    _run(name, options, change, as_json=as_json)


@schedule.command(epilog=exits.epilog())
@click.argument("name")
@json_option
@database_options
def pause(name: str, *, as_json: bool, **options: Any) -> None:
    """Let a schedule have no ticks."""

    async def change(runtime: Runtime) -> None:
        await runtime.schedules.set_paused(name, paused=True, by=person())

    _run(name, options, change, as_json=as_json)


@schedule.command(epilog=exits.epilog())
@click.argument("name")
@json_option
@database_options
def resume(name: str, *, as_json: bool, **options: Any) -> None:
    """Let a schedule go on with the next tick; those while it was paused are not made up for."""

    async def change(runtime: Runtime) -> None:
        await runtime.schedules.set_paused(name, paused=False, by=person())

    _run(name, options, change, as_json=as_json)


@schedule.command(epilog=exits.epilog())
@click.argument("name")
@database_options
def delete(name: str, **options: Any) -> None:
    """Delete a schedule; its jobs are kept."""
    check_queue(name, "name")

    async def use(runtime: Runtime) -> None:
        await runtime.schedules.delete(name, by=person())

    with_runtime(database_flags(options), use)
    output.print_line(f"{name} deleted")


@schedule.command(name="next", epilog=exits.epilog("schedule next '*/15 9-17 * * MON-FRI' --timezone America/New_York"))
@click.argument("cron")
@click.option("--timezone", default="UTC", show_default=True, help="IANA name of the time zone it is meant in.")
def next_runs(cron: str, timezone: str) -> None:
    """Print the next five times of a cron expression, in UTC; this needs no database."""
    definition = schedules.read({"cron": cron, "timezone": timezone, "job": NewJob(type="any")})
    now = datetime.now(UTC)
    for tick in schedules.next_ticks(definition, now, now, 5):
        output.print_line(wire.date(tick))


async def _nothing(_runtime: Runtime) -> None:
    return


def _run(name: str, options: dict[str, Any], change: Callable[[Runtime], Awaitable[None]], *, as_json: bool) -> None:
    """Change a schedule, and print what it is then."""
    check_queue(name, "name")

    async def use(runtime: Runtime) -> Shown:
        await change(runtime)
        return (await runtime.schedules.show(name))[0]

    shown = with_runtime(database_flags(options), use)
    if as_json:
        output.print_json(shown)
        return
    width = max(map(len, shown))
    for field, value in shown.items():
        output.print_line(f"{field:<{width}}  {output.compact(value)}")


def _when(shown: Shown) -> str:
    return f"every {shown['every']:g} s" if "every" in shown else f"{shown['cron']} {shown['timezone']}"
