"""A schedule: which job is to be made when, and what is due."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

from jobqueue.domain.errors import InvalidInputError, Problems
from jobqueue.domain.jobs import json_form
from jobqueue.domain.jobs.checks import check_flag, check_queue, gather
from jobqueue.domain.schedules.cron import Cron, Every, Recurrence, latest, read_zone, upcoming

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from jobqueue.domain.jobs.job import NewJob
    from jobqueue.domain.jobs.states import State

Missed = Literal["skip", "one", "all"]
MOST_AT_ONCE: Final = 1000
"""Jobs that are made up for in one pass."""
LATEST: Final = timedelta(seconds=60)
"""A tick that is later than this, or than half the time to the next one, counts as missed."""
_FIELDS: Final = frozenset({"cron", "timezone", "every", "job", "missed", "paused"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """The definition of a schedule.

    Attributes:
        missed: which jobs are made for ticks at which no process was there: none, one for all, or one for each.
        paused: nothing is made, and nothing is made up for afterwards.

    Raises:
        InvalidInputError: of ``job.delayTil``, which every job of it would share.
    """

    name: str
    job: NewJob
    recurrence: Recurrence
    missed: Missed = "one"
    paused: bool = False

    def __post_init__(self) -> None:
        if self.job.delay_til is not None:
            raise InvalidInputError({"job.delayTil": ["would be the same for every job; use delay"]})

    def next_after(self, moment: datetime, anchor: datetime) -> datetime | None:
        """Return the first tick after a moment; ``anchor`` is when the schedule was created."""
        return self.recurrence.next_after(moment, anchor)

    def upcoming(self, moment: datetime, anchor: datetime, count: int = 5) -> list[datetime]:
        """Return the next ticks after a moment; none if it is paused."""
        return [] if self.paused else upcoming(self.recurrence, moment, anchor, count)

    def wire(self) -> dict[str, Any]:
        """Return the definition as JSON, without its name."""
        return {
            **timing(self.recurrence),
            "job": json_form.new_job(self.job),
            "missed": self.missed,
            "paused": self.paused,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredSchedule:
    """A schedule as it is stored.

    Attributes:
        schedule: ``None`` if somebody has spoilt it by hand.
        incarnation: tells it from others that had its name before.
        revision: grows with each change.
        created_at: ticks at a fixed distance are counted from here.
        changed_at: when a person changed it last.
        next_at: the next tick; ``None`` while it is paused, or if there is none.
        last_skipped: for which tick no job was made, and why.
    """

    name: str
    schedule: Schedule | None
    incarnation: str
    revision: int
    created_at: datetime
    changed_at: datetime
    next_at: datetime | None
    last_skipped: SkippedTick | None = None

    @property
    def tag(self) -> str:
        """What tells one definition from another, for ``ETag``."""
        return f"{self.incarnation}-{self.revision}"


@dataclass(frozen=True, slots=True, kw_only=True)
class SkippedTick:
    """A tick for which no job was made."""

    at: datetime
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduledJob:
    """A job that a schedule has made, and for which tick."""

    id: str
    queue: str
    at: datetime
    state: State


@dataclass(frozen=True, slots=True, kw_only=True)
class DueTicks:
    """What is to be done for a schedule now.

    Attributes:
        ticks: a job is to be made for each.
        next_at: the tick to go on with.
        missed: the last tick for which none is to be made because it was missed.
    """

    ticks: tuple[datetime, ...]
    next_at: datetime | None
    missed: datetime | None = None


def due(schedule: Schedule, next_at: datetime, now: datetime, anchor: datetime, most: int = MOST_AT_ONCE) -> DueTicks:
    """Return what is to be done for a schedule whose next tick has come.

    Args:
        schedule: is not paused.
        next_at: its next tick, not after ``now``.
        now: the server's time.
        anchor: when it was created.
        most: ticks at once; the others follow in the next pass.
    """
    if schedule.missed == "all":
        ticks: list[datetime] = []
        tick: datetime | None = next_at
        while tick is not None and tick <= now and len(ticks) < most:
            ticks.append(tick)
            tick = schedule.next_after(tick, anchor)
        return DueTicks(ticks=tuple(ticks), next_at=tick)
    last = latest(schedule.recurrence, next_at, now, anchor)
    following = schedule.next_after(last, anchor)
    patience = LATEST if following is None else min(LATEST, (following - last) / 2)
    if schedule.missed == "skip" and now - last > patience:
        return DueTicks(ticks=(), next_at=following, missed=last)
    return DueTicks(ticks=(last,), next_at=following)


def read(name: str, given: Mapping[str, Any], read_job: Callable[[Any, str], NewJob]) -> Schedule:
    """Read a definition from its wire form.

    Args:
        name: of the schedule.
        given: the wire form.
        read_job: reads a new job, given the path that its problems are to be below.

    Raises:
        InvalidInputError: naming each unacceptable or unknown field.
        TooLargeError: the job is.
    """
    problems: Problems = {str(field): ["is not a known field"] for field in given if field not in _FIELDS}
    gather(problems, check_name, name)
    recurrence = gather(problems, _recurrence, given)
    missed = given.get("missed", "one")
    if missed not in get_args(Missed):
        problems["missed"] = [f"must be one of {', '.join(get_args(Missed))}"]
    paused = gather(problems, check_flag, given.get("paused", False), "paused")
    job = gather(problems, read_job, given["job"], "job") if given.get("job") is not None else None
    if given.get("job") is None:
        problems["job"] = ["is required"]
    if isinstance(given.get("job"), dict) and given["job"].get("delayTil") is not None:
        problems["job.delayTil"] = ["would be the same for every job; use delay"]
    if problems or job is None:
        raise InvalidInputError(problems)
    return Schedule(name=name, job=job, recurrence=recurrence, missed=missed, paused=paused)


def check_name(value: Any, path: str = "schedule") -> str:
    """Return the name of a schedule; it has the form of a queue's.

    Raises:
        InvalidInputError: it has not.
    """
    return check_queue(value, path)


def timing(recurrence: Recurrence) -> dict[str, Any]:
    """Return as JSON when something recurs."""
    if isinstance(recurrence, Every):
        return {"cron": None, "timezone": "UTC", "every": recurrence.seconds}
    return {"cron": recurrence.text, "timezone": recurrence.timezone, "every": None}


def _recurrence(given: Mapping[str, Any]) -> Recurrence:
    cron, every, zone = given.get("cron"), given.get("every"), given.get("timezone", "UTC")
    if cron is not None and every is not None:
        raise InvalidInputError({"every": ["cannot be given together with cron"]})
    if cron is not None:
        return Cron(text=cron, timezone=zone)
    problems: Problems = {}
    gather(problems, read_zone, zone)
    found = None
    if every is None:
        problems["cron"] = ["is required, or every"]
    else:
        found = gather(problems, lambda: Every(seconds=every))
    if zone != "UTC" and "timezone" not in problems:
        problems["timezone"] = ["goes with cron only"]
    if found is None or problems:
        raise InvalidInputError(problems)
    recurring: Recurrence = found
    return recurring
