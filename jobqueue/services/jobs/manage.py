"""Kill, requeue, change and delete single jobs, with an entry in the audit for each change by a person."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, TypeVar

from jobqueue.domain.access.preconditions import NONE, Preconditions
from jobqueue.domain.attempts import states
from jobqueue.domain.attempts.attempt import JobError
from jobqueue.domain.attempts.states import State
from jobqueue.domain.bulk.erasure import refuse_erased
from jobqueue.domain.errors import EditionChangedError, WrongStateError
from jobqueue.domain.jobs import json_form, transitions
from jobqueue.domain.jobs.transitions import DEPENDENCY
from jobqueue.domain.steps.step import UNFORGOTTEN, as_json
from jobqueue.services.jobs.job_changes import PATCHABLE, check_limit_after, checked, requeue_changes
from jobqueue.services.jobs.job_tags import tag
from jobqueue.services.signals.notifier import Wakeup
from jobqueue.store.limits.group_key_statements import regrouped

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence

    from jobqueue.domain.insight.audit import Actor
    from jobqueue.domain.jobs.job import Job
    from jobqueue.domain.steps.step import FromStep
    from jobqueue.services.insight.audit import Audit, ObservedChange
    from jobqueue.services.outbox.outbox import Outboxes
    from jobqueue.services.signals.config import QueueConfigs
    from jobqueue.services.signals.notifier import Notifier
    from jobqueue.store.jobs.jobs import JobStore
    from jobqueue.store.search.listings import Listing
    from jobqueue.store.workflow.dependencies import DependencyStore
    from jobqueue.store.workflow.requeues import RequeueStore

MOST_RELATIVES: Final = 1000
MOST_ANCESTORS: Final = 100
KILLED: Final = "killed by a person"
DELETED: Final = "deleted by a person"
"""The error of a waiting job that is killed to be deleted."""
_TRIES: Final = 10
_BRIEF: Final = ("queue", "type", "state", "attemptsMade", "meta", "error")
"""The fields of a deleted job that the audit keeps."""
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Relative:
    """A job of a family tree, with its children."""

    job: Job
    children: tuple[Relative, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """The relatives of a job.

    Attributes:
        ancestors: from the first job down to the parent.
        tree: the job itself and its descendants.
        batch: counts of its batch by state; ``None`` without a batch.
        truncated: some descendants are left out.
    """

    ancestors: tuple[Job, ...]
    tree: Relative
    batch: Mapping[str, int] | None
    truncated: bool


class JobManager:
    """Changes single jobs for people, operations and batches.

    With ``by``, a change has an entry in the audit with its values before and after. A change that fails after it has
    begun keeps its entry.
    """

    def __init__(
        self,
        jobs: JobStore,
        requeues: RequeueStore,
        dependencies: DependencyStore,
        listing: Listing,
        configs: QueueConfigs,
        outboxes: Outboxes,
        notifier: Notifier,
        audit: Audit,
    ) -> None:
        self._configs, self.admit_data = configs, configs.admit_data
        self._jobs = jobs
        self._requeues = requeues
        self._dependencies = dependencies
        self._listing = listing
        self._outboxes = outboxes
        self._notifier = notifier
        self.audit = audit

    async def kill(
        self,
        job_id: str,
        reason: str = KILLED,
        *,
        by: Actor | None = None,
        operation: str | None = None,
        only: Preconditions = NONE,
    ) -> Job:
        """End an unfinished job; the worker of a running job learns of this from its heartbeat.

        Args:
            job_id: of the job.
            reason: for its error.
            by: for the audit.
            operation: the id of the operation that kills the job.
            only: conditions on its `job_tags.tag`.

        Raises:
            NotFoundError: there is no job of this id.
            ChangedMeanwhileError: a condition does not hold.
            WrongStateError: the job has ended already.
        """
        async with self._noting(job_id, "kill", by, ["state"]) as note:
            killed = await self._kill(job_id, reason, operation, only)
            note.after = {"state": killed.state.value, "reason": reason}
            return killed

    async def _kill(self, job_id: str, reason: str, operation: str | None, only: Preconditions) -> Job:
        for _ in range(_TRIES):
            job, same = await self._seen(job_id, only)
            if job.state is State.PROCESSING and job.claim is None:
                # Another tool has removed the claim. As a document of another tool the job waits again.
                await self._jobs.disown(job)
                break
            change = transitions.kill(job, JobError(kind="killed", message=reason), operation=operation)
            applied = await self._jobs.apply(job.id, job.queue, change, same)
            if applied and (applied.is_new or same is None):
                self._notifier.tell(Wakeup(kind="killed", queue=job.queue, job_id=job.id))
                if job.slots:
                    self._notifier.tell(Wakeup(kind="room", queue=job.queue))
                if applied.outbox:
                    await self._outboxes.cascade(job.id)
                return await self._jobs.get(job_id)
        raise WrongStateError(job_id, "changing too quickly", "killed")

    async def requeue(
        self,
        job_id: str,
        changes: Mapping[str, Any] | None = None,
        *,
        from_step: FromStep = UNFORGOTTEN,
        by: Actor | None = None,
        only: Preconditions = NONE,
    ) -> Job:
        """Start an ended or delayed job anew, possibly with other data, attempts, backoff or priority.

        Args:
            job_id: of the job.
            changes: other values of `REQUEUE_CHANGES`.
            from_step: as in `step.to_forget`.
            by: for the audit.
            only: conditions on its `job_tags.tag`.

        Raises:
            NotFoundError: there is no job of this id.
            ChangedMeanwhileError: a condition does not hold.
            WrongStateError: the job is pending or processing.
            KeyConflictError: another unfinished job has taken its key.
            InvalidInputError: a change is not acceptable, or the job has no such step.
        """
        names = ["state", "attemptsMade", *map(json_form.camel, changes or ())]
        async with self._noting(job_id, "requeue", by, names) as note:
            fields = requeue_changes(changes or {})

            async def restart() -> Job:
                job, same = await self.settled(job_id), None
                if not only.is_empty:
                    job, same = await self._seen(job_id, only)
                return await self.restart(job, fields, same=same, from_step=from_step)

            requeued = await _while_unchanged(restart, only)
            note.after = _part(requeued, names) | as_json(from_step)
            return requeued

    async def restart(
        self,
        job: Job,
        changes: Mapping[str, Any],
        *,
        operation: str | None = None,
        same: Mapping[str, Any] | None = None,
        from_step: FromStep = UNFORGOTTEN,
    ) -> Job:
        """Start a job anew, unless it has changed since it was read.

        Args:
            job: as it was read.
            changes: fields of its document.
            operation: the id of the operation that restarts the job. A job that was killed because of another job
                waits for that job again.
            same: a filter that the document must still match.
            from_step: as in `step.to_forget`.

        Raises:
            ChangedMeanwhileError: the document does not match any more.
            InvalidInputError: the job has no such step.
            NotFoundError, WrongStateError, KeyConflictError: as `requeue`. A job of an operation also raises
                `WrongStateError` while a job that it depends on is failed or killed.
        """
        if job.outbox:
            await self._outboxes.finish(job.id)
            job = replace(job, outbox=())
        refuse_erased(job, "requeued")
        if job.state in {State.PENDING, State.PROCESSING}:
            raise WrongStateError(job.id, job.state, "requeued")
        waits_for: list[str] = []
        if operation is not None and job.state is State.KILLED and job.error and job.error.kind == DEPENDENCY:
            # The operation may restart the jobs that this job depends on, too: it waits for them.
            if await self._dependencies.is_kept_down(job):
                raise WrongStateError(job.id, job.state, "requeued before what it depends on")
            waits_for = await self._dependencies.awaited(job)
        group = await self._group(job, changes)
        how: dict[str, Any] = {"waits_for": waits_for, "same": same, "from_step": from_step}
        requeued = await self._requeues.requeue(job, dict(changes), operation=operation, group=group, **how)
        self._notifier.tell(Wakeup(kind="ready", queue=job.queue, job_id=job.id))
        if requeued.outbox:
            await self._outboxes.cascade(requeued.id)
        return requeued

    async def patch(
        self, job_id: str, changes: Mapping[str, Any], *, by: Actor | None = None, only: Preconditions = NONE
    ) -> Job:
        """Change fields of a job that is not processing.

        Args:
            job_id: of the job.
            changes: other values of `PATCHABLE` fields.
            by: for the audit.
            only: conditions on its `job_tags.tag`.

        Raises:
            NotFoundError: there is no job of this id.
            ChangedMeanwhileError: a condition does not hold.
            WrongStateError: the job is processing, or an ended job would be delayed.
            InvalidInputError: a change is not acceptable.
        """
        names = [*map(json_form.camel, changes)]
        async with self._noting(job_id, "patch", by, names) as note:
            fields = checked(changes, PATCHABLE)

            async def patch() -> Job:
                job, same = await self._seen(job_id, only)
                refuse_erased(job, "changed")
                check_limit_after(job, fields)
                return await self._jobs.editions.patch(job, fields, await self._group(job, fields), same)

            changed = await _while_unchanged(patch, only)
            kind = "ready" if changed.state is State.PENDING else "delayed"
            self._notifier.tell(Wakeup(kind=kind, queue=changed.queue, job_id=changed.id))
            note.after = _part(changed, names)
            return changed

    async def delete(
        self, job_id: str, *, by: Actor | None = None, operation: str | None = None, only: Preconditions = NONE
    ) -> None:
        """Delete a job that is not processing, with its logs.

        An unfinished job that other jobs wait for, or that belongs to a batch, is killed first, so that its end has
        its consequences. Jobs that would wait for a requeue of the deleted job are killed too.

        Args:
            job_id: of the job.
            by: for the audit.
            operation: the id of the operation that deletes the job.
            only: conditions on its `job_tags.tag`.

        Raises:
            NotFoundError: there is no job of this id.
            ChangedMeanwhileError: a condition does not hold.
            WrongStateError: the job is processing.
        """
        async with self._noting(job_id, "delete", by, _BRIEF) as note:
            await _while_unchanged(lambda: self._delete(job_id, note.begin, only, operation), only)

    async def _delete(self, job_id: str, begun: Callable[[], None], only: Preconditions, operation: str | None) -> None:
        job, same = await self.settled(job_id), None
        if not only.is_empty:
            job, same = await self._seen(job_id, only)
        if job.state in states.WAITING and (
            job.has_dependents or job.batch_id is not None or job.awaited_by is not None
        ):
            if only.is_empty:
                begun()
            await self.kill(job_id, DELETED, operation=operation, only=only)
            begun()
            job, same = await self.settled(job_id), None
        if job.state in states.FINAL:
            if job.has_dependents:
                begun()
            await self._outboxes.forsake(job)
        if not await self._jobs.delete(job, same, operation=operation):
            raise await self._jobs.editions.refusal(job, "deleted", same)
        # Another job may have begun to wait for this job in between.
        await self._outboxes.forsake(job)
        # A parent may wait for a requeue of the job.
        await self._outboxes.awaiting.child_ended(job)

    async def family(self, job_id: str) -> Family:
        """Return the ancestors, descendants and batch of a job."""
        job = await self._jobs.get(job_id)
        tree, truncated = await self._descendants(job)
        batch = await self._listing.in_batch(job.batch_id) if job.batch_id else None
        return Family(ancestors=await self._ancestors(job), tree=tree, batch=batch, truncated=truncated)

    @contextlib.asynccontextmanager
    async def _noting(
        self, job_id: str, action: str, by: Actor | None, names: Sequence[str]
    ) -> AsyncIterator[ObservedChange]:
        """Note the change of a job in the audit, with the values that some fields have before."""
        async with self.audit.noting(("job", job_id), action, by) as note:
            if by is not None:
                note.before = _part(await self._jobs.whole(job_id), names)
            yield note

    async def _group(self, job: Job, changes: Mapping[str, Any]) -> dict[str, Any]:
        """Return the limit group that a job belongs to after its change, whose data a worker takes."""
        if "data" in changes:
            await self._configs.admit_data(job.queue, job.type, changes["data"])
        return regrouped((await self._configs.fresh(job.queue)).group_path, job, changes)

    async def _seen(self, job_id: str, only: Preconditions) -> tuple[Job, Mapping[str, Any] | None]:
        """Return a job that meets the conditions, and a filter that matches the job until it changes.

        Raises:
            NotFoundError: there is no job of this id.
            ChangedMeanwhileError: a condition does not hold.
        """
        if only.is_empty:
            return await self._jobs.get(job_id), None
        job, same = await self._jobs.editions.seen(job_id)
        only.check("job", job_id, tag(job))
        return job, same

    async def settled(self, job_id: str) -> Job:
        """Return a job after its outbox was processed."""
        job = await self._jobs.get(job_id)
        if job.outbox:
            await self._outboxes.finish(job_id)
            job = await self._jobs.get(job_id)
        return job

    async def _ancestors(self, job: Job) -> tuple[Job, ...]:
        ancestors: list[Job] = []
        parent_id = job.parent_id
        while parent_id is not None and len(ancestors) < MOST_ANCESTORS:
            parent = await self._listing.ancestor(parent_id)
            if parent is None:
                break
            ancestors.insert(0, parent)
            parent_id = parent.parent_id
        return tuple(ancestors)

    async def _descendants(self, job: Job) -> tuple[Relative, bool]:
        by_parent: dict[str, list[Job]] = {}
        generation, count = [job.id], 0
        while generation and count <= MOST_RELATIVES:
            born = await self._listing.children(generation, MOST_RELATIVES + 1 - count)
            for child in born:
                by_parent.setdefault(str(child.parent_id), []).append(child)
            generation, count = [child.id for child in born], count + len(born)
        return _tree(job, by_parent), count > MOST_RELATIVES


async def _while_unchanged(change: Callable[[], Awaitable[T]], only: Preconditions) -> T:
    """Repeat a compare-and-write while only fields that the tag does not cover have changed meanwhile.

    Raises:
        ChangedMeanwhileError: a condition does not hold, or other changes never stop.
    """
    for _ in range(_TRIES if not only.is_empty else 0):
        with contextlib.suppress(EditionChangedError):
            return await change()
    return await change()


def _part(job: Job, names: Iterable[str]) -> dict[str, Any]:
    form = json_form.job(job)
    return {name: form[name] for name in names if name in form}


def _tree(job: Job, by_parent: Mapping[str, list[Job]]) -> Relative:
    return Relative(job=job, children=tuple(_tree(child, by_parent) for child in by_parent.get(job.id, ())))
