"""``jobqueue step``, ``sleep``, ``wait`` and ``call``: steps of a job whose command is a shell script."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any, Final

import click

from jobqueue.cli.render import errors, output, values
from jobqueue.cli.render.help import Command
from jobqueue.cli.steps.channels import InDoubtError, LateSignalError, channel
from jobqueue.domain.errors import CallFailedError, InvalidInputError, TooLargeError
from jobqueue.domain.steps.call import FAILURES
from jobqueue.domain.values import payload
from jobqueue.processors.written import LONGEST, stored

if TYPE_CHECKING:
    from collections.abc import Sequence

SUSPENDED: Final = 75
"""Exit code of a sleep that has suspended the job, where nothing ends the script; commands run again then."""
NOT_DONE: Final = 75
"""Exit code of a command that says that nothing has happened."""
LATE: Final = 124
"""Exit code of a wait whose signal has not come in time, as of ``timeout``."""
_CHUNK: Final = 64 * 1024
_NOT_FOUND: Final = 127
_NOT_RUN: Final = 126
_SIGNAL: Final = 128


@click.command(
    cls=Command,
    epilog=errors.epilog('step fetch -- curl -fsS "$URL" -o a.csv', "step count -- wc -l a.csv"),
)
@click.argument("name")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
@click.option("--once", is_flag=True, help="Never run it twice: if it may have happened, a person has to say so.")
def step(name: str, command: tuple[str, ...], *, once: bool) -> int:
    """Run a command as a step of the job, unless the step has finished; print its result.

    The standard output of the command is the result: JSON, or else its text. If the command fails, its exit code is
    passed on and nothing is kept; with --once the exit code 75 says that nothing has happened. This is for scripts that
    jobqueue runs: it returns when the result is stored.
    """
    way = channel()
    try:
        is_finished, result = way.begin(name, once=once)
    except InDoubtError as error:
        output.note(f"error: {error}")
        way.wait_for_end()
        return SUSPENDED
    if not is_finished:
        began = time.monotonic()
        code, printed = _run(command)
        if code != 0:
            if once:
                (way.not_done if code == NOT_DONE else way.leave_doubt)()
            _print(printed)
            return code
        try:
            result = way.record(_result(printed), time.monotonic() - began)
        except (InvalidInputError, TooLargeError):
            if once:
                way.leave_doubt()
            raise
    _print_result(result)
    return errors.OK


@click.command(cls=Command, epilog=errors.epilog("sleep rest 3600"))
@click.argument("name")
@click.argument("seconds", type=click.FloatRange(min=0))
def sleep(name: str, seconds: float) -> int:
    """Suspend the job, unless this sleep is over: the script ends, and starts again when the time has come.

    Everything that the command of the job has started gets TERM, then KILL. Over HTTP, where nothing ends the script,
    the exit code is 75.
    """
    way = channel()
    if way.sleep(name, seconds):
        return errors.OK
    way.wait_for_end()
    return SUSPENDED


@click.command(cls=Command, epilog=errors.epilog("wait approved --timeout 86400"))
@click.argument("name")
@click.option("--timeout", type=click.FloatRange(min=0), metavar="SECONDS", help="The longest wait; for ever without.")
def wait(name: str, timeout: float | None) -> int:
    """Print the value of a signal; until the signal comes, the job is suspended, as by `jobqueue sleep`.

    If no signal comes in time the exit code is 124.
    """
    way = channel()
    try:
        is_there, value = way.signal(name, timeout)
    except LateSignalError as error:
        output.note(f"error: {error}")
        return LATE
    if is_there:
        _print_result(value)
        return errors.OK
    way.wait_for_end()
    return SUSPENDED


@click.command(
    cls=Command,
    epilog=errors.epilog(
        """call label '{"type": "print", "data": {"order": 7}}'""",
        """call thumbs '[{"type": "thumbnail"}, {"type": "thumbnail"}]' --failures return""",
    ),
)
@click.argument("name")
@click.argument("jobs", type=values.JsonText())
@click.option("--failures", type=click.Choice(FAILURES), help="What a failed child means.  [default: raise]")
def call(name: str, jobs: values.JsonValue, failures: str | None) -> int:
    """Run jobs as children of this one, and print their results; until all have ended, the job is suspended.

    JOBS is a job or a list of jobs, as JSON, @FILE or -. If a child has failed the exit code is 6, and the next attempt
    of the job requeues the child; --failures return prints the failure in place of the result, --failures hold goes on
    waiting until a person has requeued the child.
    """
    way = channel()
    asked = jobs.value if failures is None else {"jobs": jobs.value, "failures": failures}
    try:
        have_ended, result = way.call(name, asked)
    except CallFailedError as error:
        output.note(f"error: {error}")
        return errors.JOB_FAILED
    if have_ended:
        _print_result(result)
        return errors.OK
    way.wait_for_end()
    return SUSPENDED


def _run(command: Sequence[str]) -> tuple[int, bytes]:
    """Run a command; return its exit code as shells have it, and its standard output."""
    try:
        process = subprocess.Popen(command, stdout=subprocess.PIPE)  # noqa: S603 - no shell
    except OSError as error:
        output.note(f"error: {command[0]}: {error.strerror}")
        return (_NOT_FOUND if isinstance(error, FileNotFoundError) else _NOT_RUN), b""
    with process:
        printed = _read(process)
    code = process.returncode
    return (_SIGNAL - code if code < 0 else code), printed


def _read(process: subprocess.Popen[bytes]) -> bytes:
    """Return what a process prints, up to a little more than a result may have."""
    kept = bytearray()
    assert process.stdout is not None  # noqa: S101 - it is a pipe
    while part := os.read(process.stdout.fileno(), _CHUNK):
        kept += part[: LONGEST + 1 - len(kept)]
    return bytes(kept)


def _result(printed: bytes) -> Any:
    """Return the result of a step that has printed this.

    Raises:
        TooLargeError: it is over the limit of results.
    """
    if len(printed) > LONGEST:
        raise TooLargeError("the output of the step", len(printed), payload.MOST_RESULT)
    text = printed.strip()
    if not text:
        return ""
    value, problem = stored(text)
    if problem is not None and text[:1] in b'{["':
        output.note(f"the output cannot be kept as JSON, so its text is the result: {problem}")
    return value


def _print_result(result: Any) -> None:
    if result == "":
        return
    text = result if isinstance(result, str) else json.dumps(result, ensure_ascii=False)
    _print(text.encode() + b"\n")


def _print(printed: bytes) -> None:
    sys.stdout.buffer.write(printed)
    sys.stdout.flush()
