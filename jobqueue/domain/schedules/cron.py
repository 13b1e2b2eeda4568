"""Recurring times: by a cron expression in a time zone, or at a fixed distance."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from typing import TYPE_CHECKING, Any, Final
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from jobqueue.domain.durations import is_number
from jobqueue.domain.errors import InvalidInputError, Problems
from jobqueue.domain.values.checks import gather
from jobqueue.domain.values.iso8601 import MILLISECOND

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
_MINUTE: Final = timedelta(minutes=1)
_SOME_TIME: Final = datetime(2024, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cron:
    """A cron expression of five fields, of six with the seconds first, or one of `NAMED`.

    Minutes and hours without a star are times of the day: a skipped time moves to the end of the gap, and a time that
    the clock shows twice counts once, the first time. With a star, every moment counts at which the clock shows a
    matching time.

    Raises:
        InvalidInputError: for ``cron`` or ``timezone``.
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
        """Return the first time after an aware moment, in UTC; ``None`` if there is none within fifty years."""
        del anchor
        expression = NAMED.get(self.text.lower(), self.text)
        return next((tick for tick in _times(expression, read_zone(self.timezone), moment) if tick > moment), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Every:
    """Every so many seconds from an anchor on.

    Raises:
        InvalidInputError: for ``every``.
    """

    seconds: float

    def __post_init__(self) -> None:
        seconds: Any = self.seconds
        if not is_number(seconds):
            raise InvalidInputError({"every": ["must be a number of seconds"]})
        if not SHORTEST_EVERY <= seconds <= LONGEST_EVERY:
            raise InvalidInputError({"every": [f"must be from {SHORTEST_EVERY} to {LONGEST_EVERY} seconds"]})
        if isinstance(seconds, float):
            # 60.0 is stored and shown as 60.
            rounded = round(seconds, 3)
            object.__setattr__(self, "seconds", int(rounded) if rounded.is_integer() else rounded)

    def next_after(self, moment: datetime, anchor: datetime | None = None) -> datetime | None:
        """Return the first time after an aware moment, in UTC; without an anchor, the moment is the anchor."""
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
    ticks: list[datetime] = []
    while len(ticks) < count and (tick := recurrence.next_after(ticks[-1] if ticks else moment, begin)) is not None:
        ticks.append(tick)
    return ticks


def latest(recurrence: Recurrence, first: datetime, until: datetime, anchor: datetime) -> datetime:
    """Return the last time from ``first``, which is a time itself, until ``until``."""
    # By halves: a walk through all times of a year would take minutes.
    low, high = 0, max((until - first) // MILLISECOND, 0)
    last = first
    while low <= high:
        middle = (low + high) // 2
        tick = recurrence.next_after(first + middle * MILLISECOND, anchor)
        if tick is None or tick > until:
            high = middle - 1
        else:
            last = tick
            low = (tick - first) // MILLISECOND
    return last


def read_zone(name: object) -> tzinfo:
    """Return the time zone of an IANA name.

    Raises:
        InvalidInputError: for ``timezone``: there is no zone of this name.
    """
    if name == "UTC":
        # UTC needs no data of time zones on the system.
        return UTC
    wrong = InvalidInputError({"timezone": ["must be the name of an IANA time zone such as Europe/Berlin"]})
    if not isinstance(name, str) or not _ZONE.fullmatch(name) or name.startswith(_NO_ZONES):
        raise wrong
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError, ImportError):
        # OSError: a directory; ImportError: a file of another kind.
        raise wrong from None


def _check_cron(text: Any, zone: tzinfo) -> None:
    if not isinstance(text, str) or len(text) > _LONGEST_CRON:
        raise InvalidInputError({"cron": [f"must be a text of at most {_LONGEST_CRON} characters"]})
    expression = NAMED.get(text.lower(), text)
    if text.startswith("@") and expression is text:
        raise InvalidInputError({"cron": [f"must have five or six fields, or be one of {', '.join(NAMED)}"]})
    if len(expression.split()) not in _FIELDS:
        raise InvalidInputError({"cron": ["must have five fields, or six with the seconds first"]})
    try:
        CronSim(expression, _SOME_TIME)
    except (CronSimError, ValueError, TypeError, AssertionError) as error:
        reason = f": {str(error).lower()}" if isinstance(error, CronSimError) else ""
        raise InvalidInputError({"cron": [f"is no cron expression{reason}"]}) from None
    if next(_times(expression, zone, _SOME_TIME), None) is None:
        raise InvalidInputError({"cron": ["never comes about"]})


def _times(expression: str, zone: tzinfo, moment: datetime) -> Iterator[datetime]:
    """Yield times in UTC; the first ones may lie before the moment."""
    fields = expression.split()
    of_day = not any(field.startswith("*") for field in fields[-5:-3])
    local = moment.astimezone(zone)
    try:
        # Without a zone, the expression follows a clock that is never changed.
        for time in CronSim(" ".join(fields), local.replace(tzinfo=None) if of_day else local):
            yield _moment(time, zone) if of_day else time.astimezone(UTC)
    except (OverflowError, ValueError):
        # The end of the calendar.
        return


def _moment(shown: datetime, zone: tzinfo) -> datetime:
    """Return the first moment at which clocks in a zone show a time, or the end of the gap that skips it."""
    time = shown.replace(tzinfo=zone, fold=0)
    if not _is_skipped(time):
        return time.astimezone(UTC)
    time = time.replace(second=0)
    while _is_skipped(time):
        time += _MINUTE
    return time.astimezone(UTC)


def _is_skipped(moment: datetime) -> bool:
    return moment.astimezone(UTC).astimezone(moment.tzinfo).replace(tzinfo=None) != moment.replace(tzinfo=None)
