"""References to jobs whose results have a type."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, TypeVar

from jobqueue.domain.jobs.ended import result_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from jobqueue.domain.jobs.job import Job
    from jobqueue.domain.producer import BlockingProducer, Producer

R = TypeVar("R")


class Ref(Generic[R]):
    """A job of a task that has been added.

    Attributes:
        id: of the job, 24 hex digits.
    """

    def __init__(self, job_id: str, queue: Producer, decode: Callable[[Any], R]) -> None:
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
        return self._decode(result_of(await self.wait(timeout)))


class BlockingRef(Generic[R]):
    """A job of a task that has been added by a blocking client; as `Ref`, without ``await``.

    Attributes:
        id: of the job, 24 hex digits.
    """

    def __init__(self, job_id: str, queue: BlockingProducer, decode: Callable[[Any], R]) -> None:
        self.id = job_id
        self._queue = queue
        self._decode = decode

    def __repr__(self) -> str:
        return f"<BlockingRef {self.id}>"

    def job(self) -> Job:
        """Return the job as it is now; as `Ref.job`."""
        return self._queue.get(self.id)

    def wait(self, timeout: float | None = None) -> Job:
        """Wait until the job has ended, and return it; as `Ref.wait`."""
        return self._queue.wait(self.id, timeout)

    def result(self, timeout: float | None = None) -> R:
        """Wait until the job has ended, and return its result; as `Ref.result`."""
        return self._decode(result_of(self.wait(timeout)))
