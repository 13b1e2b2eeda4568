"""``jobqueue failures``: list failures in groups, compare a group with other jobs, and requeue it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import click

from jobqueue.cli.bulk import bulk, comparing
from jobqueue.cli.bulk.careful_options import careful_options, rules
from jobqueue.cli.bulk.step_options import from_step, step_options
from jobqueue.cli.process import complete
from jobqueue.cli.process.session import with_api
from jobqueue.cli.render import errors, moments, output, tables, values
from jobqueue.cli.render.help import Group
from jobqueue.cli.render.options import command_options
from jobqueue.cli.render.tables import Column
from jobqueue.domain.attempts.fingerprint import check_fingerprint
from jobqueue.domain.search.terms import moment_ago
from jobqueue.domain.steps.step import as_json as as_json_form
from jobqueue.domain.work.failure import BY_COUNT, BY_LAST, MOST_GROUPS, FailureQuery

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from jobqueue.cli.process.api import Api
    from jobqueue.cli.render.tables import View


def _ago(date: str | None, now: datetime) -> str:
    return "" if date is None else f"{moments.ago(date, now)} ago"


def _what(group: Mapping[str, Any], _: datetime | None = None) -> str:
    return f"{group['kind']}: {group['message']}" if group["kind"] is not None else str(group["message"])


_COLUMNS: Final = (
    tables.field("fingerprint"),
    Column(name="count", cell=lambda group, _: f"{group['count']:,}", is_number=True),
    Column(name="last", cell=lambda group, now: moments.ago(group["lastAt"], now), is_number=True),
    Column(name="first", cell=lambda group, now: moments.ago(group["firstAt"], now), is_number=True, hidden=True),
    tables.field("type", least=10),
    Column(name="queues", cell=lambda group, _: ",".join(group["queues"]), least=6, rank=1),
    Column(
        name="states",
        cell=lambda group, _: ", ".join(f"{count:,} {state}" for state, count in group["states"].items()),
        hidden=True,
    ),
    Column(name="what", cell=_what, answers=True),
    tables.field("place", rank=2, least=12),
)
_JOBS: Final = tables.plain_view(
    tables.field("id", is_id=True),
    tables.field("state"),
    tables.field("queue", least=8, rank=1),
    Column(name="ended", cell=lambda job, now: _ago(job["endAt"], now)),
    tables.field("message", answers=True),
)


@click.group(
    cls=Group,
    invoke_without_command=True,
    epilog=errors.epilog("failures --queue media --since 1d", "failures requeue 5b9f0c1d2e3a4f67 --trial"),
)
@click.option("--queue", metavar="NAME", shell_complete=complete.queues, help="Of this queue.")
@click.option("--type", "kind", metavar="TYPE", shell_complete=complete.types, help="Of this type.")
@click.option("--since", metavar="TIME", help="Ended since then: a time ago such as 15m, 2h, 7d, or a date.")
@click.option("--sort", type=click.Choice(["count", "last"]), default="count", show_default=True, help="Which first.")
@click.option("--limit", type=click.IntRange(1, MOST_GROUPS), default=20, show_default=True, help="How many groups.")
@tables.table_options(_COLUMNS)
@command_options
@click.pass_context
def failures(ctx: click.Context, /, *, view: View, as_json: bool, **options: Any) -> None:
    """List failed and killed jobs in groups of the same error, and requeue a group."""
    if ctx.invoked_subcommand is not None:
        return
    _query(options, None)

    async def use(api: Api) -> tuple[dict[str, Any], datetime]:
        return await api.get("failures", query=_query(options, await api.now())), await api.now()

    page, now = with_api(options, use)
    items = page["items"]
    narrowed = any(options[name] is not None for name in ("queue", "kind", "since"))
    empty = "no failures match" if narrowed else "no jobs have failed or were killed"
    tables.print_items(items, view, as_json=as_json, now=now, empty=empty)
    if page["next"] is not None and not as_json:
        output.note("there are more: --limit, or narrow them")


@failures.command(epilog=errors.epilog("failures show 5b9f0c1d2e3a4f67"))
@click.argument("fingerprint", shell_complete=complete.fingerprints)
@command_options
def show(fingerprint: str, *, as_json: bool, **options: Any) -> None:
    """Print a group: its message and its trace whole, its queues and states, and its newest jobs."""
    check_fingerprint(fingerprint)

    async def use(api: Api) -> tuple[dict[str, Any], datetime]:
        return await api.get("failures", fingerprint), await api.now()

    group, now = with_api(options, use)
    if as_json:
        output.print_json(group)
        return
    output.print_wrapped(output.plain(_what(group)), indent=4)
    states = ", ".join(f"{count:,} {state}" for state, count in group["states"].items())
    fields = {"type": group["type"], "queues": group["queues"], "jobs": states, "place": group["place"]}
    output.print_fields(fields | ({"versions": group["versions"]} if group["versions"] else {}))
    if group["trace"] is not None:
        output.print_line()
        for line in group["trace"].splitlines():
            output.print_line(output.plain(line))
    output.print_line()
    tables.print_rows(group["jobs"], _JOBS, now=now)
    output.note(f"to see what they have in common: jobqueue failures compare {fingerprint}")
    output.note(f"to start them again: jobqueue failures requeue {fingerprint} --trial, then without --trial")


failures.add_command(comparing.compare)


@failures.command(
    epilog=errors.epilog(
        "failures requeue 5b9f0c1d2e3a4f67 --trial",
        "failures requeue 5b9f0c1d2e3a4f67 --trial 1 --then --pace 20 --stop-after 3 --follow",
    )
)
@click.argument("fingerprint", shell_complete=complete.fingerprints)
@careful_options(alone=True)
@click.option("--queue", metavar="NAME", shell_complete=complete.queues, help="Only those of this queue.")
@step_options
@click.option("--dry-run", is_flag=True, help="Only print the number of these jobs, and some of them.")
@click.option("--yes", is_flag=True, help="Do not ask before many jobs are changed.")
@command_options
def requeue(
    fingerprint: str, *, queue: str | None, dry_run: bool, yes: bool, follow: bool, as_json: bool, **options: Any
) -> int:
    """Requeue all jobs of a group, or one of them on trial; its id is printed.

    With --trial N, --pace or --stop-after the operation watches its jobs until they have ended.
    """
    body = {**rules(options), **as_json_form(from_step(options)), **({} if queue is None else {"queue": queue})}
    place = ("failures", check_fingerprint(fingerprint), "requeue")
    if body.get("trial") is True:
        if dry_run:
            raise click.UsageError("--trial without a number and --dry-run do not go together")
        job = with_api(options, lambda api: api.post(*place, body=body))["job"]
        output.print_document(job, f"{job['id']} {job['state']}", as_json=as_json)
        return errors.OK
    return bulk.run(options, place, body, bulk.How(dry_run, yes, follow), as_json=as_json)


def _query(options: dict[str, Any], now: datetime | None) -> dict[str, Any]:
    """Return the query; without the time now it is only checked."""
    since = options["since"]
    query = FailureQuery(
        queue=options["queue"],
        type=options["kind"],
        ended_after=None if since is None else moment_ago(since, now or values.EPOCH),
        sort=BY_COUNT if options["sort"] == "count" else BY_LAST,
        limit=options["limit"],
    )
    names = ("queue", "type", "sort", "limit")
    return {"endedAfter": query.ended_after, **{name: getattr(query, name) for name in names}}
