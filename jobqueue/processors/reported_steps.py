"""Steps, waits and children that webhooks and commands report."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from jobqueue import tracing
from jobqueue.domain.attempts.attempt import JobError
from jobqueue.domain.errors import InvalidInputError, KeyConflictError, OlderWorkersError, StepError, TooLargeError
from jobqueue.domain.jobs import json_form
from jobqueue.domain.steps.call import CHILD
from jobqueue.domain.steps.step import StepKind, Wait, check_name
from jobqueue.domain.work.calls import read_call
from jobqueue.domain.work.verdict import Failure, Suspension

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jobqueue.domain.jobs.job import Job
    from jobqueue.domain.steps.step import Step
    from jobqueue.domain.work.calls import NewCall
    from jobqueue.domain.work.verdict import StepReporter, Verdict


def job_with_results(job: Job, steps: StepReporter) -> dict[str, Any]:
    """Return a job as JSON for the program that runs it, as `json_form.handed`."""
    return json_form.handed(job, steps.results)


async def keep(steps: StepReporter, name: str, result: Any, *, seconds: float) -> Any:
    """Keep the result of a step; return the result that is kept, the first of the name.

    Args:
        steps: of the job.
        name: of the step.
        result: JSON.
        seconds: how long the step ran, as far as that is known.

    Raises:
        StepError: the name or the result cannot be kept; the message names the step.
        JobCancelledError: the job was killed or its lease was lost.
    """
    try:
        kept = await steps.record(name, result, tries=1, seconds=seconds)
    except (InvalidInputError, OlderWorkersError, TooLargeError) as error:
        raise StepError(f"step {name!r:.120} cannot be kept: {error}") from error
    tracing.stepped(name, seconds)
    return kept


async def may_run_once(steps: StepReporter, name: str) -> bool:
    """Mark a step that must not run twice as begun; return False if nobody knows whether it has happened.

    Raises:
        StepError: the step cannot be marked.
        JobCancelledError: as `keep`.
    """
    try:
        return await steps.mark(name, tries=1)
    except InvalidInputError as error:
        raise StepError(f"step {name!r:.120} cannot begin: {error}") from error


async def begin_sleep(steps: StepReporter, name: str, seconds: float) -> Step:
    """Return a sleep, noted with its end; a sleep that was noted before keeps its end.

    Raises:
        StepError: the name or the number cannot be used.
        JobCancelledError: as `keep`.
    """
    try:
        step = await steps.begin_sleep(name, seconds=seconds, until=None)
    except (InvalidInputError, OlderWorkersError) as error:
        raise StepError(f"sleep {name!r:.120} cannot begin: {error}") from error
    if step.kind is not StepKind.SLEEP:
        raise StepError(f"sleep {name!r:.120} cannot begin: {name!r:.120} is a step")
    return step


def read_calls(value: Any) -> dict[str, NewCall]:
    """Return the children that a reply asks for, by the name of the step.

    Raises:
        StepError: the value is no object of jobs; the message names the step.
    """
    if not isinstance(value, dict):
        raise StepError('calls must be an object such as {"label": {"type": "print"}}')
    return {name: new_call(name, asked) for name, asked in value.items()}


def new_call(name: str, value: Any) -> NewCall:
    """Return the children of a step: a job, a list of jobs, or an object with ``jobs`` and ``failures``.

    Raises:
        StepError: the name or a job cannot be used; the message names the step.
    """
    try:
        check_name(name)
        return read_call(value, json_form.snake_children)
    except (InvalidInputError, TooLargeError) as error:
        raise StepError(f"children of step {name!r:.120} cannot be created: {error}") from error


async def called(steps: StepReporter, calls: Mapping[str, NewCall], verdict: Verdict) -> Verdict:
    """Create children; return the verdict that suspends the job until they have ended.

    Args:
        steps: of the job.
        calls: the children by the name of their step; steps that have finished are passed over.
        verdict: holds if there are no children to wait for.

    Returns:
        A failure if a child has failed in the present attempt.

    Raises:
        StepError: the children cannot be created; the message names the step.
        JobCancelledError: as `keep`.
    """
    waiting: dict[str, int] = {}
    for name, call in calls.items():
        if name in steps.finished:
            continue
        try:
            begun = await steps.begin_call(name, call)
        except (InvalidInputError, TooLargeError, KeyConflictError) as error:
            raise StepError(f"children of step {name!r:.120} cannot be created: {error}") from error
        if begun.has_failed:
            return Failure(error=begun.step.error or JobError(kind=CHILD, message=name), code=verdict.code)
        if not begun.step.is_finished:
            waiting[name] = begun.unfinished
    if not waiting:
        return verdict
    if not isinstance(verdict, Suspension):
        return Suspension(wait=Wait(names=tuple(waiting), jobs=sum(waiting.values())), code=verdict.code)
    wait = replace(verdict.wait, names=(*verdict.wait.names, *waiting), jobs=sum(waiting.values()))
    # A delay of 0 seconds says to go on at once: with children to wait for that is no wait of its own.
    return replace(verdict, delay=verdict.delay or None, wait=wait)


async def suspension(steps: StepReporter, name: str, seconds: float, code: int | None = None) -> Suspension:
    """Note a sleep; return the verdict that suspends the job until it is over.

    Raises:
        StepError: as `begin_sleep`; or a step of this name has finished.
        JobCancelledError: as `keep`.
    """
    if name in steps.finished:
        raise StepError(f"sleep {name!r:.120} cannot begin: the step has finished")
    step = await begin_sleep(steps, name, seconds)
    if step.is_finished:
        return Suspension(delay=0, code=code)
    return Suspension(until=step.until, wait=Wait(names=(name,)), code=code)


async def begin_signal(steps: StepReporter, name: str, signal: str, timeout: float | None) -> Step:  # noqa: ASYNC109 - of the wait
    """Return a step that waits for a signal; it has finished if the signal was there or its time is over.

    Raises:
        StepError: the name or the number cannot be used.
        JobCancelledError: as `keep`.
    """
    try:
        step = await steps.begin_signal(name, signal, seconds=timeout)
    except InvalidInputError as error:
        raise StepError(f"the wait {name!r:.120} cannot begin: {error}") from error
    if step.kind is not StepKind.SIGNAL:
        raise StepError(f"the wait {name!r:.120} cannot begin: {name!r:.120} is a {step.kind.value}")
    return step


async def signal_suspension(
    steps: StepReporter,
    name: str,
    signal: str,
    timeout: float | None,  # noqa: ASYNC109 - of the wait
    code: int | None = None,
) -> Suspension:
    """Note a wait for a signal; return the verdict that suspends the job until the wait is over.

    Raises:
        StepError: as `begin_signal`; or a step of this name has finished.
        JobCancelledError: as `keep`.
    """
    if name in steps.finished:
        raise StepError(f"the wait {name!r:.120} cannot begin: the step has finished")
    step = await begin_signal(steps, name, signal, timeout)
    if step.is_finished:
        return Suspension(delay=0, code=code)
    return Suspension(until=step.until, wait=Wait(names=(name,), signals=(signal,)), code=code)
