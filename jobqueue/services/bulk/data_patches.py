"""Merge patches of the data of requeued jobs, each applied to the data that the job has then."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from jobqueue.domain.access.preconditions import Preconditions
from jobqueue.domain.errors import ChangedMeanwhileError, EditionChangedError, JobQueueError, NotFoundError
from jobqueue.domain.jobs.job import check_content
from jobqueue.domain.merge_patch import merged
from jobqueue.services.jobs.job_tags import tag
from jobqueue.store.documents.unsound_statements import content

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from jobqueue.domain.bulk.operation import Operation
    from jobqueue.domain.insight.audit import Actor
    from jobqueue.domain.jobs.job import Job
    from jobqueue.domain.steps.step import FromStep
    from jobqueue.services.jobs.manage import JobManager
    from jobqueue.store.jobs.jobs import JobStore

MOST_SAMPLES: Final = 3
_TRIES: Final = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class DataSample:
    """The data of a job before and after a patch; ``problem`` is the reason why the job would be refused."""

    id: str
    before: Mapping[str, Any]
    after: Mapping[str, Any]
    problem: str | None = None


class DataPatches:
    """Applies merge patches to the data of jobs that are requeued."""

    def __init__(self, jobs: JobStore, manager: JobManager) -> None:
        self._jobs = jobs
        self._manager = manager

    async def restart(self, operation: Operation, job: Job, again: Callable[[], Awaitable[Job | None]]) -> Job:
        """Start a job of an operation anew; a change of its data meanwhile is merged too.

        Args:
            operation: with the patch.
            job: as it was read.
            again: reads the job once more; ``None`` if it is none of the operation any more.

        Raises:
            JobQueueError: as `JobManager.restart`, or the merged data is not acceptable.
        """
        new = operation.new
        how: dict[str, Any] = {"operation": operation.id, "from_step": new.from_step}
        if new.data_patch is None:
            return await self._manager.restart(job, new.changes, **how)
        for _ in range(_TRIES):
            changes = {**new.changes, **_changed(job, new.data_patch)}
            try:
                return await self._manager.restart(job, changes, same=content("data", job.data), **how)
            except EditionChangedError:
                read = await again()
                if read is None:
                    raise NotFoundError("job", job.id) from None
                job = read
        raise ChangedMeanwhileError("job", job.id)

    async def requeue(
        self, job_id: str, patch: Mapping[str, Any], changes: Mapping[str, Any], *, from_step: FromStep, by: Actor
    ) -> Job:
        """Start a job anew for a person; a change of the job meanwhile is merged too.

        Raises:
            JobQueueError: as `JobManager.requeue`, or the merged data is not acceptable.
        """
        for _ in range(_TRIES):
            job = await self._jobs.whole(job_id)
            only = Preconditions(match=frozenset({tag(job)}))
            try:
                return await self._manager.requeue(
                    job_id, {**changes, **_changed(job, patch)}, from_step=from_step, by=by, only=only
                )
            except ChangedMeanwhileError:
                continue
        raise ChangedMeanwhileError("job", job_id)

    async def preview(self, samples: Sequence[Job], patch: Mapping[str, Any]) -> list[DataSample]:
        """Return the data of the first samples before and after a patch."""
        previews = []
        for sample in samples[:MOST_SAMPLES]:
            job = await self._jobs.find(sample.id)
            if job is None:
                continue
            after, problem = merged(job.data, patch), None
            try:
                await self._manager.admit_data(job.queue, job.type, check_content(after, "data"))
            except JobQueueError as error:
                problem = str(error)
            previews.append(DataSample(id=job.id, before=job.data, after=after, problem=problem))
        return previews


def _changed(job: Job, patch: Mapping[str, Any]) -> dict[str, Any]:
    """Return the change of the data of a job; an empty one for a patch that changes nothing in it."""
    after = merged(job.data, patch)
    return {} if after == job.data else {"data": check_content(after, "data")}
