"""Claim jobs for the processors of this process and run them, up to a number at a time."""

from __future__ import annotations

import asyncio
import contextlib
import math
import random
from typing import TYPE_CHECKING, Final

from jobqueue.domain.errors import DatabaseError
from jobqueue.journal import get_logger
from jobqueue.loop_errors import LoopErrors, ignore
from jobqueue.services.limits.limiter import HeldBack
from jobqueue.services.runs.execution import Execution
from jobqueue.services.work.demand import Demand

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from jobqueue.services.runs.attempts import ClaimedJob
    from jobqueue.services.signals.notifier import Notifier, Wakeup
    from jobqueue.services.work.lanes import Key, Lane
    from jobqueue.services.work.several import SeveralAttempts
    from jobqueue.store.work.leases import LeaseKeeper

log = get_logger(__name__)
_MOST_CLAIMS: Final = 16
_STOP_SECONDS: Final = 0.5
_RECORD_SECONDS: Final = 2.0


class Dispatcher:
    """Keeps up to ``concurrency`` jobs running as long as there are any.

    One claim is under way when idle; each job found doubles them while there is a backlog. After a run the next job is
    claimed, and begins, while the outcome is being recorded: of as many jobs at most as may run at a time.

    Args:
        claims: claims jobs, one or several at a time, and records outcomes.
        keeper: renews leases.
        notifier: tells of new jobs; the poll is the safety net.
        lanes: returns the jobs that this process can run at present.
        concurrency: jobs at a time.
        poll_interval: seconds between looks without a wake-up.
        worker: the name under which jobs are claimed.
        count: called with the loop's name for every unforeseen error.

    Attributes:
        is_idle: tells whether no job has waited in any queue, at a moment so many seconds ago at most. Then a poll asks
            no queue.
        version: of the program, for the history of jobs.
    """

    def __init__(
        self,
        *,
        claims: SeveralAttempts,
        keeper: LeaseKeeper,
        notifier: Notifier,
        lanes: Callable[[], Sequence[Lane]],
        concurrency: int,
        poll_interval: float,
        worker: str,
        count: Callable[[str], None] = ignore,
    ) -> None:
        self._work, self._claims = claims.work, claims
        self._keeper = keeper
        self._notifier = notifier
        self._lanes = lanes
        self._concurrency = concurrency
        self._poll_interval = poll_interval
        self._worker = worker
        self._count = count
        self.is_idle: Callable[[float], bool] = lambda _: False
        self.version: str | None = None
        self._demands: dict[Key, Demand] = {}
        self._woken = asyncio.Event()
        self._stopping = asyncio.Event()
        self._held = asyncio.Event()
        self._ended = asyncio.Event()
        self._ended.set()
        self._quiet = asyncio.Event()
        self._quiet.set()
        self._claiming = 0
        self._busy = 0
        self._turn = 0
        self._looked_at = 0.0
        self._runners: set[asyncio.Task[None]] = set()
        self._settling: set[asyncio.Task[None]] = set()
        self._running: dict[str, Execution] = {}

    @property
    def running(self) -> int:
        """The number of jobs that run, or whose outcome is not recorded yet."""
        return len(self._running)

    @property
    def is_running(self) -> bool:
        """True while the dispatcher claims jobs."""
        return self.is_there and not self._held.is_set()

    @property
    def is_there(self) -> bool:
        """True while the dispatcher claims jobs, or would if it was not held."""
        return not self._ended.is_set() and not self._stopping.is_set()

    @property
    def is_gone(self) -> bool:
        """True once the dispatcher has stopped, and all its jobs have ended."""
        return self._ended.is_set() and self._stopping.is_set() and not self.is_busy

    @property
    def is_busy(self) -> bool:
        """True while jobs are being claimed, run or recorded."""
        return bool(self._claiming or self._running or self._under_way)

    def hold(self, *, holds: bool) -> None:
        """Claim no more jobs until told otherwise; running jobs go on."""
        if holds:
            self._held.set()
            return
        self._held.clear()
        self._wake_all()
        self._woken.set()

    async def left(self) -> None:
        """Wait until this worker claims nothing any more: somebody has drained it, or its block ends."""
        await self._stopping.wait()
        await self._ended.wait()

    def _clock(self) -> float:
        return asyncio.get_running_loop().time()

    async def run(self) -> None:
        """Claim and run jobs until `stop`."""
        self._ended.clear()
        deaf = self._notifier.listen(self._on_wakeup)
        turns = LoopErrors("claiming", self._count)
        poll_at = self._clock()
        try:
            while not self._stopping.is_set():
                with turns.turn():
                    poll_at = await self._look(poll_at)
                await self._rest(turns)
        finally:
            deaf()
            self._ended.set()

    async def _look(self, poll_at: float) -> float:
        """Claim waiting jobs, and wait until there may be more; return the time of the next poll."""
        self._woken.clear()
        self._looked_at = self._clock()
        if self._looked_at >= poll_at:
            if not self.is_idle(self._poll_interval / 2):
                self._wake_all(ask=False)
            poll_at = self._looked_at + self._poll_interval * random.uniform(0.8, 1.2)  # noqa: S311 - spreads polls
        await self._fill()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(self._next_look(poll_at)):
                await self._woken.wait()
        return poll_at

    async def _rest(self, turns: LoopErrors) -> None:
        """Pause after an error, unless asked to stop."""
        if turns.pause:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(turns.pause):
                    await self._stopping.wait()

    async def stop(self, grace: float) -> int:
        """Stop claiming, let running jobs finish for ``grace`` seconds, give the others back.

        Returns:
            The number of jobs given back.
        """
        self._stopping.set()
        self._woken.set()
        if self._under_way:
            await asyncio.wait(self._under_way, timeout=grace)
        # A claim under way would take a job that is given back, only to give it back again.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_STOP_SECONDS):
                await self._quiet.wait()
        left = list(self._running.values())
        for execution in left:
            execution.release()
        await self._ended.wait()
        if self._under_way:
            await asyncio.wait(self._under_way, timeout=_STOP_SECONDS)
            for execution in list(self._running.values()):
                execution.release()
            await asyncio.gather(*self._under_way, return_exceptions=True)
        return len(left)

    @property
    def _under_way(self) -> set[asyncio.Task[None]]:
        return self._runners | self._settling

    def _on_wakeup(self, wake: Wakeup) -> None:
        if wake.kind == "killed":
            for execution in self._running.values():
                if execution.job.id == wake.job_id:
                    execution.check_claim()
            return
        if wake.kind == "delayed":
            return
        if wake.kind in {"all", "config"} or (wake.queue is None and wake.kind != "room"):
            self._wake_all()
        else:
            self._wake_some(wake)
        if wake.kind == "room" and any(run.job.id == wake.job_id for run in self._running.values()):
            # The runner of that job claims the next job at once.
            return
        self._woken.set()

    def _wake_some(self, wake: Wakeup) -> None:
        """Note that a queue, or any queue that has room now, may have jobs.

        All processes hear of a job at the same moment. Lanes that are held back ask a little later, each at a time of
        its own, and once for all wake-ups until then.
        """
        now = self._clock()
        share = random.uniform(0.5, 1) if wake.relayed or wake.kind == "ready" else 0  # noqa: S311 - as above
        for (queue, _, _), demand in self._demands.items():
            if wake.queue not in {None, queue}:
                continue
            if wake.kind == "room":
                demand.heard += 1
                demand.ask(now + share * demand.patience)
            else:
                demand.wake(1 if wake.job_id else math.inf, now + share * demand.patience)

    def _wake_all(self, *, ask: bool = True) -> None:
        lanes = self._lanes()
        keys = {lane.key for lane in lanes}
        # Lanes come and go with the configuration of queues; jobs of a removed lane may still run.
        self._demands = {key: demand for key, demand in self._demands.items() if key in keys or demand.taken}
        for key in keys:
            demand = self._demands.setdefault(key, Demand())
            demand.wake(math.inf, 0 if ask else demand.held_until)

    def _next_look(self, poll_at: float) -> float:
        """Return the time of the next look without a wake-up: at the next poll, or when a limit lets a job start."""
        if self._busy >= self._concurrency:
            return poll_at
        held = [demand.held_until for demand in self._demands.values() if demand.known >= 1]
        return min([poll_at, *(until for until in held if until > self._looked_at)])

    async def _fill(self) -> None:
        """Claim as long as there are free places and jobs."""
        burst = 1
        while not self._stopping.is_set() and not self._held.is_set() and (free := self._concurrency - self._busy) > 0:
            count = min(burst, free, _MOST_CLAIMS)
            begun = [self._begin_one() for _ in range(count)]
            # One claim needs no task of its own.
            if not any([await begun[0]] if count == 1 else await asyncio.gather(*begun)):
                return
            burst *= 2

    async def _begin_one(self) -> bool:
        """Claim a job and begin to run it; return false if no job waits.

        Each call stands alone, so that an error of one call leaves no job of another call without a run.
        """
        execution = None
        self._busy += 1
        try:
            execution = await self._claim_next()
        finally:
            if execution is None:
                self._busy -= 1
        if execution is None:
            return False
        task = asyncio.create_task(self._runner(execution))
        self._runners.add(task)
        task.add_done_callback(self._runners.discard)
        return True

    async def _runner(self, execution: Execution) -> None:
        """Run a job, and then further jobs as long as there are any."""
        turns = LoopErrors("runs", self._count)
        try:
            with turns.turn():
                await self._run_all(execution)
            await self._rest(turns)
        finally:
            self._busy -= 1
            self._woken.set()

    async def _run_all(self, first: Execution) -> None:
        execution: Execution | None = first
        while execution is not None:
            self._running[execution.token] = execution
            try:
                if not self._stopping.is_set():
                    await execution.run()
            finally:
                ended = asyncio.create_task(self._settle(execution))
                self._settling.add(ended)
                ended.add_done_callback(self._settling.discard)
            if self._stopping.is_set() or execution.job.slots or len(self._settling) > self._concurrency:
                # A job releases its slot only when its outcome is recorded.
                await ended
            if self._stopping.is_set():
                return
            execution = await self._claim_next()

    async def _settle(self, execution: Execution) -> None:
        try:
            await execution.settle()
        except Exception:
            log.exception("outcome not recorded", job_id=execution.job.id)
        finally:
            self._running.pop(execution.token, None)

    async def _claim_next(self) -> Execution | None:
        """Claim a job from the next lane in turn that may have one."""
        lanes = self._lanes()
        self._turn += 1
        for step in range(len(lanes)):
            lane = lanes[(self._turn + step) % len(lanes)]
            demand = self._demands.setdefault(lane.key, Demand())
            if self._stopping.is_set() or self._held.is_set() or not demand.wants(lane.limit, self._clock()):
                continue
            demand.taken += 1
            claimed = None
            try:
                claimed = await self._claim(lane, demand)
            finally:
                if claimed is None:
                    demand.taken -= 1
            if claimed is not None and self._held.is_set():
                # Others may begin it at once.
                self._work.give_backs.give_back(claimed.job, claimed.token)
                demand.taken -= 1
                return None
            if claimed is not None:
                return self._begin(claimed, lane, demand)
        return None

    async def _claim(self, lane: Lane, demand: Demand) -> ClaimedJob | None:
        heard = demand.heard
        self._claiming += 1
        self._quiet.clear()
        try:
            margin = lane.stop_seconds + _RECORD_SECONDS
            claimed = await self._claims.attempt(lane, worker=self._worker, margin=margin, version=self.version)
        except DatabaseError as error:
            log.warning("claim failed", queue=lane.queue, error=str(error))
            claimed = None
        except Exception:
            # The other lanes go on, and this one at the next poll.
            log.exception("claim failed", queue=lane.queue)
            claimed = None
        finally:
            self._claiming -= 1
            if not self._claiming:
                self._quiet.set()
        if isinstance(claimed, HeldBack):
            demand.hold(self._clock() + claimed.seconds, heard)
            return None
        if claimed is None:
            demand.found_nothing(heard)
        else:
            demand.found_one()
        return claimed

    def _begin(self, claimed: ClaimedJob, lane: Lane, demand: Demand) -> Execution | None:
        """Return the run of a claimed job; give a job without a processor back, and look for others at once."""

        def ended() -> None:
            demand.taken -= 1

        try:
            return Execution(claimed, lane.processor(claimed.job), self._work, self._keeper, ended)
        except Exception as error:
            log.exception("processor missing", job_id=claimed.job.id, queue=lane.queue)
            self._work.give_backs.give_back(claimed.job, claimed.token, error)
            ended()
            self._woken.set()
            return None
