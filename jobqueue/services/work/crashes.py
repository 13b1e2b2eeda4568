"""Tell the failed attempt of a job from the crash of a worker that ran several jobs, when a lease ends."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from jobqueue.domain.attempts import crash
from jobqueue.domain.attempts.attempt import JobError
from jobqueue.domain.attempts.crash import CrashVerdict
from jobqueue.domain.jobs import transitions
from jobqueue.services.work.lost_runs import ran_out, reaped

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jobqueue.domain.attempts.crash import Neighbour
    from jobqueue.domain.jobs.job import Job
    from jobqueue.domain.jobs.transitions import Transition
    from jobqueue.store.work.neighbours import NeighbourStore, WorkerJobs


class CrashDetector:
    """Examines the workers of jobs whose leases have ended."""

    def __init__(self, neighbours: NeighbourStore) -> None:
        self.neighbours = neighbours

    async def look(self, jobs: Sequence[Job]) -> CrashFindings:
        """Read the jobs that run on the workers of some jobs."""
        workers = {job.claim.worker for job in jobs if job.claim is not None}
        return CrashFindings(self.neighbours, await self.neighbours.of(workers) if workers else None)


class CrashFindings:
    """The findings about some workers in one look."""

    def __init__(self, neighbours: NeighbourStore, company: WorkerJobs | None) -> None:
        self._neighbours = neighbours
        self._company = company
        self._marked: set[str] = set()

    async def verdict(self, job: Job, token: str) -> Transition | None:
        """Return the transition of a job whose lease has ended; ``None`` while the silence of its worker is too short.

        Before the first job of a dead worker gets a transition, all jobs that ran beside it get a note. So a reaper
        that sees only the last of these jobs still knows of the crash.
        """
        run = self._find(job, token)
        if run is None:
            # The job was renewed or has ended meanwhile: then the guard of the transition refuses.
            return reaped(job, token)
        fate = await self._fate(job, run)
        if fate is CrashVerdict.OPEN:
            return None
        if fate is CrashVerdict.COUNTED:
            return reaped(job, token, unmarked_at=run.reset_at)
        return reaped(job, token) if job.attempts <= 1 or job.is_suspect else _crashed(job, token)

    async def _fate(self, job: Job, run: Neighbour) -> CrashVerdict:
        if self._company is None or self._company.now is None or run.token in self._marked:
            return CrashVerdict.CRASH
        beside = [other for other in self._company.jobs[run.worker] if other.token != run.token]
        fate = crash.verdict(
            run,
            beside,
            signed_at=self._company.signed_at.get(run.worker),
            now=self._company.now,
            timed_out=ran_out(job),
        )
        if fate is CrashVerdict.CRASH and not run.is_marked:
            together = crash.group(run, beside)
            await self._neighbours.mark(together)
            self._marked |= {other.token for other in together}
        return fate

    def _find(self, job: Job, token: str) -> Neighbour | None:
        if self._company is None or job.claim is None:
            return None
        running = self._company.jobs.get(job.claim.worker, ())
        return next((run for run in running if run.token == token and run.job_id == job.id), None)


def _crashed(job: Job, token: str) -> Transition:
    worker, step = (job.claim.worker, job.claim.step) if job.claim else ("?", None)
    where = f" in step {step}" if step else ""
    message = f"worker {worker} died while this job ran{where} beside others; the attempt does not count"
    return transitions.crash(
        job,
        token,
        JobError(kind="crash", message=message, step=step),
        chance=random.random(),  # noqa: S311 - spreads retries
    )
