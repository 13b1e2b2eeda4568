"""Workflows that were started: wait for them, and read their results in their types."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar, overload

from jobqueue.domain.attempts.states import State
from jobqueue.domain.errors import DatabaseUnavailableError, InvalidInputError
from jobqueue.domain.jobs.task_job import TaskJob
from jobqueue.domain.search.job_filter import JobFilter
from jobqueue.domain.workflow.batch import FINISHED
from jobqueue.tasks.ref import Ref

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from jobqueue.domain.jobs.task_job import TypedTask
    from jobqueue.domain.producer import Producer
    from jobqueue.domain.workflow.batch import BatchView, Member

    class WorkflowQueue(Producer, Protocol):
        """The calls of a queue that started workflows make."""

        async def batch(self, batch_id: str) -> BatchView:
            """Return a batch."""


R = TypeVar("R")
_PAUSES: Final = (0.05, 1.0)
"""Seconds between two looks at a batch: the shortest and the longest."""
_PAGE: Final = 100


class StartedBatch:
    """A batch that ``queue.start(flow)`` has created.

    Attributes:
        id: of the batch, 24 hex digits.
        jobs: the ids of its first jobs by their refs.
        counts: of its jobs by state, as they were seen last.
    """

    def __init__(self, view: BatchView, jobs: Mapping[str, str], queue: WorkflowQueue) -> None:
        self.id = view.batch.id
        self.jobs = dict(jobs)
        self.counts = view.counts
        self._queue = queue

    def __repr__(self) -> str:
        return f"<StartedBatch {self.id}>"

    async def view(self) -> BatchView:
        """Return the batch as it is now, with the counts and the progress of its jobs.

        Raises:
            NotFoundError: the batch was deleted.
        """
        view = await self._queue.batch(self.id)
        self.counts = view.counts
        return view

    async def wait(self, timeout: float | None = None) -> BatchView:  # noqa: ASYNC109 - the batch goes on after it
        """Wait until all jobs have ended, and return the batch, however they ended.

        Args:
            timeout: seconds; ``None`` for as long as it takes.

        Raises:
            TimeoutError: the time is over; the jobs go on.
            NotFoundError: the batch was deleted.
        """
        pause, longest = _PAUSES
        async with asyncio.timeout(timeout):
            while True:
                with contextlib.suppress(DatabaseUnavailableError):
                    view = await self.view()
                    if view.batch.state == FINISHED:
                        return view
                await asyncio.sleep(pause)
                pause = min(pause * 1.5, longest)

    def ref(self, member: Member[R]) -> Ref[R]:
        """Return the reference to the job of a member.

        Raises:
            InvalidInputError: the member belongs to another workflow.
        """
        job_id = self.jobs.get(member.ref or "")
        if job_id is None:
            raise InvalidInputError({"member": [f"{member.ref!r} is no member of this workflow"]})
        job = member.job
        return Ref(job_id, self._queue, job.decode if isinstance(job, TaskJob) else _as_it_is)

    async def result(self, member: Member[R], timeout: float | None = None) -> R:  # noqa: ASYNC109 - as `wait`
        """Wait until the job of a member has ended, and return its result in its type; as `Ref.result`."""
        return await self.ref(member).result(timeout)

    @overload
    def results(self, type_or_task: TypedTask[R]) -> AsyncIterator[R]: ...
    @overload
    def results(self, type_or_task: str | None = None) -> AsyncIterator[Any]: ...
    async def results(self, type_or_task: TypedTask[Any] | str | None = None) -> AsyncIterator[Any]:
        """Yield the results of all jobs that have succeeded, in the order in which the jobs were added.

        Args:
            type_or_task: only of jobs of this type; a task makes its own type out of each result.

        Raises:
            ResultUnavailableError: a result is of another type than the task declares.
        """
        kinds: tuple[str | None, ...]
        decode: Callable[[Any], Any]
        if isinstance(type_or_task, str | None):
            kinds, decode = (type_or_task,), _as_it_is
        else:
            kinds, decode = tuple(type_or_task.names), type_or_task.decode
        conditions = JobFilter(batch_id=self.id, state=State.SUCCESS, oldest_first=True, limit=_PAGE)
        if len(kinds) == 1 and kinds[0] is not None:
            conditions["type"] = kinds[0]
        async for job in self._queue.jobs(**conditions):
            if len(kinds) == 1 or job.type in kinds:
                yield decode(job.result)


def _as_it_is(stored: Any) -> Any:
    return stored
