"""Circuit breakers: after too many failed attempts in a row nothing is started for a while, then one job on trial."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Literal

from jobqueue.domain.jobs.states import Outcome
from jobqueue.domain.jobs.transitions import BREAKER
from jobqueue.journal import get_logger
from jobqueue.services.signals.notifier import Wakeup
from jobqueue.store.limits.limits import AttemptEnd

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from jobqueue.domain.jobs.attempt import Attempt
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
    """What the breakers of a queue let through.

    Attributes:
        wait: seconds until the whole queue may have a job on trial; 0 if it is not held back.
        trial: the whole queue may have one job only.
        waits: by type, seconds until one job of it may be on trial.
        trials: types that may have one job only.
    """

    wait: float = 0
    trial: bool = False
    waits: Mapping[str, float]
    trials: frozenset[str] = frozenset()


OPEN_GATE: Final = BreakerGate(waits={})


class Breakers:
    """Counts failed attempts and says what may start."""

    def __init__(self, limits: LimitStore, configs: QueueConfigs, notifier: Notifier) -> None:
        self._limits = limits
        self._configs = configs
        self._notifier = notifier

    def ending(self, job: Job, change: Transition) -> Transition:
        """Return the end of an attempt with a note in the job's outbox, if the queue's breaker is to count it.

        The same update ends the attempt and leaves the note: so no crash comes between them. Only a success and the
        attempt's own failing count: not that it dies, is killed or given back.
        """
        counts = change.outcome in _FAILED or change.outcome is Outcome.SUCCESS
        if not counts or change.token is None or self._configs.of(job.queue).breaker is None:
            return change
        return replace(change, outbox=(f"{BREAKER}{change.token}", *change.outbox))

    async def count(self, job: Job) -> None:
        """Count the attempts that a job's outbox names, each once, by when and how its history says that they ended."""
        tokens = {name.removeprefix(BREAKER) for name in job.outbox if name.startswith(BREAKER)}
        # A process that only requeues a job has read no configuration yet, and takes the note off all the same.
        breaker = (await self._configs.fresh(job.queue)).breaker if tokens else None
        if breaker is None:
            return
        for one in job.history:
            if one.token in tokens and one.end_at is not None:
                await self._count(job, breaker, one)

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
                log.warning(
                    "circuit breaker open", queue=job.queue, type=kind, failures=state.failures, until=state.open_until
                )

    async def gate(self, queue: str, config: QueueConfig) -> BreakerGate:
        """Return what may start now."""
        if config.breaker is None:
            return OPEN_GATE
        now = await self._limits.clock.now()
        wait, trial = 0.0, False
        waits: dict[str, float] = {}
        trials: set[str] = set()
        for one in await self.states(queue, config):
            found = status(one, config.breaker, now)
            if found == "open" and one.open_until is not None:
                left = (one.open_until - now).total_seconds()
                if one.type is None:
                    wait = left
                else:
                    waits[one.type] = left
            elif found == "half-open":
                if one.type is None:
                    trial = True
                else:
                    trials.add(one.type)
        return BreakerGate(wait=wait, trial=trial, waits=waits, trials=frozenset(trials))

    async def states(self, queue: str, config: QueueConfig) -> list[BreakerState]:
        """Return the breakers that the configuration asks for and that have counted something."""
        if config.breaker is None:
            return []
        by_type = config.breaker.per == "type"
        return [one for one in await self._limits.breakers(queue) if (one.type is not None) == by_type]

    async def close(self, queue: str, *, forget: bool = False) -> None:
        """Close all breakers of a queue; ``forget`` deletes them, as for a queue that is deleted."""
        await self._limits.close_breakers(queue, forget=forget)


def status(state: BreakerState, breaker: Breaker, now: datetime) -> Status:
    """Return how a breaker stands: nothing starts while it is open, and one job at a time while it is half-open."""
    if state.failures < breaker.failures:
        return "closed"
    return "open" if state.open_until is not None and state.open_until > now else "half-open"
