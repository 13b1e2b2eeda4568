"""Give claimed jobs back that no worker runs, because their worker failed or went away before the run."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from jobqueue.domain.attempts.attempt import JobError
from jobqueue.domain.attempts.states import Outcome
from jobqueue.domain.errors import DatabaseError, NotFoundError, StaleTokenError
from jobqueue.domain.jobs import transitions
from jobqueue.domain.jobs.job import Job
from jobqueue.domain.text import cut, told, type_name
from jobqueue.journal import get_logger
from jobqueue.loop_errors import LoopErrors
from jobqueue.store.documents.claim_search import LateClaimError
from jobqueue.store.mongo.clock import steady

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from jobqueue.domain.jobs.transitions import Transition
    from jobqueue.store.documents.claim_search import ClaimSearch
    from jobqueue.store.jobs.jobs import JobStore
    from jobqueue.store.work.claims import ClaimStore

log = get_logger(__name__)
DRAIN_SECONDS: Final = 5.0
"""Seconds that a stopping process waits for its give-backs before it leaves the jobs to their leases."""
_LEASE_SECONDS: Final = 60.0
_FIRST_PAUSE: Final = 0.1
_LONGEST_PAUSE: Final = 5.0
_LONGEST_DELAY: Final = 60.0
_LONGEST_MESSAGE: Final = 1000
_MOST_UNKNOWN: Final = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class _Unknown:
    """A claim of unknown outcome; times are of the steady clock.

    Attributes:
        error: of the claim.
        settled_at: a look after this time finds the job, unless the server was delayed.
        until: the end of the looks.
    """

    error: BaseException
    settled_at: float
    until: float


class GiveBacks:
    """Give claimed jobs back in the background, uncounted.

    Otherwise a job that is claimed and never begun would hold its place until its lease ends, and lose an attempt.

    Args:
        jobs: reads jobs.
        claims: finds jobs by the tokens of claims.
        apply: applies a transition with all its consequences.

    Attributes:
        turns: survive unforeseen errors.
    """

    def __init__(
        self, jobs: JobStore, claims: ClaimStore, apply: Callable[[Job, Transition], Awaitable[object]]
    ) -> None:
        self._jobs = jobs
        self._claims = claims
        self._apply = apply
        self._tasks: set[asyncio.Task[None]] = set()
        self._unknown: dict[str, _Unknown] = {}
        self._looking: asyncio.Task[None] | None = None
        self._hurried = asyncio.Event()
        self._draining = False
        self.turns = LoopErrors("give-backs", longest=_LONGEST_PAUSE)

    def give_back(self, job: Job, token: str, error: BaseException | None = None) -> None:
        """Give a claimed job back that is not run; ``error`` is the reason, if any."""
        self._later(self._give_back(job, token, error))

    def after(self, call: asyncio.Task[Any], search: ClaimSearch) -> None:
        """Give back the job of a claim that is still under way."""
        self._later(self._after(call, search))

    def look_for(self, search: ClaimSearch, error: BaseException) -> None:
        """Look for the job of a failed claim, which the server may still have made, or make later."""
        now = steady()
        settled_at = now if search.until is None else max(now, search.until.asked_at + search.until.seconds)
        until = now + (search.lease or _LEASE_SECONDS)
        self._unknown[search.token] = _Unknown(error=error, settled_at=settled_at, until=until)
        if len(self._unknown) > _MOST_UNKNOWN:
            self._unknown.pop(next(iter(self._unknown)))
        self._hurried.set()
        if self._looking is None or self._looking.done():
            self._looking = self._later(self._look())

    async def drain(self, within: float = DRAIN_SECONDS) -> None:
        """Wait up to ``within`` seconds for give-backs; then leave the jobs to their leases."""
        self._draining = True
        self._hurried.set()
        try:
            async with asyncio.timeout(within):
                while self._tasks:
                    await asyncio.wait(set(self._tasks))
        except TimeoutError:
            left = set(self._tasks)
            log.warning("claimed jobs abandoned", count=len(left))
            for task in left:
                task.cancel()
            await asyncio.gather(*left, return_exceptions=True)
        finally:
            self._draining = False

    def _later(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _after(self, call: asyncio.Task[Any], search: ClaimSearch) -> None:
        await asyncio.wait({call})
        error = asyncio.CancelledError() if call.cancelled() else call.exception()
        if error is None and isinstance(job := call.result(), Job):
            await self._give_back(job, search.token, None)
        elif error is not None and not isinstance(error, LateClaimError):
            self.look_for(search, error)

    async def _give_back(self, job: Job, token: str, error: BaseException | None) -> None:
        """Try until the job is given back or its lease has ended."""
        change = given_back(job, token, error)
        until = steady() + job.held_lease
        pause = _FIRST_PAUSE
        while True:
            with self.turns.turn():
                try:
                    await self._apply(job, change)
                except (StaleTokenError, NotFoundError):
                    # The job has ended or is claimed anew.
                    return
                except DatabaseError as refused:
                    log.warning("claimed job not given back", job_id=job.id, error=str(refused))
                else:
                    return
            if steady() + pause > until:
                log.warning("claimed job abandoned", job_id=job.id)
                return
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    async def _look(self) -> None:
        """Look for the jobs of unknown claims, often at first, as long as there are unknown claims."""
        pause = _FIRST_PAUSE
        while self._unknown:
            if self._hurried.is_set():
                pause = _FIRST_PAUSE
                self._hurried.clear()
            with self.turns.turn(), contextlib.suppress(DatabaseError):
                await self._look_once()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(pause, self.turns.pause)):
                    await self._hurried.wait()
            pause = _FIRST_PAUSE if self._draining else min(1.5 * pause, _LONGEST_PAUSE)

    async def _look_once(self) -> None:
        asked_at = steady()
        tokens = list(self._unknown)
        held = await self._claims.held(tokens)
        for token, job_id in held.items():
            with contextlib.suppress(NotFoundError):
                job = await self._jobs.lean(job_id)
                log.info("unknown claim found", job_id=job_id)
                if job.claim is not None:
                    # A request that was repeated meanwhile has the job.
                    job = replace(job, claim=replace(job.claim, repeats=0))
                self.give_back(job, token, self._unknown[token].error)
            self._unknown.pop(token, None)
        for token in tokens:
            claim = self._unknown.get(token)
            if claim is not None and asked_at > (claim.settled_at if self._draining else claim.until):
                del self._unknown[token]


def given_back(job: Job, token: str, error: BaseException | None) -> Transition:
    """Return the transition of a claimed job that was not run, uncounted.

    A job that fails to begin repeatedly waits longer each time, so that it blocks no other job. A cancelled call says
    nothing about the job. If the worker has repeated its request since, it has the job, and nothing happens.
    """
    repeats = job.claim.repeats if job.claim is not None else None
    before = 0
    for entry in reversed(job.history[:-1]):
        if entry.outcome is not Outcome.RELEASE:
            break
        before += 1
    if not isinstance(error, Exception) or not before:
        return transitions.release(token, repeats=repeats)
    message = cut(f"claimed and not begun: {told(error)}", _LONGEST_MESSAGE)
    return transitions.release(
        token,
        delay=min(2.0 ** min(before - 1, 10), _LONGEST_DELAY),
        error=JobError(kind=type_name(error), message=message),
        repeats=repeats,
    )
