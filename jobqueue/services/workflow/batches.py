"""Batches: jobs that are created together or one after the other, with callbacks for their common end."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from jobqueue import tracing
from jobqueue.domain.access.access import EVERYTHING, Scope
from jobqueue.domain.attempts.states import FINAL, State
from jobqueue.domain.bulk.operation import Action, NewOperation
from jobqueue.domain.errors import ConflictError, InvalidInputError, NotFoundError, StaleTokenError, WrongStateError
from jobqueue.domain.jobs.job import MOST_DEPENDENCIES
from jobqueue.domain.workflow.batch import BatchView, check_refs, resolve_refs
from jobqueue.services.outbox.dependencies import missing_ones
from jobqueue.services.workflow.batch_members import added_jobs, blocked_jobs, check_count, placed, to_check
from jobqueue.services.workflow.batch_pages import BatchPages
from jobqueue.store.documents.documents import numbered_ids
from jobqueue.store.mongo.database import new_id
from jobqueue.store.workflow.additions import RefTakenError
from jobqueue.store.workflow.batch_statements import REQUEUE

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from jobqueue.domain.bulk.operation import Operation
    from jobqueue.domain.insight.audit import Actor
    from jobqueue.domain.workflow.batch import AddedMember, Batch, Member, NewBatch
    from jobqueue.services.bulk.operations import Operations
    from jobqueue.services.outbox.dependencies import Dependencies
    from jobqueue.services.outbox.outbox import Outboxes
    from jobqueue.services.signals.config import QueueConfigs
    from jobqueue.services.signals.notifier import Notifier
    from jobqueue.store.access.scope_checks import ScopeChecks
    from jobqueue.store.jobs.jobs import JobStore
    from jobqueue.store.workflow.batches import BatchStore

KILLED_BATCH: Final = "its batch was killed by a person"
_AT_ONCE: Final = 500
_MANY: Final = 100
_TRIES: Final = 20
_AGAIN: Final = 3


class Batches:
    """Creates batches, adds to them, and ends and restarts them as a whole."""

    def __init__(
        self,
        store: BatchStore,
        jobs: JobStore,
        dependencies: Dependencies,
        outboxes: Outboxes,
        operations: Operations,
        configs: QueueConfigs,
        notifier: Notifier,
        scope_checks: ScopeChecks,
    ) -> None:
        self.pages = BatchPages(store.listings, scope_checks, self._view)
        self._store = store
        self._jobs = jobs
        self._dependencies = dependencies
        self._outboxes = outboxes
        self._operations = operations
        self._manager = operations.manager
        self._audit = operations.manager.audit
        self._configs = configs
        self._notifier = notifier

    async def create(self, new: NewBatch, *, batch_id: str | None = None) -> tuple[BatchView, list[AddedMember]]:
        """Create a batch and its jobs, all or nothing.

        Args:
            new: the batch.
            batch_id: a certain id for the batch; creating the batch twice is then no error.

        Raises:
            InvalidInputError: refs are double or unknown, jobs wait for each other, or there are too many.
            KeyConflictError: an unfinished job has the key of one.
        """
        check_count(new.members)
        arranged_ones = resolve_refs(new.members)
        if any(member.blocks for member in arranged_ones):
            raise InvalidInputError({"jobs": ["can block only jobs of a batch that is there already"]})
        if batch_id is None:
            batch_id = new_id()
        ids = numbered_ids(batch_id, len(arranged_ones))
        with tracing.adding(None, None, len(arranged_ones)) as span:
            span.set("messaging.message.conversation_id", batch_id)
            members = await self._documents(batch_id, arranged_ones, ids, {})
            batch = await self._store.create(batch_id, new, members)
        await self._follow(batch_id, arranged_ones, to_check(members))
        return await self.get(batch.id), added_jobs(arranged_ones, ids)

    async def add(
        self, batch_id: str, members: Sequence[Member], *, token: str | None = None, first: str | None = None
    ) -> list[AddedMember]:
        """Add jobs to an open batch, all or none.

        A job whose ref the batch has already is that job, so that a fan-out can be repeated. If the batch has all jobs
        already, nothing is added, also to a sealed or finished batch.

        Args:
            batch_id: the batch.
            members: the jobs; their refs may name jobs of the batch.
            token: the claim of a running job of the batch, which may add jobs to a sealed batch.
            first: the first of certain ids for the jobs; adding the jobs twice is then no error.

        Raises:
            InvalidInputError: as `create`, or a job would wait for itself.
            ConflictError: the batch is sealed or has finished, or a blocked job does not wait for others.
            StaleTokenError: no running job of the batch has this token.
            NotFoundError: there is no such batch.
            BusyError: another addition, which excludes this one, does not end.
        """
        if not members:
            raise InvalidInputError({"jobs": ["takes at least one job"]})
        check_count(members)
        check_refs(members)
        await self._store.get(batch_id)
        if token is not None and not await self._store.additions.is_run_by(batch_id, token):
            raise StaleTokenError(batch_id, "a batch without such a running job")
        first = first or new_id()
        for _ in range(_TRIES):
            try:
                return await self._add(batch_id, members, token, first)
            except RefTakenError:
                # Another addition of the same jobs was faster.
                continue
        raise ConflictError(f"batch {batch_id} is changing too quickly to be added to")

    async def _add(self, batch_id: str, members: Sequence[Member], token: str | None, first: str) -> list[AddedMember]:
        all_ids = numbered_ids(first, len(members))
        names = {name for member in members for name in (member.ref, *member.after, *member.blocks) if name}
        there = await self._store.refs(batch_id, sorted(names))
        known = {ref: job_id for ref, job_id in there.items() if job_id not in all_ids}
        places = [place for place, member in enumerate(members) if member.ref is None or member.ref not in known]
        fresh, ids = [members[place] for place in places], [all_ids[place] for place in places]
        if fresh:
            with placed(places):
                arranged_ones = resolve_refs(fresh, known)
                blocked = blocked_jobs(fresh, ids, known)
                with tracing.adding(None, None, len(fresh)) as span:
                    span.set("messaging.message.conversation_id", batch_id)
                    made = await self._documents(batch_id, arranged_ones, ids, known)
                for other in blocked:
                    # The outbox about its present dependencies comes first.
                    await self._outboxes.finish(other)
                refs = {job_id: ref for ref, job_id in known.items()}
                await self._store.additions.add(
                    batch_id, made, blocked, first=first, count=len(members), token=token, refs=refs
                )
            await self._follow(batch_id, arranged_ones, to_check(made))
        return added_jobs(members, all_ids, known)

    async def named(self, batch_id: str, members: Sequence[Member], first: str) -> list[AddedMember]:
        """Return added jobs by their refs, or by the ids that follow from the first id."""
        known = await self._store.refs(batch_id, [member.ref for member in members if member.ref])
        return added_jobs(members, numbered_ids(first, len(members)), known)

    async def get(self, batch_id: str) -> BatchView:
        """Return a batch with the counts and the progress of its jobs.

        Raises:
            NotFoundError: there is no such batch.
        """
        return await self._view(await self.stored(batch_id))

    async def stored(self, batch_id: str) -> Batch:
        """Return a batch without counting its jobs; raises as `get`."""
        return await self._store.get(batch_id)

    async def page(self, *, state: str | None = None, after: str | None = None, limit: int = 50) -> list[BatchView]:
        """Return batches, newest first, from the batch behind ``after`` on.

        Raises:
            NotFoundError: there is no batch ``after`` any more.
        """
        before = None if after is None else await self._store.get(after)
        return await self._views(await self._store.page(state=state, before=before, limit=limit))

    async def seal(self, batch_id: str, *, by: Actor | None = None) -> BatchView:
        """Exclude further jobs: the batch finishes when all its jobs have ended, at once if there are none.

        Args:
            batch_id: the batch.
            by: for the audit.

        Raises:
            NotFoundError: there is no such batch.
        """
        async with self._audit.noting(("batch", batch_id), "seal", by) as note:
            await self._outboxes.cascade_batch(await self._store.seal(batch_id))
            note.after = {"sealed": True}
            return await self.get(batch_id)

    async def kill(
        self, batch_id: str, *, by: Actor, reason: str = KILLED_BATCH, scope: Scope = EVERYTHING
    ) -> int | Operation:
        """Kill the unfinished jobs of a batch; return their number, or the operation that kills them if they are many.

        Args:
            batch_id: the batch.
            by: for the audit.
            reason: for the errors of the jobs.
            scope: the jobs that an operation may change.

        Raises:
            NotFoundError: there is no such batch.
        """
        async with self._audit.noting(("batch", batch_id), "kill", by) as note:
            note.before = {"counts": dict((await self.get(batch_id)).counts)}
            await self._carry_out_restart(batch_id)
            if len(await self._store.unfinished(batch_id, _MANY + 1)) > _MANY:
                jobs = {"batchId": batch_id}
                new = NewOperation(action=Action.KILL, by=by, filter=jobs, reason=reason, scope=scope)
                operation = await self._operations.create(new)
                note.after = {"operation": operation.id}
                return operation
            killed = await self._kill_all(batch_id, reason, note.begin)
            note.after = {"killed": killed}
            return killed

    async def kill_all(self, batch_id: str, reason: str = KILLED_BATCH, *, by: Actor | None = None) -> int:
        """Kill all unfinished jobs of a batch, however many; return their number.

        Args:
            batch_id: the batch.
            reason: for the errors of the jobs.
            by: for the audit.

        Raises:
            NotFoundError: there is no such batch.
        """
        async with self._audit.noting(("batch", batch_id), "kill", by) as note:
            note.before = {"counts": dict((await self.get(batch_id)).counts)}
            await self._carry_out_restart(batch_id)
            killed = await self._kill_all(batch_id, reason, note.begin)
            note.after = {"killed": killed}
            return killed

    async def _kill_all(self, batch_id: str, reason: str, begun: Callable[[], None]) -> int:
        killed, tries = 0, Counter[str]()
        while left := await self._store.unfinished(
            batch_id, _AT_ONCE, but=[job_id for job_id in tries if tries[job_id] > _AGAIN]
        ):
            begun()
            for job_id in left:
                try:
                    await self._manager.kill(job_id, reason)
                    killed += 1
                except (WrongStateError, NotFoundError):
                    # The job has ended meanwhile. A job that is still there the next time may be a document of another
                    # tool, which cannot be killed.
                    tries[job_id] += 1
        return killed

    async def _carry_out_restart(self, batch_id: str) -> None:
        """Finish a restart that goes on, which would otherwise restart jobs after the others were killed."""
        batch = await self._store.get(batch_id)
        if REQUEUE in batch.outbox:
            await self._outboxes.finish_batch(batch)

    async def requeue(self, batch_id: str, *, callbacks: bool = False, by: Actor | None = None) -> BatchView:
        """Restart failed and killed jobs, and jobs that were killed because of them; keep jobs that succeeded.

        A finished batch begins a new generation, whose callbacks come once, when the batch finishes again. If no job
        has failed, only callbacks that are due and were never created come.

        Args:
            batch_id: the batch.
            callbacks: repeat the callbacks for success that came before.
            by: for the audit.

        Raises:
            NotFoundError: there is no such batch.
            ConflictError: other changes of the batch never stop.
        """
        async with self._audit.noting(("batch", batch_id), "requeue", by) as note:
            if by is not None:
                note.before = {"counts": dict((await self.get(batch_id)).counts)}
            await self._outboxes.restart_batch(batch_id, callbacks=callbacks, begun=note.begin)
            requeued = await self.get(batch_id)
            note.after = {"generation": requeued.batch.generation}
            return requeued

    async def _views(self, batches: Sequence[Batch]) -> list[BatchView]:
        return list(await asyncio.gather(*(self._view(batch) for batch in batches)))

    async def _view(self, batch: Batch) -> BatchView:
        counts = await self._store.counts(batch.id)
        total = sum(counts.values())
        ended = sum(counts[state.value] for state in FINAL)
        running = counts[State.PROCESSING.value]
        partly = await self._store.progress_of_running(batch.id) if running else 0
        progress = (100 * ended + partly) / total if total else 100.0 if batch.sealed else 0.0
        return BatchView(batch=batch, counts=counts, progress=progress)

    async def _documents(
        self, batch_id: str, members: Sequence[Member], ids: Sequence[str], known: Mapping[str, str]
    ) -> list[dict[str, Any]]:
        """Return the documents of new jobs, with ids in place of refs, and mark their dependencies."""
        fresh = set(ids)
        named = dict(known) | {member.ref: job_id for member, job_id in zip(members, ids, strict=True) if member.ref}
        awaited = {named[ref] for member in members for ref in member.after}
        outside = sorted({other for member in members for other in member.job.depends_on} | (awaited - fresh))
        configs = [await self._configs.admit(member.job, f"jobs.{place}") for place, member in enumerate(members)]
        missing = await self._dependencies.mark(outside)
        if missing:
            raise InvalidInputError(
                {
                    f"jobs.{place}.{path}": messages
                    for place, member in enumerate(members)
                    for path, messages in missing_ones(member.job, missing).items()
                }
            )
        made = []
        for config, member, job_id in zip(configs, members, ids, strict=True):
            after = tuple(dict.fromkeys([*(named[ref] for ref in member.after), *member.job.depends_on]))
            # Only too many dependencies are not known to be acceptable.
            new = replace(member.job, depends_on=after) if len(after) > MOST_DEPENDENCIES else member.job
            job = config.fill(new, depends_on=after)
            extra: dict[str, Any] = {} if member.ref is None else {"ref": member.ref}
            if job_id in awaited or member.blocks:
                extra["dependents"] = True
            if not fresh.issuperset(after):
                extra["outbox"] = ["check"]
            key = config.limit_key(job.data, job.meta)
            made.append(await self._jobs.document(job, job_id=job_id, batch_id=batch_id, limit_key=key, extra=extra))
        return made

    async def _follow(self, batch_id: str, members: Sequence[Member], to_check: Sequence[str]) -> None:
        """Announce new jobs, check their dependencies, and settle their batch."""
        for queue in {member.job.queue for member in members}:
            self._notifier.announce_all(queue)
        for job_id in to_check:
            await self._outboxes.cascade(job_id)
        await self._outboxes.cascade_batch(await self._store.get(batch_id))
