"""``jobqueue doctor``: check settings, MongoDB and data directory."""

from __future__ import annotations

from typing import Any

import click

from jobqueue.cli.render import errors, output
from jobqueue.cli.render.help import Command
from jobqueue.cli.render.options import command_options, database_flags


@click.command(cls=Command, epilog=errors.epilog())
@command_options
def doctor(*, as_json: bool, **options: Any) -> int:
    """Check settings, MongoDB and data directory; print a remedy for each fault, and exit 1 if there is one.

    A stopped embedded MongoDB is started for the check. A missing embedded database is not made.
    """
    from jobqueue.cli.checks.doctor_checks import examine  # noqa: PLC0415 - the driver takes 0.2 s to import, --help must not

    findings = examine(database_flags(options))
    if as_json:
        output.print_json([finding._asdict() for finding in findings])
    else:
        for finding in findings:
            output.print_line(f"{finding.verdict:<4}  {finding.check}: {output.plain(finding.detail)}")
    return errors.ERROR if any(finding.verdict == "FAIL" for finding in findings) else errors.OK
