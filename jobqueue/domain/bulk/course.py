"""Decisions on the course of a careful operation: how many jobs come next, its end, and the next look at its jobs."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

from jobqueue.domain.bulk.operation import Stage
from jobqueue.domain.bulk.rules import Stopped, Why

if TYPE_CHECKING:
    from datetime import datetime

    from jobqueue.domain.bulk.operation import Operation

SHORTEST_PAUSE: Final = timedelta(seconds=0.25)
LONGEST_PAUSE: Final = timedelta(seconds=5)
_NEWS: Final = 4
"""The pause is this part of the time since the last news: so looks become rare where jobs take long."""
_SET_BACK: Final = timedelta(seconds=5)
"""The clocks of two primaries may differ by so much."""
Ending = tuple[Stage, Stopped | None]


def ending(operation: Operation) -> Ending | None:
    """Return the stage in which an operation ends now, with the reason of a stop; ``None`` if it goes on."""
    rules = operation.new.rules
    again = operation.counts.failed - operation.forgiven
    if rules.stop_after is not None and again >= rules.stop_after:
        told = f"{_jobs(again)} failed again of the {operation.done:,} that it requeued"
        return Stage.STOPPED, Stopped(why=Why.FAILURES, message=f"{told}: it stops after {rules.stop_after:,}")
    if operation.watched:
        return None
    if operation.exhausted:
        return Stage.FINISHED, None
    return _after_trial(operation) if is_tried(operation) else None


def is_tried(operation: Operation) -> bool:
    """Tell whether all jobs of the trial have ended, and no others have begun."""
    trial = operation.new.rules.trial
    return operation.is_trial and not operation.watched and trial is not None and _tried(operation) >= trial


def room(operation: Operation, now: datetime) -> int:
    """Return the number of jobs that may be requeued now."""
    rules = operation.new.rules
    most = rules.most_unfinished - len(operation.watched)
    if operation.is_trial and rules.trial is not None:
        most = min(most, rules.trial - _tried(operation))
    if rules.pace is not None and rules.pace.a_minute:
        most = min(most, rules.pace.turns(_turn_at(operation, now) or now, now))
    return 0 if operation.exhausted else max(most, 0)


def turn_after(operation: Operation, now: datetime, count: int) -> datetime | None:
    """Return the time of the next job after so many jobs now; ``None`` unless the pace is so many a minute."""
    pace = operation.new.rules.pace
    if pace is None or not pace.a_minute:
        return None
    return pace.turn_after(_turn_at(operation, now) or now, now, count)


def pause(operation: Operation, now: datetime) -> timedelta:
    """Return the time until the next look at the jobs of an operation."""
    since = now - (operation.news_at or now)
    quiet = min(max(since / _NEWS, SHORTEST_PAUSE), LONGEST_PAUSE)
    turn = _turn_at(operation, now)
    is_full = operation.exhausted or len(operation.watched) >= operation.new.rules.most_unfinished
    if turn is None or is_full or (operation.is_trial and operation.watched):
        return quiet
    until_turn = max(turn - now, SHORTEST_PAUSE)
    return min(quiet, until_turn) if operation.watched else min(until_turn, LONGEST_PAUSE)


def _turn_at(operation: Operation, now: datetime) -> datetime | None:
    """Return the time of the next job; the present, if the server's clock was set back since that time was chosen."""
    turn, pace = operation.turn_at, operation.new.rules.pace
    if turn is None or pace is None:
        return turn
    # No turn is ever further ahead than one interval.
    return now if turn - now > 2 * pace.interval + _SET_BACK else turn


def _after_trial(operation: Operation) -> Ending | None:
    counts, tried = operation.counts, _tried(operation)
    bad = counts.failed + operation.failed
    if bad:
        parts = [(counts.failed, "failed again"), (operation.failed, "could not be requeued")]
        told = ", ".join(f"{number:,} {word}" for number, word in parts if number)
        return Stage.STOPPED, Stopped(why=Why.FAILED_TRIAL, message=f"of the trial of {_jobs(tried)} {told}")
    if not counts.succeeded:
        told = f"no job of the trial is known to have succeeded: {_jobs(counts.unknown)} had an unknown end"
        return Stage.STOPPED, Stopped(why=Why.FAILED_TRIAL, message=told)
    if operation.is_exact and operation.done + operation.skipped >= (operation.matched or 0):
        return Stage.FINISHED, None
    if operation.new.rules.then:
        return None
    return Stage.STOPPED, Stopped(
        why=Why.TRIAL, message=f"the trial of {_jobs(tried)} has succeeded: resume it to go on"
    )


def _tried(operation: Operation) -> int:
    return operation.done + operation.failed


def _jobs(count: int) -> str:
    return f"{count:,} job" if count == 1 else f"{count:,} jobs"
