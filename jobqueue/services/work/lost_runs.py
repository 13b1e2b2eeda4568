"""Runs whose leases have ended."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from jobqueue.domain.attempts.attempt import JobError
from jobqueue.domain.attempts.states import Outcome
from jobqueue.domain.jobs import transitions
from jobqueue.domain.steps.step import sleep_begun_since

if TYPE_CHECKING:
    from datetime import datetime

    from jobqueue.domain.jobs.job import Job
    from jobqueue.domain.jobs.transitions import Transition


def ran_out(job: Job) -> bool:
    """Return True if the lease ended because of the time limit of the attempt."""
    margin = job.claim.margin if job.claim else 0
    return (
        job.timeout is not None
        and job.start_at is not None
        and job.reset_at is not None
        and (job.reset_at - job.start_at).total_seconds() >= job.timeout + margin - 0.001
    )


def reaped(job: Job, token: str, *, unmarked_at: datetime | None = None) -> Transition:
    """Return the transition of a job whose lease has ended: one failed attempt.

    A job that has noted a sleep in this attempt, and did nothing else, was about to be suspended: its attempt does not
    count. A second attempt that ends so counts, as its sleep was noted before.

    Args:
        job: as claimed.
        token: of the claim.
        unmarked_at: as in `Transition`.
    """
    timed_out = ran_out(job)
    worker, step = (job.claim.worker, job.claim.step) if job.claim else ("?", None)
    where = f"; it was in step {step}" if step else ""
    sleep = sleep_begun_since(job.steps or (), job.start_at)
    if sleep is not None and step is None and not timed_out:
        reason = f"no heartbeat from {worker} since sleep {sleep.name} began; the attempt does not count"
        error = JobError(kind="hanging", message=reason, step=sleep.name)
        return transitions.lost_while_suspending(token, error, unmarked_at=unmarked_at)
    error = (
        JobError(kind="timeout", message=f"ran longer than its {job.timeout:g} s on {worker}{where}", step=step)
        if timed_out
        else JobError(kind="hanging", message=f"no heartbeat from {worker} for {job.held_lease:g} s{where}", step=step)
    )
    return transitions.fail(
        job,
        token,
        error,
        chance=random.random(),  # noqa: S311 - spreads retries
        outcome=Outcome.TIMEOUT if timed_out else Outcome.HANGING,
        expired_only=True,
        unmarked_at=unmarked_at,
    )
