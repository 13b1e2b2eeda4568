"""Exit codes, and errors as lines on stderr."""

from __future__ import annotations

import json
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final

import click

from jobqueue.cli.render.output import plain
from jobqueue.client.errors import ServerUnreachableError, UnexpectedReplyError
from jobqueue.domain.errors import (
    ChangedMeanwhileError,
    ConflictError,
    DatabaseError,
    InvalidInputError,
    JobQueueError,
    NotFoundError,
    NotReadyError,
    SettingsError,
    TooLargeError,
)
from jobqueue.domain.work.bundle import BadBundleError

if TYPE_CHECKING:
    from collections.abc import Sequence

OK: Final = 0
ERROR: Final = 1
USAGE: Final = 2
DATABASE: Final = 3
NOT_FOUND: Final = 4
CONFLICT: Final = 5
JOB_FAILED: Final = 6
OTHER_END: Final = 7
INTERRUPTED: Final = 130

EPILOG: Final = (
    "Exit codes: 0 done, 1 error, 2 wrong usage, input or settings, 3 database or server unreachable or unsuitable, "
    "4 not found, 5 conflict with the present state, 6 the job failed, 130 interrupted."
)

_CODES: Final[Sequence[tuple[type[JobQueueError], int]]] = (
    (InvalidInputError, USAGE),
    (BadBundleError, USAGE),
    (TooLargeError, USAGE),
    (SettingsError, USAGE),
    (NotFoundError, NOT_FOUND),
    (ConflictError, CONFLICT),
    (ChangedMeanwhileError, CONFLICT),
    (DatabaseError, DATABASE),
    (NotReadyError, DATABASE),
    (ServerUnreachableError, DATABASE),
    (UnexpectedReplyError, DATABASE),
)


_AS_JSON: Final[ContextVar[bool]] = ContextVar("as_json", default=False)


def epilog(*examples: str) -> str:
    """Return the end of the help of a command: examples and exit codes."""
    # The backspace keeps click from joining the lines.
    lines = ["\b\nExamples:", *(f"  jobqueue {example}" for example in examples)]
    return "\n".join([*lines, "", EPILOG]) if examples else EPILOG


def use_json(words: Sequence[str]) -> None:
    """Print errors as JSON if these arguments ask for JSON."""
    options = words[: words.index("--")] if "--" in words else words
    _AS_JSON.set("--json" in options)


def is_json() -> bool:
    """Return True if errors are printed as JSON."""
    return _AS_JSON.get()


def code_of(error: JobQueueError) -> int:
    """Return the exit code for an error."""
    return next((code for kind, code in _CODES if isinstance(error, kind)), ERROR)


def report(error: JobQueueError) -> int:
    """Print an error, each of its mistakes on a line, or as JSON, and return the exit code."""
    if is_json():
        _print_json(_problem(error), code_of(error))
        return code_of(error)
    for line in _lines(error):
        click.echo(f"error: {plain(line)}", err=True)
    return code_of(error)


def report_usage(error: click.ClickException) -> int:
    """Print an error of usage on one line, or as JSON, and return the exit code."""
    message = " ".join(error.format_message().split())
    if isinstance(error, click.UsageError) and error.ctx is not None:
        message = f"{message.rstrip('.')} (see {error.ctx.command_path} --help)"
    if is_json():
        _print_json({"type": "/problems/usage", "title": "Wrong usage", "detail": message}, error.exit_code)
        return error.exit_code
    click.echo(f"error: {plain(message)}", err=True)
    return error.exit_code


def _print_json(problem: dict[str, Any], code: int) -> None:
    click.echo(json.dumps({"error": {**problem, "exitCode": code}}), err=True)


def _problem(error: JobQueueError) -> dict[str, Any]:
    """Return an error as the HTTP API does, with the whole message."""
    from jobqueue.api.http.problems import of_error  # noqa: PLC0415 - aiohttp takes 0.2 s to import, --help must not

    known = of_error(error)
    more = {"title": known.title, "status": known.status} if known.slug == error.slug else {}
    title = error.slug.replace("-", " ").capitalize()
    return {
        "type": f"/problems/{error.slug}",
        "title": title,
        **more,
        "detail": "; ".join(_lines(error)),
        **known.extra,
    }


def _lines(error: JobQueueError) -> list[str]:
    if isinstance(error, InvalidInputError):
        return [f"{path}: {', '.join(messages)}" for path, messages in error.problems.items()]
    if isinstance(error, SettingsError):
        return error.mistakes
    return [str(error)]
