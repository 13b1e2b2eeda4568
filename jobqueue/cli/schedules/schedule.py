"""``jobqueue schedule``: list, show, set, pause, resume and delete schedules."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import click

from jobqueue.cli.process.session import with_runtime
from jobqueue.cli.queues.queue import person
from jobqueue.cli.render import errors, output, values
from jobqueue.cli.render.options import database_flags, database_options, json_option
from jobqueue.domain.errors import InvalidInputError
from jobqueue.domain.jobs import json_form
from jobqueue.domain.schedules import schedule as schedules
from jobqueue.domain.schedules.cron import Cron, read_zone, upcoming

if TYPE_CHECKING:
    from jobqueue.services.application import Runtime

_SHOWN: Final = 5
_PAGE: Final = 200
_SET: Final = errors.epilog(
    """schedule set nightly '{"cron": "30 2 * * *", "timezone": "Europe/Berlin", "job": {"type": "report"}}'""",
    """schedule set poll '{"every": 300, "job": {"type": "poll", "key": "poll"}, "missed": "skip"}'""",
    "schedule set nightly @nightly.json",
)


@click.group(epilog=errors.epilog())
def schedule() -> None:
    """List, show, set, pause, resume and delete schedules, which make one job at each of their times."""


@schedule.command(name="list", epilog=errors.epilog())
@json_option
@database_options
def list_schedules(*, as_json: bool, **options: Any) -> None:
    """List all schedules by name."""

    async def use(runtime: Runtime) -> list[dict[str, Any]]:
        shown: list[dict[str, Any]] = []
        after = ""
        while page := await runtime.schedules.store.page(after, _PAGE):
            shown += [await runtime.schedules.view(one) for one in page]
            after = page[-1].name
        return shown

    found = with_runtime(database_flags(options), use)
    if as_json:
        output.print_json({"items": found})
        return
    output.print_table(["NAME", "WHEN", "JOB", "NEXT", "LAST", "MISSED"], [_row(one) for one in found])


@schedule.command(epilog=errors.epilog())
@click.argument("name")
@json_option
@database_options
def show(name: str, *, as_json: bool, **options: Any) -> None:
    """Print a schedule, its next five times and the last ten jobs that it has made."""
    schedules.check_name(name)

    async def use(runtime: Runtime) -> dict[str, Any]:
        return await runtime.schedules.view(await runtime.schedules.get(name))

    _print(with_runtime(database_flags(options), use), as_json=as_json)


@schedule.command(name="set", epilog=_SET)
@click.argument("name")
@click.argument("definition", metavar="JSON")
@json_option
@database_options
def set_definition(name: str, definition: str, *, as_json: bool, **options: Any) -> None:
    """Create a schedule, or replace it.

    JSON is an object, @FILE to read it from, or - for stdin: cron (5 fields, 6 with seconds first, or @daily and the
    like) and perhaps timezone, or every (seconds); job, as for POST /v1/jobs; and perhaps missed (skip, one or all:
    what to make for times at which no process was there) and paused.
    """
    try:
        given = values.parse_json(values.read_source(definition))
    except ValueError as error:
        raise InvalidInputError({"definition": [f"is not JSON: {error}"]}) from None
    if not isinstance(given, dict):
        raise InvalidInputError({"definition": ["must be an object"]})
    wanted = schedules.read(name, given, values.new_job)

    async def use(runtime: Runtime) -> dict[str, Any]:
        made, _ = await runtime.schedules.put(wanted, by=person())
        return await runtime.schedules.view(made)

    _print(with_runtime(database_flags(options), use, creates=True), as_json=as_json)


@schedule.command(epilog=errors.epilog())
@click.argument("name")
@json_option
@database_options
def pause(name: str, *, as_json: bool, **options: Any) -> None:
    """Let a schedule make nothing."""
    _set_paused(name, options, paused=True, as_json=as_json)


@schedule.command(epilog=errors.epilog())
@click.argument("name")
@json_option
@database_options
def resume(name: str, *, as_json: bool, **options: Any) -> None:
    """Let a schedule make jobs again, from now on; what it would have made meanwhile is not made up for."""
    _set_paused(name, options, paused=False, as_json=as_json)


@schedule.command(epilog=errors.epilog())
@click.argument("name")
@json_option
@database_options
def delete(name: str, *, as_json: bool, **options: Any) -> None:
    """Take away a schedule; the jobs that it has made are kept."""
    schedules.check_name(name)

    async def use(runtime: Runtime) -> None:
        await runtime.schedules.delete(name, by=person())

    with_runtime(database_flags(options), use)
    if as_json:
        output.print_json({"name": name})
    else:
        output.print_line(f"{name} deleted")


@schedule.command(name="next", epilog=errors.epilog("schedule next '30 2 * * MON-FRI' --timezone Europe/Berlin"))
@click.argument("cron")
@click.option("--timezone", metavar="ZONE", default="UTC", show_default=True, help="IANA time zone.")
@json_option
def next_times(cron: str, timezone: str, *, as_json: bool) -> None:
    """Print the next five times of a cron expression: in UTC, and as clocks in its time zone show them."""
    times = upcoming(Cron(text=cron, timezone=timezone), datetime.now(UTC), count=_SHOWN)
    if as_json:
        output.print_json({"nextRuns": [json_form.date(moment) for moment in times]})
        return
    zone = read_zone(timezone)
    for moment in times:
        local = "" if zone is UTC else f"  {moment.astimezone(zone):%a %Y-%m-%d %H:%M:%S %Z}"
        output.print_line(f"{json_form.date(moment)}{local}")


def _set_paused(name: str, options: dict[str, Any], *, paused: bool, as_json: bool) -> None:
    schedules.check_name(name)

    async def use(runtime: Runtime) -> dict[str, Any]:
        return await runtime.schedules.view(await runtime.schedules.set_paused(name, paused=paused, by=person()))

    shown = with_runtime(database_flags(options), use)
    if as_json:
        output.print_json(shown)
    else:
        output.print_line(f"{name} {'paused' if paused else 'resumed'}")


def _row(one: dict[str, Any]) -> list[str]:
    if "job" not in one:
        return [one["name"], "cannot be understood", "", "", "", ""]
    zone = "" if one["timezone"] == "UTC" else f" {one['timezone']}"
    last = one["lastRuns"][0] if one["lastRuns"] else None
    return [
        one["name"],
        f"{one['cron']}{zone}" if one["cron"] is not None else f"every {one['every']} s",
        one["job"]["type"],
        "paused" if one["paused"] else one["nextAt"] or "-",
        f"{last['at']} {last['state']}" if last else "-",
        one["missed"],
    ]


def _print(shown: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        output.print_json(shown)
        return
    runs = shown.pop("lastRuns")
    width = max(map(len, shown))
    for field, value in shown.items():
        text = ", ".join(value) if field == "nextRuns" else output.compact(value)
        output.print_line(f"{field:<{width}}  {text}")
    output.print_line()
    output.print_table(["TICK", "JOB", "STATE"], [[run["at"], run["id"], run["state"]] for run in runs])
