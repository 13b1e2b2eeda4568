"""The relatives of a running job: its parent, its children, its dependencies and its batch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from jobqueue.domain.errors import InvalidInputError, NotFoundError, ResultUnavailableError
from jobqueue.domain.jobs.late import LateJob
from jobqueue.domain.search.query import JobQuery, Page
from jobqueue.domain.work.results import is_unfinished
from jobqueue.domain.workflow.batch import new_member

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from jobqueue.domain.jobs.job import Job
    from jobqueue.domain.workflow.batch import Member
    from jobqueue.services.workflow.batches import Batches
    from jobqueue.store.search.listings import Listing
    from jobqueue.store.workflow.dependencies import DependencyStore

MOST_CHILDREN: Final = 1000


class JobRelatives:
    """The relatives of one running job."""

    def __init__(self, listing: Listing, dependencies: DependencyStore, batches: Batches, job: Job) -> None:
        self._listing = listing
        self._dependencies = dependencies
        self._batches = batches
        self._job = job

    async def parent(self) -> Job | None:
        """Return the job that created this one as a child, or ``None``."""
        return await self._listing.parent(self._job)

    async def children(self, load: Callable[[str], Any] | None = None) -> list[Job]:
        """Return up to 1,000 children, oldest first; ``load`` is as in `Relatives`."""
        born, late = await self._listing.children_of(self._job, MOST_CHILDREN)
        return [LateJob.of(child, load) if child.id in late else child for child in born]

    async def child_result(self, child_id: str) -> Any:
        """Return the result of a child, however large.

        Raises:
            ResultUnavailableError: the job has no such child, or it was deleted.
        """
        try:
            return await self._listing.child_result(self._job, child_id)
        except NotFoundError:
            raise ResultUnavailableError(f"job {self._job.id} has no child {child_id}, or it was deleted") from None

    async def result(self, job_id: str) -> Any:
        """Return the result of a dependency, however large.

        Raises:
            ResultUnavailableError: the job was deleted, or started anew.
        """
        try:
            entry = await self._dependencies.parent(self._job, job_id)
        except NotFoundError:
            raise ResultUnavailableError(f"the result of job {job_id} is lost: the job was deleted") from None
        if is_unfinished(entry):
            raise ResultUnavailableError(f"the result of job {job_id} is not there: the job was started anew")
        return entry["result"]

    async def batch_jobs(self, cursor: str | None, limit: int) -> Page:
        """Return a page of the jobs of the batch that this job belongs to, or is a callback of, oldest first.

        Raises:
            InvalidInputError: there is no such batch.
        """
        batch_id = self._job.batch_id or (self._job.callback_of or {}).get("batchId")
        if batch_id is None:
            raise InvalidInputError({"batchId": ["the job neither belongs to a batch nor is the callback of one"]})
        query = JobQuery(batch_id=str(batch_id), oldest_first=True, limit=limit)
        return await self._listing.page(query.at(cursor))

    async def add(self, kind: str, data: Mapping[str, Any] | None, after: Sequence[str], how: Mapping[str, Any]) -> str:
        """Add a job to the batch of this one, also to a sealed batch; return its id. The arguments are as for handlers.

        Raises:
            InvalidInputError: naming each unacceptable field, or this job belongs to no batch.
            ConflictError: this job is not running any more.
        """
        return (await self.add_all([new_member(self._job.queue, kind, data, after, how)]))[0]

    async def add_all(self, members: Sequence[Member]) -> list[str]:
        """Add jobs to the batch of this one, all or none; return their ids in their order.

        Raises:
            InvalidInputError: naming each unacceptable job, or this job belongs to no batch.
            ConflictError: this job is not running any more.
        """
        if self._job.batch_id is None or self._job.claim is None:
            raise InvalidInputError({"batchId": ["the job belongs to no batch"]})
        added = await self._batches.add(self._job.batch_id, members, token=self._job.claim.token)
        return [member.id for member in added]
