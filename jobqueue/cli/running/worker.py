"""``jobqueue worker``: the options of a worker."""

from __future__ import annotations

import click

from jobqueue.cli.render import errors
from jobqueue.cli.render.help import Command
from jobqueue.cli.render.options import setting_options


@click.command(cls=Command, epilog=errors.epilog("worker app:queue --concurrency 4"))
@click.argument("target", metavar="MODULE:QUEUE")
@setting_options(
    "concurrency",
    "mongo_url",
    "db",
    "data_dir",
    "mongod",
    "poll_interval",
    "drain_timeout",
    "reap_interval",
    "log_level",
    "log_format",
)
def worker(target: str, **flags: str | None) -> int:
    """Run the handlers of a JobQueue object, until SIGTERM or Ctrl-C.

    MODULE is imported, from the current directory too, and QUEUE is the object's name in it. Prints one line with the
    worker's name and what it runs when it is ready, and logs to stderr. It stops as serve does. Settings that the
    object was made with win over flags and environment.
    """
    from jobqueue.cli.running.working import run  # noqa: PLC0415 - the driver takes 0.2 s to import, --help must not

    return run(target, flags)
