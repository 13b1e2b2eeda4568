"""``jobqueue failures``: list failures in groups, and requeue a group."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from jobqueue.cli.bulk import bulk
from jobqueue.cli.bulk.step_options import from_step, step_options
from jobqueue.cli.process import complete
from jobqueue.cli.process.session import operator, with_runtime
from jobqueue.cli.render import errors, output, values
from jobqueue.cli.render.options import command_options
from jobqueue.domain.bulk.operation import Action, NewOperation
from jobqueue.domain.jobs import json_form
from jobqueue.domain.jobs.fingerprint import check_fingerprint
from jobqueue.domain.work.failure import BY_COUNT, BY_LAST, MOST_GROUPS, FailureQuery

if TYPE_CHECKING:
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
    rows = [_row(group, now) for group in groups]
    output.print_items(FailureResponse.many(groups), headings, rows, as_json=as_json)
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

    group, now = with_runtime(options, use)
    if as_json:
        from jobqueue.api.bulk.schemas import FailureGroupResponse  # noqa: PLC0415 - marshmallow takes 0.1 s to import, --help must not

        output.print_json(FailureGroupResponse.of(group))
        return
    error = group.sample.error
    output.print_line(f"{f'{error.kind}: ' if error else ''}{output.plain(group.message)}")
    states = ", ".join(f"{count:,} {state}" for state, count in group.states.items())
    output.print_fields({"type": group.sample.type, "queues": list(group.queues), "jobs": states, "place": group.place})
    if error is not None and error.trace is not None:
        output.print_line()
        for line in error.trace.splitlines():
            output.print_line(output.plain(line))
    output.print_line()
    rows = [
        [job.id, job.state.value, job.queue, _ago(job.end_at, now), job.error.message if job.error else ""]
        for job in group.jobs
    ]
    output.print_table(["ID", "STATE", "QUEUE", "ENDED", "MESSAGE"], rows)
    output.note(f"to start them again: jobqueue failures requeue {fingerprint} --trial, then without --trial")


def _ago(moment: datetime | None, now: datetime) -> str:
    return "" if moment is None else f"{output.duration((now - moment).total_seconds())} ago"


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
        job = with_runtime(options, lambda runtime: runtime.failures.try_one(query, from_step=first, by=operator()))
        output.print_document(json_form.job(job), f"{job.id} {job.state.value}", as_json=as_json)
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


def _row(group: FailureGroup, now: datetime) -> list[str]:
    kind = f"{group.sample.error.kind}: " if group.sample.error else ""
    place = f" ({group.place})" if group.place else ""
    last = output.duration((now - group.last_at).total_seconds()) if group.last_at else ""
    return [
        group.fingerprint,
        f"{group.count:,}",
        last,
        group.sample.type,
        ",".join(group.queues),
        f"{kind}{group.message}"[:200] + place,
    ]
