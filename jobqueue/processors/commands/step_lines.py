"""Lines by which a command records steps, creates children and suspends its job."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final

from jobqueue.domain.errors import InvalidInputError, StepError, TooLargeError
from jobqueue.domain.steps.signal import check_signal, check_timeout
from jobqueue.domain.text import cut
from jobqueue.domain.values import payload
from jobqueue.domain.values.checks import check_number
from jobqueue.processors.reported_steps import new_call
from jobqueue.processors.written import LONGEST, read, storable

if TYPE_CHECKING:
    from jobqueue.domain.work.calls import NewCall

STEP: Final = b"::step"
CALL: Final = b"::call"
_SUSPEND: Final = b"::suspend"
_WAIT: Final = b"::wait"
_STEP_LINE: Final = re.compile(rb'::step[ \t]+("(?:[^"\\]|\\.)*"|[^\s"]\S*)(?:[ \t]+(.*))?', re.DOTALL)
_CALL_LINE: Final = re.compile(rb'::call[ \t]+("(?:[^"\\]|\\.)*"|[^\s"]\S*)[ \t]+(.*)', re.DOTALL)
_SUSPEND_LINE: Final = re.compile(rb"::suspend[ \t]+([0-9]{1,12}(?:\.[0-9]{1,20})?)[ \t]*")
_WAIT_LINE: Final = re.compile(
    rb'::wait[ \t]+("(?:[^"\\]|\\.)*"|[^\s"]\S*)(?:[ \t]+([0-9]{1,12}(?:\.[0-9]{1,20})?))?[ \t]*', re.DOTALL
)
_LONGEST_SHOWN: Final = 200


def is_step(line: bytes) -> bool:
    """Return True if a line is meant to record a step."""
    return _begins(line, STEP)


def is_call(line: bytes) -> bool:
    """Return True if a line is meant to create children."""
    return _begins(line, CALL)


def call(line: bytes) -> tuple[str, NewCall]:
    """Return the name of a step and its children.

    Raises:
        StepError: the line lacks them, or they cannot be created.
    """
    try:
        return _call(line)
    except (ValueError, StepError) as error:
        raise StepError(f"no children are created of the line {shown(line)}: {error}") from error


def _call(line: bytes) -> tuple[str, NewCall]:
    parts = _CALL_LINE.fullmatch(line)
    if parts is None:
        raise StepError(
            'it needs a name, in quotes if it has spaces, and a job, such as ::call label {"type": "print"}'
        )
    if len(line) > LONGEST:
        raise StepError(f"it is longer than {LONGEST:,} bytes")
    name = parts[1].decode()
    written = read(parts[2])
    if written is None:
        raise StepError("its job is not JSON")
    if written.doubled is not None:
        raise StepError(f"it has the name {written.doubled!r:.120} twice in one object")
    name = json.loads(name) if name.startswith('"') else name
    return name, new_call(name, written.value)


def is_suspension(line: bytes) -> bool:
    """Return True if a line is meant to suspend the job."""
    return _begins(line, _SUSPEND)


def is_wait(line: bytes) -> bool:
    """Return True if a line is meant to suspend the job until a signal comes."""
    return _begins(line, _WAIT)


def wait(line: bytes) -> tuple[str, float | None]:
    """Return the name of a signal, and the seconds of the wait for it; ``None`` for ever.

    Raises:
        StepError: the line lacks the name, or the number cannot be used.
    """
    parts = _WAIT_LINE.fullmatch(line)
    try:
        if parts is None:
            raise StepError("it needs the name of a signal and perhaps seconds, such as ::wait approved 86400")  # noqa: TRY301 - it is one of those below
        name = parts[1].decode()
        read_name = check_signal(json.loads(name) if name.startswith('"') else name)
        return read_name, None if parts[2] is None else check_timeout(float(parts[2]))
    except (ValueError, StepError, InvalidInputError) as error:
        raise StepError(f"the line {shown(line)} waits for nothing: {error}") from error


def step(line: bytes) -> tuple[str, Any]:
    """Return the name and the result of a step.

    Raises:
        StepError: the line lacks them, or the result cannot be kept.
    """
    try:
        return _step(line)
    except (ValueError, StepError, InvalidInputError, TooLargeError) as error:
        raise StepError(f"no step is kept of the line {shown(line)}: {error}") from error


def _step(line: bytes) -> tuple[str, Any]:
    parts = _STEP_LINE.fullmatch(line)
    if parts is None:
        raise StepError('it needs a name, in quotes if it has spaces, and JSON, such as ::step fetch {"rows": 3}')
    if len(line) > LONGEST:
        raise TooLargeError("the result", len(line), payload.MOST_RESULT)
    name = parts[1].decode()
    written = read(parts[2] or b"null")
    if written is None:
        raise StepError("its result is not JSON")
    return json.loads(name) if name.startswith('"') else name, storable(written)


def suspension(line: bytes) -> float:
    """Return the seconds of a suspension.

    Raises:
        StepError: the line lacks them.
    """
    parts = _SUSPEND_LINE.fullmatch(line)
    if parts is None:
        raise StepError(f"the line {shown(line)} suspends nothing: it needs seconds, such as ::suspend 3600")
    seconds = float(parts[1])
    try:
        check_number("delay", seconds)
    except InvalidInputError as error:
        raise StepError(f"the line {shown(line)} suspends nothing: {error}") from error
    return seconds


def shown(line: bytes) -> str:
    """Return a line as a message quotes it."""
    return cut(line.decode("utf-8", "replace").strip(), _LONGEST_SHOWN)


def _begins(line: bytes, word: bytes) -> bool:
    return line.startswith(word) and line[len(word) : len(word) + 1] in {b"", b" ", b"\t"}
