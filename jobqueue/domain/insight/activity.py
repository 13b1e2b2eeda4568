"""What has happened to the jobs of one queue and type within some time, in a form that can be added up."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

from jobqueue.domain.insight.histogram import percentile
from jobqueue.domain.jobs.states import Outcome, State

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime

TIMED: Final = frozenset(Outcome) - {Outcome.HANGING, Outcome.CRASH, Outcome.RELEASE, Outcome.REQUEUE}
"""Outcomes of attempts whose length says something: not that a worker had gone, or was shut down."""
ATTEMPTS: Final = tuple(one for one in Outcome if one is not Outcome.REQUEUE)
PERCENTILES: Final = (0.5, 0.9, 0.99)
Key = tuple[str | None, str | None]
"""Queue and type; ``None`` stands for all those that were too many to be told apart."""


@dataclass(slots=True)
class Starts:
    """Attempts that were started within one minute, and how long their jobs had waited (buckets)."""

    count: int = 0
    waits: Counter[int] = field(default_factory=Counter)

    def add(self, other: Starts) -> None:
        """Take in what was counted elsewhere."""
        self.count += other.count
        self.waits.update(other.waits)


@dataclass(slots=True)
class Activity:
    """What has happened within a span of time.

    Attributes:
        added: jobs that were created.
        attempts: that have ended, by outcome.
        ended: jobs that have reached a final state, by state; once for each time they did.
        starts: of the attempts that have ended, by the minute in which they were started, which may lie before.
        runs: how long the attempts took (buckets).
    """

    added: int = 0
    attempts: Counter[str] = field(default_factory=Counter)
    ended: Counter[str] = field(default_factory=Counter)
    starts: dict[datetime, Starts] = field(default_factory=dict)
    runs: Counter[int] = field(default_factory=Counter)

    def add(self, other: Activity) -> None:
        """Take in what was counted elsewhere."""
        self.added += other.added
        self.attempts.update(other.attempts)
        self.ended.update(other.ended)
        self.runs.update(other.runs)
        for minute, starts in other.starts.items():
            self.starts.setdefault(minute, Starts()).add(starts)

    def started_since(self, moment: datetime) -> Starts:
        """Return the attempts that were started in a minute or a later one."""
        found = Starts()
        for minute, starts in self.starts.items():
            if minute >= moment:
                found.add(starts)
        return found

    @property
    def size(self) -> int:
        """How much there is."""
        return self.added + self.ended.total() + self.attempts.total()


Tally = dict[Key, Activity]
"""Activity by queue and type."""


def total(parts: Iterable[Tally]) -> Tally:
    """Return the sum of some tallies."""
    found: Tally = {}
    for part in parts:
        add_to(found, part)
    return found


def add_to(found: Tally, part: Tally) -> None:
    """Add a tally to another one."""
    for key, activity in part.items():
        found.setdefault(key, Activity()).add(activity)


def by_hour(tally: Tally) -> Tally:
    """Return a tally that knows of starts only in which hour they were."""
    coarse: Tally = {}
    for key, activity in tally.items():
        one = coarse[key] = Activity()
        one.add(replace(activity, starts={}))
        for minute, starts in activity.starts.items():
            one.starts.setdefault(minute.replace(minute=0), Starts()).add(starts)
    return coarse


def summed(activities: Iterable[Activity]) -> Activity:
    """Return the sum."""
    found = Activity()
    for one in activities:
        found.add(one)
    return found


def condensed(tally: Tally, most: int) -> Tally:
    """Return a tally with at most ``3 * most`` keys: the types with little activity are one, then the queues too."""
    if len(tally) <= most:
        return tally
    ranked = sorted(tally.items(), key=lambda item: -item[1].size)
    rest = total({(queue, None): activity} for (queue, _), activity in ranked[most:])
    if len(rest) > most:
        ranked_rest = sorted(rest.items(), key=lambda item: -item[1].size)
        rest = total(
            [
                *({key: one} for key, one in ranked_rest[:most]),
                {(None, None): summed(one for _, one in ranked_rest[most:])},
            ]
        )
    return total([dict(ranked[:most]), rest])


def shown(activity: Activity, since: datetime, seconds: float) -> dict[str, Any]:
    """Return activity as JSON, for a span that began at a minute and lasted so long."""
    starts = activity.started_since(since)
    finished = sum(activity.ended.values())
    return {
        "added": activity.added,
        "started": starts.count,
        "succeeded": activity.ended[State.SUCCESS],
        "failed": activity.ended[State.FAILED],
        "killed": activity.ended[State.KILLED],
        "attempts": {one.value: activity.attempts[one] for one in ATTEMPTS},
        "perMinute": {
            "added": _rate(activity.added, seconds),
            "started": _rate(starts.count, seconds),
            "finished": _rate(finished, seconds),
        },
        "wait": _times(starts.waits),
        "run": _times(activity.runs),
    }


def _rate(count: int, seconds: float) -> float:
    return round(count * 60 / seconds, 2) if seconds else 0.0


def _times(counts: Mapping[int, int]) -> dict[str, Any]:
    found: dict[str, Any] = {"count": sum(counts.values())}
    for part in PERCENTILES:
        exact = percentile(counts, part)
        found[f"p{part * 100:g}"] = None if exact is None else round(exact / 1000, 6)
    return found
