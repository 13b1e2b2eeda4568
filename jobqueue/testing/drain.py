"""Run the jobs of a test until nothing is left to do, with a clock that moves over all waits."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from jobqueue.domain.attempts.states import FINAL, State
from jobqueue.domain.errors import NotFoundError
from jobqueue.processors.callbacks.callback import CallbackProcessor
from jobqueue.processors.callbacks.handlers import watched
from jobqueue.services.limits.group_keys import LimitKeys
from jobqueue.services.limits.limiter import HeldBack
from jobqueue.services.runs.execution import Execution
from jobqueue.services.work.loops import LeaseGrace, Promoter, Reaper
from jobqueue.store.jobs.upcoming import UpcomingStore
from jobqueue.testing.errors import EndlessDrainError, UnexpectedEndError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from jobqueue.domain.jobs.job import Job
    from jobqueue.processors.callbacks.handlers import Handler
    from jobqueue.services.application import Runtime
    from jobqueue.services.runs.attempts import ClaimedJob
    from jobqueue.store.mongo.moved_clock import MovedClock
    from jobqueue.testing.crash import Crash

MOST_STARTS: Final = 1_000
"""Starts of jobs in one drain, after which it is taken for endless."""
_MOST_MOVES: Final = 10_000
_MOST_HOLDS: Final = 2**20
"""How much longer than it asks for a limit may hold jobs back."""
_ANY_LEASE: Final = 1e9


class Drain:
    """One run of all jobs that can run.

    Args:
        runtime: the services.
        clock: of the services.
        handlers: by queue and type.
        until: the end; ``None`` for no end, and no schedules.
        raises: stop at a job that ends failed or killed.
        moves: move the clock.
        crash: stop there.
    """

    def __init__(
        self,
        runtime: Runtime,
        clock: MovedClock,
        handlers: Mapping[tuple[str, str], Handler],
        *,
        until: datetime | None = None,
        raises: bool = True,
        moves: bool = True,
        crash: Crash | None = None,
    ) -> None:
        self.ended: list[Job] = []
        self._runtime, self._clock, self._until = runtime, clock, until
        self._raises, self._moves, self._crash = raises, moves, crash
        self._errors: dict[str, BaseException] = {}
        self._processor = CallbackProcessor(
            {key: watched(handler, self._errors) for key, handler in handlers.items()}, runtime.relatives
        )
        self._types: dict[str, tuple[str, ...]] = {}
        for queue, kind in sorted(handlers):
            self._types[queue] = (*self._types.get(queue, ()), kind)
        self._upcoming = UpcomingStore(runtime.database)
        self._promoter = Promoter(runtime.jobs, runtime.notifier)
        self._reaper = Reaper(
            runtime.jobs, runtime.outboxes, runtime.breakers, runtime.notifier, runtime.crashes, grace=_NoGrace()
        )
        self._starts = 0
        self._hold_factor = 1

    async def run(self) -> list[Job]:
        """Run jobs; return those that have ended, in the order of their ends.

        Raises:
            UnexpectedEndError: a job failed or was killed.
            EndlessDrainError: jobs start again and again.
        """
        await self._runtime.configs.refresh()
        for _ in range(_MOST_MOVES):
            next_at = await self._keep_up()
            count, held_until = await self._run_waiting()
            if self._crash is not None and self._crash.happened.is_set():
                return self.ended
            if count:
                self._hold_factor = 1
                continue
            # A limit that only asks again in a second is in the way until something else happens.
            self._hold_factor *= 2
            moments = [moment for moment in (next_at, held_until, await self._next()) if moment is not None]
            moment = min(moments, default=None)
            if not self._moves or moment is None or (self._until is not None and moment > self._until):
                break
            self._clock.move_to(moment)
        else:
            raise EndlessDrainError(f"the clock was moved {_MOST_MOVES:,} times; give drain an end: until=…")
        if self._until is not None:
            self._clock.move_to(self._until)
        return self.ended

    async def _keep_up(self) -> datetime | None:
        """Take one turn of the background work of a server; return the time of the next tick or reaping."""
        runtime = self._runtime
        for turn in (
            self._promoter.run_once,
            runtime.adopter.run_once,
            runtime.outboxes.run_once,
            runtime.outboxes.awaiting.run_once,
            runtime.operations.run_once,
        ):
            await turn()
        if any(config.grouped for config in runtime.configs.known.values()):
            await LimitKeys(runtime.configs, runtime.limit_keys, runtime.notifier).run_once()
        waits = [await self._reap()]
        if self._until is not None:
            waits += [await runtime.scheduler.run_once(), await runtime.expiry.run_once()]
        now = await self._clock.now()
        return min((now + timedelta(seconds=wait) for wait in waits if wait is not None), default=None)

    async def _reap(self) -> float | None:
        """Take back jobs whose leases have ended; return the seconds until the next look at a job that has to wait."""
        end = await self._upcoming.lease_end()
        if end is None or end > await self._clock.now():
            return None
        expired = await self._runtime.jobs.expired(_ANY_LEASE)
        wait = await self._reaper.run_once()
        for job in expired:
            await self._note_end(job.id)
        return wait

    async def _run_waiting(self) -> tuple[int, datetime | None]:
        """Run the jobs that wait, those of all queues in turn; return their number, and when limits admit the next."""
        count, is_done, held = 0, False, None
        while not is_done:
            is_done, held = True, None
            for queue, types in self._types.items():
                claimed = await self._runtime.work.attempt(
                    queue, types, worker=self._runtime.name, margin=self._processor.stop_seconds
                )
                if isinstance(claimed, HeldBack):
                    held = claimed.seconds if held is None else min(held, claimed.seconds)
                elif claimed is not None:
                    is_done, count = False, count + 1
                    await self._run(claimed)
                    if self._crash is not None and self._crash.happened.is_set():
                        return count, None
        if held is None or self._hold_factor > _MOST_HOLDS:
            return count, None
        return count, await self._clock.now() + timedelta(seconds=held * self._hold_factor)

    async def _run(self, claimed: ClaimedJob) -> None:
        self._starts += 1
        if self._starts > MOST_STARTS:
            await self._runtime.work.release(claimed.job, claimed.token)
            raise EndlessDrainError(
                f"drain has started {MOST_STARTS:,} jobs, the last of type {claimed.job.type!r}, and there are more; "
                "give it an end: until=…"
            )
        crash = self._crash if self._crash is not None and self._crash.job_id == claimed.job.id else None
        processor = self._processor if crash is None else crash.processor(self._processor)
        execution = Execution(claimed, processor, self._runtime.work, self._runtime.keeper, lambda: None)
        run = asyncio.create_task(execution.run())
        try:
            if crash is not None:
                await _first(run, crash)
                if crash.happened.is_set():
                    execution.lose("the worker was killed by the test")
                    await run
                    self._runtime.keeper.let_go(claimed.token)
                    return
            await asyncio.shield(run)
        except asyncio.CancelledError:
            execution.release()
            await asyncio.wait({run})
            raise
        await execution.settle()
        await self._note_end(claimed.job.id)

    async def _note_end(self, job_id: str) -> None:
        try:
            job = await self._runtime.jobs.get(job_id)
        except NotFoundError:
            # It was to be deleted.
            return
        if job.state not in FINAL:
            return
        self.ended.append(job)
        if self._raises and job.state is not State.SUCCESS:
            raise UnexpectedEndError(job) from self._errors.get(job_id)

    async def _next(self) -> datetime | None:
        """Return the next moment at which a job is due or a lease ends."""
        moments = (await self._upcoming.due(self._types), await self._upcoming.lease_end())
        return min((moment for moment in moments if moment is not None), default=None)


class _NoGrace(LeaseGrace):
    """Reaps every job whose lease has ended: no worker is cut off from the database of a test."""

    def __init__(self) -> None:
        super().__init__(0)

    def patience(self, now: float) -> float:
        del now
        return _ANY_LEASE

    def allows(self, lease: float, now: float) -> bool:
        del lease, now
        return True


async def _first(run: asyncio.Task[None], crash: Crash) -> None:
    """Wait until a run has ended or its worker is to die."""
    dies = asyncio.create_task(crash.happened.wait())
    try:
        await asyncio.wait({run, dies}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        dies.cancel()
