"""``jobqueue schedule``: list, show, set, pause, resume and delete schedules."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import click

from jobqueue.cli.process import complete
from jobqueue.cli.process.pausing import change_all, check_choice
from jobqueue.cli.process.session import with_api
from jobqueue.cli.render import errors, moments, output, tables, values
from jobqueue.cli.render.help import Group
from jobqueue.cli.render.options import command_options, json_option
from jobqueue.cli.render.tables import Column
from jobqueue.domain.jobs import json_form
from jobqueue.domain.schedules import schedule as schedules
from jobqueue.domain.schedules.cron import Cron, read_zone, upcoming

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jobqueue.cli.render.tables import View

_SHOWN: Final = 5
_SET: Final = errors.epilog(
    """schedule set nightly '{"cron": "30 2 * * *", "timezone": "Europe/Berlin", "job": {"type": "report"}}'""",
    """schedule set poll '{"every": 300, "job": {"type": "poll", "key": "poll"}, "missed": "skip"}'""",
    "schedule set nightly @nightly.json",
)


def _when(view: Mapping[str, Any], _: datetime) -> str:
    if "job" not in view:
        return "cannot be read"
    zone = "" if view["timezone"] == "UTC" else f" {view['timezone']}"
    return f"{view['cron']}{zone}" if view["cron"] is not None else f"every {moments.exact(view['every'])}"


def _next(view: Mapping[str, Any], now: datetime) -> str:
    if view.get("paused"):
        return "paused"
    return f"in {moments.ahead(view['nextAt'], now)}" if view.get("nextAt") else "-"


def _last(view: Mapping[str, Any], now: datetime) -> str:
    last = next(iter(view.get("lastRuns", ())), None)
    return f"{moments.ago(last['at'], now)} ago, {last['state']}" if last else "-"


def _skipped(view: Mapping[str, Any], now: datetime) -> str:
    skipped = view.get("lastSkipped")
    return f"{moments.ago(skipped['at'], now)} ago: {skipped['reason']}" if skipped else ""


def _declared(view: Mapping[str, Any], _: datetime) -> str:
    declared = view.get("declared")
    if declared is None:
        return ""
    notes = [f"edited: {', '.join(declared['edited'])}"] if declared["edited"] else []
    if declared["missingSince"] is not None:
        notes.append("no longer in the code")
    return f"{declared['by']} ({'; '.join(notes)})" if notes else str(declared["by"])


_COLUMNS: Final = (
    tables.field("name", answers=True),
    Column(name="when", cell=_when, least=12),
    tables.field("job", "job.type", least=8, rank=1),
    Column(name="next", cell=_next),
    Column(name="last", cell=_last),
    Column(name="skipped", heading="LAST SKIPPED", cell=_skipped, answers=True),
    Column(name="declared", heading="DECLARED BY", cell=_declared, least=12, rank=2),
    tables.field("missed", hidden=True),
    tables.field("nextAt", hidden=True, heading="NEXT AT"),
)
_RUNS: Final = tables.plain_view(
    tables.field("tick", "at"), tables.field("job", "id", is_id=True), tables.field("state")
)


@click.group(cls=Group, epilog=errors.epilog())
def schedule() -> None:
    """List, show, set, pause, resume and delete schedules, which make one job at each of their times."""


@schedule.command(name="list", epilog=errors.epilog())
@tables.table_options(_COLUMNS)
@command_options
def list_schedules(*, view: View, as_json: bool, **options: Any) -> None:
    """List all schedules by name."""
    views = with_api(options, lambda api: api.items("schedules"))
    tables.print_items(views, view, as_json=as_json, empty="there are no schedules: jobqueue schedule set makes one")


@schedule.command(epilog=errors.epilog())
@click.argument("name", shell_complete=complete.schedules)
@command_options
def show(name: str, *, as_json: bool, **options: Any) -> None:
    """Print a schedule, its next five times and the last ten jobs that it has made."""
    schedules.check_name(name)

    _print(with_api(options, lambda api: api.get("schedules", name)), as_json=as_json)


@schedule.command(name="set", epilog=_SET)
@click.argument("name", shell_complete=complete.schedules)
@click.argument("definition", metavar="JSON")
@command_options
def set_definition(name: str, definition: str, *, as_json: bool, **options: Any) -> None:
    """Create a schedule, or replace it.

    JSON is an object, @FILE to read it from, or - for stdin: cron (5 fields, 6 with seconds first, or @daily and the
    like) and perhaps timezone, or every (seconds); job, as for POST /v1/jobs; and perhaps missed (skip, one or all:
    what to make for times at which no process was there) and paused.
    """
    body = schedules.read(name, values.read_object(definition, "definition"), values.new_job).wire()
    _print(
        with_api(options, lambda api: api.put("schedules", name, body=body, safe=True), creates=True), as_json=as_json
    )


@schedule.command(epilog=errors.epilog("schedule run nightly"))
@click.argument("name", shell_complete=complete.schedules)
@command_options
def run(name: str, *, as_json: bool, **options: Any) -> None:
    """Make one job of a schedule now, besides its times, and print its id."""
    job = with_api(options, lambda api: api.post("schedules", schedules.check_name(name), "run"))
    output.print_document(job, job["id"], as_json=as_json)


@schedule.command(epilog=errors.epilog("schedule pause nightly", "schedule pause --all"))
@click.argument("name", shell_complete=complete.schedules, required=False)
@click.option("--all", "every", is_flag=True, help="Each schedule that is not paused yet.")
@command_options
def pause(name: str | None, *, every: bool, as_json: bool, **options: Any) -> int:
    """Pause a schedule: it makes no jobs."""
    check_choice(name, every=every, kind="schedule")
    if name is not None:
        _set_paused(name, options, paused=True, as_json=as_json)
        return errors.OK
    return change_all("schedules", "pause", options, is_meant=lambda view: view.get("paused") is False, as_json=as_json)


@schedule.command(epilog=errors.epilog())
@click.argument("name", shell_complete=complete.schedules)
@command_options
def resume(name: str, *, as_json: bool, **options: Any) -> None:
    """Resume a schedule: it makes jobs from now on. Jobs of the times in between are not made."""
    _set_paused(name, options, paused=False, as_json=as_json)


@schedule.command(epilog=errors.epilog())
@click.argument("name", shell_complete=complete.schedules)
@command_options
def delete(name: str, *, as_json: bool, **options: Any) -> None:
    """Delete a schedule; the jobs that it has made are kept."""
    schedules.check_name(name)
    with_api(options, lambda api: api.delete("schedules", name))
    output.print_document({"name": name}, f"{name} deleted", as_json=as_json)


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

    verb = "pause" if paused else "resume"
    view = with_api(options, lambda api: api.post("schedules", name, verb, safe=True))
    output.print_document(view, f"{name} {'paused' if paused else 'resumed'}", as_json=as_json)


def _print(view: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        output.print_json(view)
        return
    runs = view.pop("lastRuns")
    if "nextRuns" in view:
        view["nextRuns"] = ", ".join(view["nextRuns"])
    output.print_fields(view)
    output.print_line()
    tables.print_rows(runs, _RUNS, empty="it has made no jobs so far")
