"""``jobqueue failures``: what goes wrong, in groups, and starting a group again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from jobqueue.cli.bulk import bulk
from jobqueue.cli.process.session import with_runtime
from jobqueue.cli.queues.queue import person
from jobqueue.cli.render import errors, output, values
from jobqueue.cli.render.options import database_flags, database_options, json_option
from jobqueue.domain.bulk.operation import Action, NewOperation
from jobqueue.domain.jobs import json_form
from jobqueue.domain.work.failure import BY_COUNT, BY_LAST, MOST_GROUPS, FailureQuery, check_fingerprint

if TYPE_CHECKING:
    from datetime import datetime

    from jobqueue.domain.jobs.job import Job
    from jobqueue.domain.work.failure import FailureGroup
    from jobqueue.services.application import Runtime


@click.group(
    invoke_without_command=True,
    epilog=errors.epilog("failures --queue media --since 1d", "failures requeue 5b9f0c1d2e3a4f67 --trial"),
)
@click.option("--queue", metavar="NAME", help="Of this queue.")
@click.option("--type", "kind", metavar="TYPE", help="Of this type.")
@click.option("--since", metavar="TIME", help="Ended since then: a time ago such as 15m, 2h, 7d, or a date.")
@click.option("--sort", type=click.Choice(["count", "last"]), default="count", show_default=True, help="Which first.")
@click.option("--limit", type=click.IntRange(1, MOST_GROUPS), default=20, show_default=True, help="How many groups.")
@json_option
@database_options
@click.pass_context
def failures(ctx: click.Context, /, *, as_json: bool, **options: Any) -> None:
    """List what has failed or was killed, in groups of the same mistake, and start a group again."""
    if ctx.invoked_subcommand is not None:
        return
    flags = database_flags(options)
    _query(options, None)

    async def use(runtime: Runtime) -> tuple[list[FailureGroup], bool, datetime]:
        now = await runtime.database.clock.now()
        return *await runtime.failures.page(_query(options, now)), now

    groups, more, now = with_runtime(flags, use)
    if as_json:
        from jobqueue.api.bulk.schemas import FailureResponse  # noqa: PLC0415 - marshmallow takes 0.1 s to import, --help must not

        output.print_json({"items": FailureResponse.many(groups)})
        return
    output.print_table(["FINGERPRINT", "COUNT", "LAST", "TYPE", "QUEUES", "WHAT"], [_row(one, now) for one in groups])
    if more:
        output.note("there are more: --limit, or narrow them")


@failures.command(epilog=errors.epilog("failures requeue 5b9f0c1d2e3a4f67 --trial"))
@click.argument("fingerprint")
@click.option("--trial", is_flag=True, help="Start one of them only.")
@click.option("--queue", metavar="NAME", help="Only those of this queue.")
@click.option("--dry-run", is_flag=True, help="Only say how many jobs these are, and show some.")
@click.option("--yes", is_flag=True, help="Do not ask before many jobs are changed.")
@json_option
@database_options
def requeue(
    fingerprint: str, *, trial: bool, queue: str | None, dry_run: bool, yes: bool, as_json: bool, **options: Any
) -> int:
    """Start all jobs of a group anew, or one of them on trial, whose id is printed."""
    if trial and dry_run:
        raise click.UsageError("--trial and --dry-run do not go together")
    flags = database_flags(options)
    query = FailureQuery(fingerprint=check_fingerprint(fingerprint), queue=queue)

    async def look(runtime: Runtime) -> Job:
        if trial:
            return await runtime.failures.try_one(query, by=person())
        return await runtime.failures.latest(query)

    job = with_runtime(flags, look)
    if trial:
        if as_json:
            output.print_json(json_form.job(job))
        else:
            output.print_line(f"{job.id} {job.state.value}")
        return errors.OK
    wanted = {} if queue is None else {"queue": queue}
    new = NewOperation(action=Action.REQUEUE, by=person(), filter=wanted, fingerprint=query.fingerprint)
    return bulk.run(flags, new, dry_run=dry_run, yes=yes, as_json=as_json)


def _query(options: dict[str, Any], now: datetime | None) -> FailureQuery:
    """Return what is asked for; ``None`` for the time now only checks it."""
    since = options["since"]
    return FailureQuery(
        queue=options["queue"],
        type=options["kind"],
        ended_after=None if since is None else values.since(since, now or values.EPOCH),
        sort=BY_COUNT if options["sort"] == "count" else BY_LAST,
        limit=options["limit"],
    )


def _row(one: FailureGroup, now: datetime) -> list[str]:
    kind = f"{one.sample.error.kind}: " if one.sample.error else ""
    place = f" ({one.place})" if one.place else ""
    last = output.duration((now - one.last_at).total_seconds()) if one.last_at else ""
    return [
        one.fingerprint,
        f"{one.count:,}",
        last,
        one.sample.type,
        ",".join(one.queues),
        f"{kind}{one.message}"[:200] + place,
    ]
