"""Schedules in words: their times, the next runs in two time zones, and the days on which clocks change."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from typing import TYPE_CHECKING, Any, Final

from cron_descriptor import ExpressionDescriptor, FormatException, Options

from jobqueue.dashboard.frame import texts
from jobqueue.dashboard.frame.preferences import in_zone, zone_of
from jobqueue.domain.errors import InvalidInputError
from jobqueue.domain.schedules.cron import NAMED, Cron
from jobqueue.domain.schedules.outlook import clock_change, next_change

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import date

    from jobqueue.dashboard.frame.preferences import Preferences

_DAYS: Final = ("Sundays", "Mondays", "Tuesdays", "Wednesdays", "Thursdays", "Fridays", "Saturdays")
_NAMES: Final = {name: number for number, name in enumerate(("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"))}
_CLOCKS: Final = {"forward": "clocks go forward", "back": "clocks go back"}
_FIELDS: Final = ("minute", "hour", "day", "month", "day of the week")
_WEEK: Final = 7
_LEAST_RANGE: Final = 3
_MOST_TIMES: Final = 4


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
    form = _form(runs)
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
        zone=city(name) if schedule.get("cron") else "",
        next_runs=[run_time(moment, zone, preferences, form, now) for moment in runs],
        change=on_next_change(schedule["cron"], name, now) if schedule.get("cron") else "",
        last_runs=list(reversed(schedule["lastRuns"])),
        schedule=schedule,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class PreviewText:
    """The times of a definition that need not be stored, for people."""

    times: str
    zone: str
    runs: Sequence[RunTime]
    change: str


def preview_text(preview: Mapping[str, Any], now: datetime, preferences: Preferences) -> PreviewText:
    """Return a preview of the API for people."""
    name = preview["timezone"]
    change, moments = preview["clockChange"], [texts.parsed(start["at"]) for start in preview["starts"]]
    runs = [moment for moment in moments if moment is not None]
    form = _form(runs)
    told = ""
    if change is not None:
        starts = [datetime.fromisoformat(start) for start in change["starts"]]
        told = _told_change(datetime.fromisoformat(change["day"]), change["clock"], starts)
    return PreviewText(
        times=times_in_words(preview),
        zone=city(name) if preview["cron"] else "",
        runs=[run_time(moment, zone_of(name) or UTC, preferences, form, now) for moment in runs],
        change=told,
    )


def times_in_words(schedule: Mapping[str, Any]) -> str:
    """Return the times of a schedule in words, such as ``Mondays to Fridays at 02:30``."""
    if schedule.get("every") is not None:
        return f"Every {texts.span(schedule['every'])}"
    cron = str(schedule.get("cron") or "")
    cron = NAMED.get(cron.lower(), cron)
    if words := _weekly(cron):
        return words
    options = Options()
    options.use_24hour_time_format = True
    try:
        words = str(ExpressionDescriptor(cron, options).get_description())
    except (FormatException, ValueError, LookupError, TypeError):
        # The library knows a little less than the parser: the page shows the expression beside the words anyway.
        return "At the times of the expression"
    return f"Every day at {words.removeprefix('At ')}" if words.startswith("At ") and "," not in words else words


def _weekly(cron: str) -> str:
    """Return an expression of times on days of the week in words; empty for any other expression."""
    fields = cron.split()
    minute, hour, *rest = fields if len(fields) == len(_FIELDS) else ("",) * len(_FIELDS)
    if rest[:2] != ["*", "*"] or not minute.isdecimal():
        return ""
    hours = hour.split(",")
    days = _week_days(rest[2])
    if not all(each.isdecimal() for each in hours) or len(hours) > _MOST_TIMES or not days:
        return ""
    return f"{days} at {_listed([f'{int(each):02}:{int(minute):02}' for each in hours])}"


def _week_days(field: str) -> str:
    """Return a field of days of the week in words, from Monday on; empty for a field that has other parts."""
    if field == "*":
        return "Every day"
    days: set[int] = set()
    for part in field.upper().split(","):
        ends = [_NAMES.get(end, int(end) if end.isdecimal() else None) for end in part.split("-", 1)]
        first, last = ends[0], ends[-1]
        if first is None or last is None or first > last or last > _WEEK:
            return ""
        days |= {day % _WEEK for day in range(first, last + 1)}
    if len(days) == _WEEK:
        return "Every day"
    found = sorted(days, key=lambda day: (day - 1) % _WEEK)
    if len(found) >= _LEAST_RANGE and (found[-1] - found[0]) % _WEEK == len(found) - 1:
        return f"{_DAYS[found[0]]} to {_DAYS[found[-1]]}"
    return _listed([_DAYS[day] for day in found])


def _listed(words: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(words[:-1]), words[-1])))


def run_time(moment: datetime, zone: tzinfo, preferences: Preferences, form: str, now: datetime) -> RunTime:
    """Return a run in the zone of its schedule and in that of the visitor, as ``form`` writes times.

    A run in another year than the present names its year.
    """
    local, own = in_zone(moment, zone), preferences.local(moment)
    same = local.replace(tzinfo=None) == own.replace(tzinfo=None)
    year = "" if local.year == in_zone(now, zone).year else f" {local.year}"
    text = f"{_day(own)} {own:{form}}" if own.date() != local.date() else f"{own:{form}}"
    return RunTime(
        at=moment.isoformat(),
        local=f"{_day(local)}{year} {local:{form}}",
        own="" if same else f"{text} in {preferences.city}",
        change=_change(local.date(), zone) or ("" if same else _change(own.date(), preferences.zone)),
    )


def on_next_change(cron: str, zone_name: str, now: datetime) -> str:
    """Return when a schedule runs on the next day on which the clocks of its zone change; empty if they never do."""
    try:
        change = next_change(Cron(text=cron, timezone=zone_name), now)
    except InvalidInputError:
        return ""
    if change is None:
        return ""
    return _told_change(change.day, change.clock, change.starts)


def _told_change(day: date, clock: str, starts: Sequence[datetime]) -> str:
    begins = f"{day.day} {day:%b %Y}: {_CLOCKS[clock]}"
    if not starts:
        return f"{begins}; no run that day"
    return f"{begins}; it runs {'first ' if len(starts) > 1 else ''}at {starts[0]:{_form(starts)}}"


def _form(runs: Sequence[datetime]) -> str:
    return "%H:%M:%S" if any(moment.second for moment in runs) else "%H:%M"


def _change(day: date, zone: tzinfo) -> str:
    clock = clock_change(day, zone)
    return "" if clock is None else _CLOCKS[clock]


def _day(moment: datetime) -> str:
    return f"{moment:%a} {moment.day} {moment:%b}"


def city(zone_name: str) -> str:
    """Return the name of a zone for people."""
    return zone_name.rpartition("/")[2].replace("_", " ")
