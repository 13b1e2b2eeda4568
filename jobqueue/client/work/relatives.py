"""The relatives of a running job over HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from jobqueue.client.calls import made, pairs
from jobqueue.domain.errors import InvalidInputError, NotFoundError, ResultUnavailableError
from jobqueue.domain.work.results import is_unfinished
from jobqueue.domain.workflow.batch import new_member

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from jobqueue.client.api_calls import ApiCalls
    from jobqueue.client.work.claimed import ClaimReports
    from jobqueue.domain.jobs.job import Job
    from jobqueue.domain.search.query import Page
    from jobqueue.domain.workflow.batch import Member

_MOST_CHILDREN: Final = 1000


class HttpRelatives:
    """Look-ups and additions of jobs that are related to a running job.

    The parent, the children and the batch are read with the token of the client, which needs the role `read` for
    that, and `enqueue` to add jobs.

    Args:
        client: of the worker.
        reports: under the claim of the job.
    """

    def __init__(self, client: ApiCalls, reports: ClaimReports) -> None:
        self._client = client
        self._reports = reports
        self._job = reports.job

    async def parent(self) -> Job | None:
        """Return the job that created this one as a child, or ``None``."""
        if self._job.parent_id is None:
            return None
        try:
            return await self._client.get(self._job.parent_id)
        except NotFoundError:
            return None

    async def children(self, load: Callable[[str], Any] | None = None) -> list[Job]:
        """Return up to 1,000 children, oldest first, with their results."""
        del load
        born = []
        async for child in self._client.jobs(parent_id=self._job.id, oldest_first=True):
            born.append(child)
            if len(born) == _MOST_CHILDREN:
                break
        return born

    async def child_result(self, child_id: str) -> Any:
        """Return the result of a child, however large.

        Raises:
            ResultUnavailableError: the job has no such child, or it was deleted.
        """
        try:
            child = await self._client.get(child_id)
        except NotFoundError:
            child = None
        if child is None or child.parent_id != self._job.id:
            raise ResultUnavailableError(f"job {self._job.id} has no child {child_id}, or it was deleted")
        return child.result

    async def result(self, job_id: str) -> Any:
        """Return the result of a dependency, however large.

        Raises:
            ResultUnavailableError: the job was deleted, or started anew.
        """
        entry = made(dict, await self._reports.get("parents", job_id))
        if entry.get("deleted"):
            raise ResultUnavailableError(f"the result of job {job_id} is lost: the job was deleted")
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
        query = pairs({"batchId": batch_id, "sort": "insertAt", "limit": limit, "cursor": cursor})
        return await self._client.page(query)

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
        added = await self._client.add_to_batch(self._job.batch_id, members, token=self._job.claim.token)
        return [member.id for member in added]
