"""The next times of a recurrence, and the days on which clocks change."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import TYPE_CHECKING, Any, Final, Literal

from jobqueue.domain.jobs import json_form
from jobqueue.domain.schedules.cron import Cron, read_zone, upcoming

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jobqueue.domain.schedules.cron import Recurrence

Clock = Literal["forward", "back"]
MOST_STARTS: Final = 50
STARTS: Final = 10
_DAY: Final = timedelta(days=1)
_YEAR: Final = 366
_MOST_OF_A_DAY: Final = 24


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """A next time; ``local`` is the time in the zone of the schedule, and ``clock`` the change of clocks that day."""

    at: datetime
    local: datetime
    clock: Clock | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockChange:
    """The next day on which clocks in a zone change, and the first 24 starts of that day in local time."""

    day: date
    clock: Clock
    starts: Sequence[datetime]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """The next times of a recurrence; ``change`` is ``None`` in a zone whose clocks never change, as in UTC."""

    starts: Sequence[Start]
    change: ClockChange | None


def outlook(recurrence: Recurrence, now: datetime, anchor: datetime | None = None, count: int = STARTS) -> Outlook:
    """Return the next times of a recurrence.

    Args:
        recurrence: of the schedule.
        now: the present.
        anchor: the date from which times at a fixed distance count; ``None`` for the present.
        count: of times.
    """
    zone = zone_of(recurrence)
    ticks = upcoming(recurrence, now, anchor, count)
    local = [tick.astimezone(zone) for tick in ticks]
    starts = [
        Start(at=tick, local=there, clock=clock_change(there.date(), zone))
        for tick, there in zip(ticks, local, strict=True)
    ]
    return Outlook(starts=starts, change=next_change(recurrence, now) if isinstance(recurrence, Cron) else None)


def shown(found: Outlook) -> dict[str, Any]:
    """Return an outlook as JSON, with local times as clocks in the zone show them."""
    change = found.change
    return {
        "starts": [
            {"at": json_form.date(start.at), "local": _local(start.local), "clock": start.clock}
            for start in found.starts
        ],
        "clockChange": change
        and {
            "day": change.day.isoformat(),
            "clock": change.clock,
            "starts": [_local(start) for start in change.starts],
        },
    }


def _local(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds")


def zone_of(recurrence: Recurrence) -> tzinfo:
    """Return the zone of a recurrence."""
    return read_zone(recurrence.timezone) if isinstance(recurrence, Cron) else UTC


def next_change(cron: Cron, now: datetime) -> ClockChange | None:
    """Return the next day within a year on which the clocks of a schedule change, with its starts that day."""
    zone = read_zone(cron.timezone)
    day = now.astimezone(zone).date()
    for _ in range(_YEAR):
        if (clock := clock_change(day, zone)) is not None:
            return ClockChange(day=day, clock=clock, starts=_starts_on(day, cron, zone))
        day += _DAY
    return None


def clock_change(day: date, zone: tzinfo) -> Clock | None:
    """Return the way in which clocks in a zone are changed on a day; ``None`` if they are not."""
    if day >= date.max - _DAY:
        return None
    begin, end = (datetime.combine(each, time(), zone).utcoffset() for each in (day, day + _DAY))
    if begin is None or end is None or begin == end:
        return None
    return "forward" if end > begin else "back"


def _starts_on(day: date, cron: Cron, zone: tzinfo) -> list[datetime]:
    moment = datetime.combine(day, time(), zone) - timedelta(milliseconds=1)
    found: list[datetime] = []
    while len(found) < _MOST_OF_A_DAY and (tick := cron.next_after(moment)) is not None:
        moment = tick
        local = tick.astimezone(zone)
        if local.date() != day:
            break
        found.append(local)
    return found
