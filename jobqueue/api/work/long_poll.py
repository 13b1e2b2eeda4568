"""Lines of requests that wait for a job."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from aiohttp import web

from jobqueue.domain.work.drain import WorkerDrainedError
from jobqueue.services.limits.limiter import HeldBack

if TYPE_CHECKING:
    from collections.abc import Callable

    from jobqueue.services.application import Runtime
    from jobqueue.services.runs.attempts import ClaimedJob
    from jobqueue.services.signals.notifier import Wakeup
    from jobqueue.store.documents.claim_search import ClaimOptions

MOST_WAITING: Final = 1000
"""Requests that may wait at once in one process."""
_LOOK_SECONDS: Final = 1.0
_SHORTEST_LOOK: Final = 0.005
_WAKING: Final = frozenset({"ready", "config", "room", "all"})


class TooManyPollsError(Exception):
    """Too many requests wait already."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimRequest:
    """A claim that a worker asks for; ``lease`` and ``wait`` in seconds; ``key`` identifies the request.

    ``version`` is that of the worker's program.
    """

    queue: str
    types: tuple[str, ...] | None
    worker: str
    lease: float | None
    wait: float
    key: str | None = None
    version: str | None = None


Key = tuple[str, tuple[str, ...] | None]


class PendingPoll(asyncio.Event):
    """The place of a request in its line; it is set when the request has to look for a job."""

    def __init__(self, worker: str) -> None:
        super().__init__()
        self.worker = worker


class LongPoll:
    """Hands jobs to requests, first come first served.

    Requests for the same queue and types stand in one line. Only the first request of a line looks for jobs: when it is
    woken, and every second in case a change is missed. A request that gets a job wakes the next request. So a new job
    costs one look for each line, however many requests wait. Only a worker that runs a job alone may get nothing where
    other workers get a job: then a request of another worker looks, too.
    """

    def __init__(self, runtime: Runtime, *, most: int = MOST_WAITING) -> None:
        self._runtime = runtime
        self._most = most
        self._look = min(_LOOK_SECONDS, runtime.settings.poll_interval)
        self._lines: dict[Key, deque[PendingPoll]] = {}
        self._closing = False
        self._stop_listening = runtime.notifier.listen(self._on_wakeup)

    @property
    def waiting(self) -> int:
        """Return the number of requests that wait."""
        return sum(len(line) for line in self._lines.values())

    async def claim(self, request: ClaimRequest, gone: Callable[[], bool]) -> ClaimedJob | None:
        """Claim a job, or wait for one; return ``None`` when the time is over.

        Args:
            request: the claim.
            gone: returns True once the connection is closed.

        Raises:
            TooManyPollsError: too many requests wait already.
            WorkerDrainedError: somebody has drained the worker.
            DatabaseError: as `Attempts.attempt`.
        """
        if await self._runtime.registry.is_drained(request.worker):
            raise WorkerDrainedError(request.worker)
        self._runtime.registry.heard(request.worker, request.queue, request.types)
        if request.wait <= 0 or self._closing:
            return None if self._closing else _claimed(await self._first_attempt(request))
        if self.waiting >= self._most:
            raise TooManyPollsError
        line = self._lines.setdefault((request.queue, request.types), deque())
        place = PendingPoll(request.worker)
        place.set()
        line.append(place)
        claimed = None
        try:
            claimed = await self._wait_in_line(request, line, place, gone)
        finally:
            self._leave_line(request, line, place, has_job=claimed is not None)
        return claimed

    def _check_drain(self, request: ClaimRequest) -> None:
        if self._runtime.registry.is_told_to_leave(request.worker):
            raise WorkerDrainedError(request.worker)

    def give_back(self, claimed: ClaimedJob, error: BaseException | None = None) -> None:
        """Give back, in the background, a job whose request is gone; ``error`` is the reason of a failed reply."""
        self._runtime.work.give_backs.give_back(claimed.job, claimed.token, error)

    def close(self) -> None:
        """End the waiting of all requests."""
        self._closing = True
        self._stop_listening()
        for line in self._lines.values():
            for place in line:
                place.set()

    async def _wait_in_line(
        self, request: ClaimRequest, line: deque[PendingPoll], place: PendingPoll, gone: Callable[[], bool]
    ) -> ClaimedJob | None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + request.wait
        attempt = self._first_attempt
        while not self._closing and not gone():
            self._check_drain(request)
            look = self._look
            if place.is_set() or line[0] is place:
                place.clear()
                claimed = await attempt(request)
                attempt = self._attempt
                if isinstance(claimed, HeldBack):
                    look = min(look, max(claimed.seconds, _SHORTEST_LOOK))
                elif claimed is not None:
                    return claimed
                if self._runtime.work.alone.is_busy(request.worker):
                    self._pass_by(line, place)
            left = deadline - loop.time()
            if left <= 0:
                # The first try of this request may have waited, too, and have got a job.
                return await self._again(request)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(left, look)):
                    await place.wait()
        return None

    def _pass_by(self, line: deque[PendingPoll], place: PendingPoll) -> None:
        """Wake the next request of another worker, which may get a job that this worker may not."""
        behind = itertools.islice(line, line.index(place) + 1, None)
        free = (poll for poll in behind if not self._runtime.work.alone.was_busy_just_now(poll.worker))
        if (following := next((poll for poll in free if poll.worker != place.worker), None)) is not None:
            following.set()

    def _leave_line(
        self, request: ClaimRequest, line: deque[PendingPoll], place: PendingPoll, *, has_job: bool
    ) -> None:
        pass_on = has_job or place.is_set() or line[0] is place
        line.remove(place)
        if not line:
            del self._lines[request.queue, request.types]
        elif pass_on:
            line[0].set()

    def _on_wakeup(self, wake: Wakeup) -> None:
        if wake.kind in _WAKING:
            for (queue, _), line in self._lines.items():
                if wake.queue is None or wake.queue == queue:
                    line[0].set()

    async def _attempt(self, request: ClaimRequest) -> ClaimedJob | HeldBack | None:
        options: ClaimOptions = {"lease": request.lease, "key": request.key, "version": request.version}
        return await self._runtime.work.attempt(request.queue, request.types, worker=request.worker, **options)

    async def _first_attempt(self, request: ClaimRequest) -> ClaimedJob | HeldBack | None:
        """Claim a job; if there is none, look for one that the same request has claimed before."""
        claimed = await self._attempt(request)
        return (await self._again(request) or claimed) if isinstance(claimed, HeldBack | None) else claimed

    async def _again(self, request: ClaimRequest) -> ClaimedJob | None:
        return None if request.key is None else await self._runtime.work.again(request.queue, request.key)


LONG_POLL: Final = web.AppKey("long_poll", LongPoll)


def _claimed(outcome: ClaimedJob | HeldBack | None) -> ClaimedJob | None:
    return None if isinstance(outcome, HeldBack) else outcome
