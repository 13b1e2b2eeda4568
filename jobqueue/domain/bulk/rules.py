"""Rules of a careful operation: a trial, a pace, and an end by itself after failures."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final, TypedDict

from jobqueue.domain.errors import InvalidInputError, Problems
from jobqueue.domain.values.checks import check_flag, gather

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

MOST_TRIED: Final = 1000
MOST_AT_ONCE: Final = 1000
"""Unfinished jobs that an operation watches."""
MOST_A_MINUTE: Final = 60_000
MOST_FAILED_AGAIN: Final = 100
"""Failures after which an operation may stop: it names so many."""
AT_ONCE: Final = 100
"""Unfinished jobs of a careful operation without a pace."""
_A_MINUTE: Final = re.compile(r"([1-9][0-9]{0,8})/m", re.ASCII)
_MINUTE: Final = timedelta(minutes=1)
_CATCHES_UP: Final = 10
"""The part of a minute's jobs that may come at once after a pause."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """The pace of an operation: unfinished jobs at once, or jobs a minute."""

    count: int
    a_minute: bool = False

    @classmethod
    def of(cls, value: object) -> Pace:
        """Return the pace of a number, or of a text such as ``20/m``.

        Raises:
            InvalidInputError: it is neither, or too large.
        """
        told = f"must be 1 to {MOST_AT_ONCE} unfinished jobs at once, or 1 to {MOST_A_MINUTE} a minute, as 20/m"
        if isinstance(value, str) and (match := _A_MINUTE.fullmatch(value)):
            pace = cls(count=int(match[1]), a_minute=True)
            if pace.count <= MOST_A_MINUTE:
                return pace
        elif isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= MOST_AT_ONCE:
            return cls(count=value)
        raise InvalidInputError({"pace": [told]})

    @property
    def wire(self) -> int | str:
        """The JSON form, which is also the stored form."""
        return f"{self.count}/m" if self.a_minute else self.count

    @property
    def interval(self) -> timedelta:
        """The time from one job to the next at so many a minute."""
        return _MINUTE / self.count

    def turns(self, turn_at: datetime, now: datetime) -> int:
        """Return the number of jobs whose time has come, at so many a minute.

        Args:
            turn_at: the time of the next job.
            now: the present.
        """
        if now < turn_at:
            return 0
        return min((now - turn_at) // self.interval + 1, max(self.count // _CATCHES_UP, 1))

    def turn_after(self, turn_at: datetime, now: datetime, count: int) -> datetime:
        """Return the time of the next job after so many jobs; turns that nobody took are lost."""
        behind = self.interval * (self.turns(turn_at, now) - 1)
        return max(turn_at, now - behind) + self.interval * count


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """Rules of an operation; one with any of them watches its jobs until they have ended.

    Attributes:
        trial: jobs that are changed first; the rest only after all of them have succeeded.
        then: the rest follows a trial that has succeeded by itself; otherwise the operation stops after the trial.
        pace: of the jobs.
        stop_after: the operation stops when so many of its jobs have failed again.
    """

    trial: int | None = None
    then: bool = False
    pace: Pace | None = None
    stop_after: int | None = None

    @property
    def watches(self) -> bool:
        """True if the operation watches its jobs."""
        return self.trial is not None or self.pace is not None or self.stop_after is not None

    @property
    def most_unfinished(self) -> int:
        """The number of its jobs that may be unfinished at once."""
        if self.pace is None:
            return AT_ONCE
        return MOST_AT_ONCE if self.pace.a_minute else self.pace.count

    def check(self) -> None:
        """Check new rules.

        Raises:
            InvalidInputError: a number is out of its bounds, or ``then`` has no trial before.
        """
        problems: Problems = {}
        _check_count(problems, "trial", self.trial, MOST_TRIED)
        _check_count(problems, "stopAfter", self.stop_after, MOST_FAILED_AGAIN)
        gather(problems, check_flag, self.then, "then")
        if self.then and self.trial is None:
            problems["then"] = ["goes with trial"]
        if problems:
            raise InvalidInputError(problems)

    @property
    def given(self) -> dict[str, Any]:
        """The JSON of the rules that there are."""
        stated: dict[str, Any] = {"trial": self.trial, "then": self.then or None, "stopAfter": self.stop_after}
        stated["pace"] = self.pace and self.pace.wire
        return {name: value for name, value in stated.items() if value is not None}

    @classmethod
    def of(cls, fields: Mapping[str, Any]) -> Rules:
        """Return the rules among fields with names of Python; a ``pace`` is read as by `Pace.of`.

        Raises:
            InvalidInputError: a rule is not acceptable.
        """
        problems: Problems = {}
        pace = fields.get("pace")
        read = None if pace is None else gather(problems, Pace.of, pace)
        rules = cls(
            trial=fields.get("trial"), then=fields.get("then", False), pace=read, stop_after=fields.get("stop_after")
        )
        gather(problems, rules.check)
        if problems:
            raise InvalidInputError(problems)
        return rules


NO_RULES: Final = Rules()


class RulesChange(TypedDict, total=False):
    """Other rules of an operation that goes on."""

    pace: int | str | None
    stop_after: int | None


class Why(StrEnum):
    """The reason why an operation has stopped."""

    PERSON = "person"
    TRIAL = "trial"
    """Its trial has succeeded, and nothing was to follow by itself."""
    FAILED_TRIAL = "failedTrial"
    FAILURES = "failures"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stopped:
    """The reason why an operation has stopped, in a word and in a sentence."""

    why: Why
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """A job that an operation has requeued, and that has not ended yet as far as is known.

    Attributes:
        vanishes: a success deletes the job.
    """

    id: str
    vanishes: bool = False


class End(StrEnum):
    """The end of a watched job."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    UNKNOWN = "unknown"
    """It was deleted, or requeued by somebody else before its end was seen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Results:
    """The results of the jobs that a careful operation has requeued.

    Attributes:
        unfinished: jobs that have not ended yet.
        failed: jobs that have failed or were killed again; ``failed_again`` of the operation has the first ones.
        unknown: jobs that were deleted, or requeued by somebody else, before their end was seen.
    """

    unfinished: int = 0
    succeeded: int = 0
    failed: int = 0
    unknown: int = 0


NO_RESULTS: Final = Results()


def _check_count(problems: Problems, name: str, value: Any, most: int) -> None:
    if value is None:
        return
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= most:
        problems[name] = [f"must be a whole number from 1 to {most}"]
