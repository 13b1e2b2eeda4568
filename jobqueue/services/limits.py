"""Claiming from queues with limits: so many at a time, so many in a window, each perhaps for every value of something.

The limits hold over all processes, because only the database decides: a slot belongs to one running job at most, and a
start is granted before it happens. What is read here first only saves asking in vain.
"""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from jobqueue.services.breakers import OPEN_GATE
from jobqueue.store.claims import Permit, SlotTakenError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from jobqueue.domain.job import Job
    from jobqueue.domain.queue import QueueConfig
    from jobqueue.services.breakers import Breakers, Gate
    from jobqueue.store.claims import ClaimStore, Search
    from jobqueue.store.limits import Grant, LimitStore, Running

TRIAL: Final = "trial"
"""The slot of the one job that may run while a circuit breaker is half-open."""
_MOST_GUESSES: Final = 4
_MOST_GROUPS: Final = 1000
_SOON: Final = 0.02
_POLL: Final = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """Jobs may wait, and a limit holds them back.

    Attributes:
        seconds: when to ask again, should nobody say sooner that there is room.
    """

    seconds: float


class Limiter:
    """Claims from limited queues, one job at a time for each queue: more would only be in each other's way."""

    def __init__(self, limits: LimitStore, claims: ClaimStore, breakers: Breakers) -> None:
        self._limits = limits
        self._claims = claims
        self._breakers = breakers
        self._locks: dict[str, asyncio.Lock] = {}
        self._turns: dict[tuple[str, str], str] = {}

    async def claim(self, search: Search, config: QueueConfig) -> Job | Held | None:
        """Claim a job as far as the limits allow.

        Raises:
            DatabaseUnavailableError: as `ClaimStore.claim`.
        """
        async with self._locks.setdefault(search.queue, asyncio.Lock()):
            gate = await self._breakers.gate(search.queue, config) if config.breaker else OPEN_GATE
            if gate.wait > 0:
                return Held(seconds=gate.wait)
            trial = (TRIAL,) if gate.trial else ()
            held: list[Held] = []
            for wanted, slots in _searches(search, gate, trial):
                found = await (self._from_groups if config.grouped else self._from_queue)(wanted, config, slots)
                if not isinstance(found, Held | None):
                    return found
                held += [found] if found else []
            held += [Held(seconds=wait) for kind, wait in gate.waits.items() if _takes(search, kind)]
            return min(held, key=lambda one: one.seconds, default=None)

    async def _from_queue(self, search: Search, config: QueueConfig, slots: tuple[str, ...]) -> Job | Held | None:
        if not await self._limits.something_waits(search):
            return None
        free: Sequence[tuple[str, ...]] = [slots]
        if config.concurrency is not None:
            running = await self._limits.running(search.queue, None)
            free = [(*slots, one) for one in _guesses(free_slots("", config.concurrency, running))]
        return await self._take(search, config, None, free)

    async def _from_groups(self, search: Search, config: QueueConfig, slots: tuple[str, ...]) -> Job | Held | None:
        """Claim from the group whose turn it is: they take turns in the order of their keys."""
        path = config.limit_by or ""
        by_group: dict[str | None, list[Running]] = {}
        if config.concurrency is not None:
            for one in await self._limits.running(search.queue, path):
                by_group.setdefault(one.key, []).append(one)
        most = config.concurrency
        passed_over = {key for key, jobs in by_group.items() if key is not None and most and len(jobs) >= most}
        waits = [_POLL] if passed_over else []
        for _ in range(_MOST_GROUPS):
            key = await self._next_group(search, path, passed_over)
            if key is None:
                break
            free: Sequence[tuple[str, ...]] = [slots]
            if most is not None:
                free = [(*slots, one) for one in _guesses(free_slots(key, most, by_group.get(key, ())))]
            found = await self._take(search, config, key, free)
            if not isinstance(found, Held | None):
                return found
            waits += [found.seconds] if found else []
            passed_over.add(key)
        return Held(seconds=min(waits)) if waits else None

    async def _next_group(self, search: Search, path: str, passed_over: set[str]) -> str | None:
        turn = (search.queue, path)
        last = self._turns.get(turn)
        key = await self._limits.next_group(search, path, last, passed_over)
        if key is None and last is not None:
            key = await self._limits.next_group(search, path, None, passed_over)
        if key is not None:
            self._turns[turn] = key
        return key

    async def _take(
        self, search: Search, config: QueueConfig, key: str | None, choices: Sequence[tuple[str, ...]]
    ) -> Job | Held | None:
        """Claim with one of several sets of slots, after a start was granted if the queue has a rate."""
        if not choices:
            return Held(seconds=_POLL)
        grant: Grant | None = None
        if config.rate is not None:
            grant = await self._limits.grant(search.queue, key, config.rate)
            if grant.at is None:
                return Held(seconds=grant.wait)
        taken = False
        for slots in choices:
            permit = Permit(slots=slots, deadline=grant.deadline if grant else None, key=key)
            try:
                job = await self._claims.claim(search, permit)
            except SlotTakenError as error:
                taken = True
                if error.slot.startswith(TRIAL):
                    break
                continue
            if job is not None:
                return job
            taken = False
            break
        return await self._nothing(search, key, grant, taken=taken)

    async def _nothing(self, search: Search, key: str | None, grant: Grant | None, *, taken: bool) -> Held | None:
        """Say why nothing was claimed. That is certain here: whatever is not has raised an error."""
        late = False
        if grant is not None and grant.deadline is not None:
            await self._limits.give_back(search.queue, key, grant)
            late = await self._limits.time() > grant.deadline
        return Held(seconds=_SOON if late else _POLL) if taken or late else None


def free_slots(key: str, most: int, running: Iterable[Running]) -> list[str]:
    """Return the slots of a group, or with an empty key of the whole queue, that seem to be free.

    A running job that has none of the first ``most`` slots, because the limit was higher or another one when it began,
    makes one slot fewer to be given away: so a limit that was lowered is never exceeded by new starts.
    """
    prefix = f"{key}#"
    used: set[int] = set()
    others = 0
    for job in running:
        numbers = [int(slot.removeprefix(prefix)) for slot in job.slots if _is_slot(slot, prefix)]
        mine = [number for number in numbers if number < most]
        used.update(mine)
        others += not mine
    return [f"{prefix}{number}" for number in range(most - others) if number not in used]


def _is_slot(slot: str, prefix: str) -> bool:
    return slot.startswith(prefix) and slot.removeprefix(prefix).isdecimal()


def _guesses(free: Sequence[str]) -> list[str]:
    return random.sample(free, min(len(free), _MOST_GUESSES))


def _searches(search: Search, gate: Gate, trial: tuple[str, ...]) -> list[tuple[Search, tuple[str, ...]]]:
    """Return what to look for, and with which slots: first what no breaker holds back, then single jobs on trial."""
    held_back = gate.trials | gate.waits.keys()
    if not held_back:
        return [(search, trial)]
    if search.types is None:
        first = replace(search, excluded=tuple(sorted({*search.excluded, *held_back})))
    else:
        first = replace(search, types=tuple(kind for kind in search.types if kind not in held_back))
    found = [] if first.types == () else [(first, trial)]
    on_trial = [kind for kind in sorted(gate.trials) if _takes(search, kind)]
    return found + [(replace(search, types=(kind,), excluded=()), (*trial, f"{TRIAL}:{kind}")) for kind in on_trial]


def _takes(search: Search, kind: str) -> bool:
    return kind in search.types if search.types is not None else kind not in search.excluded
