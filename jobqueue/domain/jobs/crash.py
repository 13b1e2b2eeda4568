"""Tell a job that crashed its worker from the jobs that ran beside it.

A reaper knows a dead worker only by its silence. Signs of life are the signs that a process gives every few seconds
and, of a worker that polls, the heartbeats of the jobs beside. All dates are the server's.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import Enum, auto
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

SUSPECT_FROM: Final = 2
"""Crashes from which on a job runs alone, and its next crash counts."""
SILENT_SECONDS: Final = 12.0
"""A living process is not silent for longer: this is more than two of its signs, which come every 5 seconds."""
LONGEST_SILENCE: Final = 30.0
"""A worker that polls may send heartbeats less often; its silence is conclusive after this time at the latest."""


class CrashVerdict(Enum):
    """The verdict on a worker whose lease has ended."""

    COUNTED = auto()
    """The worker lives, or nothing ran beside the job."""
    CRASH = auto()
    """The worker is gone, and other jobs ran beside the job."""
    OPEN = auto()
    """The silence of the worker is not conclusive yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Neighbour:
    """A running job as a reaper sees it.

    Attributes:
        lease: of the present claim, in seconds.
        beside: the lease end for which a reaper noted that the worker is gone and that other jobs ran beside this one.
    """

    job_id: str
    queue: str
    worker: str
    token: str
    start_at: datetime
    reset_at: datetime
    lease: float
    beside: datetime | None = None

    @property
    def heard_at(self) -> datetime:
        """The last sign of life that the lease tells of."""
        return max(self.start_at, self.reset_at - timedelta(seconds=self.lease))

    @property
    def is_marked(self) -> bool:
        """True if the note still holds: a lease that was renewed since shows that the worker lives."""
        return self.beside == self.reset_at


def fate(
    one: Neighbour,
    others: Sequence[Neighbour],
    *,
    signed_at: datetime | None,
    now: datetime,
    timed_out: bool = False,
) -> CrashVerdict:
    """Return what became of the worker of a job whose lease has ended.

    Args:
        one: the job.
        others: the other running jobs of a worker of this name.
        signed_at: the last sign that the process itself gave; ``None`` of a worker that polls: its name may have been
            taken over by another process.
        now: the server's present.
        timed_out: the time of the attempt is over, so that a heartbeat could not make the lease longer.
    """
    if one.is_marked:
        return CrashVerdict.CRASH
    silent = _silent(one, others)
    lives = signed_at > one.reset_at if signed_at is not None else any(_shows_life(other, one) for other in others)
    if lives or not silent:
        return CrashVerdict.COUNTED
    if all(other.reset_at <= now for other in silent):
        return CrashVerdict.CRASH
    if signed_at is not None:
        heard_at = max([signed_at, *(other.heard_at for other in silent)])
        is_gone = (now - heard_at).total_seconds() >= SILENT_SECONDS
    elif timed_out:
        return CrashVerdict.COUNTED
    else:
        is_gone = all(_is_silent(other, now) for other in silent)
    return CrashVerdict.CRASH if is_gone else CrashVerdict.OPEN


def group(one: Neighbour, others: Sequence[Neighbour]) -> list[Neighbour]:
    """Return the jobs that ran together when their worker died: a job and the silent ones beside it."""
    return [one, *_silent(one, others)]


def _silent(one: Neighbour, others: Sequence[Neighbour]) -> list[Neighbour]:
    """Return the jobs that can have ended together with a job: those that lasted as long and are silent since.

    A lease that had ended before the job's last sign of life was not lost together with the job.
    """
    return [
        other
        for other in others
        if max(other.start_at, other.heard_at) <= one.reset_at and one.heard_at <= other.reset_at
    ]


def _shows_life(other: Neighbour, one: Neighbour) -> bool:
    """Tell whether the process that ran a job has renewed another lease since that job's lease ended."""
    return other.start_at <= one.heard_at and other.heard_at > one.reset_at


def _is_silent(other: Neighbour, now: datetime) -> bool:
    patience = min(max(SILENT_SECONDS, other.lease / 2), LONGEST_SILENCE)
    return other.reset_at <= now or (now - other.heard_at).total_seconds() >= patience
