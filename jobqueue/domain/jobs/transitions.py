"""The named transitions between the states of a job.

A transition is a value: a change, with the state and the claim that it may start from. Only the store applies it, as
one guarded atomic update, so that exactly one of two racing transitions happens.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from jobqueue.domain.attempts.attempt import JobError
from jobqueue.domain.attempts.fingerprint import fingerprint
from jobqueue.domain.attempts.states import FINAL, LEGAL, Outcome, State
from jobqueue.domain.durations import LONGEST
from jobqueue.domain.errors import WrongStateError
from jobqueue.domain.steps.step import Wait, ended_since

if TYPE_CHECKING:
    from datetime import datetime

    from jobqueue.domain.jobs.job import Job

DEPENDENTS: Final = "dependents"
"""Note in an outbox: the jobs that depend on this one are released, or fall with it."""
BREAKER: Final = "breaker:"
"""Note in an outbox, before the token of an attempt: the circuit breaker of the queue still counts its end."""
DEPENDENCY: Final = "dependency"
"""Kind of the error of a job that was killed because of another job."""
REOPEN: Final = "reopen"
"""Note in an outbox: the finished batch of a requeued job opens again."""
REVIVE: Final = "revive"
"""Note in an outbox: jobs that were killed because of this requeued job wait again."""
NOTES: Final = (REOPEN, REVIVE)
"""Notes that a requeue writes."""
AWAITED: Final = "awaited"
"""Note in an outbox: the parent of the job awaits its end."""
LOOK: Final = "look:"
"""Note in an outbox, before the token of a suspended attempt: awaited children may have ended already."""
_ORDER: Final = ("children", DEPENDENTS, "batch", AWAITED, "delete")
SHORTEST_RETRY: Final = 1.0
"""Seconds of the shortest wait before an uncounted run."""
ENDLESS: Final = "endless"
"""Kind of the error of a job with too many uncounted runs."""
_LOOP: Final = timedelta(seconds=10)
"""The longest time between the beginnings of two runs of one loop."""


class _Unset:
    """Tell a missing result from the result ``None``."""


UNSET: Final = _Unset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Transition:
    """One change of a job's state, with its conditions.

    Attributes:
        source: the state that the job must be in.
        token: the claim that must be current; ``None`` where the source is not `State.PROCESSING`.
        target: the new state of the job.
        delay: seconds from the server's now until the job is due; ``None`` for no wait.
        refund: the attempt is not counted.
        expired_only: the lease must have ended by the server's clock.
        unmarked_at: the lease end for which no reaper may have noted that other jobs ran beside.
        crashes: the new number of crashes of the job; ``None`` leaves the number.
        outbox: notes of the work that follows: ``children``, ``dependents``, ``batch``, ``awaited``, ``delete``; also,
            after an attempt that the job outlives, `BREAKER` or `LOOK` and its token.
        fingerprint: the fingerprint of an ended job's failure.
        retries: the number of uncounted runs in a row, this run included; 0 ends the row.
        run: the number of requeues that the job must have; ``None`` where the claim decides.
        operation: the id of the operation that makes the transition, once; the job keeps a note of it.
        due: the date at which the job is due, and not before the delay is over.
        wait: what a suspended job waits for.
        repeats: how often the worker must have repeated the request that has claimed the job; ``None`` for any number.
    """

    target: State
    outcome: Outcome
    source: State = State.PROCESSING
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
    due: datetime | None = None
    wait: Wait | None = None
    repeats: int | None = None

    def __post_init__(self) -> None:
        if self.target not in LEGAL[self.source]:
            raise ValueError(f"{self.source} may not become {self.target}")
        if (self.token is None) == (self.source is State.PROCESSING):
            raise ValueError("a claim token guards exactly the transitions of a processing job")


def succeed(job: Job, token: str, result: Any, *, code: int | None = None) -> Transition:
    """Finish with a result."""
    return Transition(
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
    """Count a failed attempt: wait by the backoff, or end as failed when no attempt is left.

    Args:
        job: the claimed job.
        token: the token of the claim.
        error: the reason.
        chance: a random number from 0 to 1 that spreads the backoff by its jitter.
        code: the HTTP status or exit code, if there is one.
        outcome: the outcome in the history.
        expired_only: as in `Transition`.
        unmarked_at: as in `Transition`.
    """
    last = job.attempts_made >= job.attempts
    delay = None if last else job.backoff.seconds(job.attempts_made, chance=chance)
    target = State.FAILED if last else State.DELAYED if delay else State.PENDING
    return Transition(
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
    """Go back without counting the attempt, after ``delay`` seconds; without a newly finished step after a second.

    A job fails after more than ``most`` such runs, each begun within ten seconds of the run before and without a newly
    finished step.
    """
    count = _retries(job)
    if count > most:
        return _endless(job, token, error, code=code, count=count)
    return Transition(
        token=token,
        target=State.DELAYED,
        outcome=Outcome.RETRY,
        delay=_pause(delay, progressed=not count),
        error=error,
        code=code,
        refund=True,
        retries=count,
    )


def suspend(
    job: Job,
    token: str,
    *,
    delay: float | None = None,
    until: datetime | None = None,
    wait: Wait | None = None,
    code: int | None = None,
    most: int,
) -> Transition:
    """Go back without counting the attempt until a wait is over; the job frees its slots and its lease.

    A job that waits again and again, each run begun within ten seconds of the one before and without a newly finished
    step, fails as in `retry`.

    The job is back after a second at the earliest, unless a step has finished or is to finish with the wait.

    Args:
        job: with its steps as they are now.
        token: of the claim.
        delay: seconds of the wait, where ``until`` is ``None``.
        until: the end of the wait.
        wait: what the job waits for; an open wait without ``delay`` and ``until`` has no end by itself.
        code: the HTTP status or exit code, if there is one.
        most: as in `retry`.
    """
    wait = wait or Wait()
    progressed = ended_since(job.steps or (), job.start_at)
    if (count := _retries(job)) > most:
        return _endless(job, token, None, code=code, count=count)
    at_once = progressed and until is None and not delay and not wait.is_open
    is_endless = wait.is_open and until is None and delay is None
    will_progress = progressed or (until is not None and bool(wait.names))
    return Transition(
        source=State.PROCESSING,
        token=token,
        target=State.PENDING if at_once else State.DELAYED,
        outcome=Outcome.SUSPEND,
        delay=None if at_once or is_endless else _pause(delay, progressed=will_progress),
        due=until,
        code=code,
        refund=True,
        retries=count,
        wait=None if at_once else wait,
        outbox=() if wait.jobs is None else (f"{LOOK}{token}",),
    )


def _retries(job: Job) -> int:
    """Return the number of uncounted runs in a row; a run that was counted already is not counted again."""
    last, began = job.retries, job.start_at
    steps = job.steps or ()
    if ended_since(steps, began):
        return 0
    if last is not None and ended_since((step for step in steps if step.call is not None), last.at):
        # The server has finished the step, after the run that began at this time.
        return 0
    if last is None or began is None or began - last.at > _LOOP:
        return 1
    return last.count + (began != last.at)


def _pause(delay: object, *, progressed: bool) -> float:
    """Return the seconds of a wait: a job without a newly finished step waits for a moment in any case."""
    shortest = 0.0 if progressed else SHORTEST_RETRY
    if isinstance(delay, bool) or not isinstance(delay, int | float) or delay != delay:  # noqa: PLR0124 - only NaN
        return shortest
    return min(max(delay, shortest), LONGEST)


def _endless(job: Job, token: str, error: JobError | None, *, code: int | None, count: int) -> Transition:
    """End as failed, whatever attempts remain, because the job would run for ever without using one."""
    last = f"; the last reason was: {error.message}" if error is not None else ""
    message = f"retried {count:,} times in a row, uncounted, each time within {_LOOP.seconds} s of the last{last}"
    endless = JobError(kind=ENDLESS, message=message, trace=error.trace if error is not None else None)
    return Transition(
        token=token,
        target=State.FAILED,
        outcome=Outcome.FAIL,
        error=endless,
        code=code,
        outbox=outbox(job, State.FAILED),
        fingerprint=fingerprint(job.type, endless),
    )


def crash(job: Job, token: str, error: JobError, *, chance: float) -> Transition:
    """Take back a job whose worker died while other jobs ran beside it: uncounted, with one more crash.

    The job waits as after a failed attempt of the same number; the arguments are as in `fail`.
    """
    delay = job.backoff.seconds(job.attempts_made, chance=chance)
    return Transition(
        token=token,
        target=State.DELAYED if delay else State.PENDING,
        outcome=Outcome.CRASH,
        delay=delay or None,
        error=error,
        refund=True,
        expired_only=True,
        crashes=(job.crashes or 0) + 1,
    )


def lost_while_suspending(token: str, error: JobError, *, unmarked_at: datetime | None) -> Transition:
    """Take back a job whose worker died after it had noted a sleep: uncounted, as the job was about to be suspended.

    The job runs at once, and comes to its sleep. The arguments are as in `Transition`.
    """
    return Transition(
        token=token,
        target=State.PENDING,
        outcome=Outcome.RELEASE,
        error=error,
        refund=True,
        expired_only=True,
        unmarked_at=unmarked_at,
    )


def release(
    token: str, *, delay: float | None = None, error: JobError | None = None, repeats: int | None = None
) -> Transition:
    """Give back a claimed job uncounted, as at the shutdown of a worker; ``delay`` in seconds."""
    return Transition(
        token=token,
        target=State.DELAYED if delay else State.PENDING,
        outcome=Outcome.RELEASE,
        delay=delay or None,
        error=error,
        refund=True,
        repeats=repeats,
    )


def kill(job: Job, error: JobError, *, outcome: Outcome = Outcome.KILL, operation: str | None = None) -> Transition:
    """End an unfinished job for a person, or because a job that it depends on did not succeed.

    ``outcome`` is the outcome in the history, ``operation`` as in `Transition`.

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
    """Return the outbox of an ended job with `DEPENDENTS` added."""
    notes = tuple(name for name in outbox if name not in _ORDER)
    return notes + tuple(name for name in _ORDER if name in {*outbox, DEPENDENTS})


def outbox(job: Job, target: State) -> tuple[str, ...]:
    """Return the outbox of a job that gets into a state."""
    if target not in FINAL:
        return ()
    branch = job.on_success if target is State.SUCCESS else job.on_failure
    due = {
        "children": job.on_complete or branch,
        DEPENDENTS: job.has_dependents,
        "batch": job.batch_id,
        AWAITED: job.awaited_by,
        "delete": target is State.SUCCESS and job.on_success_delete,
    }
    return tuple(name for name in _ORDER if due[name])
