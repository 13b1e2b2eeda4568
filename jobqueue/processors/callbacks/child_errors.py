"""Failures of awaited children as exceptions of a handler."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jobqueue.domain.attempts.attempt import JobError
from jobqueue.domain.steps.call import CHILD, MARK, ChildFailure
from jobqueue.domain.work.calls import ChildFailedError

if TYPE_CHECKING:
    from jobqueue.domain.steps.step import Step


def child_error(name: str, step: Step) -> ChildFailedError:
    """Return the exception of a step that has no result because of a failed child."""
    failure = step.call.failure if step.call is not None else None
    if failure is None:
        failure = ChildFailure(id="", state="failed", kind=CHILD, message="a child has failed")
    message = step.error.message if step.error is not None else f"{name}: {failure.sentence()}"
    return _error(message, failure)


def decoded(result: Any) -> Any:
    """Return the result of a child; a failure that stands in its place becomes an exception, which is not raised."""
    if (
        isinstance(result, dict)
        and result.keys() == {MARK}
        and (failure := ChildFailure.read(result[MARK])) is not None
    ):
        return _error(failure.sentence(), failure)
    return result


def _error(message: str, failure: ChildFailure) -> ChildFailedError:
    reason = JobError(kind=failure.kind, message=failure.message)
    return ChildFailedError(message, job_id=failure.id, state=failure.state, error=reason)
