"""``jobqueue doctor``: check that everything needed is there."""

from __future__ import annotations

from typing import Any

import click

from jobqueue.cli.render import errors, output
from jobqueue.cli.render.options import database_flags, database_options, json_option


@click.command(epilog=errors.epilog())
@json_option
@database_options
def doctor(*, as_json: bool, **options: Any) -> int:
    """Check settings, MongoDB and data directory; say what to do about what is wrong, and exit 1 then.

    An embedded MongoDB is started for it if it does not run. Where there is no embedded database yet, none is made.
    """
    from jobqueue.cli.checks.doctor_checks import examine  # noqa: PLC0415 - the driver takes 0.2 s to import, --help must not

    findings = examine(database_flags(options))
    if as_json:
        output.print_json([finding._asdict() for finding in findings])
    else:
        for finding in findings:
            output.print_line(f"{finding.verdict:<4}  {finding.check}: {output.plain(finding.detail)}")
    return errors.ERROR if any(finding.verdict == "FAIL" for finding in findings) else errors.OK
