"""Schedules in words: their times, the next runs in two time zones, and the days on which clocks change."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import TYPE_CHECKING, Any, Final

from cron_descriptor import ExpressionDescriptor, FormatException, Options

from jobqueue.dashboard.frame import texts
from jobqueue.dashboard.frame.preferences import in_zone, zone_of
from jobqueue.domain.errors import InvalidInputError
from jobqueue.domain.schedules.cron import NAMED, Cron

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from jobqueue.dashboard.frame.preferences import Preferences

_DAY: Final = timedelta(days=1)
_YEAR: Final = 366


@dataclass(frozen=True, slots=True, kw_only=True)
class RunTime:
    """A next run.

    Attributes:
        at: as the API gives it.
        local: the time in the zone of the schedule.
        own: the time in the zone of the visitor; empty if it is the same.
        change: a note about clocks that change on this day.
    """

    at: str
    local: str
    own: str
    change: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleText:
    """A schedule for people; ``change`` tells its first run on the next day on which clocks change."""

    name: str
    shape: str
    word: str
    times: str
    zone: str
    next_runs: Sequence[RunTime]
    change: str
    last_runs: Sequence[Mapping[str, Any]]
    schedule: Mapping[str, Any]


def schedule_text(schedule: Mapping[str, Any], now: datetime, preferences: Preferences) -> ScheduleText:
    """Return a schedule of the API for people."""
    name = schedule.get("timezone") or "UTC"
    zone = zone_of(name) or UTC
    runs = [moment for at in schedule["nextRuns"] if (moment := texts.parsed(at)) is not None]
    form = "%H:%M:%S" if any(moment.second for moment in runs) else "%H:%M"
    is_readable = "paused" in schedule
    missing: dict[str, Any] = dict.fromkeys(("job", "cron", "every", "paused", "timezone"))
    schedule = missing | dict(schedule)
    shape, word = ("success", "on") if is_readable else ("failed", "unreadable")
    if schedule.get("paused"):
        shape, word = "delayed", "paused"
    return ScheduleText(
        name=schedule["name"],
        shape=shape,
        word=word,
        times=times_in_words(schedule) if is_readable else "",
        zone=_city(name) if schedule.get("cron") else "",
        next_runs=[_run_time(moment, zone, preferences, form) for moment in runs],
        change=_on_next_change(schedule["cron"], name, zone, now) if schedule.get("cron") else "",
        last_runs=list(reversed(schedule["lastRuns"])),
        schedule=schedule,
    )


def times_in_words(schedule: Mapping[str, Any]) -> str:
    """Return the times of a schedule in words, such as ``At 02:30, Monday through Friday``."""
    if schedule.get("every") is not None:
        return f"Every {texts.span(schedule['every'])}"
    cron = str(schedule.get("cron") or "")
    options = Options()
    options.use_24hour_time_format = True
    try:
        words = str(ExpressionDescriptor(NAMED.get(cron.lower(), cron), options).get_description())
    except (FormatException, ValueError, LookupError, TypeError):
        # The library knows a little less than the parser: the page shows the expression beside the words anyway.
        return "At the times of the expression"
    return f"Every day at {words.removeprefix('At ')}" if words.startswith("At ") and "," not in words else words


def _run_time(moment: datetime, zone: tzinfo, preferences: Preferences, form: str) -> RunTime:
    local, own = in_zone(moment, zone), preferences.local(moment)
    same = local.replace(tzinfo=None) == own.replace(tzinfo=None)
    text = f"{_day(own)} {own:{form}}" if own.date() != local.date() else f"{own:{form}}"
    return RunTime(
        at=moment.isoformat(),
        local=f"{_day(local)} {local:{form}}",
        own="" if same else f"{text} in {preferences.city}",
        change=_change(local.date(), zone) or ("" if same else _change(own.date(), preferences.zone)),
    )


def _on_next_change(cron: str, zone_name: str, zone: tzinfo, now: datetime) -> str:
    """Return when a schedule runs on the next day on which the clocks of its zone change; empty if they never do."""
    day = now.astimezone(zone).date()
    for _ in range(_YEAR):
        if change := _change(day, zone):
            break
        day += _DAY
    else:
        return ""
    midnight = datetime.combine(day, time(), zone)
    try:
        run = Cron(text=cron, timezone=zone_name).next_after(midnight - timedelta(milliseconds=1))
    except InvalidInputError:
        return ""
    begins = f"{midnight.day} {midnight:%b %Y}: {change}"
    if run is None or run.astimezone(zone).date() != day:
        return f"{begins}; no run that day"
    return f"{begins}; it runs at {run.astimezone(zone):%H:%M}"


def _change(day: date, zone: tzinfo) -> str:
    if day >= date.max - _DAY:
        return ""
    begin, end = (datetime.combine(each, time(), zone).utcoffset() for each in (day, day + _DAY))
    if begin is None or end is None or begin == end:
        return ""
    return "clocks go forward" if end > begin else "clocks go back"


def _day(moment: datetime) -> str:
    return f"{moment:%a} {moment.day} {moment:%b}"


def _city(zone_name: str) -> str:
    return zone_name.rpartition("/")[2].replace("_", " ")
