"""``jobqueue status``: print only what needs somebody."""

from __future__ import annotations

import shlex
from typing import Any

import click

from jobqueue.cli.process.session import with_api
from jobqueue.cli.render import errors, output
from jobqueue.cli.render.help import Command
from jobqueue.cli.render.options import command_options


@click.command(cls=Command, epilog=errors.epilog("status", "status --json || page-somebody"))
@command_options
def status(*, as_json: bool, **options: Any) -> int:
    """Print what needs somebody, each with the command that mends it; the exit code is 1 if there is anything.

    That is: groups of jobs that failed within the last hour, queues that are stuck and why, open circuit breakers,
    silent workers, times at which schedules made no job, steps in doubt, and questions that wait for a signal.
    """
    document = with_api(options, lambda api: api.get("status"))
    items = document["items"]
    if as_json:
        output.print_json(document)
    else:
        for item in items:
            output.print_wrapped(output.plain(item["message"]), indent=2)
            output.print_line(f"    jobqueue {output.plain(shlex.join(item['command']))}")
        if not items:
            output.print_line("all is well")
    return errors.ERROR if items else errors.OK
