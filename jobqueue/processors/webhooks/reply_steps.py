"""Steps and children in the reply to a webhook: kept and created before the outcome counts."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from jobqueue.domain.attempts.attempt import JobError
from jobqueue.domain.errors import StepError
from jobqueue.domain.steps.step import STEP
from jobqueue.domain.work.verdict import Death, Failure, Suspension, Verdict
from jobqueue.processors import reported_steps
from jobqueue.processors.webhooks import decisions
from jobqueue.processors.written import read

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jobqueue.domain.work.calls import NewCall
    from jobqueue.domain.work.verdict import StepReporter

_MEMBER: Final = "steps"
_CALLS: Final = "calls"


def reported(body: bytes, *, strict: bool) -> Mapping[str, Any]:
    """Return the results of steps in a body, by name and in their order.

    Args:
        body: JSON, perhaps cut short.
        strict: the body is a decision; in any other body the member may mean something else.

    Raises:
        StepError: the member is no object of results, or it has a name twice.
    """
    text = decisions.member(body, _MEMBER)
    written = None if text is None else read(text)
    if written is None or written.value is None:
        return {}
    if not isinstance(written.value, dict):
        if strict:
            raise StepError('the steps of the reply must be an object such as {"fetch": {"rows": 3}}')
        return {}
    if written.doubled is not None:
        raise StepError(f"the steps of the reply have the name {written.doubled!r:.120} twice in one object")
    return written.value


def called(body: bytes) -> Mapping[str, NewCall]:
    """Return the children in a body, by the name of their step.

    Raises:
        StepError: the member is no object of jobs, or it has a name twice.
    """
    text = decisions.member(body, _CALLS)
    written = None if text is None else read(text)
    if written is None or written.value is None:
        return {}
    if written.doubled is not None:
        raise StepError(f"the calls of the reply have the name {written.doubled!r:.120} twice in one object")
    return reported_steps.read_calls(written.value)


async def keep(
    verdict: Verdict,
    results: Mapping[str, Any],
    steps: StepReporter,
    *,
    seconds: float,
    calls: Mapping[str, NewCall] | None = None,
) -> Verdict:
    """Keep the steps of a reply, in their order; return the verdict that holds then.

    Args:
        verdict: of the reply.
        results: of the steps.
        steps: of the job.
        seconds: that the request has taken.
        calls: children that the reply asks for; they are created after the steps are kept.

    Raises:
        StepError: a step cannot be kept, or children cannot be created; the steps before are kept.
        JobCancelledError: the job was killed or its lease was lost.
    """
    for name, result in results.items():
        await reported_steps.keep(steps, name, result, seconds=seconds)
    if isinstance(verdict, Suspension) and verdict.wait.signals:
        name, signal = verdict.wait.names[0], verdict.wait.signals[0]
        return await reported_steps.signal_suspension(steps, name, signal, verdict.delay, verdict.code)
    if isinstance(verdict, Suspension) and verdict.wait.names:
        verdict = await reported_steps.suspension(steps, verdict.wait.names[0], verdict.delay or 0, verdict.code)
    if calls:
        verdict = await reported_steps.called(steps, calls, verdict)
    if isinstance(verdict, Suspension) and verdict.delay is None and verdict.until is None and not verdict.wait.is_open:
        # All children that the reply asks for have ended before.
        verdict = replace(verdict, delay=0)
    return verdict


def spoilt(verdict: Verdict, error: StepError) -> Verdict:
    """Return the verdict on a reply with a step that cannot be kept: a failure, unless the reply kills the job."""
    if isinstance(verdict, Death):
        message = f"{verdict.error.message} ({error})"
        return replace(verdict, error=replace(verdict.error, message=message))
    return Failure(error=JobError(kind=STEP, message=str(error)), code=verdict.code)
