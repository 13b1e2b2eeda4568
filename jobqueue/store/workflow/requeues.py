"""Requeue jobs in the `jobs` collection."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bson import ObjectId

from jobqueue.domain.attempts.states import State
from jobqueue.domain.errors import NotFoundError
from jobqueue.domain.steps.step import UNFORGOTTEN, FromStep, to_forget
from jobqueue.store.documents import documents, requeue_statements
from jobqueue.store.documents.statements import OPERATIONS
from jobqueue.store.jobs.editions import both
from jobqueue.store.jobs.jobs import FULL_BYTES
from jobqueue.store.mongo.database import exists, guarded
from jobqueue.store.mongo.driver import DuplicateKeyError, ReturnDocument

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from jobqueue.domain.jobs.job import Job
    from jobqueue.store.documents.statements import Document
    from jobqueue.store.jobs.jobs import JobStore

_NOT_KEPT = frozenset({"attrs", "restart"})
"""Fields that a requeue changes, and whose former values its history entry does not keep."""


class RequeueStore:
    """Requeues jobs.

    A requeued job notes in its outbox the work that follows, so that any process can do it: reopen its batch, and make
    the jobs killed because of it wait again.
    """

    def __init__(self, jobs: JobStore) -> None:
        self._jobs = jobs
        self._collection = jobs.collection

    @guarded
    async def requeue(
        self,
        job: Job,
        changes: Document,
        *,
        operation: str | None = None,
        group: Document | None = None,
        reopen: bool = True,
        waits_for: Sequence[str] = (),
        same: Mapping[str, Any] | None = None,
        from_step: FromStep = UNFORGOTTEN,
    ) -> Job:
        """Requeue a job; for an operation only once, and with its id in the history.

        Args:
            job: as it was read.
            changes: fields of its document.
            operation: the id of the operation.
            group: as in `group_key_statements.regrouped`.
            reopen: note that its batch is to be reopened; not for a restart of the whole batch.
            waits_for: the jobs that it waits for again.
            same: a filter that its document still has to match.
            from_step: as in `step.to_forget`.

        Raises:
            InvalidInputError: the job has no such step.
            EditionChangedError: the document has changed since.
            WrongStateError: the job is pending, processing, or has changed meanwhile.
            KeyConflictError: another unfinished job has taken its key.
        """
        was: Document = {name: None for name in changes if name not in _NOT_KEPT}
        if job.result is not None:
            was["result"] = None
        is_over = job.state is State.SUCCESS or "data" in changes
        failed = job.error.step if job.error else None
        forgotten = to_forget(job.steps or (), from_step, is_over=is_over, failed=failed)
        if job.steps and (forgotten is None or forgotten):
            await self._jobs.steps.keep_forgotten(job, forgotten)
        links: dict[str, Any] = {"reopen": reopen, "waits_for": waits_for, "forgotten": forgotten}
        update = requeue_statements.requeue(self._jobs.clock.present, was, changes, operation, group, **links)
        guard = requeue_statements.requeueable(job, FULL_BYTES)
        if operation is not None:
            # The history of a large job may lie elsewhere, and a version before this one notes it only there.
            guard |= {"history.operation": {"$ne": ObjectId(operation)}, OPERATIONS: {"$ne": ObjectId(operation)}}
        guard = both(guard, same)
        for _ in range(2):
            try:
                document = await self._collection.find_one_and_update(
                    guard, update, return_document=ReturnDocument.AFTER
                )
            except DuplicateKeyError:
                await self._jobs.conflict({"_id": ObjectId(job.id), "queue": job.queue, "key": job.key})
            if document:
                return documents.job(document)
            await self._jobs.history.spill(job.id, keep=0, state=job.state, least_bytes=FULL_BYTES)
        refusal = await self._jobs.editions.refusal(job, "requeued", same)
        if isinstance(refusal, NotFoundError):
            await self._jobs.steps.delete([ObjectId(job.id)])
        raise refusal

    @guarded
    async def asks_for(self, job: Job, note: str) -> bool:
        """Tell whether a job still has a note of its requeue."""
        return await exists(self._collection, requeue_statements.asking(job, note))

    @guarded
    async def carried_out(self, job: Job, note: str) -> None:
        """Take a note of its requeue off a job, unless it was requeued since."""
        await self._collection.update_one(requeue_statements.asking(job, note), requeue_statements.carried_out(note))
