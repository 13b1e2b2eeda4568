"""Queries for lines of a job's log, and pages of lines."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from jobqueue.domain.errors import InvalidInputError, Problems
from jobqueue.domain.jobs import json_form

if TYPE_CHECKING:
    from jobqueue.domain.attempts.attempt import LogLine

MOST_LINES: Final = 1000
"""Lines on one page."""
MOST_LEVELS: Final = 10
LONGEST_LEVEL: Final = 50
LONGEST_TEXT: Final = 200
LOOKED_THROUGH: Final = 50_000
"""Lines that one page of a search for a text looks at."""
_HIGHEST: Final = 2**31


@dataclass(frozen=True, slots=True, kw_only=True)
class LogQuery:
    """A query for lines of a log, in their order.

    Attributes:
        after: the number of the first line to read, counted from 0.
        limit: lines on a page.
        levels: only lines of these levels; none stand for all lines.
        attempt: only lines of this attempt.
        before: instead of lines from ``after`` on, the last ones before the line with this number.
        text: only lines that contain this text, in upper or lower case.

    Raises:
        InvalidInputError: naming each unacceptable value.
    """

    after: int = 0
    limit: int = MOST_LINES
    levels: tuple[str, ...] = ()
    attempt: int | None = None
    before: int | None = None
    text: str | None = None

    def __post_init__(self) -> None:
        problems: Problems = {}
        if not 1 <= self.limit <= MOST_LINES:
            problems["limit"] = [f"must be from 1 to {MOST_LINES:,}"]
        if not 0 <= self.after <= _HIGHEST:
            problems["cursor"] = ["is not a cursor of this log"]
        if len(self.levels) > MOST_LEVELS or not all(
            1 <= len(level) <= LONGEST_LEVEL and level.isprintable() for level in self.levels
        ):
            problems["level"] = [
                f"must be up to {MOST_LEVELS} levels of 1 to {LONGEST_LEVEL} printable characters, with commas between"
            ]
        if self.attempt is not None and not 0 <= self.attempt <= _HIGHEST:
            problems["attempt"] = ["must be the number of an attempt"]
        if self.before is not None and not 0 <= self.before <= _HIGHEST:
            problems["before"] = ["must be the number of a line"]
        if self.text is not None and not (1 <= len(self.text) <= LONGEST_TEXT and "\0" not in self.text):
            problems["q"] = [f"must be 1 to {LONGEST_TEXT} characters other than NUL"]
        if problems:
            raise InvalidInputError(problems)

    @property
    def is_narrowed(self) -> bool:
        """True if the query passes lines over."""
        return bool(self.levels) or self.attempt is not None or self.text is not None

    def takes(self, line: LogLine) -> bool:
        """Tell whether the query takes a line."""
        return (
            (not self.levels or line.level in self.levels)
            and self.attempt in {None, line.attempt}
            and (self.text is None or self.text.casefold() in line.m.casefold())
        )

    def span(self, end: int | None) -> tuple[int, int | None]:
        """Return the numbers of the first line that a page looks at, and of the first line after it.

        Args:
            end: of the log as far as it can be read; ``None`` if it is not known.
        """
        if self.before is not None:
            end = self.before if end is None else min(self.before, end)
            return (0 if self.text is None else max(0, end - LOOKED_THROUGH)), end
        if self.text is None:
            return self.after, end
        last = self.after + LOOKED_THROUGH
        return self.after, last if end is None else min(last, end)


@dataclass(frozen=True, slots=True, kw_only=True)
class LogPage:
    """Lines of a log with their numbers.

    Attributes:
        more: there are further lines at present.
        resume: the number of the next line to read.
        ended: the job has ended, and these are its last lines.
        count: the number of lines that the job has written so far.
        earlier: the number of the line before which there may be more, or ``None`` at the beginning.
    """

    lines: tuple[tuple[int, LogLine], ...]
    more: bool
    resume: int
    ended: bool
    count: int = 0
    earlier: int | None = None


def text(line: LogLine) -> str:
    """Return a line for people: time, number of the attempt, level and text."""
    attempt = "" if line.attempt is None else f" #{line.attempt}"
    level = "" if line.level is None else f" {line.level}"
    return f"{json_form.date(line.t)}{attempt}{level} {line.m}"
