"""What people do with jobs and batches, noted in the audit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from jobqueue.domain.access.access import EVERYTHING, Scope
from jobqueue.domain.access.preconditions import NONE, Preconditions
from jobqueue.domain.bulk.operation import Action, NewOperation
from jobqueue.domain.jobs import json_form
from jobqueue.services.workflow.batches import KILLED_BATCH

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jobqueue.domain.bulk.operation import Operation
    from jobqueue.domain.insight.audit import Actor
    from jobqueue.domain.jobs.job import Job
    from jobqueue.services.bulk.operations import Operations
    from jobqueue.services.insight.audit import Audit
    from jobqueue.services.jobs.manage import JobManager
    from jobqueue.services.workflow.batches import Batches, BatchView

_BRIEF: Final = ("queue", "type", "state", "attemptsMade", "meta", "error")


class People:
    """Changes jobs and batches on behalf of somebody; takes and raises what `JobManager` and `Batches` do."""

    def __init__(self, admin: JobManager, batches: Batches, operations: Operations, audit: Audit) -> None:
        self._admin = admin
        self._batches = batches
        self._operations = operations
        self._audit = audit

    async def patch(self, job_id: str, changes: Mapping[str, Any], *, by: Actor, only: Preconditions = NONE) -> Job:
        """Change fields of a job that is not processing."""
        async with self._audit.noting(("job", job_id), "patch", by) as note:
            before = await self._admin.get(job_id)
            changed = await self._admin.patch(job_id, changes, only=only)
            names = [json_form.camel(name) for name in changes]
            note.before, note.after = _part(before, names), _part(changed, names)
            return changed

    async def requeue(
        self, job_id: str, changes: Mapping[str, Any] | None = None, *, by: Actor, only: Preconditions = NONE
    ) -> Job:
        """Start a job anew."""
        async with self._audit.noting(("job", job_id), "requeue", by) as note:
            before = await self._admin.get(job_id)
            requeued = await self._admin.requeue(job_id, changes, only=only)
            names = ["state", "attemptsMade", *(json_form.camel(name) for name in changes or ())]
            note.before, note.after = _part(before, names), _part(requeued, names)
            return requeued

    async def kill(
        self, job_id: str, reason: str = "killed by a person", *, by: Actor, only: Preconditions = NONE
    ) -> Job:
        """End an unfinished job."""
        async with self._audit.noting(("job", job_id), "kill", by) as note:
            before = await self._admin.get(job_id)
            killed = await self._admin.kill(job_id, reason, only=only)
            note.before, note.after = _part(before, ["state"]), {"state": killed.state.value, "reason": reason}
            return killed

    async def delete(self, job_id: str, *, by: Actor, only: Preconditions = NONE) -> None:
        """Delete a job that is not processing."""
        async with self._audit.noting(("job", job_id), "delete", by) as note:
            note.before = _part(await self._admin.get(job_id), _BRIEF)
            await self._admin.delete(job_id, begun=note.begin, only=only)

    async def seal_batch(self, batch_id: str, *, by: Actor) -> BatchView:
        """Say that no further jobs will come."""
        async with self._audit.noting(("batch", batch_id), "seal", by) as note:
            sealed = await self._batches.seal(batch_id)
            note.after = {"sealed": True}
            return sealed

    async def kill_batch(
        self, batch_id: str, *, by: Actor, reason: str = KILLED_BATCH, scope: Scope = EVERYTHING
    ) -> int | Operation:
        """End the unfinished jobs of a batch; return how many, or the operation that ends them if they are many.

        Args:
            batch_id: the batch.
            by: for the audit.
            reason: for the errors of the jobs.
            scope: the jobs that an operation may change.

        Raises:
            NotFoundError: there is no such batch.
        """
        async with self._audit.noting(("batch", batch_id), "kill", by) as note:
            note.before = {"counts": dict((await self._batches.get(batch_id)).counts)}
            if await self._batches.has_many_unfinished(batch_id):
                jobs = {"batchId": batch_id}
                operation = await self._operations.create(
                    NewOperation(action=Action.KILL, by=by, filter=jobs, reason=reason, scope=scope)
                )
                note.after = {"operation": operation.id}
                return operation
            killed = await self._batches.kill(batch_id, reason, begun=note.begin)
            note.after = {"killed": killed}
            return killed

    async def requeue_batch(self, batch_id: str, *, by: Actor, **options: Any) -> BatchView:
        """Restart what has failed of a batch."""
        async with self._audit.noting(("batch", batch_id), "requeue", by) as note:
            note.before = {"counts": dict((await self._batches.get(batch_id)).counts)}
            requeued = await self._batches.requeue(batch_id, **options, begun=note.begin)
            note.after = {"generation": requeued.batch.generation}
            return requeued


def _part(job: Job, names: Any) -> dict[str, Any]:
    shown = json_form.job(job)
    return {name: shown[name] for name in names if name in shown}
