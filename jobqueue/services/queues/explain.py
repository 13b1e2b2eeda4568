"""Explain why a job is not running."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from jobqueue.domain.access.access import EVERYTHING, Scope
from jobqueue.domain.attempts.states import FINAL, Outcome, State
from jobqueue.domain.jobs import json_form
from jobqueue.domain.limits.limits import limit_key
from jobqueue.domain.queues import queue_form
from jobqueue.domain.queues.queue import paused_text
from jobqueue.domain.steps.call import HOLD
from jobqueue.domain.steps.step import StepKind
from jobqueue.services.limits.breakers import status

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from jobqueue.domain.jobs.job import Job
    from jobqueue.domain.queues.queue import QueueConfig
    from jobqueue.domain.steps.step import Step, Wait
    from jobqueue.services.limits.breakers import Breakers
    from jobqueue.services.signals.config import QueueConfigs
    from jobqueue.store.access.scope_checks import ScopeChecks
    from jobqueue.store.jobs.jobs import JobStore
    from jobqueue.store.limits.limits import LimitStore
    from jobqueue.store.queues.queues import QueueStore
    from jobqueue.store.work.neighbours import NeighbourStore
    from jobqueue.store.work.workers import Worker, WorkerStore

EXPIRY: Final = "expiry"
"""Kind of what follows if the job does not start in time."""
_MOST_HOLDERS: Final = 50
_MOST_DEPENDENCIES: Final = 50
_WHOLE_QUEUE: Final = {
    "breaker": "too many attempts failed in a row",
    "concurrency": "as many jobs as may run at a time are running",
    "rate": "as many jobs as may start for now have started",
    "alone": "it runs alone after crashes of its workers, and every worker for it runs another such job",
    "turn": "other jobs of the queue come first",
}
"""Messages for callers who see only some jobs of a queue."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """A reason for which a job does not run now.

    Attributes:
        kind: ``state``, ``due``, ``signal``, ``doubt``, ``children``, ``dependency``, ``paused``, ``no-worker``,
            ``breaker``, ``concurrency``, ``rate``, ``alone``, ``turn``, and last `EXPIRY`.
        message: for people.
        details: for programs, in JSON form.
    """

    kind: str
    message: str
    details: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Why:
    """All reasons, and the earliest time at which the job can start, as far as known."""

    job: Job
    reasons: tuple[Reason, ...]
    next_start_at: datetime | None


class Explainer:
    """Finds the reasons for which a job is not running."""

    def __init__(
        self,
        jobs: JobStore,
        configs: QueueConfigs,
        limits: LimitStore,
        breakers: Breakers,
        workers: WorkerStore,
        figures: QueueStore,
        scope_checks: ScopeChecks,
        neighbours: NeighbourStore,
    ) -> None:
        self._scope_checks = scope_checks
        self._neighbours = neighbours
        self._jobs = jobs
        self._configs = configs
        self._limits = limits
        self._breakers = breakers
        self._workers = workers
        self._figures = figures

    async def why(self, job_id: str, scope: Scope = EVERYTHING) -> Why:
        """Return the reasons, none for a job that may be claimed at any moment.

        Args:
            job_id: of the job.
            scope: of the caller. The reasons name no jobs outside of the scope; in a scope of ``meta`` they have no
                figures of the whole queue either.

        Raises:
            NotFoundError: there is no job of this id.
        """
        why = await self._why(job_id)
        return why if scope.is_everything else replace(why, reasons=await self._seen(why.reasons, scope))

    async def _seen(self, reasons: tuple[Reason, ...], scope: Scope) -> tuple[Reason, ...]:
        visible = []
        for reason in reasons:
            seen = reason
            if reason.kind in {"dependency", "unread"}:
                jobs = reason.details["jobs"]
                hidden = await self._scope_checks.missing([job["id"] for job in jobs], scope)
                seen = replace(reason, details={"jobs": [job for job in jobs if job["id"] not in hidden]})
            elif scope.meta and reason.kind in _WHOLE_QUEUE:
                kept: dict[str, Any] = {
                    name: reason.details[name] for name in ("state", "until", "nextStartAt") if name in reason.details
                }
                seen = replace(reason, message=_WHOLE_QUEUE[reason.kind], details=kept)
            visible.append(seen)
        return tuple(visible)

    async def _why(self, job_id: str) -> Why:
        job = await self._jobs.get(job_id)
        now = await self._limits.clock.now()
        if job.state in FINAL or job.state is State.PROCESSING:
            return Why(job=job, reasons=(_by_state(job), *await self._unread(job, now)), next_start_at=None)
        config = await self._configs.fresh(job.queue)
        reasons: list[tuple[Reason, float | None]] = []
        if job.state is State.DELAYED:
            reasons += await self._delayed(job, config, now)
        if config.paused:
            reasons.append((Reason(kind="paused", message=paused_text(job.queue, config)), None))
        alive = await self._workers.alive()
        reasons += await self._workless(job, config, alive)
        reasons += await self._broken(job, config, now)
        reasons += await self._limited(job, config, now)
        reasons += await self._alone(job, alive)
        if not reasons:
            reasons += await self._turn(job)
        reasons += _expiry(job)
        waits = [wait for _, wait in reasons if wait is not None]
        next_start_at = now + timedelta(seconds=max(waits)) if waits else None
        return Why(job=job, reasons=tuple(reason for reason, _ in reasons), next_start_at=next_start_at)

    async def _unread(self, job: Job, now: datetime) -> list[Reason]:
        """Return the reason for which a job that should be deleted is still there."""
        seconds = (await self._configs.fresh(job.queue)).retention.get(job.state.value)
        is_over = seconds is not None and job.end_at is not None and job.end_at + timedelta(seconds=seconds) <= now
        if not is_over and not (job.state is State.SUCCESS and job.on_success_delete):
            return []
        reason, readers = await self._jobs.readers.readers(job)
        if reason is None:
            return []
        details = {"jobs": [{"id": reader, "state": state} for reader, state in readers]}
        return [Reason(kind="unread", message=f"it is not deleted yet: {reason}", details=details)]

    async def _delayed(self, job: Job, config: QueueConfig, now: datetime) -> list[tuple[Reason, float | None]]:
        reasons: list[tuple[Reason, float | None]] = []
        if job.wait is not None and job.wait.doubt is not None:
            reasons.append((_doubt(job.wait.doubt), None))
        elif job.wait is not None and job.wait.signals:
            reasons.append(_signal(job, job.wait, job.wait.signals, now))
        elif job.delay_til is not None:
            wait = max(0.0, (job.delay_til - now).total_seconds())
            at = json_form.date(job.delay_til)
            details = {"at": at, **_retries(job, config), **_waits(job)}
            reasons.append((Reason(kind="due", message=_why_later(job, at), details=details), wait))
        reasons += [(reason, None) for reason in await self._awaited(job)]
        if job.waits_for:
            open_ones = await self._figures.unfulfilled(job.waits_for, _MOST_DEPENDENCIES)
            details = {"jobs": [{"id": job_id, "state": state} for job_id, state in open_ones]}
            noun = "job" if len(job.waits_for) == 1 else "jobs"
            message = f"waits for {len(job.waits_for):,} other {noun} to succeed"
            reasons.append((Reason(kind="dependency", message=message, details=details), None))
        return reasons

    async def _awaited(self, job: Job) -> list[Reason]:
        """Return the reason of a job that waits for children."""
        waiting = job.wait.names if job.wait is not None else ()
        texts, entries = [], []
        for step in job.steps or ():
            if step.call is None or step.is_finished or step.name not in waiting:
                continue
            unfinished = await self._jobs.calls.open_count(step.call)
            failed = await self._jobs.calls.failed_count(step.call) if step.call.failures == HOLD else 0
            entries.append({"name": step.name, "jobIds": step.job_ids, "unfinished": unfinished, "failed": failed})
            texts.append(_children(step, unfinished, failed))
        return (
            [Reason(kind="children", message=f"waits for {'; '.join(texts)}", details={"steps": entries})]
            if texts
            else []
        )

    async def _alone(self, job: Job, alive: Sequence[Worker]) -> list[tuple[Reason, float | None]]:
        """Return a reason if the job must run alone, and every worker for it runs another such job."""
        takers = sorted(
            worker.name for worker in alive if any(post.takes(job.queue, job.type) for post in worker.posts)
        )
        if not job.is_suspect or not takers or not set(takers) <= await self._neighbours.busy_with_suspects():
            return []
        details = {"crashes": job.crashes, "workers": takers[:_MOST_HOLDERS]}
        message = (
            f"its workers died {job.crashes} times while it ran beside others, so it runs alone: "
            "every worker for it runs another such job"
        )
        return [(Reason(kind="alone", message=message, details=details), None)]

    async def _workless(
        self, job: Job, config: QueueConfig, alive: Sequence[Worker]
    ) -> list[tuple[Reason, float | None]]:
        if any(post.takes(job.queue, job.type) for worker in alive for post in worker.posts):
            return []
        if any(running.type == job.type for running in await self._limits.running(job.queue, None)):
            # The worker that runs such a job claims the next one after it.
            return []
        processor = config.processor_for(job.type)
        message = f"no worker for jobs of type {job.type} of queue {job.queue} was heard of lately"
        if processor is not None:
            kind = queue_form.processor(processor)["kind"]
            message = f"no server that can run this {kind} was heard of lately"
        return [(Reason(kind="no-worker", message=message), None)]

    async def _broken(self, job: Job, config: QueueConfig, now: datetime) -> list[tuple[Reason, float | None]]:
        if config.breaker is None:
            return []
        reasons: list[tuple[Reason, float | None]] = []
        for breaker in await self._breakers.states(job.queue, config):
            stands = status(breaker, config.breaker, now)
            if stands == "closed" or breaker.type not in {None, job.type}:
                continue
            details: dict[str, Any] = {"state": stands, "failures": breaker.failures}
            wait = None
            message = f"{breaker.failures} attempts failed in a row; one job is on trial"
            if stands == "open" and breaker.open_until is not None:
                details["until"] = json_form.date(breaker.open_until)
                wait = (breaker.open_until - now).total_seconds()
                message = f"{breaker.failures} attempts failed in a row; nothing starts before {details['until']}"
            reasons.append((Reason(kind="breaker", message=message, details=details), wait))
        return reasons

    async def _limited(self, job: Job, config: QueueConfig, now: datetime) -> list[tuple[Reason, float | None]]:
        reasons: list[tuple[Reason, float | None]] = []
        path = config.limit_by
        key = limit_key(path, job.data, job.meta) if path is not None else None
        where = f" for {key}" if key is not None else ""
        if config.concurrency is not None:
            running = [holder for holder in await self._limits.running(job.queue, path) if holder.key == key]
            if len(running) >= config.concurrency:
                holders = [
                    {
                        "id": holder.job_id,
                        "type": holder.type,
                        "worker": holder.worker,
                        "startAt": json_form.value(holder.start_at),
                        "step": holder.step,
                    }
                    for holder in running[:_MOST_HOLDERS]
                ]
                message = f"{len(running)} of {config.concurrency} jobs are running{where}"
                details = {"limit": config.concurrency, "running": len(running), "holders": holders}
                reasons.append((Reason(kind="concurrency", message=message, details=details), None))
        if config.rate is not None:
            wait = await self._limits.wait_for_start(job.queue, key, config.rate)
            if wait > 0:
                at = json_form.date(now + timedelta(seconds=wait))
                message = f"{config.rate.limit} jobs have started within {config.rate.per:g} s{where}; the next at {at}"
                details = {**config.rate.wire(), "nextStartAt": at}
                reasons.append((Reason(kind="rate", message=message, details=details), wait))
        return reasons

    async def _turn(self, job: Job) -> list[tuple[Reason, float | None]]:
        ahead, is_exact = await self._figures.ahead_of(job)
        if not ahead:
            return []
        count = f"{ahead:,}" if is_exact else f"more than {ahead:,}"
        message = f"{count} jobs of the queue come first"
        return [(Reason(kind="turn", message=message, details={"ahead": ahead, "exact": is_exact}), None)]


def _expiry(job: Job) -> list[tuple[Reason, float | None]]:
    """Return the end of a job that does not start in time: no reason of its wait, and the last of them."""
    if job.start_before is None:
        return []
    at = json_form.date(job.start_before)
    return [(Reason(kind=EXPIRY, message=f"is killed unless it has started by {at}", details={"at": at}), None)]


def _doubt(step: str) -> Reason:
    return Reason(kind="doubt", message=f"in doubt: did {step} happen? A person has to say", details={"step": step})


def _signal(job: Job, wait: Wait, signals: tuple[str, ...], now: datetime) -> tuple[Reason, float | None]:
    """Return the reason of a job that waits for signals, and the seconds until it waits no longer."""
    names = " or ".join(signals)
    details: dict[str, Any] = {"signals": list(signals), "steps": list(wait.names)}
    message = f"waits for the signal {names}"
    if job.delay_til is None:
        return Reason(kind="signal", message=message, details=details), None
    at = json_form.date(job.delay_til)
    seconds = max(0.0, (job.delay_til - now).total_seconds())
    return Reason(kind="signal", message=f"{message} until {at}", details={"at": at, **details}), seconds


def _children(step: Step, unfinished: int, failed: int) -> str:
    total = step.job_ids or 0
    noun = "child" if total == 1 else "children"
    held = f"; {failed:,} of them {'has' if failed == 1 else 'have'} failed and {'waits' if failed == 1 else 'wait'}"
    more = f"{held} for {'its' if failed == 1 else 'a'} requeue" if failed else ""
    return f"{unfinished:,} of {total:,} {noun} of {step.kind.value} {step.name}{more}"


def _is_retried(job: Job) -> bool:
    return bool(job.retries and job.history and job.history[-1].outcome is Outcome.RETRY)


def _why_later(job: Job, at: str) -> str:
    if job.wait is not None:
        return f"suspended until {at}{_waits_for(job.wait, job.steps or ())}"
    if job.retries and _is_retried(job):
        times = f"{job.retries.count:,} time{'' if job.retries.count == 1 else 's'}"
        return f"not before {at}: retried {times} in a row, uncounted"
    why = f"attempt {job.attempts_made} of {job.attempts} failed" if job.attempts_made else "delayed"
    return f"not before {at}: {why}"


def _waits_for(wait: Wait, steps: Sequence[Step]) -> str:
    """Return the steps for which a job waits, as the end of a sentence."""
    known = {step.name: step for step in steps}
    parts = []
    for name in wait.names:
        step = known.get(name)
        error = f", which failed: {step.error.kind}: {step.error.message}" if step and step.error else ""
        parts.append(f"{step.kind.value if step else StepKind.STEP.value} {name}{error}")
    return f", by {'; '.join(parts)}" if parts else ""


def _waits(job: Job) -> dict[str, Any]:
    return {"steps": list(job.wait.names)} if job.wait is not None and job.wait.names else {}


def _retries(job: Job, config: QueueConfig) -> dict[str, Any]:
    if job.retries and _is_retried(job):
        return {"retries": {"count": job.retries.count, "most": config.max_retries}}
    return {}


def _by_state(job: Job) -> Reason:
    if job.state is State.PROCESSING:
        worker, step = (job.claim.worker, job.claim.step) if job.claim else ("?", None)
        message = f"it is running on {worker}{f', in step {step}' if step else ''}"
        details = {"state": job.state.value} | ({"steps": [step]} if step else {})
        return Reason(kind="state", message=message, details=details)
    why = f": {job.error.message}" if job.error is not None else ""
    return Reason(kind="state", message=f"it has ended as {job.state.value}{why}", details={"state": job.state.value})
