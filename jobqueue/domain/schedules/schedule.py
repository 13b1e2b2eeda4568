"""Schedules of jobs, and their due ticks."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

from jobqueue.domain.errors import InvalidInputError, Problems
from jobqueue.domain.jobs import json_form
from jobqueue.domain.jobs.job import NewJob
from jobqueue.domain.schedules.cron import Cron, Every, Recurrence, latest, read_zone, upcoming
from jobqueue.domain.unknown import unknown_names
from jobqueue.domain.values.checks import check_flag, check_queue, gather

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from jobqueue.domain.attempts.states import State

Missed = Literal["skip", "one", "all"]
MOST_AT_ONCE: Final = 1000
"""Missed jobs that one pass makes."""
LATEST: Final = timedelta(seconds=60)
"""A tick counts as missed after this time, or after half the time to the next tick."""
_SECONDS: Final = "would be the same date for every job; use seconds"
_FIELDS: Final = frozenset({"cron", "timezone", "every", "job", "missed", "paused"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """The definition of a schedule.

    Attributes:
        missed: the jobs for ticks at which no process ran: none, one for all, or one for each.
        paused: no jobs are made, neither now nor afterwards.

    Raises:
        InvalidInputError: for a date in ``job``, which all jobs of the schedule would share.
    """

    name: str
    job: NewJob
    recurrence: Recurrence
    missed: Missed = "one"
    paused: bool = False

    def __post_init__(self) -> None:
        if self.job.delay_til is not None:
            raise InvalidInputError({"job.delayTil": ["would be the same for every job; use delay"]})
        if isinstance(self.job.start_before, datetime):
            raise InvalidInputError({"job.startBefore": [_SECONDS]})

    def next_after(self, moment: datetime, anchor: datetime) -> datetime | None:
        """Return the first tick after a moment; ``anchor`` is the date of the schedule's creation."""
        return self.recurrence.next_after(moment, anchor)

    def upcoming(self, moment: datetime, anchor: datetime, count: int = 5) -> list[datetime]:
        """Return the next ticks after a moment; none if the schedule is paused."""
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
    """A stored schedule.

    Attributes:
        schedule: ``None`` if another tool has spoilt the document.
        incarnation: differs from that of earlier schedules of this name.
        revision: grows with each change.
        created_at: the anchor of ticks at a fixed distance.
        changed_at: the last change by a person.
        next_at: the next tick; ``None`` while the schedule is paused, or if there is none.
        last_skipped: the last tick without a job, with the reason.
        declared: the last declaration in code; ``None`` if only people have defined the schedule.
    """

    name: str
    schedule: Schedule | None
    incarnation: str
    revision: int
    created_at: datetime
    changed_at: datetime
    next_at: datetime | None
    last_skipped: SkippedTick | None = None
    declared: Declared | None = None

    @property
    def tag(self) -> str:
        """The entity tag of the definition."""
        return f"{self.incarnation}-{self.revision}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Declared:
    """The last declaration of a stored schedule.

    Attributes:
        by: the module of the decorated function.
        at: the date since which the code has this definition.
        schedule: the definition in the code; ``None`` if it cannot be read.
        missing_since: the date at which code without the schedule was found; ``None`` if it is in the code.
    """

    by: str
    at: datetime
    schedule: Schedule | None
    missing_since: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SkippedTick:
    """A tick for which no job was made."""

    at: datetime
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduledJob:
    """A job that a schedule has made, with its tick."""

    id: str
    queue: str
    at: datetime
    state: State


@dataclass(frozen=True, slots=True, kw_only=True)
class DueTicks:
    """The due ticks of a schedule.

    Attributes:
        ticks: the ticks to make a job for.
        next_at: the next tick.
        missed: the last missed tick, for which no job is made.
    """

    ticks: tuple[datetime, ...]
    next_at: datetime | None
    missed: datetime | None = None


def due(schedule: Schedule, next_at: datetime, now: datetime, anchor: datetime, most: int = MOST_AT_ONCE) -> DueTicks:
    """Return the due ticks of a schedule that is not paused.

    Args:
        schedule: the schedule.
        next_at: its next tick, not after ``now``.
        now: the server's time.
        anchor: the date of the schedule's creation.
        most: ticks at once; further ticks follow in the next pass.
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


def read(name: str, definition: Mapping[str, Any], read_job: Callable[[Any, str], NewJob]) -> Schedule:
    """Read a definition from JSON.

    Args:
        name: the name of the schedule.
        definition: JSON.
        read_job: reads a new job from JSON; its second argument is the path of the problems.

    Raises:
        InvalidInputError: naming each unacceptable or unknown field.
        TooLargeError: the job is too large.
    """
    problems: Problems = unknown_names(definition, _FIELDS)
    gather(problems, check_name, name)
    recurrence = gather(problems, read_recurrence, definition)
    missed = definition.get("missed", "one")
    if missed not in get_args(Missed):
        problems["missed"] = [f"must be one of {', '.join(get_args(Missed))}"]
    paused = gather(problems, check_flag, definition.get("paused", False), "paused")
    job = gather(problems, read_job, definition["job"], "job") if definition.get("job") is not None else None
    if definition.get("job") is None:
        problems["job"] = ["is required"]
    if isinstance(definition.get("job"), dict) and definition["job"].get("delayTil") is not None:
        problems["job.delayTil"] = ["would be the same for every job; use delay"]
    if job is not None and isinstance(job.start_before, datetime):
        problems["job.startBefore"] = [_SECONDS]
    if problems or job is None:
        raise InvalidInputError(problems)
    return Schedule(name=name, job=job, recurrence=recurrence, missed=missed, paused=paused)


def check_job(job: Any) -> NewJob:
    """Return the job of a schedule, or raise `InvalidInputError`."""
    if isinstance(job, NewJob):
        return job
    raise InvalidInputError({"job": ["must be a NewJob"]})


def check_name(value: Any, path: str = "schedule") -> str:
    """Return the name of a schedule, which has the form of a queue's, or raise `InvalidInputError`."""
    return check_queue(value, path)


def timing(recurrence: Recurrence) -> dict[str, Any]:
    """Return a recurrence as JSON."""
    if isinstance(recurrence, Every):
        return {"cron": None, "timezone": "UTC", "every": recurrence.seconds}
    return {"cron": recurrence.text, "timezone": recurrence.timezone, "every": None}


def read_recurrence(definition: Mapping[str, Any]) -> Recurrence:
    """Return the times in a definition: its ``cron`` and ``timezone``, or its ``every``.

    Raises:
        InvalidInputError: naming each unacceptable field.
    """
    cron, every, zone = definition.get("cron"), definition.get("every"), definition.get("timezone", "UTC")
    if cron is not None and every is not None:
        raise InvalidInputError({"every": ["cannot be given together with cron"]})
    if cron is not None:
        return Cron(text=cron, timezone=zone)
    problems: Problems = {}
    gather(problems, read_zone, zone)
    parsed = None
    if every is None:
        problems["cron"] = ["is required, or every"]
    else:
        parsed = gather(problems, lambda: Every(seconds=every))
    if zone != "UTC" and "timezone" not in problems:
        problems["timezone"] = ["goes with cron only"]
    if parsed is None or problems:
        raise InvalidInputError(problems)
    recurring: Recurrence = parsed
    return recurring
