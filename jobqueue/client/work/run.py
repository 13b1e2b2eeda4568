"""One run of one job that was claimed over HTTP, under its lease and its time limit."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING, Final

from jobqueue import tracing
from jobqueue.client.calls import path
from jobqueue.client.transport import Call
from jobqueue.client.work.claimed import ClaimReports
from jobqueue.client.work.relatives import HttpRelatives
from jobqueue.client.work.reporter import HttpReporter
from jobqueue.client.work.steps import HttpSteps
from jobqueue.domain.attempts.attempt import JobError
from jobqueue.domain.errors import (
    InvalidInputError,
    JobCancelledError,
    JobQueueError,
    NotFoundError,
    OlderWorkersError,
    StaleTokenError,
    StepError,
    TooLargeError,
)
from jobqueue.domain.jobs.json_form import value as json_value
from jobqueue.domain.text import told, type_name
from jobqueue.domain.values import payload
from jobqueue.domain.work.unstorable import instead
from jobqueue.domain.work.verdict import Death, Failure, RunAgain, Success, Suspension, without_details
from jobqueue.journal import get_logger
from jobqueue.processors.callbacks.callback import CallbackProcessor

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jobqueue.client.api_calls import ApiCalls
    from jobqueue.client.transport import Transport
    from jobqueue.client.work.claimed import Claimed
    from jobqueue.domain.work.verdict import Verdict
    from jobqueue.processors.callbacks.handlers import Handler

log = get_logger(__name__)
_STOPPING: Final = "the worker stops"
_CANCELLED: Final = "the run was cancelled, but not by the queue"
_PLAIN: Final = "the outcome cannot be stored"
_REFUSED_SECONDS: Final = 10.0
"""Seconds before the next run of a job whose steps were refused."""
_BEATS: Final = 3
"""Heartbeats in the time of a lease."""


class HttpRun:
    """Runs a claimed job, and reports its outcome.

    Args:
        client: of the worker.
        transport: sends the reports.
        claimed: the job.
        handlers: of the worker.
    """

    def __init__(
        self,
        client: ApiCalls,
        transport: Transport,
        claimed: Claimed,
        handlers: Mapping[tuple[str, str], Handler],
    ) -> None:
        self._claimed = claimed
        self._reports = ClaimReports(transport, claimed, self.lose)
        self._steps = HttpSteps(self._reports, claimed)
        self._processor = CallbackProcessor(handlers, lambda _: HttpRelatives(client, self._reports))
        self._task: asyncio.Task[Verdict] | None = None
        self._lost = False
        self._leaving = False

    @property
    def type(self) -> str:
        """The type of the job."""
        return self._claimed.job.type

    @property
    def claimed(self) -> Claimed:
        """The job."""
        return self._claimed

    def lose(self, reason: str) -> None:
        """Stop the run, which does not count any more because its claim is lost."""
        if not self._lost:
            self._lost = True
            log.info("job stopped", job_id=self._claimed.job.id, reason=reason)
            self._cancel()

    def release(self) -> None:
        """Stop the run and give the job back, uncounted; a second call does not wait for the end of the run."""
        self._leaving = True
        self._cancel()

    async def run(self) -> None:
        """Run the job until it ends, times out, loses its claim, or is given back; then report the outcome."""
        job = self._claimed.job
        try:
            verdict = await self._verdict()
            if verdict is not None:
                await self._report(verdict)
            elif self._lost:
                log.warning("lease lost", job_id=job.id)
        except JobCancelledError as error:
            log.warning("outcome recorded late", job_id=job.id, reason=str(error))
        except JobQueueError as error:
            log.warning("outcome not recorded", job_id=job.id, error=str(error))

    async def _verdict(self) -> Verdict | None:
        job = self._claimed.job
        released = RunAgain(delay=0, error=_error("release", _STOPPING))
        if self._is_stopped():
            return None if self._lost else released
        reporter = HttpReporter(self._reports, self._steps)
        self._task = asyncio.create_task(self._process(reporter), name=f"job-{job.id}")
        done, _ = await asyncio.wait({self._task}, timeout=job.timeout)
        if not done:
            self._task.cancel()
            await asyncio.wait({self._task}, timeout=self._processor.stop_seconds)
            self._task.cancel()
            # The lease ends with this time, too: the server records it as what it is.
            log.warning("job stopped", job_id=job.id, reason=f"ran longer than its {job.timeout:g} s")
            return None
        if self._task.cancelled():
            if self._lost:
                return None
            return released if self._leaving else Failure(error=_error("cancelled", _CANCELLED))
        error = self._task.exception()
        if error is not None:
            log.error("processor failed", job_id=job.id, exc_info=error)
            return Failure(error=_error(type_name(error), told(error) or type_name(error)))
        verdict = self._task.result()
        # The handler was told to stop and has raised an error of its own.
        return None if self._lost and isinstance(verdict, Failure) else verdict

    async def _process(self, reporter: HttpReporter) -> Verdict:
        with tracing.running(self._claimed.job) as span:
            try:
                verdict = await self._processor.run(self._claimed.job, reporter)
            except asyncio.CancelledError:
                span.ended(None)
                raise
            span.ended(verdict)
            return verdict

    async def _report(self, verdict: Verdict) -> None:
        """Report a verdict; replace a verdict that cannot be stored, and say why in the log of the job."""
        if isinstance(verdict, Success) and verdict.warning is not None:
            await self._explain(verdict.warning, "warning")
        try:
            await self._settle(verdict)
        except (OlderWorkersError, StepError) as error:
            refused = isinstance(error, OlderWorkersError)
            reason = JobError(kind=OlderWorkersError.slug if refused else "step", message=str(error))
            await self._settle(RunAgain(delay=_REFUSED_SECONDS, error=reason) if refused else Failure(error=reason))
        except (InvalidInputError, TooLargeError) as error:
            replaced, message, level = instead(verdict, error)
            await self._explain(message, level)
            try:
                await self._settle(replaced)
            except (InvalidInputError, TooLargeError):
                await self._settle(without_details(verdict, _PLAIN))

    async def _settle(self, verdict: Verdict) -> None:
        match verdict:
            case Success():
                result = payload.check_result(verdict.result)
                await self._reports.post("succeed", result=json_value(result))
            case Failure():
                trace = {} if verdict.error.trace is None else {"trace": verdict.error.trace}
                await self._reports.post("fail", reason=_reason(verdict.error), **trace)
            case Death():
                await self._reports.post("die", reason=verdict.error.message)
            case RunAgain():
                reason = {} if verdict.error is None else {"reason": verdict.error.message}
                delay = {} if verdict.delay is None else {"delay": verdict.delay}
                await self._reports.post("retry", **reason, **delay)
            case Suspension():
                await self._reports.post("suspend", **self._steps.suspension(verdict))

    async def _explain(self, message: str, level: str) -> None:
        """Add a line to the job's log; a line that cannot be stored does not delay the outcome."""
        log.warning("outcome replaced", job_id=self._claimed.job.id, reason=message)
        with contextlib.suppress(InvalidInputError, TooLargeError):
            await self._reports.post("heartbeat", logs=[{"m": message, "level": level}])

    def _is_stopped(self) -> bool:
        return self._lost or self._leaving

    def _cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()


async def beat(transport: Transport, claimed: Claimed, run: HttpRun, loop: asyncio.AbstractEventLoop) -> None:
    """Send heartbeats for a job until this is cancelled, or the claim is lost.

    Args:
        transport: of the loop of this coroutine, which is another one than that of the run.
        claimed: the job.
        run: of the job.
        loop: of the run.
    """
    place, body = path("jobs", claimed.job.id, "heartbeat"), {"token": claimed.token}
    held_from = time.monotonic()
    reason = f"no heartbeat has arrived for {claimed.lease:g} s"
    while True:
        await asyncio.sleep(max(0.0, min(claimed.lease / _BEATS, held_from + claimed.lease - time.monotonic())))
        sent, left = time.monotonic(), held_from + claimed.lease - time.monotonic()
        if left <= 0:
            break
        try:
            call = Call(method="POST", path=place, body=body, within=left)
            if (await transport.send(call)).body["cancelled"]:
                reason = "the job was killed"
                break
        except (NotFoundError, StaleTokenError) as error:
            reason = str(error)
            break
        except JobQueueError:
            continue
        held_from = sent
    loop.call_soon_threadsafe(run.lose, reason)


def _error(kind: str, message: str) -> JobError:
    return JobError(kind=kind, message=message)


def _reason(error: JobError) -> str:
    """Return the text of an error with its kind, which a report has no field for."""
    return error.message if error.kind in error.message else f"{error.kind}: {error.message}"
