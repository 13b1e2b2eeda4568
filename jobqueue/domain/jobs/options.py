"""Options of a new job as keyword arguments, so that type checkers find misspelt names and wrong values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypedDict, Unpack, cast

from jobqueue.domain.errors import InvalidInputError
from jobqueue.domain.jobs.job import NewJob
from jobqueue.domain.unknown import unknown_names

if TYPE_CHECKING:
    from datetime import datetime

    from jobqueue.domain.attempts.backoff import Backoff

ChildOptions = NewJob | Mapping[str, Any]
ChildrenOptions = ChildOptions | Sequence[ChildOptions] | None


class JobOptions(TypedDict, total=False):
    """The fields of `NewJob` besides its type and data; durations are in seconds."""

    queue: str
    meta: Mapping[str, Any]
    priority: int | None
    attempts: int | None
    backoff: Backoff | float | Sequence[float] | Mapping[str, Any] | None
    delay: float | None
    delay_til: datetime | None
    start_before: datetime | float | None
    lease: float | None
    timeout: float | None
    key: str | None
    depends_on: Sequence[str]
    dependency_policy: str | None
    on_success_delete: bool | None
    on_complete: ChildrenOptions
    on_success: ChildrenOptions
    on_failure: ChildrenOptions


class MemberOptions(JobOptions, total=False):
    """The fields of a job that a running job adds to its batch.

    Attributes:
        ref: the name of the job within its batch. No job is added under a ``ref`` that the batch has already.
        blocks: refs or ids of waiting jobs of the batch, which wait for this job too.
    """

    ref: str | None
    blocks: Sequence[str]


def new_job(kind: str, data: Mapping[str, Any] | None = None, **fields: Unpack[JobOptions]) -> NewJob:
    """Return a new job from its fields.

    Raises:
        InvalidInputError: naming each unacceptable or unknown field.
    """
    if unknown := unknown_names(fields, NewJob.__dataclass_fields__):
        raise InvalidInputError(unknown)
    return NewJob(type=kind, data={} if data is None else data, **cast("Any", fields))
