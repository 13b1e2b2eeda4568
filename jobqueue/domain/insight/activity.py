"""The activity of jobs within a span of time, by queue and type, in a form that can be added up."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from jobqueue.domain.attempts.states import Outcome, State
from jobqueue.domain.insight.histogram import percentile

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime

TIMED: Final = frozenset(Outcome) - {Outcome.HANGING, Outcome.CRASH, Outcome.RELEASE, Outcome.REQUEUE}
"""Outcomes of attempts whose length is meaningful: the worker was neither gone nor shut down."""
ATTEMPTS: Final = tuple(outcome for outcome in Outcome if outcome is not Outcome.REQUEUE)
PERCENTILES: Final = (0.5, 0.9, 0.99)
Key = tuple[str | None, str | None]
"""Queue and type; ``None`` stands for the rest of too many."""


@dataclass(slots=True)
class Starts:
    """Attempts that were started within one minute, and the waits of their jobs (buckets)."""

    count: int = 0
    waits: Counter[int] = field(default_factory=Counter)

    def add(self, other: Starts) -> None:
        """Add the numbers of another count."""
        self.count += other.count
        _increase(self.waits, other.waits)


@dataclass(slots=True)
class Activity:
    """The activity within a span of time.

    Attributes:
        added: new jobs.
        attempts: ended attempts by outcome.
        ended: final states that jobs reached, by state; a job may end several times.
        starts: starts of ended attempts by minute, which may lie before the span.
        runs: durations of attempts (buckets).
    """

    added: int = 0
    attempts: Counter[str] = field(default_factory=Counter)
    ended: Counter[str] = field(default_factory=Counter)
    starts: dict[datetime, Starts] = field(default_factory=dict)
    runs: Counter[int] = field(default_factory=Counter)

    def add(self, other: Activity) -> None:
        """Add the numbers of another count."""
        self.add_ends(other)
        for minute, starts in other.starts.items():
            self.starts_at(minute).add(starts)

    def starts_at(self, minute: datetime) -> Starts:
        """Return the starts of a minute, which can be increased."""
        starts = self.starts.get(minute)
        if starts is None:
            starts = self.starts[minute] = Starts()
        return starts

    def add_ends(self, other: Activity) -> None:
        """Add the numbers of another count but for its starts, which may lie before its span."""
        self.added += other.added
        _increase(self.attempts, other.attempts)
        _increase(self.ended, other.ended)
        _increase(self.runs, other.runs)

    def started_since(self, moment: datetime) -> Starts:
        """Return the starts in a minute and later."""
        total = Starts()
        for minute, starts in self.starts.items():
            if minute >= moment:
                total.add(starts)
        return total

    @property
    def size(self) -> int:
        """The number of events."""
        return self.added + self.ended.total() + self.attempts.total()


def _increase(counts: Counter[Any], more: Counter[Any]) -> None:
    """Add to small counts, a third of whose time `Counter.update` spends on the kind of its argument."""
    for key, count in more.items():
        counts[key] = counts.get(key, 0) + count


Tally = dict[Key, Activity]
"""Activity by queue and type."""
Parts = list[tuple["datetime", Tally]]
"""Activity in parts of a span, each with its beginning."""


def are_same(parts: Parts, others: Parts) -> bool:
    """Tell whether the tallies of both are the very same ones, so that a sum of one is a sum of the other."""
    return len(parts) == len(others) and all(one is other for (_, one), (_, other) in zip(parts, others, strict=True))


def total(parts: Iterable[Tally]) -> Tally:
    """Return the sum of tallies."""
    tally: Tally = {}
    for part in parts:
        add_to(tally, part)
    return tally


def add_to(tally: Tally, part: Tally) -> None:
    """Add a part to a tally."""
    for key, activity in part.items():
        activity_at(tally, key).add(activity)


def activity_at(tally: Tally, key: Key) -> Activity:
    """Return the activity of a queue and a type in a tally, which can be increased."""
    activity = tally.get(key)
    if activity is None:
        activity = tally[key] = Activity()
    return activity


def by_hour(tally: Tally) -> Tally:
    """Return a tally with its starts by hour."""
    coarse: Tally = {}
    for key, activity in tally.items():
        hourly = coarse[key] = Activity()
        hourly.add_ends(activity)
        for minute, starts in activity.starts.items():
            hourly.starts_at(minute.replace(minute=0)).add(starts)
    return coarse


def summed(activities: Iterable[Activity]) -> Activity:
    """Return the sum of activities."""
    total = Activity()
    for activity in activities:
        total.add(activity)
    return total


def condensed(tally: Tally, most: int) -> Tally:
    """Return a tally of at most ``3 * most`` keys: rare types are summed up, then rare queues."""
    if len(tally) <= most:
        return tally
    ranked = sorted(tally.items(), key=lambda item: -item[1].size)
    rest = total({(queue, None): activity} for (queue, _), activity in ranked[most:])
    if len(rest) > most:
        ranked_rest = sorted(rest.items(), key=lambda item: -item[1].size)
        rest = total([dict(ranked_rest[:most]), {(None, None): summed(part for _, part in ranked_rest[most:])}])
    return total([dict(ranked[:most]), rest])


def shown(activity: Activity, since: datetime, seconds: float) -> dict[str, Any]:
    """Return activity as JSON, for a span of seconds that began at a minute."""
    starts = activity.started_since(since)
    finished = sum(activity.ended.values())
    return {
        "added": activity.added,
        "started": starts.count,
        "succeeded": activity.ended[State.SUCCESS],
        "failed": activity.ended[State.FAILED],
        "killed": activity.ended[State.KILLED],
        "attempts": {outcome.value: activity.attempts[outcome] for outcome in ATTEMPTS},
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
    times: dict[str, Any] = {"count": sum(counts.values())}
    for part in PERCENTILES:
        exact = percentile(counts, part)
        times[f"p{part * 100:g}"] = None if exact is None else round(exact / 1000, 6)
    return times
