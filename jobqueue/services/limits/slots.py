"""Estimates of the free slots of queues, which avoid a question to the database for each claim."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from jobqueue.lru_cache import LruCache

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from jobqueue.store.limits.limits import LimitStore, RunningJob

MOST_REMEMBERED: Final = 2_000
"""Queues, or kinds of search, for which a process keeps estimates."""
_MOST_GUESSES: Final = 4
_SETTLED_SECONDS: Final = 2.0
"""Seconds after a limit was seen first for which other processes may use an older limit."""
_PAUSE_SECONDS: Final = 0.01


@dataclass(slots=True)
class _LimitView:
    """The slots of one limit, as read and as noted since.

    Attributes:
        most: the limit.
        revision: of the configuration; between two revisions there may have been another limit, or none.
        seen_at: the time when the limit was seen first, by a steady clock.
        read_at: the time when its slots were read last.
        exact: all running jobs had one of these slots at that time.
    """

    most: int
    revision: int
    seen_at: float
    read_at: float = float("-inf")
    exact: bool = False
    free: set[str] = field(default_factory=set)

    def is_usable(self, now: float) -> bool:
        return self.exact and now - self.seen_at > _SETTLED_SECONDS


class SlotEstimates:
    """Estimates the free slots of queues; only a claim that takes a slot shows that the slot was free."""

    def __init__(self, limits: LimitStore) -> None:
        self._limits = limits
        self._known: LruCache[str, _LimitView] = LruCache(MOST_REMEMBERED)

    async def offer(self, queue: str, most: int, revision: int) -> list[str]:
        """Return some slots that seem to be free, for the limit ``most`` of a revision of the configuration."""
        now = time.monotonic()
        known = self._known.get(queue)
        if known is None or (known.most, known.revision) != (most, revision):
            known = _LimitView(most=most, revision=revision, seen_at=now)
            self._known.keep(queue, known)
        if not known.is_usable(now) or (not known.free and now - known.read_at > _PAUSE_SECONDS):
            known.read_at = now
            running = await self._limits.running(queue, None)
            known.free = set(free_slots("", most, running))
            known.exact = not _in_use("", most, running)[1]
        return guesses(sorted(known.free))

    def taken(self, queue: str, slot: str) -> None:
        """Note that a slot is not free."""
        known = self._known.get(queue)
        if known is not None:
            known.free.discard(slot)

    def released(self, queue: str, slots: Iterable[str]) -> None:
        """Note that a job of this process has released its slots."""
        known = self._known.get(queue)
        if known is not None and known.exact:
            known.free |= {slot for slot in slots if is_slot(slot, "#") and int(slot[1:]) < known.most}


def free_slots(key: str, most: int, running: Iterable[RunningJob]) -> list[str]:
    """Return the slots of a group, or with an empty key of the whole queue, that a claim may take.

    A running job may have none of the first ``most`` slots, because the limit was another one when the job began. Such
    a job makes one slot fewer to take, and the first free slots are taken first. So concurrent starts never exceed a
    limit that was lowered.
    """
    used, elsewhere = _in_use(key, most, running)
    unused = [number for number in range(most) if number not in used]
    return [f"{key}#{number}" for number in unused[: max(0, most - elsewhere - len(used))]]


def _in_use(key: str, most: int, running: Iterable[RunningJob]) -> tuple[set[int], int]:
    """Return the taken ones of the first slots, and the number of running jobs that have none of them."""
    prefix = f"{key}#"
    used: set[int] = set()
    elsewhere = 0
    for job in running:
        numbers = [int(slot.removeprefix(prefix)) for slot in job.slots if is_slot(slot, prefix)]
        mine = [number for number in numbers if number < most]
        used.update(mine)
        elsewhere += not mine
    return used, elsewhere


def is_slot(slot: str, prefix: str) -> bool:
    """Return true for a numbered slot with this prefix."""
    return slot.startswith(prefix) and slot.removeprefix(prefix).isdecimal()


def guesses(free: Sequence[str]) -> list[str]:
    """Return some slots at random, so that processes seldom collide."""
    return random.sample(free, min(len(free), _MOST_GUESSES))
