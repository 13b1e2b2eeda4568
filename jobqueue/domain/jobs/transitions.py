"""The named transitions between the states of a job.

A transition is a value: what to change, and the state and claim it may start from. Only the store applies it, as one
guarded atomic update, so that of two transitions that race exactly one happens.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from jobqueue.domain.durations import LONGEST
from jobqueue.domain.errors import WrongStateError
from jobqueue.domain.jobs.attempt import JobError
from jobqueue.domain.jobs.fingerprint import fingerprint
from jobqueue.domain.jobs.states import FINAL, LEGAL, Outcome, State

if TYPE_CHECKING:
    from datetime import datetime

    from jobqueue.domain.jobs.job import Job


DEPENDENTS: Final = "dependents"
"""In an outbox: jobs that depend on this one are to be released, or to be told that it did not succeed."""


BREAKER: Final = "breaker:"
"""In an outbox, before the token of an attempt: the circuit breaker of the queue has not counted its end yet."""


DEPENDENCY: Final = "dependency"
"""The kind of error of a job that was killed because of another one."""


REOPEN: Final = "reopen"
"""In an outbox: the batch of a requeued job is to be opened again, if that has finished."""


REVIVE: Final = "revive"
"""In an outbox: jobs that were killed because of this one are to wait again, as it was requeued."""


NOTES: Final = (REOPEN, REVIVE)
"""Entries that a requeue writes."""


_ORDER: Final = ("children", DEPENDENTS, "batch", "delete")


SHORTEST_RETRY: Final = 1.0
"""Seconds after which a job that asks to run again, uncounted, comes back at the earliest."""


ENDLESS: Final = "endless"
"""Kind of the error of a job that went back uncounted too often."""


_LOOP: Final = timedelta(seconds=10)
"""Two runs that begin within this time of each other may be turns of one loop."""


class _Unset:
    """Tell "no result was given" from the result ``None``."""


UNSET: Final = _Unset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Transition:
    """One change of a job's state, and what must hold for it to happen.

    Attributes:
        source: the state the job must be in.
        token: the claim that must be current; ``None`` where the source is not `State.PROCESSING`.
        target: the state the job gets.
        delay: seconds from the server's now until the job is due; ``None`` for no wait.
        refund: the attempt is not counted.
        expired_only: the lease must have ended by the server's clock.
        unmarked_at: the lease end for which no reaper may have noted that other jobs ran beside.
        crashes: the new number of crashes of the job; ``None`` leaves it.
        outbox: what has to be done afterwards by whoever sees the job: ``children``, ``dependents``, ``batch``,
            ``delete``; also of an attempt that the job outlives, `BREAKER` and its token.
        fingerprint: of what went wrong, where that is the end of the job.
        retries: how often the job has gone back uncounted in a row, this time included.
        run: how often the job may have been requeued; ``None`` where the claim tells.
        operation: the id of the operation that makes it, once, and that is noted in the job.
    """

    source: State
    target: State
    outcome: Outcome
    token: str | None = None
    delay: float | None = None
    error: JobError | None = None
    result: Any = UNSET
    code: int | None = None
    refund: bool = False
    expired_only: bool = False
    unmarked_at: datetime | None = None
    crashes: int | None = None
    outbox: tuple[str, ...] = field(default=())
    fingerprint: str | None = None
    retries: int | None = None
    run: int | None = None
    operation: str | None = None

    def __post_init__(self) -> None:
        if self.target not in LEGAL[self.source]:
            raise ValueError(f"{self.source} may not become {self.target}")
        if (self.token is None) == (self.source is State.PROCESSING):
            raise ValueError("a claim token guards exactly the transitions of a processing job")


def succeed(job: Job, token: str, result: Any, *, code: int | None = None) -> Transition:
    """Finish with a result."""
    return Transition(
        source=State.PROCESSING,
        token=token,
        target=State.SUCCESS,
        outcome=Outcome.SUCCESS,
        result=result,
        code=code,
        outbox=outbox(job, State.SUCCESS),
    )


def fail(
    job: Job,
    token: str,
    error: JobError,
    *,
    chance: float,
    code: int | None = None,
    outcome: Outcome = Outcome.FAIL,
    expired_only: bool = False,
    unmarked_at: datetime | None = None,
) -> Transition:
    """Count an attempt that did not succeed: wait by the backoff, or end as failed when none is left.

    Args:
        job: as claimed.
        token: of the claim.
        error: why.
        chance: a random number from 0 to 1 that spreads the backoff by its jitter.
        code: the HTTP status or exit code, if there is one.
        outcome: what the history calls it.
        expired_only: let it happen only when the lease has ended.
        unmarked_at: as in `Transition`.
    """
    last = job.attempts_made >= job.attempts
    delay = None if last else job.backoff.seconds(job.attempts_made, chance=chance)
    target = State.FAILED if last else State.DELAYED if delay else State.PENDING
    return Transition(
        source=State.PROCESSING,
        token=token,
        target=target,
        outcome=outcome,
        error=error,
        code=code,
        delay=delay or None,
        expired_only=expired_only,
        unmarked_at=unmarked_at,
        outbox=outbox(job, target),
        fingerprint=fingerprint(job.type, error) if last else None,
    )


def die(job: Job, token: str, error: JobError, *, code: int | None = None) -> Transition:
    """End as killed at once, whatever attempts remain."""
    return Transition(
        source=State.PROCESSING,
        token=token,
        target=State.KILLED,
        outcome=Outcome.DIE,
        error=error,
        code=code,
        outbox=outbox(job, State.KILLED),
        fingerprint=fingerprint(job.type, error),
    )


def retry(
    job: Job,
    token: str,
    *,
    delay: float | None,
    error: JobError | None,
    code: int | None = None,
    most: int,
) -> Transition:
    """Go back without counting the attempt, after ``delay`` seconds and not before `SHORTEST_RETRY`.

    A job that has gone back more than ``most`` times, each run begun within ten seconds of the one before, fails.
    """
    count = _retries(job)
    if count > most:
        return _endless(job, token, error, code=code, count=count)
    return Transition(
        source=State.PROCESSING,
        token=token,
        target=State.DELAYED,
        outcome=Outcome.RETRY,
        delay=_pause(delay),
        error=error,
        code=code,
        refund=True,
        retries=count,
    )


def _retries(job: Job) -> int:
    """Return which uncounted run in a row this is; one that was counted already stays as it was."""
    last, began = job.retries, job.start_at
    if last is None or began is None or began - last.at > _LOOP:
        return 1
    return last.count + (began != last.at)


def _pause(delay: object) -> float:
    if isinstance(delay, bool) or not isinstance(delay, int | float) or delay != delay:  # noqa: PLR0124 - only NaN
        return SHORTEST_RETRY
    return min(max(delay, SHORTEST_RETRY), LONGEST)


def _endless(job: Job, token: str, error: JobError | None, *, code: int | None, count: int) -> Transition:
    """End as failed, whatever attempts remain: the job would run for ever without one of them."""
    last = f"; the last reason was: {error.message}" if error is not None else ""
    message = f"retried {count:,} times in a row, uncounted, each time within {_LOOP.seconds} s of the last{last}"
    endless = JobError(kind=ENDLESS, message=message, trace=error.trace if error is not None else None)
    return Transition(
        source=State.PROCESSING,
        token=token,
        target=State.FAILED,
        outcome=Outcome.FAIL,
        error=endless,
        code=code,
        outbox=outbox(job, State.FAILED),
        fingerprint=fingerprint(job.type, endless),
    )


def crash(job: Job, token: str, error: JobError, *, chance: float) -> Transition:
    """Take a job back whose worker died while other jobs ran beside it: uncounted, and one crash more.

    The job waits as after a failed attempt of the same number.

    Args:
        job: as claimed.
        token: of the claim.
        error: why.
        chance: as in `fail`.
    """
    delay = job.backoff.seconds(job.attempts_made, chance=chance)
    return Transition(
        source=State.PROCESSING,
        token=token,
        target=State.DELAYED if delay else State.PENDING,
        outcome=Outcome.CRASH,
        delay=delay or None,
        error=error,
        refund=True,
        expired_only=True,
        crashes=(job.crashes or 0) + 1,
    )


def release(token: str, *, delay: float | None = None, error: JobError | None = None) -> Transition:
    """Give a claimed job back untouched, as a worker does that is being shut down; ``delay`` in seconds."""
    return Transition(
        source=State.PROCESSING,
        token=token,
        target=State.DELAYED if delay else State.PENDING,
        outcome=Outcome.RELEASE,
        delay=delay or None,
        error=error,
        refund=True,
    )


def kill(job: Job, error: JobError, *, outcome: Outcome = Outcome.KILL, operation: str | None = None) -> Transition:
    """End an unfinished job by a person's will, or because one that it depends on did not succeed.

    Args:
        job: as it was read.
        error: why.
        outcome: what the history calls it.
        operation: as in `Transition`.

    Raises:
        WrongStateError: the job has ended already.
    """
    if job.state in FINAL:
        raise WrongStateError(job.id, job.state, "killed")
    return Transition(
        source=job.state,
        token=job.claim.token if job.claim else None,
        target=State.KILLED,
        outcome=outcome,
        error=error,
        outbox=outbox(job, State.KILLED),
        fingerprint=fingerprint(job.type, error),
        run=None if job.claim else job.run,
        operation=operation,
    )


def with_dependents(outbox: tuple[str, ...]) -> tuple[str, ...]:
    """Return what has to be done after a job has ended on which another one depends."""
    others = tuple(name for name in outbox if name not in _ORDER)
    return others + tuple(name for name in _ORDER if name in {*outbox, DEPENDENTS})


def outbox(job: Job, target: State) -> tuple[str, ...]:
    """Return what has to be done when a job gets into a state, as a `Transition` has it."""
    if target not in FINAL:
        return ()
    branch = job.on_success if target is State.SUCCESS else job.on_failure
    wanted = {
        "children": job.on_complete or branch,
        DEPENDENTS: job.has_dependents,
        "batch": job.batch_id,
        "delete": target is State.SUCCESS and job.on_success_delete,
    }
    return tuple(name for name in _ORDER if wanted[name])
