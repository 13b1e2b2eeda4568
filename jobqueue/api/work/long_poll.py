"""Where requests for a job wait in line until there is one."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from aiohttp import web

from jobqueue.services.limits.limiter import HeldBack

if TYPE_CHECKING:
    from collections.abc import Callable

    from jobqueue.services.application import Runtime
    from jobqueue.services.signals.notifier import Wakeup
    from jobqueue.services.work.attempts import ClaimedJob

MOST_WAITING: Final = 1000
"""Requests that may wait at once in one process."""
_LOOK_SECONDS: Final = 1.0
_SHORTEST_LOOK: Final = 0.005
_WAKING: Final = frozenset({"ready", "config", "room", "all"})


class TooManyPollsError(Exception):
    """Refuse to let one more request wait."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimRequest:
    """What a worker asks for; ``lease`` and ``wait`` in seconds."""

    queue: str
    types: tuple[str, ...] | None
    worker: str
    lease: float | None
    wait: float


Key = tuple[str, tuple[str, ...] | None]


class PendingPoll(asyncio.Event):
    """The place of a request in its line; set when it is to look for a job."""

    def __init__(self, worker: str) -> None:
        super().__init__()
        self.worker = worker


class LongPoll:
    """Hands jobs to requests, first come first served.

    Requests for the same queue and types stand in one line. Only the first of a line looks for jobs: when it is woken
    and, should a change be missed, every second. Whoever gets a job wakes the next one, who may find another. So a new
    job costs one look for each line, however many requests wait. Only a worker that runs a job alone may get nothing
    where others get a job: then one of another worker looks, too.
    """

    def __init__(self, runtime: Runtime, *, most: int = MOST_WAITING) -> None:
        self._runtime = runtime
        self._most = most
        self._look = min(_LOOK_SECONDS, runtime.settings.poll_interval)
        self._lines: dict[Key, deque[PendingPoll]] = {}
        self._closing = False
        self._deafen = runtime.notifier.listen(self._hear)

    @property
    def waiting(self) -> int:
        """How many requests wait."""
        return sum(len(line) for line in self._lines.values())

    async def claim(self, wanted: ClaimRequest, gone: Callable[[], bool]) -> ClaimedJob | None:
        """Claim a job, waiting for one if there is none; ``None`` when the time is over.

        Args:
            wanted: what is asked for.
            gone: tells whether nobody listens any more.

        Raises:
            DeskFullError: too many wait already.
            DatabaseUnavailableError: as `Work.claim`.
        """
        self._runtime.registry.heard(wanted.worker, wanted.queue, wanted.types)
        if wanted.wait <= 0 or self._closing:
            return None if self._closing else _claimed(await self._attempt(wanted))
        if self.waiting >= self._most:
            raise TooManyPollsError
        line = self._lines.setdefault((wanted.queue, wanted.types), deque())
        place = PendingPoll(wanted.worker)
        place.set()
        line.append(place)
        claimed = None
        try:
            claimed = await self._stand(wanted, line, place, gone)
        finally:
            self._leave(wanted, line, place, found=claimed is not None)
        return claimed

    def give_back(self, claimed: ClaimedJob, error: BaseException | None = None) -> None:
        """Give a job back in the background whose request has gone; ``error`` says why it could not be answered."""
        self._runtime.work.give_backs.give_back(claimed.job, claimed.token, error)

    def close(self) -> None:
        """Let nobody wait any more."""
        self._closing = True
        self._deafen()
        for line in self._lines.values():
            for place in line:
                place.set()

    async def _stand(
        self, wanted: ClaimRequest, line: deque[PendingPoll], place: PendingPoll, gone: Callable[[], bool]
    ) -> ClaimedJob | None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + wanted.wait
        while not self._closing and not gone():
            look = self._look
            if place.is_set() or line[0] is place:
                place.clear()
                claimed = await self._attempt(wanted)
                if isinstance(claimed, HeldBack):
                    look = min(look, max(claimed.seconds, _SHORTEST_LOOK))
                elif claimed is not None:
                    return claimed
                if self._runtime.work.alone.is_busy(wanted.worker):
                    self._pass_by(line, place)
            left = deadline - loop.time()
            if left <= 0:
                return None
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(left, look)):
                    await place.wait()
        return None

    def _pass_by(self, line: deque[PendingPoll], place: PendingPoll) -> None:
        """Wake the next request of another worker, which may get a job that this worker may not."""
        behind = itertools.islice(line, line.index(place) + 1, None)
        others = (one for one in behind if not self._runtime.work.alone.was_busy_just_now(one.worker))
        if (following := next((one for one in others if one.worker != place.worker), None)) is not None:
            following.set()

    def _leave(self, wanted: ClaimRequest, line: deque[PendingPoll], place: PendingPoll, *, found: bool) -> None:
        pass_on = found or place.is_set() or line[0] is place
        line.remove(place)
        if not line:
            del self._lines[wanted.queue, wanted.types]
        elif pass_on:
            line[0].set()

    def _hear(self, wake: Wakeup) -> None:
        if wake.kind in _WAKING:
            for (queue, _), line in self._lines.items():
                if wake.queue is None or wake.queue == queue:
                    line[0].set()

    async def _attempt(self, wanted: ClaimRequest) -> ClaimedJob | HeldBack | None:
        return await self._runtime.work.attempt(wanted.queue, wanted.types, worker=wanted.worker, lease=wanted.lease)


LONG_POLL: Final = web.AppKey("long_poll", LongPoll)


def _claimed(found: ClaimedJob | HeldBack | None) -> ClaimedJob | None:
    return None if isinstance(found, HeldBack) else found
