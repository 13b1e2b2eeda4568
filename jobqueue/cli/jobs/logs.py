"""``jobqueue logs``: print the log of a job, and follow it until the job ends."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import click

from jobqueue.cli.process.ids import id_argument
from jobqueue.cli.process.session import with_runtime
from jobqueue.cli.render import errors, job_text, output
from jobqueue.cli.render.help import Command
from jobqueue.cli.render.options import command_options
from jobqueue.domain.jobs import json_form
from jobqueue.domain.work.logs import LogQuery

if TYPE_CHECKING:
    from jobqueue.domain.work.logs import LogPage
    from jobqueue.services.application import Runtime

_WAIT_SECONDS: Final = 60


@click.command(
    cls=Command,
    epilog=errors.epilog("logs 65f0c2a4e1b2c3d4e5f60718 -f", "logs 65f0c2a4e1b2c3d4e5f60718 --level error,warning"),
)
@id_argument("job_id")
@click.option("--follow", "-f", is_flag=True, help="Go on printing until the job has ended.")
@click.option("--level", metavar="LEVEL", help="Only lines of this level; several with commas.")
@click.option("--attempt", type=int, help="Only lines of this attempt.")
@command_options
def logs(job_id: str, *, follow: bool, level: str | None, attempt: int | None, as_json: bool, **options: Any) -> None:
    """Print the log of a job: time, number of the attempt, level, message. With --json each line is an object."""
    levels = () if level is None else tuple(dict.fromkeys(level.split(",")))
    query = LogQuery(levels=levels, attempt=attempt)

    async def use(runtime: Runtime) -> None:
        page = await runtime.logs.store.page(job_id, query)
        while True:
            _print(page, as_json=as_json)
            if page.ended or not (follow or page.more):
                return
            rest = replace(query, after=page.resume)
            page = await runtime.logs.following(job_id, rest, _WAIT_SECONDS if follow else 0)

    with_runtime(options, use)


def _print(page: LogPage, *, as_json: bool) -> None:
    for line in (json_form.log_line(line) for _, line in page.lines):
        if as_json:
            output.print_json(line, indent=None)
        else:
            output.print_line(output.plain(job_text.log_text(line)))
