"""Jobs that were read in part, because the whole is too large."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any, Final

from jobqueue.domain.errors import ResultUnavailableError
from jobqueue.domain.jobs.job import Job

if TYPE_CHECKING:
    from collections.abc import Callable


LEFT_OUT: Final = ("result", "logs", "history", "steps")


class PartialJob(Job):
    """A job that was read without its result, logs and history: these look empty, and the JSON lacks them."""

    __slots__ = ()

    @classmethod
    def of(cls, job: Job) -> PartialJob:
        """Return a job as a partial one."""
        return cls(**{item.name: getattr(job, item.name) for item in fields(Job)})


class LateJob(Job):
    """A job that loads its result when it is read, or raises an error where the reader cannot wait."""

    __slots__ = ("_load",)
    _load: Callable[[str], Any] | None

    @classmethod
    def of(cls, job: Job, load: Callable[[str], Any] | None) -> LateJob:
        """Return a job that loads its result.

        Args:
            job: without its result.
            load: returns the result by the id of the job; ``None`` where the reader cannot wait.
        """
        late = object.__new__(cls)
        for item in fields(Job):
            if item.name != "result":
                object.__setattr__(late, item.name, getattr(job, item.name))
        object.__setattr__(late, "_load", load)
        return late

    @property
    def result(self) -> Any:
        """The result of the job.

        Raises:
            ResultUnavailableError: the result must be loaded first, or the job was deleted.
        """
        if self._load is None:
            raise ResultUnavailableError(
                f"the result of job {self.id} did not come with the others, as all results are over 8 MiB together: "
                f"await job.child_result({self.id!r})"
            )
        return self._load(self.id)

    def __repr__(self) -> str:
        return f"LateJob(id={self.id!r}, type={self.type!r}, state={self.state.value!r})"
