"""Circuit breakers: after too many failed attempts in a row no job starts for a while, then one job on trial."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, Literal

from jobqueue.domain.attempts.states import Outcome
from jobqueue.domain.jobs import json_form
from jobqueue.domain.jobs.transitions import BREAKER
from jobqueue.journal import get_logger
from jobqueue.services.signals.notifier import Wakeup
from jobqueue.store.limits.limits import AttemptEnd
from jobqueue.store.mongo.clock import lasts

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from jobqueue.domain.attempts.attempt import Attempt
    from jobqueue.domain.jobs.job import Job
    from jobqueue.domain.jobs.transitions import Transition
    from jobqueue.domain.limits.limits import Breaker
    from jobqueue.domain.queues.queue import QueueConfig
    from jobqueue.services.signals.config import QueueConfigs
    from jobqueue.services.signals.notifier import Notifier
    from jobqueue.store.limits.limits import BreakerState, LimitStore

log = get_logger(__name__)
_FAILED: Final = frozenset({Outcome.FAIL, Outcome.TIMEOUT, Outcome.HANGING})
Status = Literal["closed", "open", "half-open"]


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerGate:
    """The jobs that the breakers of a queue let through.

    Attributes:
        wait: seconds until one job of the queue may run on trial; 0 for a queue that is not held back.
        trial: one job of the queue may run, on trial.
        waits: seconds by type until one job of the type may run on trial.
        trials: types of which one job may run, on trial.
    """

    wait: float = 0
    trial: bool = False
    waits: Mapping[str, float]
    trials: frozenset[str] = frozenset()


OPEN_GATE: Final = BreakerGate(waits={})


class Breakers:
    """Counts failed attempts, and holds back jobs of open breakers."""

    def __init__(self, limits: LimitStore, configs: QueueConfigs, notifier: Notifier) -> None:
        self._limits = limits
        self._configs = configs
        self._notifier = notifier

    def ending(self, job: Job, change: Transition) -> Transition:
        """Return the end of an attempt, with a note in the job's outbox if the queue's breaker counts the end.

        One update ends the attempt and leaves the note, so that no crash comes between them. A breaker counts successes
        and failures; it does not count attempts that die, are killed or are given back.
        """
        counts = change.outcome in _FAILED or change.outcome is Outcome.SUCCESS
        if not counts or change.token is None or self._configs.of(job.queue).breaker is None:
            return change
        return replace(change, outbox=(f"{BREAKER}{change.token}", *change.outbox))

    async def count(self, job: Job) -> None:
        """Count the attempts that a job's outbox names, each once, by the times and outcomes in the job's history."""
        tokens = {name.removeprefix(BREAKER) for name in job.outbox if name.startswith(BREAKER)}
        # A process that only requeues a job has read no configuration yet, and still removes the note.
        breaker = (await self._configs.fresh(job.queue)).breaker if tokens else None
        if breaker is None:
            return
        for attempt in job.history:
            if attempt.token in tokens and attempt.end_at is not None:
                await self._count(job, breaker, attempt)

    async def _count(self, job: Job, breaker: Breaker, attempt: Attempt) -> None:
        kind = job.type if breaker.per == "type" else None
        end = AttemptEnd(token=str(attempt.token), at=attempt.end_at or job.insert_at)
        if attempt.outcome is Outcome.SUCCESS:
            if await self._limits.attempt_succeeded(job.queue, kind, breaker, end):
                log.info("circuit breaker closed", queue=job.queue, type=kind)
                self._notifier.tell(Wakeup(kind="ready", queue=job.queue))
        elif attempt.outcome in _FAILED:
            state = await self._limits.attempt_failed(job.queue, kind, breaker, end)
            if state.open_until is not None:
                until, failures = state.open_until, state.failures
                log.warning("circuit breaker opened", queue=job.queue, type=kind, failures=failures, until=until)

    async def gate(self, queue: str, config: QueueConfig) -> BreakerGate:
        """Return the gate of a queue at present."""
        if config.breaker is None:
            return OPEN_GATE
        now = await self._limits.clock.now()
        wait, trial = 0.0, False
        waits: dict[str, float] = {}
        trials: set[str] = set()
        for breaker in await self.states(queue, config):
            stands = status(breaker, config.breaker, now)
            if stands == "open" and breaker.open_until is not None:
                left = (breaker.open_until - now).total_seconds()
                if breaker.type is None:
                    wait = left
                else:
                    waits[breaker.type] = left
            elif stands == "half-open":
                if breaker.type is None:
                    trial = True
                else:
                    trials.add(breaker.type)
        return BreakerGate(wait=wait, trial=trial, waits=waits, trials=frozenset(trials))

    async def states(self, queue: str, config: QueueConfig) -> list[BreakerState]:
        """Return the breakers of the present configuration that have counted an attempt."""
        if config.breaker is None:
            return []
        by_type = config.breaker.per == "type"
        return [breaker for breaker in await self._limits.breakers(queue) if (breaker.type is not None) == by_type]

    async def view(self, queue: str, config: QueueConfig) -> list[dict[str, Any]]:
        """Return the breakers of a queue as JSON."""
        if config.breaker is None:
            return []
        now = await self._limits.clock.now()
        return [
            {
                "type": state.type,
                "state": status(state, config.breaker, now),
                "failures": state.failures,
                "until": json_form.value(state.open_until),
            }
            for state in await self.states(queue, config)
        ]

    async def close(self, queue: str, *, forget: bool = False) -> None:
        """Close all breakers of a queue; ``forget`` deletes them."""
        await self._limits.close_breakers(queue, forget=forget)


def status(state: BreakerState, breaker: Breaker, now: datetime) -> Status:
    """Return the state of a breaker: ``open`` lets no job start, ``half-open`` one job at a time."""
    if state.failures < breaker.failures:
        return "closed"
    return "open" if lasts(state.open_until, timedelta(seconds=breaker.cooldown), now) else "half-open"
