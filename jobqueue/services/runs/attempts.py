"""Attempts: the claims, reports and outcomes of workers."""

from __future__ import annotations

import asyncio
import contextlib
import random
import secrets
import sys
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final, Unpack

from jobqueue.domain.attempts import states
from jobqueue.domain.attempts.states import Outcome
from jobqueue.domain.errors import InvalidInputError, JobQueueError, StaleTokenError
from jobqueue.domain.jobs import json_form, transitions
from jobqueue.domain.jobs.job import LONGEST_LINE
from jobqueue.domain.text import cut, split, words
from jobqueue.domain.values import payload
from jobqueue.domain.work.verdict import Accepted, Death, Failure, RunAgain, Success, Suspension, Verdict
from jobqueue.journal import get_logger
from jobqueue.services.limits.limiter import HeldBack
from jobqueue.services.runs.give_backs import GiveBacks
from jobqueue.services.runs.handed_out import HandedOut
from jobqueue.services.runs.solo_runs import SoloRuns
from jobqueue.services.signals.notifier import Wakeup
from jobqueue.store.documents.claim_search import ClaimOptions, ClaimSearch, LateClaimError, RepeatedClaimError
from jobqueue.store.work.claims import MOST_HISTORY, HeartbeatReply

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from jobqueue.domain.attempts.states import JobStanding
    from jobqueue.domain.jobs.job import Job
    from jobqueue.domain.jobs.transitions import Transition
    from jobqueue.domain.queues.queue import QueueConfig
    from jobqueue.services.insight.metrics import Metrics
    from jobqueue.services.limits.limiter import Limiter
    from jobqueue.services.outbox.outbox import Outboxes
    from jobqueue.services.signals.log_signals import Logs
    from jobqueue.services.signals.notifier import Notifier
    from jobqueue.services.steps.steps import Steps
    from jobqueue.store.jobs.jobs import JobStore
    from jobqueue.store.jobs.transitions import AppliedTransition
    from jobqueue.store.work.claims import ClaimStore
    from jobqueue.store.workflow.dependencies import DependencyStore

log = get_logger(__name__)
_KEPT_HISTORY: Final = 50
_LONGEST_LATE: Final = 16 * 1024
_TRIES: Final = 3
_PAUSE: Final = 0.05
_ASK_SECONDS: Final = 5.0
"""Seconds after which a worker that runs a suspect asks for another one, if no wake-up comes sooner."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimedJob:
    """A job and the token under which its worker reports.

    Attributes:
        sent_at: the time of the claim's request, by the steady clock of this host.
        results: of finished steps, by name.
    """

    job: Job
    token: str
    sent_at: float = field(default_factory=time.monotonic)
    results: Mapping[str, Any] = field(default_factory=dict)


class Attempts:
    """The worker's side of the life of a job."""

    def __init__(
        self,
        jobs: JobStore,
        claims: ClaimStore,
        limiter: Limiter,
        dependencies: DependencyStore,
        steps: Steps,
        outboxes: Outboxes,
        logs: Logs,
        notifier: Notifier,
    ) -> None:
        self._jobs = jobs
        self._claims = claims
        self._limiter = limiter
        self._dependencies = dependencies
        self._configs = limiter.configs
        self._outboxes = outboxes
        self._logs = logs
        self._notifier = notifier
        self.alone = SoloRuns(claims)
        self.give_backs = GiveBacks(jobs, claims, self._apply)
        self.handed_out = HandedOut()
        self.metrics: Metrics | None = None
        self.steps = steps

    async def claim(self, queue: str, types: Sequence[str] | None, **how: Any) -> ClaimedJob | None:
        """Claim as `attempt`, and return ``None`` also for a queue that holds its jobs back."""
        claimed = await self.attempt(queue, types, **how)
        return None if isinstance(claimed, HeldBack) else claimed

    async def attempt(
        self,
        queue: str,
        types: Sequence[str] | None,
        *,
        worker: str,
        under: QueueConfig | None = None,
        **options: Unpack[ClaimOptions],
    ) -> ClaimedJob | HeldBack | None:
        """Claim the first waiting job of a queue that its limits let through.

        A claim happens within a second, by the server's clock, after its configuration was read, or not at all. If the
        call fails or is cancelled after the claim's request, the job goes back, uncounted.

        Args:
            queue: its name.
            types: only these; ``None`` for any but the excluded ones.
            worker: the name of the worker.
            under: claim nothing unless this is the queue's present configuration.
            options: as in `ClaimSearch`; the request with a ``key`` gets the job that it has claimed before.

        Returns:
            The job; `HeldBack` if a limit of the queue holds waiting jobs back; ``None`` if no job waits.
        """
        search = ClaimSearch(
            queue=queue,
            types=None if types is None else tuple(types),
            token=secrets.token_hex(12),
            worker=worker,
            suspects=await self.alone.may_have(worker),
            **options,
        )
        for turn in range(_TRIES):
            # Fresh also after this process was stopped for a while: the present configuration holds.
            config = await self._configs.fresh(queue)
            if config.paused or types == ():
                return None
            if under is not None and config != under:
                return HeldBack(seconds=0)
            horizon = self._configs.horizon
            try:
                claimed = await self._claim(replace(search, until=horizon), config, under)
            except LateClaimError:
                if turn:
                    self._configs.was_late(horizon)
            except RepeatedClaimError:
                return await self.again(queue, str(options.get("key"))) or HeldBack(seconds=_PAUSE)
            else:
                self._configs.was_in_time(horizon)
                return claimed
        return HeldBack(seconds=_PAUSE)

    async def again(self, queue: str, key: str) -> ClaimedJob | None:
        """Return the running job that a worker's request has claimed, with its token and a new lease, or ``None``."""
        sent_at = time.monotonic()
        job = await self._claims.again(queue, key)
        return None if job is None or job.claim is None else await self._handed(job, job.claim.token, sent_at)

    async def report(
        self,
        job: Job,
        token: str,
        *,
        progress: float | None = None,
        lines: Sequence[tuple[str, str | None]] = (),
        report: str | None = None,
    ) -> HeartbeatReply | None:
        """Renew the lease and keep progress and log lines (text and level); ``None`` if the claim is lost.

        The lines of a report that is repeated under its id are kept once.
        """
        if progress is not None and not 0 <= progress <= 100:  # noqa: PLR2004 - said in the message
            raise InvalidInputError({"progress": ["must be from 0 to 100"]})
        kept = [
            {"m": part} | ({"level": level} if level else {})
            for line, level in lines
            for part in split(line, LONGEST_LINE)
        ]
        beat = await self._claims.renew(job.id, job.queue, token, progress=progress, lines=kept, report=report)
        if kept:
            self._logs.news(job.id)
        return beat

    async def settle(self, job: Job, token: str, verdict: Verdict, *, is_read: bool = False) -> JobStanding | None:
        """Record the verdict of a processor on a job it ran.

        Args:
            job: as claimed, or as read since.
            token: of the claim.
            verdict: of the processor.
            is_read: the job was read just now, and its steps are the present ones.

        Returns:
            The state of the job then; ``None`` if only a read can tell, as after a repeated report.

        Raises:
            StaleTokenError: the claim is not current; the history keeps the report.
            OlderWorkersError: workers of a version without steps serve the queue, and would run a suspended job.
            InvalidInputError, TooLargeError: the outcome cannot be stored; the job is still processing.
        """
        if isinstance(verdict, Accepted):
            return None
        most = 0
        if isinstance(verdict, Suspension):
            await self.steps.admission.check(job.queue)
        if isinstance(verdict, RunAgain | Suspension):
            most = (await self._configs.fresh(job.queue)).max_retries
            if not is_read:
                # Steps that have finished since the claim tell a job that advances from one that goes round in circles.
                job = replace(job, steps=await self._jobs.steps.of(job.id))
        return await self._apply(job, _change(job, token, verdict, most))

    async def release(self, job: Job, token: str) -> None:
        """Give a claimed job back, uncounted, as on shutdown."""
        with contextlib.suppress(StaleTokenError):
            await self._apply(job, transitions.release(token))

    async def _claim(
        self, search: ClaimSearch, config: QueueConfig, under: QueueConfig | None
    ) -> ClaimedJob | HeldBack | None:
        sent_at = time.monotonic()
        call = asyncio.create_task(self._find(search, config, under))
        try:
            job = await asyncio.shield(call)
        except asyncio.CancelledError:
            self.give_backs.after(call, search)
            raise
        except (LateClaimError, RepeatedClaimError):
            raise
        except Exception as error:
            self.give_backs.look_for(search, error)
            raise
        if job is None or isinstance(job, HeldBack):
            return job
        return await self.handed(job, search.token, sent_at)

    async def handed(self, job: Job, token: str, sent_at: float) -> ClaimedJob:
        """Count a claim, and return its job with all that its worker needs; if that fails, the job goes back."""
        if self.metrics is not None:
            try:
                self.metrics.claimed(job)
            except Exception:
                log.exception("claim not counted", job_id=job.id)
        return await self._handed(job, token, sent_at)

    async def _handed(self, job: Job, token: str, sent_at: float) -> ClaimedJob:
        """Return a claimed job with all that its worker needs, as `handed`; a repeated claim is not counted again."""
        try:
            job = await self._complete(job)
            results = await self.steps.with_job(job)
            return ClaimedJob(job=job, token=token, sent_at=sent_at, results=results)
        except BaseException as error:
            self.give_backs.give_back(job, token, error)
            raise

    async def _complete(self, job: Job) -> Job:
        """Return a claimed job with the results of its dependencies."""
        if len(job.history) > MOST_HISTORY:
            await self._jobs.history.spill(job.id, keep=_KEPT_HISTORY, state=job.state)
        if job.depends_on:
            job = replace(job, parents=await self._dependencies.parents(job))
        return job

    async def _apply(self, job: Job, change: Transition) -> JobStanding | None:
        if applied := await self._write(job, self._limiter.breakers.ending(job, change)):
            self._logs.news(job.id)
            if applied.is_new:
                self._limiter.slots.released(job.queue, job.slots)
                if self.metrics is not None:
                    await self.metrics.ended(job, change)
            if job.is_suspect and job.claim is not None:
                self.alone.holders.forget(job.claim.worker)
            if job.slots:
                # A suspect makes room for suspects of every queue.
                queue = None if job.is_suspect else job.queue
                self._notifier.tell(Wakeup(kind="room", queue=queue, job_id=job.id))
            if applied.outbox:
                await self._outboxes.cascade(job.id)
            if change.target in states.WAITING:
                kind = "ready" if change.target is states.State.PENDING else "delayed"
                self._notifier.tell(Wakeup(kind=kind, queue=job.queue, job_id=job.id))
                if change.wait is not None and change.wait.signals:
                    # A signal that came before the wait has woken the job already.
                    self._notifier.tell(Wakeup(kind="ready", queue=job.queue, job_id=job.id))
            # The outbox of a job that goes on may have led to another state.
            return applied.standing if change.target in states.FINAL or not applied.outbox else None
        present = await self._jobs.lean(job.id)
        if present.claim is None or present.claim.token != change.token:
            # Otherwise the worker has repeated its request and runs the job.
            await self._jobs.history.keep_late(job.id, str(change.token), _late(change))
        raise StaleTokenError(job.id, present.state)

    async def _find(self, search: ClaimSearch, config: QueueConfig, under: QueueConfig | None) -> Job | HeldBack | None:
        """Claim a job; give a suspect back at once if the worker runs another suspect."""
        job = await (self._limiter.claim(search, under) if config.limited else self._claims.claim(search))
        if isinstance(job, HeldBack):
            return job
        if job is None:
            return HeldBack(seconds=_ASK_SECONDS) if self.alone.is_busy(search.worker) else None
        if not job.is_suspect:
            return job
        async with self.alone.turn:
            is_second = await self.alone.is_second(job, search.worker, search.token)
            if is_second:
                await self.release(job, search.token)
        self.alone.holders.note(search.worker)
        return HeldBack(seconds=_ASK_SECONDS) if is_second else job

    async def _write(self, job: Job, change: Transition) -> AppliedTransition | None:
        """Apply a transition; an unforeseen error becomes an input error, as the outcome cannot be stored."""
        try:
            return await self._jobs.apply(job.id, job.queue, change)
        except JobQueueError:
            raise
        except Exception as error:
            log.exception("outcome not stored", job_id=job.id, outcome=change.outcome.value)
            field = "result" if change.target is states.State.SUCCESS else "reason"
            raise InvalidInputError({field: [f"cannot be stored: {words(error)}"]}) from error


def _change(
    job: Job, token: str, verdict: Success | Failure | Death | RunAgain | Suspension, max_retries: int
) -> Transition:
    match verdict:
        case Success():
            return transitions.succeed(job, token, payload.check_result(verdict.result), code=verdict.code)
        case Failure():
            return transitions.fail(
                job,
                token,
                verdict.error,
                chance=random.random(),  # noqa: S311 - spreads retries
                code=verdict.code,
                outcome=Outcome.TIMEOUT if verdict.timed_out else Outcome.FAIL,
            )
        case Death():
            return transitions.die(job, token, verdict.error, code=verdict.code)
        case RunAgain(delay=delay, error=error, code=code):
            most = _most_retries(job, token, max_retries)
            return transitions.retry(job, token, delay=delay, error=error, code=code, most=most)
        case Suspension(delay=delay, until=until, wait=wait, code=code):
            most = _most_retries(job, token, max_retries)
            return transitions.suspend(job, token, delay=delay, until=until, wait=wait, code=code, most=most)


def _most_retries(job: Job, token: str, most: int) -> int:
    """Return how often a job may go back uncounted; a repeated report gets the limit that repeats its first outcome."""
    for attempt in reversed(job.history):
        if attempt.token == token and attempt.outcome in {Outcome.RETRY, Outcome.SUSPEND}:
            return sys.maxsize
        if attempt.token == token and attempt.error is not None and attempt.error.kind == transitions.ENDLESS:
            return -1
    return most


def _late(change: Transition) -> dict[str, Any]:
    report: dict[str, Any] = {"outcome": change.outcome.value}
    if change.error is not None:
        report["error"] = json_form.error(change.error)
    if change.result is not transitions.UNSET:
        small = payload.check(change.result, "result", naive=True) <= _LONGEST_LATE
        report["result"] = change.result if small else cut(str(change.result), _LONGEST_LATE)
    if change.code is not None:
        report["code"] = change.code
    return report
