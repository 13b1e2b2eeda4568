"""References to jobs whose results have a type."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from jobqueue.domain.errors import JobFailedError
from jobqueue.domain.jobs.states import State

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from jobqueue.domain.jobs.job import Job, NewJob

R = TypeVar("R")


class TaskQueue(Protocol):
    """The calls of a queue that tasks and references make."""

    async def add_job(self, new: NewJob, *, session: Any = None) -> Job:
        """Add a job and return it."""

    async def add_all(self, jobs: Sequence[NewJob]) -> list[Job]:
        """Add jobs, all or none."""

    async def get(self, job_id: str) -> Job:
        """Return a job."""

    async def wait(self, job_id: str, timeout: float | None = None) -> Job:  # noqa: ASYNC109 - of the public call
        """Return a job when it has ended."""


class Ref(Generic[R]):
    """A job of a task that has been added.

    Attributes:
        id: of the job, 24 hex digits.
    """

    def __init__(self, job_id: str, queue: TaskQueue, decode: Callable[[Any], R]) -> None:
        self.id = job_id
        self._queue = queue
        self._decode = decode

    def __repr__(self) -> str:
        return f"<Ref {self.id}>"

    async def job(self) -> Job:
        """Return the job as it is now.

        Raises:
            NotFoundError: the job was deleted.
        """
        return await self._queue.get(self.id)

    async def wait(self, timeout: float | None = None) -> Job:  # noqa: ASYNC109 - the job goes on after it
        """Wait until the job has ended, and return it, however it ended.

        Args:
            timeout: seconds; ``None`` for as long as it takes.

        Raises:
            TimeoutError: the time is over; the job goes on.
            NotFoundError: the job was deleted.
        """
        return await self._queue.wait(self.id, timeout)

    async def result(self, timeout: float | None = None) -> R:  # noqa: ASYNC109 - the job goes on after it
        """Wait until the job has ended, and return its result in the type that the task declares.

        Args:
            timeout: seconds; ``None`` for as long as it takes.

        Raises:
            JobFailedError: the job failed or was killed.
            TimeoutError, NotFoundError: as `wait`.
            ResultUnavailableError: the result is of another type.
        """
        job = await self.wait(timeout)
        if job.state is State.SUCCESS:
            return self._decode(job.result)
        if job.error is None:
            raise JobFailedError(job.id, job.state.value, kind=job.state.value, message="there is no error")
        error = job.error
        raise JobFailedError(job.id, job.state.value, kind=error.kind, message=error.message, trace=error.trace)
