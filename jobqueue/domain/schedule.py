"""Schedules: jobs that come again and again, by a cron expression in a time zone or every so many seconds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any, Final, Literal
from zoneinfo import ZoneInfo, available_timezones

from cronsim import CronSim, CronSimError

from jobqueue.domain import wire
from jobqueue.domain.checks import check_flag, gather
from jobqueue.domain.errors import InvalidInputError, Problems
from jobqueue.domain.job import NewJob, children

MISSED: Final = ("skip", "one", "all")
"""What becomes of ticks that nobody was there for: none of them, the last one, or each is made up for."""
SHORTEST: Final = 1.0
LONGEST: Final = 366 * 86_400.0
MOST_TICKS: Final = 1000
"""Ticks that are looked at in one go; the others follow."""
_TOLERANCE: Final = timedelta(seconds=60)
_NICKNAMES: Final = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_SCHEDULED: Final = frozenset({"cron", "every", "timezone"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Definition:
    """What a schedule does, and when.

    Attributes:
        job: what to add at each tick.
        cron: five fields, or six with seconds first, or a nickname such as ``@daily``; or
        every: seconds between ticks, counted from when the schedule was made.
        timezone: in which the cron expression is meant, an IANA name.
        missed: one of `MISSED`.
        paused: there are no ticks.
    """

    job: NewJob
    cron: str | None = None
    every: float | None = None
    timezone: str = "UTC"
    missed: Literal["skip", "one", "all"] = "one"
    paused: bool = False

    def __post_init__(self) -> None:
        problems: Problems = {}
        if (self.cron is None) == (self.every is None):
            problems["cron"] = ["either cron or every is needed, and not both"]
        elif self.every is not None and not _is_interval(self.every):
            problems["every"] = [f"must be from {SHORTEST:g} to {LONGEST:.0f} seconds"]
        if not _is_zone(self.timezone):
            problems["timezone"] = ["must be the IANA name of a time zone, such as Europe/Berlin"]
        elif self.cron is not None:
            gather(problems, _check_cron, self.cron)
        if self.missed not in MISSED:  # a list of texts compares with whatever was given
            problems["missed"] = [f"must be one of {', '.join(MISSED)}"]
        gather(problems, check_flag, self.paused, "paused")
        if self.job.delay_til is not None or self.job.depends_on:
            problems["job"] = ["takes neither delayTil nor dependsOn: it comes again and again"]
        if problems:
            raise InvalidInputError(problems)

    def next_after(self, moment: datetime, anchor: datetime) -> datetime | None:
        """Return the first tick after a moment, in UTC; ``None`` if there is none any more.

        Args:
            moment: aware.
            anchor: from which ``every`` counts.
        """
        if self.every is not None:
            count = max(0, int((moment - anchor).total_seconds() // self.every)) + 1
            tick = anchor + timedelta(seconds=count * self.every)
            while tick <= moment:
                count += 1
                tick = anchor + timedelta(seconds=count * self.every)
            return tick
        return _after(str(self.cron), ZoneInfo(self.timezone), moment)

    def same_ticks(self, other: Definition) -> bool:
        """Tell whether another definition has the same ticks."""
        return all(getattr(self, name) == getattr(other, name) for name in _SCHEDULED)

    def wire(self) -> dict[str, Any]:
        """Return the form it is shown in."""
        shown = {item.name: getattr(self, item.name) for item in fields(self) if item.name != "job"}
        return {name: value for name, value in shown.items() if value is not None} | {"job": wire.new_job(self.job)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """A schedule as it is stored.

    Attributes:
        incarnation: tells it from one of the same name that was deleted.
        anchor: when it was made; ``every`` counts from there.
        next_at: the tick that is due next; ``None`` if there is none.
        skipped: the last tick for which no job was added, and why: ``{at, reason}``.
    """

    name: str
    definition: Definition
    incarnation: str
    anchor: datetime
    next_at: datetime | None
    changed_at: datetime
    skipped: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """What is to be done for the ticks of a schedule that have come.

    Attributes:
        ticks: those for which a job is to be added.
        next_at: the tick to go on with; it may have come too, if there are very many.
    """

    ticks: tuple[datetime, ...]
    next_at: datetime | None


def read(given: Mapping[str, Any]) -> Definition:
    """Read a definition from its wire form; a job may be one already.

    Raises:
        InvalidInputError: naming each unacceptable or unknown field.
    """
    known = {item.name for item in fields(Definition)}
    problems: Problems = {str(name): ["is not a known field"] for name in given if name not in known}
    job = given.get("job")
    if not isinstance(job, NewJob):
        job = gather(problems, _job, job)
    rest = {name: value for name, value in given.items() if name in known and name != "job" and value is not None}
    made = gather(problems, _made, job or NewJob(type="unknown"), rest)
    if problems or made is None:
        raise InvalidInputError(problems)
    definition: Definition = made
    return definition


def due(schedule: Schedule, now: datetime) -> Due:
    """Return for which ticks up to now a job is to be added.

    A tick is missed that is late by more than a minute, or half of the time to the next one: somebody would have seen
    to it if there had been anybody.
    """
    definition = schedule.definition
    ticks: list[datetime] = []
    tick = schedule.next_at
    while tick is not None and tick <= now and len(ticks) < MOST_TICKS:
        ticks.append(tick)
        tick = definition.next_after(tick, schedule.anchor)
    tolerance = min(_TOLERANCE, (tick - ticks[-1]) / 2) if tick is not None and ticks else _TOLERANCE
    missed = [one for one in ticks if now - one > tolerance]
    kept = {"skip": [], "one": missed[-1:], "all": missed}[definition.missed]
    if len(ticks) == MOST_TICKS and definition.missed == "one" and tick is not None and tick <= now:
        # The last missed one is still to come.
        kept = []
    return Due(ticks=tuple(kept + ticks[len(missed) :]), next_at=tick)


def resumed(schedule: Schedule, definition: Definition, now: datetime) -> datetime | None:
    """Return the next tick of a schedule once its definition is changed."""
    was_paused = schedule.definition.paused and not definition.paused
    if definition.same_ticks(schedule.definition) and not was_paused:
        return schedule.next_at
    return definition.next_after(now, schedule.anchor)


def _made(job: NewJob, rest: Mapping[str, Any]) -> Definition:
    return Definition(job=job, **rest)


def _job(given: Any) -> NewJob:
    if not isinstance(given, Mapping):
        raise InvalidInputError({"job": ["must be a job"]})
    made = children(wire.snake_children(given), "job")
    if not isinstance(made, NewJob):
        raise InvalidInputError({"job": ["must be a job"]})
    return made


def _check_cron(cron: Any) -> None:
    if not isinstance(cron, str):
        raise InvalidInputError({"cron": ["must be a text"]})
    try:
        found = _after(cron, ZoneInfo("UTC"), datetime(2026, 1, 1, tzinfo=UTC))
    except CronSimError as error:
        nicknames = ", ".join(_NICKNAMES)
        message = f"is no cron expression of 5 or 6 fields, nor one of {nicknames}: {str(error).lower()}"
        raise InvalidInputError({"cron": [message]}) from None
    if found is None:
        raise InvalidInputError({"cron": ["has no tick within the next decades"]})


def _after(cron: str, zone: ZoneInfo, moment: datetime) -> datetime | None:
    ticks = CronSim(_NICKNAMES.get(cron.strip().lower(), cron), moment.astimezone(zone))
    while True:
        tick = next(ticks, None)
        if tick is None:
            return None
        found: datetime = tick.astimezone(UTC)
        # In the hour that a clock turned back has twice, it may begin with the first one again.
        if found > moment:
            return found


def _is_interval(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and SHORTEST <= value <= LONGEST


def _is_zone(name: object) -> bool:
    return isinstance(name, str) and name in _zones()


@cache
def _zones() -> frozenset[str]:
    return frozenset(available_timezones())


def next_ticks(definition: Definition, moment: datetime, anchor: datetime, count: int) -> list[datetime]:
    """Return so many ticks after a moment."""
    found: list[datetime] = []
    tick = definition.next_after(moment, anchor)
    while tick is not None and len(found) < count:
        found.append(tick)
        tick = definition.next_after(tick, anchor)
    return found


def with_paused(definition: Definition, *, paused: bool) -> Definition:
    """Return a definition that is paused, or not."""
    return replace(definition, paused=paused)
