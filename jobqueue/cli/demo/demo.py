"""``jobqueue demo``: its options."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import click

from jobqueue.cli.render import errors
from jobqueue.cli.render.options import database_flags, database_options, setting_options

_TO_FIND_IT = ("mongo_url", "db", "data_dir")
_ENDINGS = {"REPORTED": errors.OK, "BROKEN": errors.ERROR, "STOPPED": errors.INTERRUPTED}


def _run_id(_context: click.Context, _parameter: click.Parameter, value: str | None) -> str | None:
    if value is not None and not re.fullmatch("[0-9a-f]{8}", value):
        raise click.BadParameter(f"{value!r} is not the id of a run, which has 8 hexadecimal digits")
    return value


@click.command(epilog=errors.epilog("demo --limit 200", "demo --json > report.json", "demo --break"))
@click.option(
    "--path",
    metavar="DIR",
    type=click.Path(exists=True, file_okay=False, resolve_path=True, path_type=Path),
    help="Directory to analyse instead of Python's standard library.",
)
@click.option("--limit", metavar="N", type=click.IntRange(min=1), help="At most so many files, evenly spread.")
@click.option("--serve/--no-serve", default=True, show_default=True, help="Serve the HTTP API meanwhile, on 127.0.0.1.")
@click.option("--stay/--no-stay", default=None, help="Keep serving when the report is there. [default: on a terminal]")
@click.option("--keep/--delete", default=True, show_default=True, help="Keep the jobs, or delete them at the end.")
@click.option("--resume", metavar="RUN", callback=_run_id, help="Go on with a run that was stopped.")
@click.option("--break", "breaks", is_flag=True, help="Lose a tenth of the files, so that the report cannot be made.")
@click.option(
    "--repair", metavar="RUN", callback=_run_id, help="Bring back what --break lost, and start again only what failed."
)
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON, and everything else on stderr.")
@setting_options("concurrency", "port")
@database_options
def demo(*, concurrency: str | None, port: str | None, **given: Any) -> int:
    """Analyse Python's own standard library with a job for each file: real work, some of which really fails.

    A batch: a first job finds the sources and adds a job for each; these compile and measure one file each; a last one
    depends on all of them and adds up. Some files of Python's own test data do not compile: their jobs fail, are tried
    again, and stay to be looked at. Exits with 0 if the report came, even though files failed.

    With --break some files get lost on the way: their jobs fail, and the report falls with them. --repair takes the
    cause away and requeues the batch: what has succeeded is not run again, and the report comes.
    """
    flags = database_flags(given) | {"concurrency": concurrency, "port": port}
    for option in ("resume", "repair"):
        if given[option] and (given["path"] or given["limit"] or given["breaks"]):
            raise click.UsageError(f"--{option} goes on with what the run began with: leave out all but its id")
    if given["resume"] and given["repair"]:
        raise click.UsageError("either --resume or --repair: to repair a run is to go on with it too")
    import asyncio  # noqa: PLC0415 - this and the rest take half a second to import, --help must not

    from jobqueue.cli.process import log_output  # noqa: PLC0415 - as above
    from jobqueue.demo.program import Demo, Options  # noqa: PLC0415 - as above
    from jobqueue.settings import Settings, mask_url  # noqa: PLC0415 - as above

    settings = Settings.load(flags)
    log_output.configure(settings, service=False)
    shown = {name: str(flags[name]) for name in _TO_FIND_IT if flags[name] is not None}
    words = [word for name, text in shown.items() for word in (f"--{name.replace('_', '-')}", mask_url(text))]
    ending = asyncio.run(Demo(Options(**given, flags=tuple(words)), settings)())
    return _ENDINGS[ending.name]
