"""``jobqueue why``: print why a job is not running."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import click

from jobqueue.cli.process import complete
from jobqueue.cli.process.ids import id_argument
from jobqueue.cli.process.session import with_api
from jobqueue.cli.render import errors, moments, output
from jobqueue.cli.render.help import Command
from jobqueue.cli.render.options import command_options
from jobqueue.domain.values.checks import check_queue

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from jobqueue.cli.process.api import Api


_MOST_HOLDERS: Final = 10


@click.command(cls=Command, epilog=errors.epilog("why 65f0c2a4e1b2c3d4e5f60718", "why --queue media"))
@id_argument("job_id", required=False)
@click.option(
    "--queue",
    metavar="NAME",
    shell_complete=complete.queues,
    help="Why no job of this queue starts, in place of one job.",
)
@command_options
def why(job_id: str | None, queue: str | None, *, as_json: bool, **options: Any) -> None:
    """Print the reasons why a job, or a queue, is not running, in their order."""
    if (job_id is None) == (queue is None):
        raise click.UsageError("give either the ID of a job or --queue NAME")
    if queue is not None:
        check_queue(queue)

    async def use(api: Api) -> tuple[dict[str, Any], datetime]:
        place = ("jobs", str(job_id)) if queue is None else ("queues", queue)
        return await api.get(*place, "why"), await api.now()

    explanation, now = with_api(options, use)
    if as_json:
        output.print_json(explanation)
        return
    for reason in explanation["reasons"]:
        output.print_wrapped(f"{reason['kind']:<11}  {output.plain(reason['message'])}", indent=13)
        holders = reason.get("holders", ())
        for holder in holders[:_MOST_HOLDERS]:
            output.print_wrapped(f"{'':13}{output.plain(_holder(holder, now))}", indent=15)
        if len(holders) > _MOST_HOLDERS:
            output.print_line(f"{'':13}and {reason['running'] - _MOST_HOLDERS:,} more")
    if not explanation["reasons"]:
        next_one = (
            "it is the next one to be claimed" if queue is None else "its first jobs may be claimed at any moment"
        )
        output.print_line(f"nothing keeps it from running: {next_one}")


def _holder(job: Mapping[str, Any], now: datetime) -> str:
    age = f" for {moments.ago(job['startAt'], now)}" if job["startAt"] else ""
    step = f", step {job['step']}" if job.get("step") else ""
    return f"{output.shortened(job['id'])} {job['type']}{age} on {job['worker']}{step}"
