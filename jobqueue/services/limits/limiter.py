"""Claim from queues with limits: on jobs at a time, and on starts in a window, perhaps for each value of a path.

The limits hold over all processes, because only the database decides: a slot belongs to one running job at most, and a
start needs a grant. Reads before a claim only avoid claims that would fail.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final
from weakref import WeakValueDictionary

from jobqueue.domain.limits.limits import LONGEST_LEEWAY
from jobqueue.lru_cache import LruCache
from jobqueue.services.limits.breakers import OPEN_GATE
from jobqueue.services.limits.slots import MOST_REMEMBERED, SlotEstimates, free_slots, guesses
from jobqueue.store.documents.claim_search import ClaimPermit, LateClaimError, RepeatedClaimError, SlotTakenError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime, timedelta

    from jobqueue.domain.jobs.job import Job
    from jobqueue.domain.limits.limits import Rate
    from jobqueue.domain.queues.queue import QueueConfig
    from jobqueue.services.limits.breakers import BreakerGate, Breakers
    from jobqueue.services.signals.config import QueueConfigs
    from jobqueue.store.documents.claim_search import ClaimSearch
    from jobqueue.store.limits.group_keys import LimitKeyStore
    from jobqueue.store.limits.limits import LimitStore, RunningJob
    from jobqueue.store.work.claims import ClaimStore

TRIAL: Final = "trial"
"""The slot of the one job that may run while a circuit breaker is half-open."""
_MOST_GROUPS: Final = 1000
_SOON: Final = 0.02
_POLL: Final = 1.0
_LONGEST_STREAK: Final = 8
_PAUSE: Final = 0.05
Wanted = tuple[str, tuple[str, ...] | None, tuple[str, ...]]
_FLOWING_SECONDS: Final = 0.5
_MOST_FACTOR: Final = 1024.0


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldBack:
    """The reply to a claim whose jobs are held back by a limit.

    Attributes:
        seconds: until the next claim, if no wake-up comes sooner.
    """

    seconds: float


class GrantLeeway:
    """The time between a grant and its start that a process asks for: the leeway of the rate, or longer.

    Where a write takes longer than the leeway of the rate, every start would be too late for ever. A longer leeway lets
    fewer jobs start, and never too many: each grant holds for its own leeway.
    """

    def __init__(self) -> None:
        self._factors: LruCache[str, float] = LruCache(MOST_REMEMBERED)

    def of(self, queue: str, rate: Rate) -> timedelta:
        """Return the leeway of the next grant."""
        return min(rate.leeway * (self._factors.get(queue) or 1), max(rate.leeway, LONGEST_LEEWAY))

    def was_late(self, queue: str, rate: Rate, took: float) -> None:
        """Note that a start came ``took`` seconds after its request, too late; double the next leeway."""
        longer = max(self._factors.get(queue) or 1, took / rate.leeway.total_seconds())
        self._factors.keep(queue, min(2 * longer, _MOST_FACTOR))

    def was_in_time(self, queue: str, rate: Rate, took: float) -> None:
        """Note that a start came in time, ``took`` seconds after its request; shorten the next leeway."""
        factor = self._factors.forget(queue) or 1
        shorter = max(factor / 2, 2 * took / rate.leeway.total_seconds())
        if shorter > 1 and factor > 1:
            self._factors.keep(queue, min(factor, shorter))


class Limiter:
    """Claims from limited queues, one job at a time for each queue, because more claims would only collide."""

    def __init__(
        self, limits: LimitStore, keys: LimitKeyStore, claims: ClaimStore, breakers: Breakers, configs: QueueConfigs
    ) -> None:
        self._limits = limits
        self._keys = keys
        self.configs = configs
        self._claims = claims
        self.breakers = breakers
        # A lock exists while a claim holds it or waits for it.
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._turns: LruCache[tuple[str, str], str] = LruCache(MOST_REMEMBERED)
        self.slots = SlotEstimates(limits)
        self._leeway = GrantLeeway()
        self._found_at: LruCache[Wanted, float] = LruCache(MOST_REMEMBERED)
        self._streaks: LruCache[Wanted, int] = LruCache(MOST_REMEMBERED)

    async def claim(self, search: ClaimSearch, under: QueueConfig | None = None) -> Job | HeldBack | None:
        """Claim a job as far as the limits allow.

        Args:
            search: the queue and the types.
            under: as in `Attempts.attempt`.

        Raises:
            LateClaimError, RepeatedClaimError, DatabaseUnavailableError: as `ClaimStore.claim`.
        """
        turn = self._locks.setdefault(search.queue, asyncio.Lock())
        async with turn:
            # The claim may have waited for the lock for a while.
            config = await self.configs.fresh(search.queue)
            if config.paused:
                return None
            if under is not None and config != under:
                return HeldBack(seconds=0)
            search = replace(search, until=self.configs.horizon)
            gate = await self.breakers.gate(search.queue, config) if config.breaker else OPEN_GATE
            if gate.wait > 0:
                return HeldBack(seconds=gate.wait)
            trial = (TRIAL,) if gate.trial else ()
            held: list[HeldBack] = []
            for narrowed, slots in _searches(search, gate, trial):
                claimed = await (self._from_groups if config.grouped else self._from_queue)(narrowed, config, slots)
                if not isinstance(claimed, HeldBack | None):
                    return claimed
                held += [claimed] if claimed else []
            held += [HeldBack(seconds=wait) for kind, wait in gate.waits.items() if _takes(search, kind)]
            return min(held, key=lambda hold: hold.seconds, default=None)

    async def _from_queue(
        self, search: ClaimSearch, config: QueueConfig, slots: tuple[str, ...]
    ) -> Job | HeldBack | None:
        free: Sequence[tuple[str, ...]] = [slots]
        if config.concurrency is not None and await self._is_turn_of_others(search):
            return HeldBack(seconds=_PAUSE)
        if config.concurrency is not None:
            free = [
                (*slots, slot)
                for slot in await self.slots.offer(search.queue, config.concurrency, self.configs.revision)
            ]
        if free and config.rate is not None and not await self._something_waits(search):
            return None
        return await self._take(search, config, None, free)

    async def _is_turn_of_others(self, search: ClaimSearch) -> bool:
        """Return true if workers for other types get a slot that this process would take again and again."""
        key = (search.queue, search.types, search.excluded)
        if search.types is None or (self._streaks.get(key) or 0) < _LONGEST_STREAK:
            return False
        self._streaks.forget(key)
        first = await self._limits.type_of_first(search.queue)
        return first is not None and first not in search.types

    async def _something_waits(self, search: ClaimSearch) -> bool:
        """Return true if jobs wait, or jobs were found a moment ago; only then a claim asks for a grant."""
        key = (search.queue, search.types, search.excluded)
        found_at = self._found_at.get(key)
        if found_at is not None and time.monotonic() - found_at < _FLOWING_SECONDS:
            return True
        return await self._limits.something_waits(search)

    async def _from_groups(
        self, search: ClaimSearch, config: QueueConfig, slots: tuple[str, ...]
    ) -> Job | HeldBack | None:
        """Claim from the next group; groups take turns in the order of their keys."""
        path = config.limit_by or ""
        by_group: dict[str | None, list[RunningJob]] = {}
        if config.concurrency is not None:
            for job in await self._limits.running(search.queue, path):
                by_group.setdefault(job.key, []).append(job)
        most = config.concurrency
        passed_over = {key for key, jobs in by_group.items() if key is not None and most and len(jobs) >= most}
        waits = [_POLL] if passed_over else []
        for _ in range(_MOST_GROUPS):
            key = await self._next_group(search, path, passed_over)
            if key is None:
                break
            free: Sequence[tuple[str, ...]] = [slots]
            if most is not None:
                free = [(*slots, slot) for slot in guesses(free_slots(key, most, by_group.get(key, ())))]
            claimed = await self._take(search, config, key, free)
            if not isinstance(claimed, HeldBack | None):
                return claimed
            if claimed is None:
                # Another claim was faster, or the first job of this group belongs to another group.
                await self._keys.correct_group(search.queue, key)
            waits += [claimed.seconds] if claimed else []
            passed_over.add(key)
        return HeldBack(seconds=min(waits)) if waits else None

    async def _next_group(self, search: ClaimSearch, path: str, passed_over: set[str]) -> str | None:
        turn = (search.queue, path)
        last = self._turns.get(turn)
        key = await self._limits.next_group(search, path, last, passed_over)
        if key is None and last is not None:
            key = await self._limits.next_group(search, path, None, passed_over)
        if key is not None:
            self._turns.keep(turn, key)
        return key

    async def _take(
        self, search: ClaimSearch, config: QueueConfig, key: str | None, choices: Sequence[tuple[str, ...]]
    ) -> Job | HeldBack | None:
        """Claim with one of several sets of slots, after a grant if the queue has a rate."""
        if not choices:
            return HeldBack(seconds=_POLL)
        if config.rate is None:
            job, taken = await self._claim_one(search, key, choices, None)
            return job or (HeldBack(seconds=_POLL) if taken else None)
        asked_at = time.monotonic()
        leeway = self._leeway.of(search.queue, config.rate)
        grant = await self._limits.grant(search.queue, key, config.rate, leeway)
        if grant.deadline is None:
            return HeldBack(seconds=grant.wait)
        try:
            job, taken = await self._claim_one(search, key, choices, grant.deadline)
        except (LateClaimError, RepeatedClaimError):
            await self._limits.give_back(search.queue, key, grant)
            raise
        took = time.monotonic() - asked_at
        if job is not None:
            self._leeway.was_in_time(search.queue, config.rate, took)
            return job
        # Certainly nothing was claimed: an uncertain outcome has raised an error.
        await self._limits.give_back(search.queue, key, grant)
        # The server may have seen less time pass.
        if took > leeway.total_seconds():
            self._leeway.was_late(search.queue, config.rate, took)
            return HeldBack(seconds=_SOON)
        return HeldBack(seconds=_POLL) if taken else None

    async def _claim_one(
        self, search: ClaimSearch, key: str | None, choices: Sequence[tuple[str, ...]], deadline: datetime | None
    ) -> tuple[Job | None, bool]:
        """Claim with the first set of free slots; return the job, and true if no slot was free."""
        kind = (search.queue, search.types, search.excluded)
        for slots in choices:
            try:
                job = await self._claims.claim(search, ClaimPermit(slots=slots, deadline=deadline, key=key))
            except SlotTakenError as error:
                self.slots.taken(search.queue, error.slot)
                if error.slot.startswith(TRIAL):
                    break
                continue
            if job is None:
                self._found_at.forget(kind)
                return None, False
            self._found_at.keep(kind, time.monotonic())
            if search.types is not None:
                self._streaks.keep(kind, (self._streaks.get(kind) or 0) + 1)
            for slot in slots:
                self.slots.taken(search.queue, slot)
            return job, False
        return None, True


def _searches(
    search: ClaimSearch, gate: BreakerGate, trial: tuple[str, ...]
) -> list[tuple[ClaimSearch, tuple[str, ...]]]:
    """Return searches with their slots: first for types that no breaker holds back, then for single jobs on trial."""
    held_back = gate.trials | gate.waits.keys()
    if not held_back:
        return [(search, trial)]
    if search.types is None:
        first = replace(search, excluded=tuple(sorted({*search.excluded, *held_back})))
    else:
        first = replace(search, types=tuple(kind for kind in search.types if kind not in held_back))
    searches = [] if first.types == () else [(first, trial)]
    on_trial = [kind for kind in sorted(gate.trials) if _takes(search, kind)]
    return searches + [(replace(search, types=(kind,), excluded=()), (*trial, f"{TRIAL}:{kind}")) for kind in on_trial]


def _takes(search: ClaimSearch, kind: str) -> bool:
    return kind in search.types if search.types is not None else kind not in search.excluded
