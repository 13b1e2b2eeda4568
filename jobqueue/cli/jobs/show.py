"""``jobqueue show``: print one job, and follow it until it ends."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

import click

from jobqueue.cli.process.ids import id_argument
from jobqueue.cli.process.session import with_runtime
from jobqueue.cli.render import errors, job_text, output
from jobqueue.cli.render.help import Command
from jobqueue.cli.render.options import command_options
from jobqueue.domain.errors import NotFoundError
from jobqueue.domain.jobs import json_form
from jobqueue.domain.jobs.states import FINAL, State

if TYPE_CHECKING:
    from jobqueue.domain.jobs.attempt import LogLine
    from jobqueue.domain.jobs.job import Job
    from jobqueue.services.application import Runtime

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

    async def use(runtime: Runtime) -> int:
        if follow:
            return await _follow(runtime, job_id, as_json=as_json)
        job, lines = await _read(runtime, job_id)
        document = json_form.job(job) | {"logs": _documents(lines)}
        if as_json:
            output.print_json(document)
        else:
            job_text.print_job(document, document["logs"])
        return errors.OK

    return with_runtime(options, use)


async def _read(runtime: Runtime, job_id: str) -> tuple[Job, list[LogLine]]:
    job = await runtime.jobs.whole(job_id)
    return job, [line for _, line in await _lines(runtime, job_id, 0)]


async def _lines(runtime: Runtime, job_id: str, after: int) -> list[tuple[int, LogLine]]:
    """Return all log lines from a number on."""
    lines: list[tuple[int, LogLine]] = []
    while page := await runtime.logs.lines(job_id, after=after, limit=_PAGE):
        lines += page
        after = page[-1][0] + 1
    return lines


async def _follow(runtime: Runtime, job_id: str, *, as_json: bool) -> int:
    """Print a job, then its changes until it ends; return the exit code of its end."""
    job, lines = await _read(runtime, job_id)
    if as_json:
        _print_lines(_documents(lines), as_json=True)
    else:
        job_text.print_job(json_form.job(job), _documents(lines))
    seen = len(lines)
    while job.state not in FINAL:
        await asyncio.sleep(_LOOK_SECONDS)
        before = job
        try:
            job = await runtime.jobs.whole(job_id)
            fresh = await _lines(runtime, job_id, seen)
        except NotFoundError:
            if not before.on_success_delete:
                raise
            _note_deleted(job_id)
            return errors.OK
        seen += len(fresh)
        news = _documents([line for _, line in fresh])
        _print_news(json_form.job(before), json_form.job(job), news, as_json=as_json)
    if as_json:
        output.print_json({"job": json_form.job(job)}, indent=None)
    if job.on_success_delete and job.state is State.SUCCESS:
        # Its end was seen just before.
        _note_deleted(job_id)
    return errors.OK if job.state is State.SUCCESS else errors.JOB_FAILED


def _note_deleted(job_id: str) -> None:
    output.note(f"job {job_id} has succeeded and is deleted")


def _documents(lines: list[LogLine]) -> list[dict[str, Any]]:
    return [json_form.log_line(line) for line in lines]


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
