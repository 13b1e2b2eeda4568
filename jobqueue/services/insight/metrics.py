"""Metrics for Prometheus, of this process and of all queues."""

from __future__ import annotations

import asyncio
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, ProcessCollector
from prometheus_client.exposition import choose_encoder

from jobqueue.domain.attempts.states import FINAL
from jobqueue.domain.errors import DatabaseError
from jobqueue.domain.insight.activity import TIMED

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jobqueue.domain.jobs.job import Job
    from jobqueue.domain.jobs.transitions import Transition
    from jobqueue.services.insight.job_counts import JobCounts
    from jobqueue.store.mongo.clock import ServerClock

MOST_QUEUES: Final = 200
"""Queues with labels of their own; all other queues share one label, so that queues cannot fill Prometheus's memory."""
OTHERS: Final = "(others)"
_WAITS: Final = (0.01, 0.05, 0.1, 0.5, 1, 5, 15, 60, 300, 900, 3600, 6 * 3600, 86_400)
_RUNS: Final = (0.05, 0.1, 0.5, 1, 5, 15, 60, 300, 900, 3600, 6 * 3600, 86_400)


class Metrics:
    """Counts the work of this process, and reads the state of the queues on request."""

    def __init__(self, job_counts: JobCounts, clock: ServerClock) -> None:
        self._job_counts = job_counts
        self._clock = clock
        self._named: set[str] = set()
        self._children: dict[tuple[Any, ...], Any] = {}
        self._asking = asyncio.Lock()
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        Info("jobqueue_build", "The version that runs", registry=registry).info({"version": version("jobqueue")})
        self._claims = Counter("jobqueue_claims", "Jobs claimed in this process", ["queue"], registry=registry)
        self._attempts = Counter(
            "jobqueue_attempts", "Attempts whose end this process recorded", ["queue", "outcome"], registry=registry
        )
        self._finished = Counter(
            "jobqueue_finished", "Jobs whose last attempt this process recorded", ["queue", "state"], registry=registry
        )
        self._waits = Histogram(
            "jobqueue_wait_seconds",
            "From when a job could be claimed until this process did",
            ["queue"],
            buckets=_WAITS,
            registry=registry,
        )
        self._runs = Histogram(
            "jobqueue_run_seconds",
            "How long attempts took whose end this process recorded",
            ["queue"],
            buckets=_RUNS,
            registry=registry,
        )
        self._loop_errors = Counter(
            "jobqueue_loop_errors",
            "Unforeseen errors that loops of this process have survived",
            ["loop"],
            registry=registry,
        )
        self._up = Gauge("jobqueue_database_up", "Whether the queues could be looked at", registry=registry)
        self._jobs = Gauge("jobqueue_jobs", "Jobs of all processes", ["queue", "state"], registry=registry)
        self._oldest = Gauge(
            "jobqueue_oldest_ready_seconds",
            "Since when the job that waits longest could be claimed; 0 if none waits",
            ["queue"],
            registry=registry,
        )

    def claimed(self, job: Job) -> None:
        """Count a claim."""
        queue = self._label(job.queue)
        self._child(self._claims, queue).inc()
        ready = job.history[-1].ready_at if job.history else None
        if ready is not None and job.start_at is not None:
            self._child(self._waits, queue).observe(max(0.0, (job.start_at - ready).total_seconds()))

    def loop_failed(self, loop: str) -> None:
        """Count an unforeseen error of an endless loop; from any thread."""
        self._loop_errors.labels(loop).inc()

    async def ended(self, job: Job, change: Transition) -> None:
        """Count the end of an attempt of a claimed job."""
        queue = self._label(job.queue)
        self._child(self._attempts, queue, change.outcome.value).inc()
        if change.target in FINAL:
            self._child(self._finished, queue, change.target.value).inc()
        if change.outcome in TIMED and job.start_at is not None:
            try:
                now = await self._clock.now()
            except DatabaseError:
                return
            self._child(self._runs, queue).observe(max(0.0, (now - job.start_at).total_seconds()))

    async def text(self, accept: str) -> tuple[bytes, str]:
        """Return all metrics in a format that the ``Accept`` header names, and the media type."""
        async with self._asking:
            await self._look()
            encode, content_type = choose_encoder(accept)
            return encode(self.registry), content_type

    async def _look(self) -> None:
        try:
            states, oldest = await self._job_counts.states(), await self._job_counts.oldest_ready()
        except DatabaseError:
            self._jobs.clear()
            self._oldest.clear()
            self._up.set(0)
            return
        self._up.set(1)
        self._jobs.clear()
        self._oldest.clear()
        shown = _few(states)
        for queue, counts in shown.items():
            for state, count in counts.items():
                self._jobs.labels(queue, state).set(count)
            self._oldest.labels(queue).set(oldest.get(queue, 0.0))
        if OTHERS in shown:
            others = (age for queue, age in oldest.items() if queue not in shown)
            self._oldest.labels(OTHERS).set(max(others, default=0.0))

    def _child(self, metric: Any, *labels: str) -> Any:
        """Return the child of a metric for some labels; Prometheus would check them each time."""
        key = (metric, *labels)
        child = self._children.get(key)
        if child is None:
            child = self._children[key] = metric.labels(*labels)
        return child

    def _label(self, queue: str) -> str:
        if queue in self._named:
            return queue
        if len(self._named) >= MOST_QUEUES:
            return OTHERS
        self._named.add(queue)
        return queue


def _few(states: Mapping[str, Mapping[str, int]]) -> dict[str, dict[str, int]]:
    """Return the counts of the queues with most unfinished jobs, and the sum of all other queues."""
    ranked = sorted(states, key=lambda name: (-sum(states[name][state] for state in ("pending", "processing")), name))
    shown = {name: dict(states[name]) for name in ranked[:MOST_QUEUES]}
    for name in ranked[MOST_QUEUES:]:
        rest = shown.setdefault(OTHERS, dict.fromkeys(states[name], 0))
        for state, count in states[name].items():
            rest[state] += count
    return shown
