"""Tell a job that crashed its worker from the jobs that ran beside it.

A reaper knows a dead worker only by its silence. A process gives a sign of life every few seconds; a worker that polls
gives heartbeats of its jobs. All dates are the server's.
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
"""Crashes after which a job runs alone, and its next crash counts."""
SILENT_SECONDS: Final = 12.0
"""Longest silence of a living process, which gives a sign every 5 seconds."""
LONGEST_SILENCE: Final = 30.0
"""Seconds after which the silence of a worker that polls is conclusive, however rare its heartbeats are."""


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
        lease: seconds of the present claim.
        beside: the lease end for which a reaper noted that the worker is gone and other jobs ran beside this one.
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
        """The last sign of life, by the lease."""
        return max(self.start_at, self.reset_at - timedelta(seconds=self.lease))

    @property
    def is_marked(self) -> bool:
        """True if the note still holds; a renewed lease would show that the worker lives."""
        return self.beside == self.reset_at


def verdict(
    job: Neighbour,
    others: Sequence[Neighbour],
    *,
    signed_at: datetime | None,
    now: datetime,
    timed_out: bool = False,
) -> CrashVerdict:
    """Return the verdict on the worker of a job whose lease has ended.

    Args:
        job: the job.
        others: the other running jobs of a worker of this name.
        signed_at: the last sign of the process itself; ``None`` for a worker that polls, because another process may
            have taken its name.
        now: the server's present.
        timed_out: the time of the attempt is over, so that no heartbeat could prolong the lease.
    """
    if job.is_marked:
        return CrashVerdict.CRASH
    silent = _silent(job, others)
    lives = signed_at > job.reset_at if signed_at is not None else any(_shows_life(other, job) for other in others)
    if lives or not silent:
        return CrashVerdict.COUNTED
    if all(other.reset_at <= now for other in silent):
        return CrashVerdict.CRASH
    if signed_at is not None:
        heard_at = max([signed_at, *(other.heard_at for other in silent)])
        # A sign far ahead of the present is from before the server's clock was set back.
        is_gone = abs((now - heard_at).total_seconds()) >= SILENT_SECONDS
    elif timed_out:
        return CrashVerdict.COUNTED
    else:
        is_gone = all(_is_silent(other, now) for other in silent)
    return CrashVerdict.CRASH if is_gone else CrashVerdict.OPEN


def group(job: Neighbour, others: Sequence[Neighbour]) -> list[Neighbour]:
    """Return the jobs that ran together when their worker died: a job and the silent jobs beside it."""
    return [job, *_silent(job, others)]


def _silent(job: Neighbour, others: Sequence[Neighbour]) -> list[Neighbour]:
    """Return the jobs that can have ended together with a job: they ran as long, and are silent since.

    A lease that had ended before the job's last sign of life was not lost together with the job.
    """
    return [
        other
        for other in others
        if max(other.start_at, other.heard_at) <= job.reset_at and job.heard_at <= other.reset_at
    ]


def _shows_life(other: Neighbour, job: Neighbour) -> bool:
    """Tell whether the process of a job has renewed another lease since the job's lease ended."""
    return other.start_at <= job.heard_at and other.heard_at > job.reset_at


def _is_silent(other: Neighbour, now: datetime) -> bool:
    patience = min(max(SILENT_SECONDS, other.lease / 2), LONGEST_SILENCE)
    return other.reset_at <= now or abs((now - other.heard_at).total_seconds()) >= patience
