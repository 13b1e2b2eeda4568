"""``jobqueue demo``: the options of the demo."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import click

from jobqueue.cli.render import errors
from jobqueue.cli.render.help import Command
from jobqueue.cli.render.options import database_flags, database_options, setting_options

_TO_FIND_IT = ("mongo_url", "db", "data_dir")


def _run_id(_context: click.Context, _parameter: click.Parameter, value: str | None) -> str | None:
    if value is not None and not re.fullmatch("[0-9a-f]{8}", value):
        raise click.BadParameter(f"{value!r} is not the id of a run, which has 8 hexadecimal digits")
    return value


@click.command(cls=Command, epilog=errors.epilog("demo --limit 200", "demo --json > report.json", "demo --break"))
@click.option(
    "--path",
    metavar="DIR",
    type=click.Path(exists=True, file_okay=False, resolve_path=True, path_type=Path),
    help="Directory to analyse instead of Python's standard library.",
)
@click.option("--limit", metavar="N", type=click.IntRange(min=1), help="Analyse at most N files, evenly spread.")
@click.option("--serve/--no-serve", default=True, show_default=True, help="Serve the HTTP API meanwhile, on 127.0.0.1.")
@click.option("--stay/--no-stay", default=None, help="Go on serving after the report. [default: on a terminal]")
@click.option("--keep/--delete", default=True, show_default=True, help="Keep the jobs, or delete them at the end.")
@click.option("--resume", metavar="RUN", callback=_run_id, help="Continue a stopped run.")
@click.option("--break", "breaks", is_flag=True, help="Lose a tenth of the files: there is no report.")
@click.option("--repair", metavar="RUN", callback=_run_id, help="Copy the lost files and restart failed jobs.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON, and everything else on stderr.")
@setting_options("concurrency", "port")
@database_options
def demo(*, concurrency: str | None, port: str | None, **options: Any) -> int:
    """Analyse Python's own standard library with a job for each file: real work, some of which really fails.

    A batch: a first job finds the sources and adds a job for each. These compile and measure one file each. A last job
    depends on all of them and adds up. Some files of Python's own tests do not compile: their jobs fail, are retried,
    and are kept. The process of a pipeline of steps is killed half-way, and another one goes on from its step. The exit
    code is 0 if the report is made, even though files failed.

    With --break some files get lost: their jobs fail, and the report is killed with them. --repair copies these files
    and requeues the batch: succeeded jobs are not run again, and the report is made.
    """
    flags = database_flags(options) | {"concurrency": concurrency, "port": port}
    for option in ("resume", "repair"):
        if options[option] and (options["path"] or options["limit"] or options["breaks"]):
            raise click.UsageError(f"--{option} continues a run with its own options: leave out all but its id")
    if options["resume"] and options["repair"]:
        raise click.UsageError("--resume and --repair exclude each other")
    from jobqueue.cli.demo.program import Demo  # noqa: PLC0415 - takes half a second to import, --help must not
    from jobqueue.cli.process import log_output  # noqa: PLC0415 - as above
    from jobqueue.settings import Settings, mask_url  # noqa: PLC0415 - as above

    settings = Settings.load(flags)
    log_output.configure(settings, service=False)
    words = [f"--{name.replace('_', '-')}={mask_url(str(flags[name]))}" for name in _TO_FIND_IT if flags[name]]
    return Demo(options, settings, words)()
