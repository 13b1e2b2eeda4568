"""Background loops that any process may run at any time: promote due jobs, reap hanging jobs and kill expired ones."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING, Final

from jobqueue.domain.errors import DatabaseError, TooLargeError
from jobqueue.domain.values.checks import BOUNDS
from jobqueue.journal import get_logger
from jobqueue.loop_errors import LoopErrors
from jobqueue.services.signals.notifier import Wakeup

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from datetime import datetime

    from jobqueue.domain.jobs.job import Job
    from jobqueue.domain.jobs.transitions import Transition
    from jobqueue.services.insight.metrics import Metrics
    from jobqueue.services.limits.breakers import Breakers
    from jobqueue.services.outbox.outbox import Outboxes
    from jobqueue.services.signals.notifier import Notifier
    from jobqueue.services.work.crashes import CrashDetector, CrashFindings
    from jobqueue.store.jobs.jobs import JobStore
    from jobqueue.store.work.expiry import ExpiryStore

log = get_logger(__name__)
_SHORTEST_WAIT: Final = 0.001
_MOST_GAPS: Final = 100
_AT_ONCE: Final = 500
_LISTEN_SECONDS: Final = 1.0
"""Seconds between looks at a worker that is silent for too short a time to count as dead."""
_SHORTEST_LEASE: Final = BOUNDS["lease"][0]


class Loop:
    """Takes turns until cancelled; an error is logged, and the next turn tries again.

    Args:
        name: for the log.
        run_once: one turn; may return the seconds until the next turn, if fewer than ``every``.
        every: seconds between turns.

    Attributes:
        name, run_once, every: as above.
        turns: survive unforeseen errors.
    """

    def __init__(self, name: str, run_once: Callable[[], Awaitable[float | None]], *, every: float) -> None:
        self.name = name
        self.run_once = run_once
        self.every = every
        self.turns = LoopErrors(name, longest=every)
        self._woken = asyncio.Event()

    def wake(self) -> None:
        """Begin the next turn at once."""
        self._woken.set()

    async def run(self) -> None:
        """Take turns for ever."""
        while True:
            self._woken.clear()
            wait = self.every
            with self.turns.turn():
                try:
                    sooner = await self.run_once()
                except DatabaseError as error:
                    log.warning("maintenance delayed", loop=self.name, error=str(error))
                    sooner = None
                if sooner is not None:
                    wait = min(wait, max(sooner, _SHORTEST_WAIT))
            wait = self.turns.pause or wait
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await self._woken.wait()


class Promoter:
    """Makes delayed jobs claimable when their time has come."""

    def __init__(self, jobs: JobStore, notifier: Notifier) -> None:
        self._jobs = jobs
        self._notifier = notifier

    async def run_once(self) -> float | None:
        """Promote due jobs; return the seconds until the next job is due."""
        if await self._jobs.promote_due():
            self._notifier.tell(Wakeup(kind="ready"))
        return await self._jobs.seconds_to_next_due()


class LeaseGrace:
    """Decides which ended leases count.

    After an outage of the database the leases of living workers have ended, too, and each worker needs time to renew.
    So a job is reaped only after this process has seen the database for a whole lease, without a gap of more than half
    a lease. The start of the process is the end of a gap, too.
    """

    def __init__(self, now: float) -> None:
        self._gaps: list[tuple[float, float]] = [(float("inf"), now)]
        self._last = now

    def saw_database(self, now: float, leap: float = 0.0) -> None:
        """Note that the database has just answered.

        Args:
            now: of a steady clock, in seconds.
            leap: seconds between the clock of the database and the steady clock since the last look: the first clock
                was set forward or back, or this host slept. Then leases of living workers have ended, too, or end too
                far ahead.
        """
        gap = max(now - self._last, leap)
        self._gaps = [*[known for known in self._gaps if known[0] > gap], (gap, now)]
        if len(self._gaps) > _MOST_GAPS:
            (longest, _), (_, ended_at), *rest = self._gaps
            self._gaps = [(longest, ended_at), *rest]
        self._last = now

    def patience(self, now: float) -> float:
        """Return the longest lease that may be reaped, in seconds."""
        return now - self._gaps[0][1]

    def allows(self, lease: float, now: float) -> bool:
        """Return true if a job with this lease in seconds may be reaped."""
        lease = max(lease, _SHORTEST_LEASE)
        return all(now - ended_at >= lease for gap, ended_at in self._gaps if gap > lease / 2)

    def pace(self, lease: float) -> float:
        """Return the seconds between looks at the database after which a job with this lease can be reaped.

        Looks that are further apart are gaps themselves: without this pace, no lease shorter than twice the usual
        interval would ever count as ended.
        """
        return max(lease, _SHORTEST_LEASE) / 4


class Reaper:
    """Takes back jobs whose leases have ended: as a failed attempt, or uncounted after the crash of a worker."""

    def __init__(
        self,
        jobs: JobStore,
        outboxes: Outboxes,
        breakers: Breakers,
        notifier: Notifier,
        crashes: CrashDetector,
        grace: LeaseGrace | None = None,
    ) -> None:
        self._jobs = jobs
        self._crashes = crashes
        self._outboxes = outboxes
        self._breakers = breakers
        self._notifier = notifier
        self.metrics: Metrics | None = None
        self._grace = grace or LeaseGrace(time.monotonic())
        self._told: tuple[datetime, float, float] | None = None

    def saw_database(self, told_at: datetime, asked_at: float, answered_at: float) -> None:
        """Note an answer of the database to another question.

        Args:
            told_at: the server's time.
            asked_at: the time of the question by the monotonic clock.
            answered_at: the time of the answer.
        """
        self._grace.saw_database(answered_at, self._leap(told_at, asked_at, answered_at))

    async def run_once(self) -> float | None:
        """Reap jobs with expired leases; return the seconds until the next look if a job may not be reaped yet."""
        expired = await self._jobs.expired(self._grace.patience(time.monotonic()), _AT_ONCE)
        self._grace.saw_database(time.monotonic())
        asked_at = time.monotonic()
        told_at, now = await self._jobs.server_time(), time.monotonic()
        self.saw_database(told_at, asked_at, now)
        allowed = [job for job in expired if self._grace.allows(job.held_lease, now)]
        waits = [self._grace.pace(job.held_lease) for job in expired if not self._grace.allows(job.held_lease, now)]
        findings = await self._crashes.look(allowed)
        waits += [_LISTEN_SECONDS for job in allowed if not await self._try_to_reap(job, findings)]
        return min(waits, default=None)

    def _leap(self, told_at: datetime, asked_at: float, answered_at: float) -> float:
        """Return by how many seconds the clock of the database has outrun the steady clock, or has been set back.

        Slow answers never show a leap that did not happen.
        """
        before, first_asked_at, first_answered_at = self._told or (told_at, asked_at, answered_at)
        self._told = told_at, asked_at, answered_at
        passed = (told_at - before).total_seconds()
        return max(passed - (answered_at - first_asked_at), (asked_at - first_answered_at) - passed)

    async def _try_to_reap(self, job: Job, findings: CrashFindings) -> bool:
        """Reap a job; return False if the job has to wait. A job that cannot be reaped does not block the others."""
        try:
            return await self._reap(job, findings)
        except DatabaseError:
            raise
        except TooLargeError:
            await self._jobs.disown(job, any_claim=True)
        except Exception:
            log.exception("job not reaped", job_id=job.id)
        return True

    async def _reap(self, job: Job, findings: CrashFindings) -> bool:
        if job.claim is None:
            await self._jobs.disown(job)
            return True
        verdict = await findings.verdict(job, job.claim.token)
        if verdict is None:
            return False
        change = self._breakers.ending(job, verdict)
        applied = await self._jobs.apply(job.id, job.queue, change)
        if applied is None:
            # The job was renewed or noted meanwhile, or spoilt by another tool.
            await self._jobs.disown(job)
            return True
        await self._tell(job, job.claim.worker, change)
        if applied.outbox:
            await self._outboxes.cascade(job.id)
        return True

    async def _tell(self, job: Job, worker: str, change: Transition) -> None:
        """Log, count and announce a reaped job."""
        if self.metrics is not None:
            await self.metrics.ended(job, change)
        told = {"queue": job.queue, "worker": worker, "outcome": change.outcome.value, "state": change.target.value}
        log.warning("job reaped", job_id=job.id, **told)
        self._notifier.tell(Wakeup(kind="killed", queue=job.queue, job_id=job.id))
        self._notifier.tell(Wakeup(kind="ready" if change.delay is None else "delayed", queue=job.queue))
        if job.slots:
            self._notifier.tell(Wakeup(kind="room", queue=None if job.is_suspect else job.queue))


class Expiry:
    """Kills jobs that have not started before their limits, and does the work that follows."""

    def __init__(self, store: ExpiryStore, outboxes: Outboxes) -> None:
        self._store = store
        self._outboxes = outboxes

    async def run_once(self) -> float | None:
        """Kill some expired jobs; return the seconds until the next job expires."""
        left = await self._store.seconds_to_next()
        if left is None or left > 0:
            return left
        swept = await self._store.sweep()
        if swept.killed:
            log.warning("jobs expired", count=swept.killed)
            await self._outboxes.run_once()
        return 0.0 if swept.is_full else await self._store.seconds_to_next()
