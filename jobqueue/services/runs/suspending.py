"""Suspensions that a worker asks for: a job waits without a slot and a lease."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from jobqueue.domain.errors import InvalidInputError, StaleTokenError
from jobqueue.domain.steps.step import StepKind, Wait
from jobqueue.domain.work.verdict import Suspension

if TYPE_CHECKING:
    from datetime import datetime

    from jobqueue.domain.attempts.states import JobStanding
    from jobqueue.domain.jobs.job import Job
    from jobqueue.domain.steps.step import Step
    from jobqueue.services.runs.attempts import Attempts

_NOTHING: Final = "is required: say how many seconds the job waits, or until when; no children are awaited"


async def suspend(
    work: Attempts,
    job: Job,
    token: str,
    *,
    name: str | None = None,
    delay: float | None = None,
    until: datetime | None = None,
) -> JobStanding | None:
    """Suspend a job until a wait is over; the same report may be made again, after a reply that was lost.

    Children that the job has asked for and that have not ended are awaited too.

    Args:
        work: takes the reports.
        job: that runs, as read just now.
        token: of its claim.
        name: of the sleep as which the wait is kept among the steps of the job; it has finished when the job is back.
        delay: seconds of the wait, where ``until`` is ``None``.
        until: the end of the wait.

    Returns:
        The state of the job then, as `Attempts.settle`.

    Raises:
        StaleTokenError: the claim is not the current one.
        InvalidInputError: the name is that of another step, or of one that has finished, there are too many steps, or
            there is nothing to wait for.
    """
    wait = await _awaited(work, job, Wait() if name is None else Wait(names=(name,)))
    if delay is None and until is None and wait.jobs is None and job.claim is not None and job.claim.token == token:
        raise InvalidInputError({"delay": [_NOTHING]})
    verdict = Suspension(delay=delay, until=until, wait=wait)
    if name is not None:
        try:
            step = await work.steps.begin_sleep(job, token, name, seconds=delay, until=until)
        except StaleTokenError:
            # Perhaps an earlier report has ended the claim: `settle` tells.
            return await work.settle(job, token, verdict, is_read=True)
        _check(job, step)
        is_over = step.is_finished and wait.jobs is None
        verdict = Suspension(delay=0) if is_over else Suspension(until=step.until, wait=wait)
        job = _with(job, step)
    return await work.settle(job, token, verdict, is_read=True)


async def _awaited(work: Attempts, job: Job, wait: Wait) -> Wait:
    """Return a wait that the ends of awaited children end, too."""
    steps, count = await work.steps.calls.unfinished(job)
    return replace(wait, names=(*wait.names, *(step.name for step in steps)), jobs=count) if steps else wait


async def suspend_for_signal(
    work: Attempts, job: Job, token: str, signal: str, *, name: str | None = None, seconds: float | None = None
) -> JobStanding | None:
    """Suspend a job until a signal comes, or runs out of time; the same report may be made again, as in `suspend`.

    Args:
        work: takes the reports.
        job: that runs, as read just now.
        token: of its claim.
        signal: the name of the signal.
        name: of the step whose result the value of the signal becomes; that of the signal by default.
        seconds: of the wait; ``None`` for ever.

    Returns:
        As `suspend`.

    Raises:
        StaleTokenError, InvalidInputError: as `suspend`.
    """
    name = name or signal
    wait = Wait(names=(name,), signals=(signal,))
    try:
        step = await work.steps.begin_signal(job, token, name, signal, seconds=seconds)
    except StaleTokenError:
        return await work.settle(job, token, Suspension(wait=wait), is_read=True)
    _check(job, step, StepKind.SIGNAL)
    verdict = Suspension(delay=0) if step.is_finished else Suspension(until=step.until, wait=wait)
    return await work.settle(_with(job, step), token, verdict, is_read=True)


def _with(job: Job, step: Step) -> Job:
    """Return a job with a step as it is kept now."""
    others = (known for known in job.steps or () if known.name != step.name)
    return replace(job, steps=(*others, step))


def _check(job: Job, step: Step, kind: StepKind = StepKind.SLEEP) -> None:
    """Make sure that a job can wait for a step.

    Raises:
        InvalidInputError: the step is of another kind, or had finished before the present run of the job.
    """
    if step.kind is not kind:
        raise InvalidInputError({"name": [f"{step.name!r} is a step of the job already, and no {kind.value}"]})
    # A signal may come, or be too late, for a wait that an earlier run has begun.
    began = step.start_at if kind is StepKind.SLEEP else step.end_at
    if step.is_finished and job.start_at is not None and began is not None and began < job.start_at:
        raise InvalidInputError({"name": [f"{step.name!r} has finished: it is among the steps of the claim"]})
