"""The output of a command: log lines, progress, steps, a result, and the last words that explain a failure."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from jobqueue.domain.errors import DatabaseUnavailableError, StepError, TooLargeError
from jobqueue.domain.text import cut
from jobqueue.domain.values import payload
from jobqueue.processors.commands import step_lines
from jobqueue.processors.commands.lines import Lines
from jobqueue.processors.reported_steps import keep
from jobqueue.processors.written import LONGEST, stored

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jobqueue.domain.work.calls import NewCall
    from jobqueue.domain.work.verdict import Reporter

STDERR: Final = "stderr"
"""Level of the log lines that come from the standard error output."""
_LONGEST_WORDS: Final = 1000
_TAIL: Final = 2048
_LINE_COST: Final = 64
_SLICE: Final = 500
_FIRST_PAUSE: Final = 0.1
_LONGEST_PAUSE: Final = 2.0
_DIRECTIVE: Final = b"::"
_RESULT_BEGINNING: Final = b"::result"
_RESULT: Final = re.compile(rb"::result(?:[ \t]+(.*))?", re.DOTALL)
_PROGRESS: Final = re.compile(rb"::progress[ \t]+([0-9]{1,3}(?:\.[0-9]{1,20})?)[ \t]*")
_COMPLETE: Final = 100

Call = Callable[[], Awaitable[None]]


class Output:
    """Reports the output of a command in order; a chunk is reported before the next chunk is read.

    Args:
        reporter: of the job.
        most: bytes that are kept as log lines, each line counted with 64 more.

    Attributes:
        result: of the last ``::result`` line; the text of a result that cannot be stored.
        objection: the reason if the result of that line is over the limit.
        suspend_seconds: of the last ``::suspend`` line, if no later ``::wait`` line takes its place.
        awaited: the name of a signal and the seconds of the last ``::wait`` line, likewise.
        calls: the children of ``::call`` lines by the name of their step; of two lines of a name the last one counts.
        refusal: the reason if a ``::call`` line cannot be used.
    """

    def __init__(self, reporter: Reporter, most: int) -> None:
        self.result: Any = None
        self.objection: str | None = None
        self.suspend_seconds: float | None = None
        self.awaited: tuple[str, float | None] | None = None
        self.calls: dict[str, NewCall] = {}
        self.refusal: str | None = None
        self._call_room = LONGEST
        self._reporter = reporter
        self._most = most
        self._room = most
        self._told = False
        self._since = time.monotonic()
        self._lines = Lines((_RESULT_BEGINNING, step_lines.STEP, step_lines.CALL), LONGEST)
        self._errors = Lines()
        self._tail = b""

    async def out(self, chunk: bytes) -> None:
        """Take a chunk of the standard output; an empty chunk is its end.

        Raises:
            JobCancelledError: the job was killed or its lease was lost.
        """
        calls: list[Call] = []
        progress: float | None = None
        for line in self._cut(self._lines, chunk):
            if (percent := _progress(line)) is not None:
                progress = percent
            elif step_lines.is_step(line):
                await _make(calls)
                calls = await self._take_step(line)
            else:
                calls += self._take(line)
        if progress is not None:
            calls.append(partial(self._reporter.progress, progress))
        await _make(calls)

    async def err(self, chunk: bytes) -> None:
        """Take a chunk of the standard error output; as `out`, without ``::`` lines."""
        self._tail = (self._tail + chunk)[-_TAIL:]
        await _make([call for line in self._cut(self._errors, chunk) for call in self._log(line, STDERR)])

    async def note(self, text: str) -> None:
        """Add a warning of the queue itself to the log.

        Raises:
            JobCancelledError: as `out`.
        """
        await _make([self._note(text)])

    @property
    def last_words(self) -> str:
        """The last line of the standard error output that is not blank, cut if it is long."""
        for line in reversed(re.split(rb"[\r\n]", self._tail)):
            if words := line.strip():
                return cut(_text(words), _LONGEST_WORDS)
        return ""

    @property
    def trace(self) -> str | None:
        """The end of the standard error output, from the beginning of a line on."""
        tail = self._tail
        if len(tail) == _TAIL:
            tail = tail.partition(b"\n")[2] or tail
        return _text(tail).strip() or None

    def _cut(self, lines: Lines, chunk: bytes) -> list[bytes]:
        if not chunk:
            return lines.finish()
        return lines.skip(chunk) if self._told else lines.feed(chunk)

    def _take(self, line: bytes) -> list[Call]:
        if line.startswith(_DIRECTIVE):
            if directive := _RESULT.fullmatch(line):
                return self._take_result(line, directive[1] or b"")
            if step_lines.is_suspension(line) or step_lines.is_wait(line):
                return self._take_suspension(line)
            if step_lines.is_call(line):
                return self._take_call(line)
        return self._log(line, None)

    def _log(self, line: bytes, level: str | None) -> list[Call]:
        if self._told:
            return []
        self._room -= len(line) + _LINE_COST
        if self._room >= 0:
            return [partial(self._reporter.log, _text(line), level)]
        self._told = True
        return [self._note(f"the output is over its limit of {self._most} bytes: what follows is not kept")]

    def _note(self, text: str) -> Call:
        return partial(self._reporter.log, text, "warning")

    def _take_result(self, line: bytes, text: bytes) -> list[Call]:
        self.result, self.objection = None, None
        try:
            if len(line) > LONGEST:
                raise TooLargeError("result", len(line), payload.MOST_RESULT)  # noqa: TRY301 - it is one of those below
            value, problem = stored(text)
        except TooLargeError as error:
            self.objection = f"the ::result cannot be stored: {cut(str(error), _LONGEST_WORDS)}"
            return [self._note(self.objection)]
        if problem is None:
            self.result = value
            return []
        self.result = value or None
        return [self._note(f"the ::result cannot be stored as it is, so its text is the result: {problem}")]

    async def _take_step(self, line: bytes) -> list[Call]:
        """Keep a step; return a note instead if it cannot be kept."""
        began, self._since = self._since, time.monotonic()
        try:
            name, result = step_lines.step(line)
            kept = await keep(self._reporter.steps, name, result, seconds=self._since - began)
        except StepError as error:
            return [self._note(str(error))]
        return [] if kept == result else [self._note(f"step {name!r} had finished: its first result stays")]

    def _take_suspension(self, line: bytes) -> list[Call]:
        try:
            if step_lines.is_wait(line):
                self.awaited, self.suspend_seconds = step_lines.wait(line), None
            else:
                self.suspend_seconds, self.awaited = step_lines.suspension(line), None
        except StepError as error:
            return [self._note(str(error))]
        return []

    def _take_call(self, line: bytes) -> list[Call]:
        try:
            self._call_room -= len(line)
            if self._call_room < 0:
                raise StepError(f"the ::call lines take more than {LONGEST:,} bytes together")  # noqa: TRY301 - as above
            name, call = step_lines.call(line)
        except StepError as error:
            self.refusal = str(error)
            return [self._note(self.refusal)]
        self.calls[name] = call
        return []


def _progress(line: bytes) -> float | None:
    """Return the percentage of a line that sets the progress; ``None`` for any other line."""
    directive = _PROGRESS.fullmatch(line) if line.startswith(_DIRECTIVE) else None
    percent = float(directive[1]) if directive else None
    return percent if percent is not None and percent <= _COMPLETE else None


def _text(line: bytes) -> str:
    return line.decode("utf-8", "replace")


async def _make(calls: Sequence[Call]) -> None:
    """Make calls to the reporter at once, so that they are grouped; repeat them while the database is away."""
    for start in range(0, len(calls), _SLICE):
        waiting = calls[start : start + _SLICE]
        pause = _FIRST_PAUSE
        while waiting:
            outcomes = await asyncio.gather(*(call() for call in waiting), return_exceptions=True)
            waiting = [
                call
                for call, outcome in zip(waiting, outcomes, strict=True)
                if isinstance(outcome, DatabaseUnavailableError)
            ]
            for outcome in outcomes:
                if isinstance(outcome, BaseException) and not isinstance(outcome, DatabaseUnavailableError):
                    raise outcome
            if waiting:
                await asyncio.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)
