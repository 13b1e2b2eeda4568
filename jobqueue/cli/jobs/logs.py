"""``jobqueue logs``: print the log of a job, and follow it until the job ends."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import click

from jobqueue.cli.process.ids import id_argument
from jobqueue.cli.process.session import with_api
from jobqueue.cli.render import errors, job_text, output
from jobqueue.cli.render.help import Command
from jobqueue.cli.render.options import command_options
from jobqueue.domain.work.logs import MOST_LINES, LogQuery

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from jobqueue.cli.process.api import Api

_WAIT_SECONDS: Final = 25.0
"""Seconds of one request; proxies cut connections that are silent for a minute, and some for half a one."""


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
    query = {"level": levels, "attempt": attempt, "limit": MOST_LINES}
    LogQuery(levels=levels, attempt=attempt)

    async def use(api: Api) -> None:
        cursor, wait = None, 0.0
        while True:
            page = await api.get("jobs", job_id, "logs", query={**query, "cursor": cursor}, wait=wait)
            _print(page["items"], as_json=as_json)
            if page["next"] is None and (page["ended"] or not follow):
                return
            cursor, wait = page["resume"], _WAIT_SECONDS if follow else 0.0

    with_api(options, use)


def _print(lines: Sequence[Mapping[str, Any]], *, as_json: bool) -> None:
    for line in lines:
        if as_json:
            output.print_json(line, indent=None)
        else:
            output.print_line(output.plain(job_text.log_text(line)))
