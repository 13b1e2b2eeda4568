"""``jobqueue show``: print one job, and follow it until it ends."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

import click

from jobqueue.cli.process.ids import id_argument
from jobqueue.cli.process.session import with_api
from jobqueue.cli.render import errors, job_text, output
from jobqueue.cli.render.help import Command
from jobqueue.cli.render.options import command_options
from jobqueue.domain.attempts.states import FINAL, State
from jobqueue.domain.errors import NotFoundError

if TYPE_CHECKING:
    from jobqueue.cli.process.api import Api

_LOOK_SECONDS: Final = 0.5
_PAGE: Final = 1000


@click.command(cls=Command, epilog=errors.epilog("show 65f0c2a4e1b2c3d4e5f60718 --follow"))
@id_argument("job_id")
@click.option("--follow", "-f", is_flag=True, help="Print its log until it ends; exit 6 if it failed or was killed.")
@command_options
def show(job_id: str, *, follow: bool, as_json: bool, **options: Any) -> int:
    """Show one job: state, times, input, result, every attempt with its error, and the log.

    With --follow and --json each log line and each step of the progress is an object on a line of its own, and the last
    line is the job.
    """

    async def use(api: Api) -> int:
        if follow:
            return await _follow(api, job_id, as_json=as_json)
        job = await api.get("jobs", job_id)
        lines, _ = await _lines(api, job_id, None)
        if as_json:
            output.print_json(job | {"logs": lines})
        else:
            job_text.print_job(job, lines)
        return errors.OK

    return with_api(options, use)


async def _lines(api: Api, job_id: str, cursor: str | None) -> tuple[list[dict[str, Any]], str]:
    """Return all log lines from a cursor on, and the cursor behind them."""
    lines: list[dict[str, Any]] = []
    while True:
        page = await api.get("jobs", job_id, "logs", query={"cursor": cursor, "limit": _PAGE})
        lines += page["items"]
        cursor = page["resume"]
        if page["next"] is None:
            return lines, page["resume"]


async def _follow(api: Api, job_id: str, *, as_json: bool) -> int:
    """Print a job, then its changes until it ends; return the exit code of its end."""
    job = await api.get("jobs", job_id)
    lines, cursor = await _lines(api, job_id, None)
    if as_json:
        _print_lines(lines, as_json=True)
    else:
        job_text.print_job(job, lines)
    while job["state"] not in FINAL:
        await asyncio.sleep(_LOOK_SECONDS)
        before = job
        try:
            job = await api.get("jobs", job_id)
            lines, cursor = await _lines(api, job_id, cursor)
        except NotFoundError:
            if not before["onSuccessDelete"]:
                raise
            _note_deleted(job_id)
            return errors.OK
        _print_news(before, job, lines, as_json=as_json)
    if as_json:
        output.print_json({"job": job}, indent=None)
    if job["onSuccessDelete"] and job["state"] == State.SUCCESS:
        # Its end was seen just before.
        _note_deleted(job_id)
    return errors.OK if job["state"] == State.SUCCESS else errors.JOB_FAILED


def _note_deleted(job_id: str) -> None:
    output.note(f"job {job_id} has succeeded and is deleted")


def _print_lines(lines: list[dict[str, Any]], *, as_json: bool) -> None:
    for line in lines:
        if as_json:
            output.print_json(line, indent=None)
        else:
            job_text.print_log(line)


def _print_news(before: dict[str, Any], job: dict[str, Any], lines: list[dict[str, Any]], *, as_json: bool) -> None:
    _print_lines(lines, as_json=as_json)
    if job["progress"] != before["progress"]:
        if as_json:
            output.print_json({"progress": job["progress"]}, indent=None)
        else:
            output.print_line(f"progress {job['progress']:g} %")
    if job["state"] != before["state"]:
        if as_json:
            output.print_json({"state": job["state"]}, indent=None)
        else:
            job_text.print_state(job)
