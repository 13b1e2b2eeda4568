"""``jobqueue failures``: list failures in groups, and requeue a group."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from jobqueue.cli.bulk import bulk
from jobqueue.cli.bulk.step_options import from_step, step_options
from jobqueue.cli.process import complete
from jobqueue.cli.process.session import operator, with_runtime
from jobqueue.cli.render import errors, moments, output, values
from jobqueue.cli.render.options import command_options
from jobqueue.domain.bulk.operation import Action, NewOperation
from jobqueue.domain.jobs import json_form
from jobqueue.domain.jobs.fingerprint import check_fingerprint
from jobqueue.domain.work.failure import BY_COUNT, BY_LAST, MOST_GROUPS, FailureQuery

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from jobqueue.domain.work.failure import FailureDetails, FailureGroup
    from jobqueue.services.application import Runtime


@click.group(
    invoke_without_command=True,
    epilog=errors.epilog("failures --queue media --since 1d", "failures requeue 5b9f0c1d2e3a4f67 --trial"),
)
@click.option("--queue", metavar="NAME", shell_complete=complete.queues, help="Of this queue.")
@click.option("--type", "kind", metavar="TYPE", shell_complete=complete.types, help="Of this type.")
@click.option("--since", metavar="TIME", help="Ended since then: a time ago such as 15m, 2h, 7d, or a date.")
@click.option("--sort", type=click.Choice(["count", "last"]), default="count", show_default=True, help="Which first.")
@click.option("--limit", type=click.IntRange(1, MOST_GROUPS), default=20, show_default=True, help="How many groups.")
@command_options
@click.pass_context
def failures(ctx: click.Context, /, *, as_json: bool, **options: Any) -> None:
    """List failed and killed jobs in groups of the same error, and requeue a group."""
    if ctx.invoked_subcommand is not None:
        return
    _query(options, None)

    async def use(runtime: Runtime) -> tuple[list[FailureGroup], bool, datetime]:
        now = await runtime.database.clock.now()
        return *await runtime.failures.page(_query(options, now)), now

    groups, more, now = with_runtime(options, use)
    from jobqueue.api.bulk.schemas import FailureResponse  # noqa: PLC0415 - marshmallow takes 0.1 s to import, --help must not

    headings = ["FINGERPRINT", "COUNT", "LAST", "TYPE", "QUEUES", "WHAT"]
    items = FailureResponse.many(groups)
    output.print_items(items, headings, [_row(item, now) for item in items], as_json=as_json)
    if more and not as_json:
        output.note("there are more: --limit, or narrow them")


@failures.command(epilog=errors.epilog("failures show 5b9f0c1d2e3a4f67"))
@click.argument("fingerprint")
@command_options
def show(fingerprint: str, *, as_json: bool, **options: Any) -> None:
    """Print a group: its message and its trace whole, its queues and states, and its newest jobs."""
    check_fingerprint(fingerprint)

    async def use(runtime: Runtime) -> tuple[FailureDetails, datetime]:
        return await runtime.failures.group(fingerprint), await runtime.database.clock.now()

    details, now = with_runtime(options, use)
    from jobqueue.api.bulk.schemas import FailureGroupResponse  # noqa: PLC0415 - marshmallow takes 0.1 s to import, --help must not

    group = FailureGroupResponse.of(details)
    if as_json:
        output.print_json(group)
        return
    output.print_line(output.plain(_what(group)))
    states = ", ".join(f"{count:,} {state}" for state, count in group["states"].items())
    fields = {"type": group["type"], "queues": group["queues"], "jobs": states, "place": group["place"]}
    output.print_fields(fields)
    if group["trace"] is not None:
        output.print_line()
        for line in group["trace"].splitlines():
            output.print_line(output.plain(line))
    output.print_line()
    rows = [
        [job["id"], job["state"], job["queue"], _ago(job["endAt"], now), job["message"] or ""] for job in group["jobs"]
    ]
    output.print_table(["ID", "STATE", "QUEUE", "ENDED", "MESSAGE"], rows)
    output.note(f"to start them again: jobqueue failures requeue {fingerprint} --trial, then without --trial")


def _ago(date: str | None, now: datetime) -> str:
    return "" if date is None else f"{moments.ago(date, now)} ago"


def _what(group: Mapping[str, Any]) -> str:
    return f"{group['kind']}: {group['message']}" if group["kind"] is not None else str(group["message"])


@failures.command(epilog=errors.epilog("failures requeue 5b9f0c1d2e3a4f67 --trial"))
@click.argument("fingerprint")
@click.option("--trial", is_flag=True, help="Requeue one of them only.")
@click.option("--queue", metavar="NAME", shell_complete=complete.queues, help="Only those of this queue.")
@step_options
@click.option("--dry-run", is_flag=True, help="Only print the number of these jobs, and some of them.")
@click.option("--yes", is_flag=True, help="Do not ask before many jobs are changed.")
@command_options
def requeue(
    fingerprint: str, *, trial: bool, queue: str | None, dry_run: bool, yes: bool, as_json: bool, **options: Any
) -> int:
    """Requeue all jobs of a group, or one of them on trial; its id is printed."""
    if trial and dry_run:
        raise click.UsageError("--trial and --dry-run do not go together")
    first = from_step(options)
    query = FailureQuery(fingerprint=check_fingerprint(fingerprint), queue=queue)
    if trial:
        tried = with_runtime(options, lambda runtime: runtime.failures.try_one(query, from_step=first, by=operator()))
        job = json_form.job(tried)
        output.print_document(job, f"{job['id']} {job['state']}", as_json=as_json)
        return errors.OK
    with_runtime(options, lambda runtime: runtime.failures.latest(query))
    filter_ = {} if queue is None else {"queue": queue}
    new = NewOperation(
        action=Action.REQUEUE, by=operator(), filter=filter_, fingerprint=query.fingerprint, from_step=first
    )
    return bulk.run(options, new, dry_run=dry_run, yes=yes, as_json=as_json)


def _query(options: dict[str, Any], now: datetime | None) -> FailureQuery:
    """Return the query; without the time now it is only checked."""
    since = options["since"]
    return FailureQuery(
        queue=options["queue"],
        type=options["kind"],
        ended_after=None if since is None else values.since(since, now or values.EPOCH),
        sort=BY_COUNT if options["sort"] == "count" else BY_LAST,
        limit=options["limit"],
    )


def _row(group: Mapping[str, Any], now: datetime) -> list[str]:
    place = f" ({group['place']})" if group["place"] else ""
    return [
        group["fingerprint"],
        f"{group['count']:,}",
        moments.ago(group["lastAt"], now),
        group["type"],
        ",".join(group["queues"]),
        _what(group)[:200] + place,
    ]
