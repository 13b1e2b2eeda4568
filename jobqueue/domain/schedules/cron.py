"""Times that recur: by a cron expression in a time zone, or at a fixed distance."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from itertools import islice
from typing import TYPE_CHECKING, Any, Final
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from jobqueue.domain.errors import InvalidInputError, Problems
from jobqueue.domain.jobs.backoff import finite
from jobqueue.domain.jobs.checks import gather

if TYPE_CHECKING:
    from collections.abc import Iterator

NAMED: Final = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
SHORTEST_EVERY: Final = 1
LONGEST_EVERY: Final = 366 * 86_400
_LONGEST_CRON: Final = 200
_FIELDS: Final = (5, 6)
_ZONE: Final = re.compile(r"[A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+){0,2}", re.ASCII)
_NO_ZONES: Final = ("posix/", "right/", "posixrules", "localtime")
_MILLISECOND: Final = timedelta(milliseconds=1)
_MINUTE: Final = timedelta(minutes=1)
_SOME_TIME: Final = datetime(2024, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cron:
    """A cron expression of five or six fields, seconds first in the latter, or one of `NAMED`.

    Where its minutes and its hours are given without a star it means times of the day: one that the clock skips is
    taken at the end of the gap, and one that the clock shows twice is taken the first time. Otherwise every moment
    counts at which the clock shows what the expression says.

    Raises:
        InvalidInputError: of ``cron`` or ``timezone``.
    """

    text: str
    timezone: str = "UTC"

    def __post_init__(self) -> None:
        problems: Problems = {}
        zone = gather(problems, read_zone, self.timezone)
        gather(problems, _check_cron, self.text, zone or UTC)
        if problems:
            raise InvalidInputError(problems)

    def next_after(self, moment: datetime, anchor: datetime | None = None) -> datetime | None:
        """Return the first time after a moment, in UTC; ``None`` if there is none within fifty years.

        Args:
            moment: aware.
            anchor: is not needed.
        """
        del anchor
        expression = NAMED.get(self.text.lower(), self.text)
        return next((one for one in _times(expression, read_zone(self.timezone), moment) if one > moment), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Every:
    """Every so many seconds from an anchor on, whatever happens in between.

    Raises:
        InvalidInputError: of ``every``.
    """

    seconds: float

    def __post_init__(self) -> None:
        given: Any = self.seconds
        if isinstance(given, bool) or not isinstance(given, int | float) or not finite(given):
            raise InvalidInputError({"every": ["must be a number of seconds"]})
        if not SHORTEST_EVERY <= given <= LONGEST_EVERY:
            raise InvalidInputError({"every": [f"must be from {SHORTEST_EVERY} to {LONGEST_EVERY} seconds"]})
        if isinstance(given, float):
            # As 60 and 60.0 are the same, they are to be stored and shown as the same.
            rounded = round(given, 3)
            object.__setattr__(self, "seconds", int(rounded) if rounded.is_integer() else rounded)

    def next_after(self, moment: datetime, anchor: datetime | None = None) -> datetime | None:
        """Return the first time after a moment, in UTC.

        Args:
            moment: aware.
            anchor: when it began; without one, it begins at the moment.
        """
        begin = moment if anchor is None else anchor
        step = timedelta(milliseconds=round(self.seconds * 1000))
        try:
            return begin + (max((moment - begin) // step, 0) + 1) * step
        except OverflowError:
            return None


Recurrence = Cron | Every


def upcoming(
    recurrence: Recurrence, moment: datetime, anchor: datetime | None = None, count: int = 5
) -> list[datetime]:
    """Return the next times after a moment."""
    begin = moment if anchor is None else anchor

    def walk() -> Iterator[datetime]:
        found = recurrence.next_after(moment, begin)
        while found is not None:
            yield found
            found = recurrence.next_after(found, begin)

    return list(islice(walk(), count))


def latest(recurrence: Recurrence, first: datetime, until: datetime, anchor: datetime) -> datetime:
    """Return the last time that is not after ``until``; ``first`` is one, and is returned if there is no later one."""
    # By halves: walking from one to the next would take minutes if somebody was away for a year.
    low, high = 0, max((until - first) // _MILLISECOND, 0)
    found = first
    while low <= high:
        middle = (low + high) // 2
        tick = recurrence.next_after(first + middle * _MILLISECOND, anchor)
        if tick is None or tick > until:
            high = middle - 1
        else:
            found = tick
            low = (tick - first) // _MILLISECOND
    return found


def read_zone(name: object) -> tzinfo:
    """Return the time zone of an IANA name.

    Raises:
        InvalidInputError: of ``timezone``: there is none of this name.
    """
    if name == "UTC":
        # Has to be there also where the system has no data of time zones.
        return UTC
    wrong = InvalidInputError({"timezone": ["must be the name of an IANA time zone such as Europe/Berlin"]})
    if not isinstance(name, str) or not _ZONE.fullmatch(name) or name.startswith(_NO_ZONES):
        raise wrong
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError, ImportError):
        # The last two: directories, and files that are there for something else.
        raise wrong from None


def _check_cron(given: Any, zone: tzinfo) -> None:
    if not isinstance(given, str) or len(given) > _LONGEST_CRON:
        raise InvalidInputError({"cron": [f"must be a text of at most {_LONGEST_CRON} characters"]})
    expression = NAMED.get(given.lower(), given)
    if given.startswith("@") and expression is given:
        raise InvalidInputError({"cron": [f"must have five or six fields, or be one of {', '.join(NAMED)}"]})
    if len(expression.split()) not in _FIELDS:
        raise InvalidInputError({"cron": ["must have five fields, or six with the seconds first"]})
    try:
        CronSim(expression, _SOME_TIME)
    except (CronSimError, ValueError, TypeError, AssertionError) as error:
        what = f": {str(error).lower()}" if isinstance(error, CronSimError) else ""
        raise InvalidInputError({"cron": [f"is no cron expression{what}"]}) from None
    if next(_times(expression, zone, _SOME_TIME), None) is None:
        raise InvalidInputError({"cron": ["never comes about"]})


def _times(expression: str, zone: tzinfo, moment: datetime) -> Iterator[datetime]:
    """Yield times in UTC, in no order but that they come to be after the moment."""
    fields = expression.split()
    of_day = not any(field.startswith("*") for field in fields[-5:-3])
    local = moment.astimezone(zone)
    try:
        # Without a zone it goes by what a clock shows that is never changed.
        for found in CronSim(" ".join(fields), local.replace(tzinfo=None) if of_day else local):
            yield _moment(found, zone) if of_day else found.astimezone(UTC)
    except (OverflowError, ValueError):
        # The end of the calendar.
        return


def _moment(shown: datetime, zone: tzinfo) -> datetime:
    """Return the first moment at which clocks in a zone show a time, or the end of the gap if they skip it."""
    found = shown.replace(tzinfo=zone, fold=0)
    if not _is_skipped(found):
        return found.astimezone(UTC)
    found = found.replace(second=0)
    while _is_skipped(found):
        found += _MINUTE
    return found.astimezone(UTC)


def _is_skipped(moment: datetime) -> bool:
    return moment.astimezone(UTC).astimezone(moment.tzinfo).replace(tzinfo=None) != moment.replace(tzinfo=None)
