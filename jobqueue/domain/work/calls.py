"""Calls of running jobs: the children that they ask for, and the ends of these."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from jobqueue.domain.errors import InvalidInputError, Problems
from jobqueue.domain.jobs.job import NewJob, children
from jobqueue.domain.steps.call import FAILURES, MOST_CALLED, RAISE
from jobqueue.domain.unknown import unknown_names
from jobqueue.domain.values.iso8601 import moment

if TYPE_CHECKING:
    from jobqueue.domain.attempts.attempt import JobError
    from jobqueue.domain.steps.step import Step

Snake = Callable[[Mapping[str, Any]], dict[str, Any]]


class ChildFailedError(Exception):
    """Raised by ``job.call`` and ``job.map``: an awaited child has failed, was killed, or was deleted.

    With ``failures="return"`` it stands in the place of the child's result.

    Attributes:
        job_id: the child.
        state: ``failed``, ``killed`` or ``deleted``.
        error: of the child.
    """

    def __init__(self, message: str, *, job_id: str, state: str, error: JobError) -> None:
        self.job_id, self.state, self.error = job_id, state, error
        super().__init__(message)


@dataclass(frozen=True, slots=True, kw_only=True)
class NewCall:
    """Children to create for one step.

    Attributes:
        jobs: the children.
        single: the step has the result of the only child, not a list.
        failures: one of `FAILURES`.

    Raises:
        InvalidInputError: there are too many children, or the way of failures is unknown.
    """

    jobs: tuple[NewJob, ...]
    single: bool = False
    failures: str = RAISE

    def __post_init__(self) -> None:
        problems: Problems = {}
        if len(self.jobs) > MOST_CALLED:
            problems["jobs"] = [f"takes at most {MOST_CALLED:,} jobs"]
        if self.failures not in FAILURES:
            problems["failures"] = [f"must be one of {', '.join(FAILURES)}"]
        if problems:
            raise InvalidInputError(problems)


@dataclass(frozen=True, slots=True, kw_only=True)
class Called:
    """A step with children.

    Attributes:
        step: of the job.
        unfinished: the number of children that the job still has to wait for.
    """

    step: Step
    unfinished: int = 0

    @property
    def has_failed(self) -> bool:
        """True if the step has no result because of a failed child; a later attempt may ask again."""
        return self.step.awaits and self.step.call is not None and self.step.call.failure is not None


def read_call(value: Any, snake: Snake) -> NewCall:
    """Read the children of a step from JSON: a job, a list of jobs, or an object with ``jobs`` and ``failures``.

    Args:
        value: the JSON.
        snake: turns the names of a job's JSON into those of Python.

    Raises:
        InvalidInputError: naming each unacceptable field.
        TooLargeError: the data and meta of a job are over their limit.
    """
    failures: Any = RAISE
    if isinstance(value, Mapping) and "jobs" in value:
        if unknown := unknown_names(value, {"jobs", "failures"}):
            raise InvalidInputError(unknown)
        value, failures = value["jobs"], value.get("failures", RAISE)
    if isinstance(value, Mapping):
        return NewCall(jobs=(_job(value, "job", snake),), single=True, failures=failures)
    if not isinstance(value, list):
        raise InvalidInputError({"jobs": ["must be a job or a list of jobs"]})
    if len(value) > MOST_CALLED:
        raise InvalidInputError({"jobs": [f"takes at most {MOST_CALLED:,} jobs"]})
    jobs = tuple(_job(item, f"jobs.{place}", snake) for place, item in enumerate(value))
    return NewCall(jobs=jobs, failures=failures)


def _job(value: Any, path: str, snake: Snake) -> NewJob:
    if not isinstance(value, Mapping):
        raise InvalidInputError({path: ["must be a job"]})
    try:
        fields = snake(value)
        for name in ("delay_til", "start_before"):
            if isinstance(fields.get(name), str):
                fields[name] = moment(fields[name])
        job = children(fields, path)
    except (AttributeError, TypeError, ValueError, RecursionError) as error:
        raise InvalidInputError({path: [f"is not a job: {error}"]}) from None
    if not isinstance(job, NewJob):
        raise InvalidInputError({path: ["must be a job"]})
    return job
