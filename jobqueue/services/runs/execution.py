"""One run of one claimed job, under its lease and its time limit."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final

import stamina

from jobqueue import tracing
from jobqueue.domain.attempts.attempt import JobError
from jobqueue.domain.errors import (
    DatabaseError,
    InvalidInputError,
    OlderWorkersError,
    StaleTokenError,
    TooLargeError,
    WriteRefusedError,
)
from jobqueue.domain.text import told, type_name
from jobqueue.domain.work.unstorable import instead
from jobqueue.domain.work.verdict import Failure, Processor, RunAgain, Success, Verdict, without_details
from jobqueue.journal import get_logger
from jobqueue.services.runs.reporter import JobReporter

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from jobqueue.services.runs.attempts import Attempts, ClaimedJob
    from jobqueue.store.work.leases import LeaseKeeper, LostClaim

log = get_logger(__name__)
_SETTLE_SECONDS: Final = 3600.0
_CANCELLED: Final = "the run was cancelled, but not by the queue"
_MOST_REFUSALS: Final = 8
"""Refusals of a write, within about 20 seconds, after which an outcome is recorded without its details."""
_PLAIN: Final = "the outcome cannot be stored"
_REFUSED_SECONDS: Final = 10.0
"""Seconds before the next run of a job whose steps were refused."""


class Execution:
    """Runs a claimed job, then records its outcome. `run` and `settle` are called once each, in this order.

    Args:
        claimed: the job.
        processor: runs it.
        work: takes reports and the outcome.
        keeper: renews the lease.
        ended: called when the run has ended, before its outcome is recorded.
    """

    def __init__(
        self, claimed: ClaimedJob, processor: Processor, work: Attempts, keeper: LeaseKeeper, ended: Callable[[], None]
    ) -> None:
        self.job = claimed.job
        self.token = claimed.token
        self._claimed_at = claimed.sent_at
        self._results = claimed.results
        self._processor = processor
        self._work = work
        self._keeper = keeper
        self._ended = ended
        self._task: asyncio.Task[Verdict] | None = None
        self._lost = False
        self._cut_off = False
        self._leaving = False
        self._verdict: Verdict | None = None
        self._explained: set[str] = set()

    async def run(self) -> None:
        """Run the job until it ends, times out, loses its claim, or is given back."""
        try:
            await self._run()
        except Exception as error:
            log.exception("run failed", job_id=self.job.id)
            self._verdict = _broken(error)
        finally:
            self._ended()

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()

        def lost(loss: LostClaim) -> None:
            loop.call_soon_threadsafe(self.lose if loss.known else self._lose_touch, loss.reason)

        reporter = JobReporter(self._work, self.job, self.token, self.lose, self._results)
        self._keeper.keep(self.job, self.token, lost, since=self._claimed_at)
        reporter.steps.on_step = lambda step: self._keeper.tell_step(self.token, step)
        self._task = asyncio.create_task(self._process(reporter), name=f"job-{self.job.id}")
        done, _ = await asyncio.wait({self._task}, timeout=self.job.timeout)
        if not done:
            self._verdict = self._timeout()
            self._task.cancel()
            await asyncio.wait({self._task}, timeout=self._processor.stop_seconds)
        elif not self._task.cancelled():
            self._verdict = self._outcome(self._task)
            if reporter.steps.refusal is not None and isinstance(self._verdict, Failure):
                self._verdict = _refused(reporter.steps.refusal)
            if self._lost and isinstance(self._verdict, Failure):
                # The handler was told to stop and has raised an error of its own.
                self._verdict = None
        elif not (self._lost or self._cut_off or self._leaving):
            self._verdict = Failure(error=JobError(kind="cancelled", message=_CANCELLED))

    async def settle(self) -> None:
        """Record the outcome, or give the job back, also after a long outage of the database."""
        try:
            if self._verdict is not None:
                await self._record(self._verdict)
            elif self._lost:
                log.warning("lease lost", job_id=self.job.id)
            elif self._cut_off:
                await self._give_back()
            else:
                await self._work.release(self.job, self.token)
        except StaleTokenError as error:
            log.warning("outcome recorded late", job_id=self.job.id, reason=str(error))
        except (DatabaseError, WriteRefusedError) as error:
            log.warning("outcome not recorded", job_id=self.job.id, error=str(error))
        finally:
            self._keeper.let_go(self.token)

    def lose(self, reason: str) -> None:
        """Stop the run, which does not count any more because its claim is lost."""
        if not self._lost:
            self._lost = True
            log.info("job stopped", job_id=self.job.id, reason=reason)
            self._cancel()

    def _lose_touch(self, reason: str) -> None:
        """Stop the run, because another worker may take the job from now on; otherwise the job goes back, uncounted."""
        if not self._lost and not self._cut_off:
            self._cut_off = True
            log.warning("job stopped", job_id=self.job.id, reason=reason)
            self._cancel()

    def release(self) -> None:
        """Stop the run and give the job back, uncounted; a second call does not wait for the end of the run."""
        self._leaving = True
        self._cancel()

    def check_claim(self) -> None:
        """Check the claim in the database at once."""
        self._keeper.check(self.token)

    def _cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()

    async def _give_back(self) -> None:
        async for attempt in _until_the_database_is_back():
            if self._leaving and attempt.num > 1:
                return
            with attempt:
                await self._work.release(self.job, self.token)

    async def _record(self, verdict: Verdict) -> None:
        # Nearly every outcome is stored at once: only the others pay for the bookkeeping of retries.
        try:
            await self._settle(verdict)
        except DatabaseError:
            refusals = 0
        except WriteRefusedError:
            refusals = 1
        else:
            return
        async for attempt in _until_the_database_is_back():
            if self._lost or self._leaving:
                return
            log.warning("outcome write repeated", job_id=self.job.id, attempt=attempt.num + 1)
            with attempt:
                try:
                    await self._settle(verdict)
                except WriteRefusedError as error:
                    refusals += 1
                    if refusals < _MOST_REFUSALS:
                        raise
                    await self._settle_plainly(verdict, error)
                    return

    async def _settle(self, verdict: Verdict) -> None:
        """Record a verdict; replace a verdict that cannot be stored, and say why in the log of the job."""
        if isinstance(verdict, Success) and verdict.warning is not None:
            await self._explain(verdict.warning, "warning")
        try:
            await self._work.settle(self.job, self.token, verdict)
        except OlderWorkersError as error:
            await self._work.settle(self.job, self.token, _refused(str(error)))
        except (InvalidInputError, TooLargeError) as error:
            replaced, message, level = instead(verdict, error)
            await self._explain(message, level)
            try:
                await self._work.settle(self.job, self.token, replaced)
            except (InvalidInputError, TooLargeError):
                await self._work.settle(self.job, self.token, without_details(verdict, _PLAIN))

    async def _settle_plainly(self, verdict: Verdict, refusal: WriteRefusedError) -> None:
        """Record the kind of a verdict whose write is refused repeatedly; give up if that is refused, too."""
        try:
            await self._work.settle(self.job, self.token, without_details(verdict, f"{_PLAIN}: {refusal}"))
        except WriteRefusedError as error:
            log.warning("outcome not recorded", job_id=self.job.id, error=str(error))

    async def _explain(self, message: str, level: str) -> None:
        """Add a line to the job's log, once; a line that cannot be stored does not delay the outcome."""
        if message in self._explained:
            return
        log.warning("outcome replaced", job_id=self.job.id, reason=message)
        with contextlib.suppress(InvalidInputError, TooLargeError):
            await self._work.report(self.job, self.token, lines=[(message, level)])
        self._explained.add(message)

    async def _process(self, reporter: JobReporter) -> Verdict:
        with tracing.running(self.job) as span:
            try:
                verdict = await self._processor.run(self.job, reporter)
            except asyncio.CancelledError:
                # The verdict on a run that was too long is there already.
                span.ended(self._verdict)
                raise
            span.ended(verdict)
            return verdict

    def _outcome(self, task: asyncio.Task[Verdict]) -> Verdict | None:
        error = task.exception()
        if error is None:
            return task.result()
        log.error("processor failed", job_id=self.job.id, exc_info=error)
        return _broken(error)

    def _timeout(self) -> Verdict:
        message = f"ran longer than its {self.job.timeout:g} s"
        return Failure(error=JobError(kind="timeout", message=message), timed_out=True)


def _broken(error: BaseException) -> Failure:
    return Failure(error=JobError(kind=type_name(error), message=told(error) or type_name(error)))


def _refused(reason: str) -> RunAgain:
    """Return the verdict on a run whose steps were refused: older workers will be gone sooner or later."""
    return RunAgain(delay=_REFUSED_SECONDS, error=JobError(kind=OlderWorkersError.slug, message=reason))


def _until_the_database_is_back() -> AsyncIterator[stamina.Attempt]:
    passing = (DatabaseError, WriteRefusedError)
    return stamina.retry_context(on=passing, attempts=None, timeout=_SETTLE_SECONDS, wait_max=5.0)
