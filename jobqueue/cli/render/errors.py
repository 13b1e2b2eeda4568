"""Exit codes, and errors as lines on stderr."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import click

from jobqueue.cli.render.output import plain
from jobqueue.domain.errors import (
    ChangedMeanwhileError,
    ConflictError,
    DatabaseError,
    InvalidInputError,
    JobQueueError,
    NotFoundError,
    SettingsError,
    TooLargeError,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

OK: Final = 0
ERROR: Final = 1
USAGE: Final = 2
DATABASE: Final = 3
NOT_FOUND: Final = 4
CONFLICT: Final = 5
JOB_FAILED: Final = 6
INTERRUPTED: Final = 130

EPILOG: Final = (
    "Exit codes: 0 done, 1 error, 2 wrong usage, input or settings, 3 database unreachable or unsuitable, "
    "4 not found, 5 conflict with the present state, 6 the job failed, 130 interrupted."
)

_CODES: Final[Sequence[tuple[type[JobQueueError], int]]] = (
    (InvalidInputError, USAGE),
    (TooLargeError, USAGE),
    (SettingsError, USAGE),
    (NotFoundError, NOT_FOUND),
    (ConflictError, CONFLICT),
    (ChangedMeanwhileError, CONFLICT),
    (DatabaseError, DATABASE),
)


def epilog(*examples: str) -> str:
    """Return the end of the help of a command: examples and exit codes."""
    # The backspace keeps click from joining the lines.
    lines = ["\b\nExamples:", *(f"  jobqueue {example}" for example in examples)]
    return "\n".join([*lines, "", EPILOG]) if examples else EPILOG


def code_of(error: JobQueueError) -> int:
    """Return the exit code for an error."""
    return next((code for kind, code in _CODES if isinstance(error, kind)), ERROR)


def report(error: JobQueueError) -> int:
    """Print an error, each of its mistakes on a line, and return the exit code."""
    for line in _lines(error):
        click.echo(f"error: {plain(line)}", err=True)
    return code_of(error)


def report_usage(error: click.ClickException) -> int:
    """Print an error of usage on one line, and return the exit code."""
    message = " ".join(error.format_message().split())
    if isinstance(error, click.UsageError) and error.ctx is not None:
        message = f"{message.rstrip('.')} (see {error.ctx.command_path} --help)"
    click.echo(f"error: {plain(message)}", err=True)
    return error.exit_code


def _lines(error: JobQueueError) -> list[str]:
    if isinstance(error, InvalidInputError):
        return [f"{path}: {', '.join(messages)}" for path, messages in error.problems.items()]
    if isinstance(error, SettingsError):
        return error.mistakes
    return [str(error)]
