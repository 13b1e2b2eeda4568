"""Why a job is not running: the reasons in the order in which they stand in its way."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from jobqueue.domain.access.access import EVERYTHING, Scope
from jobqueue.domain.jobs import json_form
from jobqueue.domain.jobs.states import FINAL, Outcome, State
from jobqueue.domain.limits.limits import limit_key
from jobqueue.domain.queues import queue_form
from jobqueue.services.limits.breakers import status

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from jobqueue.domain.jobs.job import Job
    from jobqueue.domain.queues.queue import QueueConfig
    from jobqueue.services.limits.breakers import Breakers
    from jobqueue.services.signals.config import QueueConfigs
    from jobqueue.store.access.scope_checks import ScopeChecks
    from jobqueue.store.jobs.jobs import JobStore
    from jobqueue.store.limits.limits import LimitStore
    from jobqueue.store.queues.queues import QueueStore
    from jobqueue.store.work.neighbours import NeighbourStore
    from jobqueue.store.work.workers import Worker, WorkerStore

_MOST_HOLDERS: Final = 50
_MOST_DEPENDENCIES: Final = 50
_WHOLE_QUEUE: Final = {
    "breaker": "too many attempts failed in a row",
    "concurrency": "as many jobs as may run at a time are running",
    "rate": "as many jobs as may start for now have started",
    "alone": "it runs alone after crashes of its workers, and every worker for it runs another such job",
    "turn": "other jobs of the queue come first",
}
"""What is said of it to those who see only some jobs of a queue."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """One thing that keeps a job from running now.

    Attributes:
        kind: ``state``, ``due``, ``dependency``, ``paused``, ``no-worker``, ``breaker``, ``concurrency``, ``rate``,
            ``alone``, ``turn``.
        message: for people.
        details: for programs, in JSON form.
    """

    kind: str
    message: str
    details: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Why:
    """All reasons, and before when the job cannot start, as far as that is known."""

    job: Job
    reasons: tuple[Reason, ...]
    next_start_at: datetime | None

    def wire(self) -> dict[str, Any]:
        """Return the form it is shown in."""
        reasons = [{"kind": one.kind, "message": one.message, **one.details} for one in self.reasons]
        shown = {"id": self.job.id, "state": self.job.state.value, "reasons": reasons}
        return shown | {"nextStartAt": json_form.value(self.next_start_at)}


class Explainer:
    """Finds out why a job is not running."""

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
            scope: whoever is limited to it is told nothing of others' jobs, and with one of ``meta`` nothing of what
                is about the whole queue.

        Raises:
            NotFoundError: there is none of this id.
        """
        why = await self._why(job_id)
        return why if scope.is_everything else replace(why, reasons=await self._seen(why.reasons, scope))

    async def _seen(self, reasons: tuple[Reason, ...], scope: Scope) -> tuple[Reason, ...]:
        found = []
        for one in reasons:
            seen = one
            if one.kind in {"dependency", "unread"}:
                jobs = one.details["jobs"]
                hidden = await self._scope_checks.missing([job["id"] for job in jobs], scope)
                seen = replace(one, details={"jobs": [job for job in jobs if job["id"] not in hidden]})
            elif scope.meta and one.kind in _WHOLE_QUEUE:
                kept: dict[str, Any] = {
                    name: one.details[name] for name in ("state", "until", "nextStartAt") if name in one.details
                }
                seen = replace(one, message=_WHOLE_QUEUE[one.kind], details=kept)
            found.append(seen)
        return tuple(found)

    async def _why(self, job_id: str) -> Why:
        job = await self._jobs.get(job_id)
        now = await self._limits.clock.now()
        if job.state in FINAL or job.state is State.PROCESSING:
            return Why(job=job, reasons=(_by_state(job), *await self._unread(job, now)), next_start_at=None)
        config = await self._configs.fresh(job.queue)
        found: list[tuple[Reason, float | None]] = []
        if job.state is State.DELAYED:
            found += await self._delayed(job, config, now)
        if config.paused:
            found.append((Reason(kind="paused", message=f"queue {job.queue} is paused"), None))
        alive = await self._workers.alive()
        found += await self._workless(job, config, alive)
        found += await self._broken(job, config, now)
        found += await self._limited(job, config, now)
        found += await self._alone(job, alive)
        if not found:
            found += await self._turn(job)
        waits = [wait for _, wait in found if wait is not None]
        next_start_at = now + timedelta(seconds=max(waits)) if waits else None
        return Why(job=job, reasons=tuple(reason for reason, _ in found), next_start_at=next_start_at)

    async def _unread(self, job: Job, now: datetime) -> list[Reason]:
        """Return why a job that should be deleted by now is still there."""
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
        found: list[tuple[Reason, float | None]] = []
        if job.delay_til is not None:
            wait = max(0.0, (job.delay_til - now).total_seconds())
            at = json_form.date(job.delay_til)
            message = f"not before {at}: {_why_later(job)}"
            found.append((Reason(kind="due", message=message, details={"at": at, **_retries(job, config)}), wait))
        if job.waits_for:
            open_ones = await self._figures.unfulfilled(job.waits_for, _MOST_DEPENDENCIES)
            details = {"jobs": [{"id": one, "state": state} for one, state in open_ones]}
            message = f"waits for {len(job.waits_for)} other jobs to succeed"
            found.append((Reason(kind="dependency", message=message, details=details), None))
        return found

    async def _alone(self, job: Job, alive: Sequence[Worker]) -> list[tuple[Reason, float | None]]:
        """Return the reason of a job that must run alone while every worker for it runs another such job."""
        takers = sorted(one.name for one in alive if any(post.takes(job.queue, job.type) for post in one.posts))
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
        if any(one.type == job.type for one in await self._limits.running(job.queue, None)):
            # Whoever runs one of them will ask for the next when it is done.
            return []
        wanted = config.processor_for(job.type)
        message = f"no worker for jobs of type {job.type} of queue {job.queue} was heard of lately"
        if wanted is not None:
            kind = queue_form.processor(wanted)["kind"]
            message = f"no server that can run this {kind} was heard of lately"
        return [(Reason(kind="no-worker", message=message), None)]

    async def _broken(self, job: Job, config: QueueConfig, now: datetime) -> list[tuple[Reason, float | None]]:
        if config.breaker is None:
            return []
        found: list[tuple[Reason, float | None]] = []
        for one in await self._breakers.states(job.queue, config):
            stands = status(one, config.breaker, now)
            if stands == "closed" or one.type not in {None, job.type}:
                continue
            details: dict[str, Any] = {"state": stands, "failures": one.failures}
            wait = None
            message = f"{one.failures} attempts failed in a row; one job is on trial"
            if stands == "open" and one.open_until is not None:
                details["until"] = json_form.date(one.open_until)
                wait = (one.open_until - now).total_seconds()
                message = f"{one.failures} attempts failed in a row; nothing starts before {details['until']}"
            found.append((Reason(kind="breaker", message=message, details=details), wait))
        return found

    async def _limited(self, job: Job, config: QueueConfig, now: datetime) -> list[tuple[Reason, float | None]]:
        found: list[tuple[Reason, float | None]] = []
        path = config.limit_by
        key = limit_key(path, job.data, job.meta) if path is not None else None
        where = f" for {key}" if key is not None else ""
        if config.concurrency is not None:
            running = [one for one in await self._limits.running(job.queue, path) if one.key == key]
            if len(running) >= config.concurrency:
                holders = [
                    {"id": one.job_id, "type": one.type, "worker": one.worker, "startAt": json_form.value(one.start_at)}
                    for one in running[:_MOST_HOLDERS]
                ]
                message = f"{len(running)} of {config.concurrency} jobs are running{where}"
                details = {"limit": config.concurrency, "running": len(running), "holders": holders}
                found.append((Reason(kind="concurrency", message=message, details=details), None))
        if config.rate is not None:
            wait = await self._limits.wait_for_start(job.queue, key, config.rate)
            if wait > 0:
                at = json_form.date(now + timedelta(seconds=wait))
                message = f"{config.rate.limit} jobs have started within {config.rate.per:g} s{where}; the next at {at}"
                details = {**config.rate.wire(), "nextStartAt": at}
                found.append((Reason(kind="rate", message=message, details=details), wait))
        return found

    async def _turn(self, job: Job) -> list[tuple[Reason, float | None]]:
        ahead, is_exact = await self._figures.ahead_of(job)
        if not ahead:
            return []
        count = f"{ahead:,}" if is_exact else f"more than {ahead:,}"
        message = f"{count} jobs of the queue come first"
        return [(Reason(kind="turn", message=message, details={"ahead": ahead, "exact": is_exact}), None)]


def _is_retried(job: Job) -> bool:
    return bool(job.retries and job.history and job.history[-1].outcome is Outcome.RETRY)


def _why_later(job: Job) -> str:
    if job.retries and _is_retried(job):
        return f"retried {job.retries.count:,} time{'' if job.retries.count == 1 else 's'} in a row, uncounted"
    return f"attempt {job.attempts_made} of {job.attempts} failed" if job.attempts_made else "delayed"


def _retries(job: Job, config: QueueConfig) -> dict[str, Any]:
    if job.retries and _is_retried(job):
        return {"retries": {"count": job.retries.count, "most": config.max_retries}}
    return {}


def _by_state(job: Job) -> Reason:
    if job.state is State.PROCESSING:
        worker = job.claim.worker if job.claim else "?"
        return Reason(kind="state", message=f"it is running on {worker}", details={"state": job.state.value})
    why = f": {job.error.message}" if job.error is not None else ""
    return Reason(kind="state", message=f"it has ended as {job.state.value}{why}", details={"state": job.state.value})
