"""Make one job of a schedule now, besides its times."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jobqueue.domain.access.access import EVERYTHING, Scope
from jobqueue.domain.errors import NotFoundError
from jobqueue.services.schedules.schedules import is_within

if TYPE_CHECKING:
    from jobqueue.domain.insight.audit import Actor
    from jobqueue.domain.jobs.job import Job
    from jobqueue.services.insight.audit import Audit
    from jobqueue.services.jobs.producer import Producer
    from jobqueue.services.schedules.schedules import Schedules


class ManualRuns:
    """Runs schedules at a person's request."""

    def __init__(self, schedules: Schedules, producer: Producer, audit: Audit) -> None:
        self._schedules = schedules
        self._producer = producer
        self._audit = audit

    async def run(self, name: str, *, by: Actor | None = None, scope: Scope = EVERYTHING) -> Job:
        """Make a job of a schedule, also of a paused one; its times stay as they are.

        Args:
            name: of the schedule.
            by: for the audit.
            scope: only a schedule that makes jobs in this scope.

        Raises:
            NotFoundError: there is no such schedule, or its document was spoilt by another tool.
            KeyConflictError: an unfinished job of the queue has the key of the job.
        """
        stored = await self._schedules.get(name)
        if stored.schedule is None or not is_within(stored, scope):
            raise NotFoundError("schedule", name)
        now = await self._schedules.store.now()
        async with self._audit.noting(("schedule", name), "run", by) as note:
            job = await self._producer.add(stored.schedule.job, tick=(name, now))
            note.after = {"jobId": job.id}
            return job
