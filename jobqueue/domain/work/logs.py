"""Queries for lines of a job's log, and pages of lines."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from jobqueue.domain.errors import InvalidInputError, Problems
from jobqueue.domain.jobs import json_form

if TYPE_CHECKING:
    from jobqueue.domain.jobs.attempt import LogLine

MOST_LINES: Final = 1000
"""Lines on one page."""
MOST_LEVELS: Final = 10
LONGEST_LEVEL: Final = 50
_HIGHEST: Final = 2**31


@dataclass(frozen=True, slots=True, kw_only=True)
class LogQuery:
    """A query for lines of a log, in their order.

    Attributes:
        after: the number of the first line to read, counted from 0.
        limit: lines on a page.
        levels: only lines of these levels; none stand for all lines.
        attempt: only lines of this attempt.

    Raises:
        InvalidInputError: naming each unacceptable value.
    """

    after: int = 0
    limit: int = MOST_LINES
    levels: tuple[str, ...] = ()
    attempt: int | None = None

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
        if problems:
            raise InvalidInputError(problems)

    @property
    def is_narrowed(self) -> bool:
        """True if the query passes lines over."""
        return bool(self.levels) or self.attempt is not None

    def takes(self, line: LogLine) -> bool:
        """Tell whether the query takes a line."""
        return (not self.levels or line.level in self.levels) and self.attempt in {None, line.attempt}


@dataclass(frozen=True, slots=True, kw_only=True)
class LogPage:
    """Lines of a log with their numbers.

    Attributes:
        more: there are further lines at present.
        resume: the number of the next line to read.
        ended: the job has ended, and these are its last lines.
    """

    lines: tuple[tuple[int, LogLine], ...]
    more: bool
    resume: int
    ended: bool


def text(line: LogLine) -> str:
    """Return a line for people: time, number of the attempt, level and text."""
    attempt = "" if line.attempt is None else f" #{line.attempt}"
    level = "" if line.level is None else f" {line.level}"
    return f"{json_form.date(line.t)}{attempt}{level} {line.m}"
