"""Drain a worker at a person's request, and undo that."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jobqueue.domain.access.access import EVERYTHING, Scope
from jobqueue.domain.errors import ConflictError, ForbiddenError, NotFoundError

if TYPE_CHECKING:
    from jobqueue.domain.insight.audit import Actor
    from jobqueue.services.insight.audit import Audit
    from jobqueue.services.work.roster import Roster, WorkerView
    from jobqueue.store.work.drains import DrainStore


class Drains:
    """Drains workers; each change has an entry in the audit.

    Args:
        store: of drains.
        roster: of workers.
        audit: of changes.
    """

    def __init__(self, store: DrainStore, roster: Roster, audit: Audit) -> None:
        self._store = store
        self._roster = roster
        self._audit = audit

    async def drain(self, name: str, *, by: Actor, scope: Scope = EVERYTHING) -> WorkerView:
        """Ask a worker to claim no more jobs, to finish what it runs, and to leave; again changes nothing.

        Args:
            name: of the worker.
            by: for the audit and the worker's page.
            scope: only a worker that serves nothing else.

        Raises:
            NotFoundError: no worker of this name gave a sign of life within the last day.
            ForbiddenError: it also serves queues outside of the scope.
            ConflictError: its process is silent, or is of a version without drains.
        """
        worker = await self._worker(name, scope)
        if worker.draining is not None:
            return worker
        if worker.host is not None and not worker.drains:
            raise ConflictError(f"worker {name} is of a version that knows no drains: stop its process")
        _check_lives(worker)
        async with self._audit.noting(("worker", name), "drain", by) as note:
            note.discarded = not await self._store.begin(name, by.name)
        return await self._worker(name, scope)

    async def undo(self, name: str, *, by: Actor, scope: Scope = EVERYTHING) -> WorkerView:
        """Undo the drain of a worker that has not left yet.

        Raises:
            NotFoundError, ForbiddenError: as `drain`.
            ConflictError: its process is silent, or is about to leave.
        """
        worker = await self._worker(name, scope)
        if worker.draining is None:
            return worker
        _check_lives(worker)
        async with self._audit.noting(("worker", name), "undrain", by) as note:
            note.discarded = not await self._store.undo(name)
        worker = await self._worker(name, scope)
        # Somebody may have drained it again.
        if worker.draining is not None and worker.draining.leaving:
            raise ConflictError(f"worker {name} has finished its jobs, and leaves")
        return worker

    async def _worker(self, name: str, scope: Scope) -> WorkerView:
        worker = await self._roster.worker(name, scope)
        if worker is None:
            raise NotFoundError("worker", name)
        if not scope.is_everything and (scope.meta or not all(map(scope.has_queue, worker.all_queues))):
            raise ForbiddenError(f"worker {name} also runs jobs that are not for this token")
        return worker


def _check_lives(worker: WorkerView) -> None:
    if worker.host is not None and not worker.alive:
        raise ConflictError(f"worker {worker.name} is silent: its process is gone, or cannot reach the database")
