"""Workflows that were started by programs without an event loop."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar, overload

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping

    from jobqueue.blocking import BlockingCalls
    from jobqueue.domain.jobs.task_job import TypedTask
    from jobqueue.domain.workflow.batch import BatchView, Member
    from jobqueue.tasks.started import StartedBatch

R = TypeVar("R")


class BlockingBatch:
    """A batch that ``queue.start(flow)`` has created; as `StartedBatch`, without ``await``.

    Attributes:
        id: of the batch, 24 hex digits.
        jobs: the ids of its first jobs by their refs.
    """

    def __init__(self, batch: StartedBatch, queue: BlockingCalls[Any]) -> None:
        self.id, self.jobs = batch.id, batch.jobs
        self._batch = batch
        self._queue = queue

    def __repr__(self) -> str:
        return f"<BlockingBatch {self.id}>"

    @property
    def counts(self) -> Mapping[str, int]:
        """Its jobs by state, as they were seen last."""
        return self._batch.counts

    def view(self) -> BatchView:
        """Return the batch as it is now; as `StartedBatch.view`."""
        return self._queue.run(self._batch.view())

    def wait(self, timeout: float | None = None) -> BatchView:
        """Wait until all jobs have ended; as `StartedBatch.wait`."""
        return self._queue.run(self._batch.wait(timeout))

    def result(self, member: Member[R], timeout: float | None = None) -> R:
        """Wait until the job of a member has ended, and return its result; as `StartedBatch.result`."""
        return self._queue.run(self._batch.result(member, timeout))

    @overload
    def results(self, type_or_task: TypedTask[R]) -> Iterator[R]: ...
    @overload
    def results(self, type_or_task: str | None = None) -> Iterator[Any]: ...
    def results(self, type_or_task: TypedTask[Any] | str | None = None) -> Iterator[Any]:
        """Yield the results of all jobs that have succeeded; as `StartedBatch.results`."""
        items: AsyncIterator[Any] = self._batch.results(type_or_task)
        return self._queue.iterate(items)
