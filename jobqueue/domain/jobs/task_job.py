"""Tasks and new jobs whose results have a type."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from jobqueue.domain.jobs.job import NewJob

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)


class TypedTask(Protocol[R_co]):
    """A task, as far as results are concerned."""

    @property
    def names(self) -> Sequence[str]:
        """The types of its jobs: its name, and then its former names."""

    def decode(self, value: Any) -> R_co:
        """Return a stored result of the task in its type."""


def _as_it_is(stored: Any) -> Any:
    return stored


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskJob(NewJob, Generic[R]):
    """A job of a task that is not added yet; ``task.new(…)`` returns it.

    Attributes:
        decode: returns a stored result of the job in its type.
    """

    decode: Callable[[Any], R] = field(default=_as_it_is, compare=False, repr=False)
