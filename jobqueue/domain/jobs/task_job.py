"""New jobs whose results have a type."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from jobqueue.domain.jobs.job import NewJob

if TYPE_CHECKING:
    from collections.abc import Callable

R = TypeVar("R")


def _as_it_is(stored: Any) -> Any:
    return stored


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskJob(NewJob, Generic[R]):
    """A job of a task that is not added yet; ``task.new(…)`` returns it.

    Attributes:
        decode: returns a stored result of the job in its type.
    """

    decode: Callable[[Any], R] = field(default=_as_it_is, compare=False, repr=False)
