"""The relatives of a replayed job, as far as its bundle has them, and queue objects that add nothing."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, NoReturn, cast

from jobqueue.domain.errors import ResultUnavailableError
from jobqueue.domain.workflow.batch import new_member
from jobqueue.processors.callbacks.trial_job import parts
from jobqueue.services.queue import JobQueue
from jobqueue.testing.replays.happening import ADDED, Happening

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from jobqueue.domain.jobs.job import Job, NewJob
    from jobqueue.domain.search.query import Page
    from jobqueue.domain.work.bundle import Bundle
    from jobqueue.domain.workflow.batch import Member
    from jobqueue.services.application import Runtime
    from jobqueue.testing.replays.happening import Listener, Obstacles


class ReplayRelatives:
    """The relatives of one replayed job."""

    def __init__(self, bundle: Bundle, tell: Listener, obstacles: Obstacles) -> None:
        self._bundle = bundle
        self._tell = tell
        self._obstacles = obstacles

    async def parent(self) -> Job | None:
        """Return the parent, or ``None`` for a job without one.

        Raises:
            NotReplayableError: the bundle lacks the parent.
        """
        if self._bundle.parent is None and self._bundle.job.parent_id is not None:
            raise self._obstacles.met("the bundle does not have the parent of the job")
        return self._bundle.parent

    async def children(self, load: Callable[[str], Any] | None = None) -> list[Job]:
        """Return the children that the bundle has."""
        del load
        return list(self._bundle.children)

    async def child_result(self, child_id: str) -> Any:
        """Return the result of a child.

        Raises:
            ResultUnavailableError: the bundle has no such child.
        """
        for child in self._bundle.children:
            if child.id == child_id:
                return child.result
        raise ResultUnavailableError(f"the bundle has no child {child_id} of the job")

    async def result(self, job_id: str) -> Any:
        """Return the result of a dependency.

        Raises:
            NotReplayableError: the bundle had no room for it.
        """
        for entry in self._bundle.job.parents or ():
            if entry.get("id") == job_id and "result" in entry:
                return entry["result"]
        raise self._obstacles.met(f"the bundle does not have the result of the dependency {job_id}")

    async def batch_jobs(self, cursor: str | None, limit: int) -> Page:
        """Refuse: a bundle does not have the jobs of a batch.

        Raises:
            NotReplayableError: always.
        """
        del cursor, limit
        raise self._obstacles.met("the handler reads the jobs of its batch, which a bundle does not have")

    async def add(self, kind: str, data: Mapping[str, Any] | None, after: Sequence[str], how: Mapping[str, Any]) -> str:
        """Add nothing; return an id that no job has."""
        return (await self.add_all([new_member(self._bundle.job.queue, kind, data, after, how)]))[0]

    async def add_all(self, members: Sequence[Member]) -> list[str]:
        """Add nothing; return ids that no jobs have."""
        for member in members:
            self._tell(Happening(kind=ADDED, name=member.job.type, text="into the batch"))
        return [f"{place:024x}" for place, _ in enumerate(members, 1)]


class _Nothing:
    """Stands in for the services of a queue."""

    def __init__(self, tell: Listener, obstacles: Obstacles) -> None:
        self._tell = tell
        self._obstacles = obstacles
        self.producer = self

    async def add(self, new: NewJob, session: Any = None) -> Job:
        """Add nothing; return a job that no queue has."""
        del session
        self._tell(Happening(kind=ADDED, name=new.type, text=f"to queue {new.queue}"))
        return parts(new)[0]

    async def add_all(self, jobs: Sequence[NewJob]) -> list[Job]:
        """Add nothing; return jobs that no queue has."""
        return [await self.add(new) for new in jobs]

    def __getattr__(self, name: str) -> NoReturn:
        raise self._obstacles.met(f"the handler uses the database by its queue object ({name}), which a replay has not")


class _Sealed(JobQueue):
    """A queue that never connects."""

    def __init__(self, nothing: _Nothing) -> None:
        super().__init__()
        self._nothing = nothing

    async def open(self) -> Runtime:
        return cast("Runtime", self._nothing)

    async def close(self) -> None:
        """Close nothing."""


@contextlib.contextmanager
def sealed(tell: Listener, obstacles: Obstacles) -> Iterator[None]:
    """Keep all queue objects of this process away from databases for the time of the block."""
    JobQueue.send_all_to(_Sealed(_Nothing(tell, obstacles)))
    try:
        yield
    finally:
        JobQueue.send_all_to(None)
