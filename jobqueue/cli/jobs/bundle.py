"""``jobqueue bundle``: write one file with all that is known of a job."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from jobqueue.cli.process.ids import id_argument
from jobqueue.cli.process.session import with_api
from jobqueue.cli.render import errors, output
from jobqueue.cli.render.help import Command
from jobqueue.cli.render.options import command_options

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_MOST_TOLD: Final = 10


@click.command(
    cls=Command,
    epilog=errors.epilog(
        "bundle 65f0c2a4e1b2c3d4e5f60718 -o order.json", "bundle a1b2c3 --redact data.card --redact meta.email"
    ),
)
@id_argument("job_id")
@click.option("--redact", "redact", metavar="PATH", multiple=True, help="Leave out this value, also in relatives.")
@click.option("--output", "-o", "target", metavar="FILE", help="Write to this file in place of stdout; - is stdout.")
@command_options
def bundle(job_id: str, redact: Sequence[str], target: str | None, *, as_json: bool, **options: Any) -> None:
    """Write a job with its attempts, log, steps, relatives and the configuration of its queue as one JSON file.

    Secrets are left out, and the file names each place. jobqueue replay runs the handler of the job with the file,
    without a database. PATH begins with data, meta, result, steps, signals or another field of the job;
    steps.charge.card is a part of the result of the step charge.
    """
    made = with_api(options, lambda api: api.get("jobs", job_id, "bundle", query={"redact": tuple(redact) or None}))
    if target in {None, "-"}:
        target = None
        output.print_json(made)
    else:
        _write(Path(target), json.dumps(made, ensure_ascii=False, indent=2))
    if not as_json:
        _tell(made, target)


def _write(path: Path, text: str) -> None:
    """Write a file that other users cannot read, also if it was there before.

    Raises:
        click.ClickException: it cannot be written.
    """
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NONBLOCK, 0o600)
        with open(descriptor, "w", encoding="utf-8") as file:  # noqa: PTH123 - pathlib opens no descriptor
            if stat.S_ISREG(os.fstat(descriptor).st_mode):
                os.fchmod(descriptor, 0o600)
                file.truncate(0)
            file.write(text + "\n")
    except (OSError, ValueError) as error:
        raise click.ClickException(f"{path} cannot be written: {getattr(error, 'strerror', error)}") from None


def _tell(made: Mapping[str, Any], target: str | None) -> None:
    """Print on stderr what is not in the file, and how to go on."""
    places = [each["path"] for each in made["redacted"]]
    if places:
        more = f" and {len(places) - _MOST_TOLD:,} more" if len(places) > _MOST_TOLD else ""
        output.note(f"redacted: {', '.join(places[:_MOST_TOLD])}{more}")
    for path in made["unused"]:
        output.note(f"there is nothing at {path}: is it spelt right?")
    for sentence in made["cut"]:
        output.note(f"left out: {sentence}")
    if target is not None:
        output.note(f"to run its handler here: jobqueue replay {target} MODULE:QUEUE")
