"""Dependencies between jobs: the end of a job releases or kills the jobs that wait for it.

A job is marked before another job depends on it, so that its end is written together with a note about dependents. A
job with dependencies is written with a note that asks for a look at them. After a crash the notes say what is left to
do; doing it twice changes nothing.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from jobqueue.domain.attempts.attempt import JobError
from jobqueue.domain.attempts.states import FINAL, State
from jobqueue.domain.errors import InvalidInputError, Problems
from jobqueue.domain.jobs import transitions
from jobqueue.domain.jobs.job import POLICIES
from jobqueue.domain.jobs.transitions import DEPENDENCY
from jobqueue.services.signals.notifier import Wakeup

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from jobqueue.domain.jobs.job import Job, NewJob
    from jobqueue.services.signals.notifier import Notifier
    from jobqueue.store.jobs.jobs import JobStore
    from jobqueue.store.workflow.dependencies import Dependency, DependencyStore

_KILL, _RUN, _HOLD = POLICIES
_AT_ONCE: Final = 500


class Dependencies:
    """Releases jobs that wait for others, and kills jobs that wait in vain."""

    def __init__(self, store: DependencyStore, jobs: JobStore, notifier: Notifier) -> None:
        self._store = store
        self._jobs = jobs
        self._notifier = notifier

    async def mark(self, job_ids: Sequence[str], session: Any = None) -> set[str]:
        """Mark jobs that others are going to depend on; return the ids of jobs that do not exist.

        ``session`` is a session of the driver in whose transaction some of the jobs may have been added.
        """
        return set(await self._store.mark(job_ids, session)) if job_ids else set()

    async def mark_for(self, new: NewJob, session: Any = None) -> None:
        """Mark the dependencies of a new job; ``session`` as in `mark`.

        Raises:
            InvalidInputError: naming each id of a job that does not exist.
        """
        missing = await self.mark(new.depends_on, session)
        if missing:
            raise InvalidInputError(missing_ones(new, missing))

    async def ended(self, job: Job) -> list[str]:
        """Release or kill the jobs that wait for an ended job; return the ids of jobs that this ends.

        Nothing follows if another process has done this already: the job may have been started anew since.
        """
        if not await self._store.asks(job):
            return []
        succeeded = job.state is State.SUCCESS
        if await self._store.release(job.id, succeeded=succeeded):
            self._notifier.announce_all()
        if succeeded:
            return []
        return await self._kill_all(job, job.state, holding=False)

    async def forsake(self, job: Job) -> list[str]:
        """Release or kill the jobs that wait for a job before its deletion; return the ids of jobs that this ends."""
        if job.state is State.SUCCESS:
            if await self._store.release(job.id):
                self._notifier.announce_all()
            return []
        return await self._kill_all(job, None, holding=True)

    async def _kill_all(self, job: Job, how: State | None, *, holding: bool) -> list[str]:
        cause = _cause(job.id, job.type, how, job.error)
        seen: set[str] = set()
        killed: list[str] = []
        while True:
            doomed = await self._store.doomed(job.id, _AT_ONCE, holding=holding)
            fresh = [waiting for waiting in doomed if waiting.id not in seen]
            # In this order: jobs that wait for the next run of the job are not among these.
            if not fresh or (how is not None and not await self._store.asks(job)):
                return [*killed, *await self._started_since(job.id)] if killed else []
            seen |= {waiting.id for waiting in fresh}
            # Together, because the store writes them in groups.
            are_killed = await asyncio.gather(*(self._kill(job, cause) for job in fresh))
            killed += [job.id for job, is_killed in zip(fresh, are_killed, strict=True) if is_killed]

    async def check(self, job: Job) -> list[str]:
        """Check the dependencies of a job, which may have ended already; return the job's id if that ends the job."""
        for known in await self._store.known(job.waits_for):
            if known.state is State.SUCCESS or (job.dependency_policy == _RUN and _is_over(known)):
                if await self._store.release(known.id, only=job.id):
                    self._notifier.announce_all()
            elif _is_over(known) and (job.dependency_policy != _HOLD or known.state is None):
                await self._kill(job, _cause(known.id, known.type, known.state, known.error))
                return [job.id, *await self._started_since(known.id)]
        return []

    async def _started_since(self, job_id: str) -> list[str]:
        """Make a job that was started anew revive the jobs that were killed because of it; return its id."""
        return [job_id] if await self._store.revive_again(job_id) else []

    async def _kill(self, job: Job, cause: str) -> bool:
        error = JobError(kind=DEPENDENCY, message=cause)
        if not await self._jobs.apply(job.id, job.queue, transitions.kill(job, error)):
            return False
        self._notifier.tell(Wakeup(kind="killed", queue=job.queue, job_id=job.id))
        return True


_ENDS: Final = {State.FAILED: "has failed", State.KILLED: "was killed"}


def _cause(job_id: str, kind: str, how: State | None, error: JobError | None) -> str:
    """Name the job at which a cascade of kills began, however many jobs lie between.

    Args:
        job_id: the job that has ended or is deleted.
        kind: its type.
        how: the state in which the job has ended; ``None`` for a deleted job.
        error: of the job. The error of a job that was killed because of another job quotes the first job already.
    """
    if how is None:
        return f"job {job_id} does not exist any more"
    if error is None:
        return f"job {job_id} ({kind}) {_ENDS[how]}"
    if error.kind == DEPENDENCY:
        return error.message
    return f"job {job_id} ({kind}) {_ENDS[how]}: {error.message}"


def _is_over(known: Dependency) -> bool:
    return known.state is None or known.state in FINAL


def missing_ones(new: NewJob, missing: Collection[str]) -> Problems:
    """Name the dependencies of a new job that do not exist."""
    places = [place for place, job_id in enumerate(new.depends_on) if job_id in missing]
    return {f"dependsOn.{place}": ["is not the id of a job"] for place in places}
