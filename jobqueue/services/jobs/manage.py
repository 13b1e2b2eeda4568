"""What people do with jobs: look at them, change, kill, requeue and delete them."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, TypeVar

from jobqueue.domain.access.access import EVERYTHING
from jobqueue.domain.access.preconditions import NONE, Preconditions
from jobqueue.domain.errors import EditionChangedError, WrongStateError
from jobqueue.domain.jobs import states, transitions
from jobqueue.domain.jobs.attempt import JobError
from jobqueue.domain.jobs.states import State
from jobqueue.domain.jobs.transitions import DEPENDENCY
from jobqueue.domain.work.logs import MOST_LINES, LogQuery
from jobqueue.services.jobs.job_changes import PATCHABLE, checked, requeue_changes
from jobqueue.services.jobs.job_tags import tag
from jobqueue.services.signals.notifier import Wakeup
from jobqueue.store.limits.group_key_statements import regrouped

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from jobqueue.domain.access.access import Scope
    from jobqueue.domain.jobs.attempt import LogLine
    from jobqueue.domain.jobs.job import Job
    from jobqueue.domain.search.query import JobQuery, Page
    from jobqueue.services.outbox.outbox import Outboxes
    from jobqueue.services.signals.config import QueueConfigs
    from jobqueue.services.signals.log_signals import Logs
    from jobqueue.services.signals.notifier import Notifier
    from jobqueue.store.jobs.jobs import JobStore
    from jobqueue.store.search.listings import Listing
    from jobqueue.store.workflow.dependencies import DependencyStore
    from jobqueue.store.workflow.requeues import RequeueStore

MOST_RELATIVES: Final = 1000
MOST_ANCESTORS: Final = 100
DELETED: Final = "deleted by a person"
"""The error of a waiting job that is killed to be deleted."""
_TRIES: Final = 10
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Relative:
    """A job in a family tree, with its children."""

    job: Job
    children: tuple[Relative, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """The relatives of a job.

    Attributes:
        ancestors: from the first job down to the parent.
        tree: the job itself and its descendants.
        batch: how many jobs of its batch are in each state; ``None`` without a batch.
        truncated: there are more descendants than are shown.
    """

    ancestors: tuple[Job, ...]
    tree: Relative
    batch: Mapping[str, int] | None
    truncated: bool


class JobManager:
    """A person's side of the life of a job."""

    def __init__(
        self,
        jobs: JobStore,
        requeues: RequeueStore,
        dependencies: DependencyStore,
        logs: Logs,
        listing: Listing,
        configs: QueueConfigs,
        outboxes: Outboxes,
        notifier: Notifier,
    ) -> None:
        self._configs = configs
        self._jobs = jobs
        self._requeues = requeues
        self._dependencies = dependencies
        self._logs = logs
        self._listing = listing
        self._outboxes = outboxes
        self._notifier = notifier

    async def get(self, job_id: str) -> Job:
        """Return a job with its whole history.

        Raises:
            NotFoundError: there is none of this id.
        """
        return await self._jobs.whole(job_id)

    async def page(self, query: JobQuery, scope: Scope = EVERYTHING) -> Page:
        """Return a page of jobs within a scope."""
        return await self._listing.page(query, scope)

    async def logs(self, job_id: str, *, after: int = 0, limit: int = 1000) -> list[tuple[int, LogLine]]:
        """Return log lines with their numbers, in order, from number ``after`` on."""
        found: list[tuple[int, LogLine]] = []
        async for lines in self._logs.all(job_id, LogQuery(after=after, limit=min(limit, MOST_LINES))):
            found += lines
            if len(found) >= limit:
                break
        return found[:limit]

    async def kill(
        self,
        job_id: str,
        reason: str = "killed by a person",
        *,
        operation: str | None = None,
        only: Preconditions = NONE,
    ) -> Job:
        """End an unfinished job; one that runs is told through its heartbeat.

        Args:
            job_id: of the job.
            reason: for its error.
            operation: the id of the operation for which that is done, once.
            only: conditions on its `job_tags.tag`.

        Raises:
            NotFoundError: there is none of this id.
            ChangedMeanwhileError: a condition does not hold.
            WrongStateError: it has ended already.
        """
        for _ in range(_TRIES):
            job, same = await self._seen(job_id, only)
            if job.state is State.PROCESSING and job.claim is None:
                # Another tool has taken its claim away: looked at like an external document, it waits again.
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
        self, job_id: str, changes: Mapping[str, Any] | None = None, *, only: Preconditions = NONE
    ) -> Job:
        """Start an ended or delayed job anew, possibly with other data, attempts, backoff or priority.

        Args:
            job_id: of the job.
            changes: other values of `REQUEUE_CHANGES`.
            only: conditions on its `job_tags.tag`.

        Raises:
            NotFoundError: there is none of this id.
            ChangedMeanwhileError: a condition does not hold.
            WrongStateError: it is pending or processing.
            KeyConflictError: another unfinished job has taken its key.
            InvalidInputError: a change is not acceptable.
        """
        wanted = requeue_changes(changes or {})

        async def restart() -> Job:
            job = await self._settled(job_id)
            same = None
            if not only.is_empty:
                job, same = await self._seen(job_id, only)
            return await self.restart(job, wanted, same=same)

        return await _while_unchanged(restart, only)

    async def restart(
        self,
        job: Job,
        changes: Mapping[str, Any],
        *,
        operation: str | None = None,
        same: Mapping[str, Any] | None = None,
    ) -> Job:
        """Start a job anew as it was read; nothing happens if it has changed since.

        Args:
            job: as it was read.
            changes: fields of its document.
            operation: the id of the operation for which that is done, once. A job that fell because of another one
                waits for that again.
            same: what must still hold of its document.

        Raises:
            ChangedMeanwhileError: the document is not the same any more.
            NotFoundError, WrongStateError, KeyConflictError: as `requeue`; also where a job of an operation is kept
                down by another one that has failed or was killed.
        """
        if job.outbox:
            await self._outboxes.finish(job.id)
            job = replace(job, outbox=())
        if job.state in {State.PENDING, State.PROCESSING}:
            raise WrongStateError(job.id, job.state, "requeued")
        waits_for: list[str] = []
        if operation is not None and job.state is State.KILLED and job.error and job.error.kind == DEPENDENCY:
            # Among many jobs there are those that it fell because of: it waits for them, and does not run before.
            if await self._dependencies.is_kept_down(job):
                raise WrongStateError(job.id, job.state, "requeued before what it depends on")
            waits_for = await self._dependencies.awaited(job)
        group = await self._group(job, changes)
        requeued = await self._requeues.requeue(
            job, dict(changes), operation=operation, group=group, waits_for=waits_for, same=same
        )
        self._notifier.tell(Wakeup(kind="ready", queue=job.queue, job_id=job.id))
        await self._outboxes.follow(requeued)
        return requeued

    async def patch(self, job_id: str, changes: Mapping[str, Any], *, only: Preconditions = NONE) -> Job:
        """Change fields of a job that is not processing.

        Args:
            job_id: of the job.
            changes: other values of `PATCHABLE` fields.
            only: conditions on its `job_tags.tag`.

        Raises:
            NotFoundError: there is none of this id.
            ChangedMeanwhileError: a condition does not hold.
            WrongStateError: it is processing, or has ended and was to be delayed.
            InvalidInputError: a change is not acceptable.
        """
        wanted = checked(changes, PATCHABLE)

        async def patch() -> Job:
            job, same = await self._seen(job_id, only)
            return await self._jobs.editions.patch(job, wanted, await self._group(job, wanted), same)

        changed = await _while_unchanged(patch, only)
        kind = "ready" if changed.state is State.PENDING else "delayed"
        self._notifier.tell(Wakeup(kind=kind, queue=changed.queue, job_id=changed.id))
        return changed

    async def delete(
        self,
        job_id: str,
        *,
        begun: Callable[[], None] = lambda: None,
        operation: str | None = None,
        only: Preconditions = NONE,
    ) -> None:
        """Delete a job that is not processing, with its logs.

        One that has not ended is killed first if others wait for it, or it belongs to a batch: so they hear of it.
        Those that would wait until it is requeued are killed too.

        Args:
            job_id: of the job.
            begun: called before it, or those that wait for it, are killed: that stays done if it cannot be deleted.
            operation: the id of the operation for which that is done.
            only: conditions on its `job_tags.tag`.

        Raises:
            NotFoundError: there is none of this id.
            ChangedMeanwhileError: a condition does not hold.
            WrongStateError: it is processing.
        """
        await _while_unchanged(lambda: self._delete(job_id, begun, only, operation), only)

    async def _delete(self, job_id: str, begun: Callable[[], None], only: Preconditions, operation: str | None) -> None:
        job, same = await self._settled(job_id), None
        if not only.is_empty:
            job, same = await self._seen(job_id, only)
        if job.state in states.WAITING and (job.has_dependents or job.batch_id is not None):
            if only.is_empty:
                begun()
            await self.kill(job_id, DELETED, operation=operation, only=only)
            begun()
            job, same = await self._settled(job_id), None
        if job.state in states.FINAL:
            if job.has_dependents:
                begun()
            await self._outboxes.forsake(job)
        if not await self._jobs.delete(job, same, operation=operation):
            raise await self._jobs.editions.refusal(job, "deleted", same)
        # Somebody may have come to wait for it in between.
        await self._outboxes.forsake(job)

    async def family(self, job_id: str) -> Family:
        """Return the ancestors, descendants and batch of a job."""
        job = await self._jobs.get(job_id)
        tree, truncated = await self._descendants(job)
        batch = await self._listing.in_batch(job.batch_id) if job.batch_id else None
        return Family(ancestors=await self._ancestors(job), tree=tree, batch=batch, truncated=truncated)

    async def settle_left_over(self) -> None:
        """Do what ended jobs still ask for, as far as one pass goes."""
        await self._outboxes.run_once()

    async def _group(self, job: Job, changes: Mapping[str, Any]) -> dict[str, Any]:
        """Return the group in which a job counts for the limits of its queue once it is changed."""
        return regrouped((await self._configs.fresh(job.queue)).group_path, job, changes)

    async def _seen(self, job_id: str, only: Preconditions) -> tuple[Job, Mapping[str, Any] | None]:
        """Return a job for which conditions hold, and the filter that tells whether it is still the same.

        Raises:
            NotFoundError: there is none of this id.
            ChangedMeanwhileError: a condition does not hold.
        """
        if only.is_empty:
            return await self._jobs.get(job_id), None
        job, same = await self._jobs.editions.seen(job_id)
        only.check("job", job_id, tag(job))
        return job, same

    async def _settled(self, job_id: str) -> Job:
        """Return a job for which nothing is left to fire."""
        job = await self._jobs.get(job_id)
        if job.outbox:
            await self._outboxes.finish(job_id)
            job = await self._jobs.get(job_id)
        return job

    async def _ancestors(self, job: Job) -> tuple[Job, ...]:
        found: list[Job] = []
        parent_id = job.parent_id
        while parent_id is not None and len(found) < MOST_ANCESTORS:
            parent = await self._listing.ancestor(parent_id)
            if parent is None:
                break
            found.insert(0, parent)
            parent_id = parent.parent_id
        return tuple(found)

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
    """Make a change that compares before it writes, again where only something that has no tag was changed meanwhile.

    Raises:
        ChangedMeanwhileError: a condition does not hold, or others change the same all the time.
    """
    for _ in range(_TRIES if not only.is_empty else 0):
        with contextlib.suppress(EditionChangedError):
            return await change()
    return await change()


def _tree(job: Job, by_parent: Mapping[str, list[Job]]) -> Relative:
    return Relative(job=job, children=tuple(_tree(child, by_parent) for child in by_parent.get(job.id, ())))
