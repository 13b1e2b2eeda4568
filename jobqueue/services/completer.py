"""What follows when a job has ended: its children are created and, if asked for, it is deleted.

The ended job says itself what is still to be done. Whoever sees it may do it, any number of times: a child's id follows
from its parent's, so that it exists once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from jobqueue.domain.errors import DatabaseError, KeyConflictError
from jobqueue.domain.job import as_tuple
from jobqueue.domain.state import State
from jobqueue.journal import get_logger
from jobqueue.services.wake import Wake
from jobqueue.store.documents import child_id

if TYPE_CHECKING:
    from jobqueue.domain.job import Job, NewJob
    from jobqueue.services.config import QueueConfigs
    from jobqueue.services.wake import Wakeups
    from jobqueue.store.claims import ClaimStore
    from jobqueue.store.jobs import JobStore

log = get_logger(__name__)


class Completer:
    """Does what ended jobs still ask for."""

    def __init__(self, jobs: JobStore, claims: ClaimStore, configs: QueueConfigs, wakeups: Wakeups) -> None:
        self._jobs = jobs
        self._claims = claims
        self._configs = configs
        self._wakeups = wakeups

    async def run_once(self) -> None:
        """Do it for every job that a crash or an outage has left; one that cannot be finished holds up no other."""
        for job in await self._jobs.unfired():
            try:
                await self.fire(job)
            except DatabaseError:
                raise
            except Exception:
                log.exception("an ended job cannot be finished", job_id=job.id)

    async def finish(self, job_id: str) -> None:
        """Do it for a job that has just ended."""
        job = await self._jobs.find(job_id)
        if job is not None and job.outbox:
            await self.fire(job)

    async def fire(self, job: Job) -> None:
        """Create the children of an ended job, then delete it or note that nothing is left to do."""
        if "children" in job.outbox:
            for slot, child in _children(job):
                await self._create(job, slot, child)
        if "delete" in job.outbox:
            await self._jobs.delete_fired(job)
        else:
            await self._jobs.fired(job)

    async def _create(self, parent: Job, slot: str, child: NewJob) -> None:
        config = await self._configs.fresh(child.queue)
        try:
            made = await self._jobs.insert(
                config.fill(child),
                job_id=child_id(parent, slot),
                parent_id=parent.id,
                limit_key=config.limit_key(child.data, child.meta) if config.grouped else None,
            )
        except KeyConflictError as conflict:
            # The living job with this key stands for the child: that is what a key is for.
            log.warning("child not created", parent_id=parent.id, slot=slot, reason=str(conflict))
            await self._claims.note(parent.id, f"{slot} was not created: {conflict}")
            return
        kind = "ready" if made.state is State.PENDING else "delayed"
        self._wakeups.tell(Wake(kind=kind, queue=made.queue, job_id=made.id, priority=made.priority))


def _children(job: Job) -> list[tuple[str, NewJob]]:
    name, branch = ("onSuccess", job.on_success) if job.state is State.SUCCESS else ("onFailure", job.on_failure)
    groups = (("onComplete", job.on_complete), (name, branch))
    return [(f"{slot}.{index}", child) for slot, group in groups for index, child in enumerate(as_tuple(group))]
