"""Claims that workers of one process make at the same moment, as one claim of several jobs."""

from __future__ import annotations

import asyncio
import secrets
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from jobqueue.journal import get_logger
from jobqueue.store.documents.claim_search import ClaimSearch

if TYPE_CHECKING:
    from jobqueue.domain.jobs.job import Job
    from jobqueue.domain.queues.queue import QueueConfig
    from jobqueue.services.limits.limiter import HeldBack
    from jobqueue.services.runs.attempts import Attempts, ClaimedJob
    from jobqueue.services.signals.config import QueueConfigs
    from jobqueue.services.work.lanes import Key, Lane
    from jobqueue.store.work.several_claims import SeveralClaims

log = get_logger(__name__)
FEWEST: Final = 4
"""Claims that are worth the three round trips of a claim of several jobs."""
MOST: Final = 32
_ALONE: Final = 2
"""Claims of a lane that go out alone, at once, while no claim of several jobs is under way."""
_TURNS: Final = 16
"""Turns of the event loop in which a job that does next to nothing ends: then its place joins the next claim."""
_PAUSE_SECONDS: Final = 5.0
"""Seconds without claims of several jobs after one has failed: claims of one job each tell why, and pass on."""


@dataclass(slots=True)
class _Company:
    """The claims of one lane.

    Attributes:
        alone: claims of one job each that are under way.
        waiting: claims that wait for company; each gets its job, or ``None`` to claim alone.
        task: the claim of several jobs that is under way.
        paused_until: the end of a pause after a failure, by the loop's clock.
    """

    alone: int = 0
    waiting: list[asyncio.Future[ClaimedJob | None]] = field(default_factory=list)
    task: asyncio.Task[None] | None = None
    paused_until: float = 0


class SeveralAttempts:
    """Claims jobs for the free places of a worker, in as few round trips as their number allows.

    A claim goes out alone while few others are under way, as ever. Claims that come meanwhile share the next one. Each
    job begins at once, as after a claim of its own: none is kept for later. The next claim waits for some turns of the
    event loop, and for no time, for places of jobs that end in these turns.

    Args:
        store: claims several jobs.
        configs: of the queues; claims of queues with limits stay alone.
        work: claims one job, and completes claimed jobs.
    """

    def __init__(self, store: SeveralClaims, configs: QueueConfigs, work: Attempts) -> None:
        self._store = store
        self._configs = configs
        self.work = work
        self._companies: dict[Key, _Company] = {}
        self._calls: set[asyncio.Future[list[tuple[Job, str]]]] = set()

    async def attempt(
        self, lane: Lane, *, worker: str, margin: float, version: str | None
    ) -> ClaimedJob | HeldBack | None:
        """Claim a job of a lane as `Attempts.attempt` does, perhaps together with others."""
        if not lane.together:
            return await self._attempt(lane, worker, margin, version)
        company = self._companies.setdefault(lane.key, _Company())
        if not self._admits(lane, company) or (company.task is None and company.alone < _ALONE):
            return await self._alone(lane, company, worker, margin, version)
        place: asyncio.Future[ClaimedJob | None] = asyncio.get_running_loop().create_future()
        company.waiting.append(place)
        try:
            claimed = await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled() and (unused := place.result()) is not None:
                self.work.give_backs.give_back(unused.job, unused.token)
            raise
        if claimed is not None:
            return claimed
        return await self._alone(lane, company, worker, margin, version)

    async def _alone(
        self, lane: Lane, company: _Company, worker: str, margin: float, version: str | None
    ) -> ClaimedJob | HeldBack | None:
        company.alone += 1
        try:
            return await self._attempt(lane, worker, margin, version)
        finally:
            company.alone -= 1
            self._go_on(lane, company, worker, margin, version)

    async def _attempt(
        self, lane: Lane, worker: str, margin: float, version: str | None
    ) -> ClaimedJob | HeldBack | None:
        return await self.work.attempt(
            lane.queue,
            lane.types,
            worker=worker,
            excluded=lane.excluded,
            margin=margin,
            version=version,
            under=lane.config,
        )

    def _admits(self, lane: Lane, company: _Company) -> bool:
        """Return True if jobs of a lane may be claimed together."""
        return _is_plain(self._configs.of(lane.queue)) and asyncio.get_running_loop().time() >= company.paused_until

    def _go_on(self, lane: Lane, company: _Company, worker: str, margin: float, version: str | None) -> None:
        """Begin the claim of those that wait; too few of them claim alone."""
        if company.task is not None or not company.waiting:
            return
        places, company.waiting = company.waiting[:MOST], company.waiting[MOST:]
        if len(places) < FEWEST or not self._admits(lane, company):
            _send_on(places)
            _send_on(company.waiting)
            company.waiting = []
            return
        company.task = asyncio.create_task(self._share(lane, company, places, worker, margin, version))

    async def _share(
        self,
        lane: Lane,
        company: _Company,
        places: list[asyncio.Future[ClaimedJob | None]],
        worker: str,
        margin: float,
        version: str | None,
    ) -> None:
        claimed: list[ClaimedJob] = []
        try:
            claimed = await self.claim(lane, len(places), worker=worker, margin=margin, version=version)
        except Exception as error:  # noqa: BLE001 - each claim then goes out alone, and fails in its own way
            company.paused_until = asyncio.get_running_loop().time() + _PAUSE_SECONDS
            log.warning("claims repeated one by one", queue=lane.queue, jobs=len(places), error=str(error))
        finally:
            open_places = [place for place in places if not place.done()]
            for place, one in zip(open_places, claimed, strict=False):
                place.set_result(one)
            for one in claimed[len(open_places) :]:
                self.work.give_backs.give_back(one.job, one.token)
            _send_on(open_places[len(claimed) :])
            try:
                await _come_back(company, len(company.waiting) + min(len(open_places), len(claimed)))
            finally:
                company.task = None
                self._go_on(lane, company, worker, margin, version)

    async def claim(
        self, lane: Lane, count: int, *, worker: str, margin: float, version: str | None
    ) -> list[ClaimedJob]:
        """Claim up to ``count`` jobs of a lane; none says nothing of the jobs that wait.

        If the call fails or is cancelled after the request of the claim, its jobs go back, uncounted.
        """
        config = await self._configs.fresh(lane.queue)
        if not _is_plain(config) or (lane.config is not None and config != lane.config) or lane.types == ():
            return []
        searches = [
            ClaimSearch(
                queue=lane.queue,
                types=lane.types,
                token=secrets.token_hex(12),
                worker=worker,
                excluded=lane.excluded,
                margin=margin,
                version=version,
                until=self._configs.horizon,
            )
            for _ in range(count)
        ]
        sent_at = time.monotonic()
        call = asyncio.ensure_future(self._store.claim(searches))
        self._calls.add(call)
        call.add_done_callback(self._calls.discard)
        try:
            found = await asyncio.shield(call)
        except BaseException as error:
            for search in searches:
                self.work.give_backs.look_for(search, error)
            raise
        claimed: list[ClaimedJob] = []
        for place, (job, token) in enumerate(found):
            try:
                claimed.append(await self.work.handed(job, token, sent_at))
            except Exception:
                # The job goes back; the others run.
                log.exception("claimed job not begun", job_id=job.id)
            except BaseException:
                for left, its_token in [*((one.job, one.token) for one in claimed), *found[place + 1 :]]:
                    self.work.give_backs.give_back(left, its_token)
                raise
        return claimed


async def _come_back(company: _Company, most: int) -> None:
    """Give claimed jobs time to begin, so that places of the shortest ones share the next claim, too.

    Without this the places of a worker claim in two halves by turns, at a third more work a job.
    """
    for _ in range(_TURNS):
        if len(company.waiting) >= most:
            return
        await asyncio.sleep(0)


def _is_plain(config: QueueConfig) -> bool:
    """Return True if nothing but the order decides which jobs of a queue may start."""
    return not (config.paused or config.limited or config.limit_by is not None)


def _send_on(places: list[asyncio.Future[ClaimedJob | None]]) -> None:
    """Make claims that wait for company claim alone."""
    for place in places:
        if not place.done():
            place.set_result(None)
