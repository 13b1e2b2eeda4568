"""Due jobs are promoted and abandoned ones taken back: each once, and never from a living worker."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from bson import ObjectId

from jobqueue.domain.attempts.backoff import FixedBackoff
from jobqueue.domain.attempts.states import Outcome, State
from jobqueue.domain.errors import DatabaseUnavailableError
from jobqueue.domain.jobs.job import NewJob
from jobqueue.services.work import loops
from jobqueue.services.work.loops import Promoter, Reaper
from jobqueue.services.work.lost_runs import reaped
from tests.support.data.factories import (
    add,
    claim,
    claimed_job,
    document,
    end_lease,
    job_in,
    open_runtime,
    patient_reaper,
    set_clock,
    succeed,
)
from tests.support.data.scale import sized
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from jobqueue.domain.jobs.job import Job
    from jobqueue.services.application import Runtime
    from jobqueue.settings import Settings

NOW = datetime(2026, 1, 1, tzinfo=UTC)
EDGE = timedelta(milliseconds=1)


async def reap(runtime: Runtime, job_id: str) -> Job:
    await patient_reaper(runtime).run_once()
    return await runtime.jobs.get(job_id)


async def test_a_delayed_job_is_promoted_when_its_time_has_come_and_not_before(idle_runtime: Runtime) -> None:
    set_clock(idle_runtime, NOW)
    early, late = await add(idle_runtime, delay=10), await add(idle_runtime, delay=20)
    for moment, promoted in ((10 * 1000 - 1, 0), (10 * 1000, 1), (15 * 1000, 0), (20 * 1000, 1)):
        set_clock(idle_runtime, NOW + timedelta(milliseconds=moment))
        assert await idle_runtime.jobs.promote_due() == promoted
    assert [(await claim(idle_runtime)).job.id for _ in range(2)] == [early.id, late.id]


@pytest.mark.parametrize("state", [state for state in State if state is not State.DELAYED])
async def test_nothing_but_a_delayed_job_is_promoted(idle_runtime: Runtime, state: State) -> None:
    job = await job_in(idle_runtime, state)
    before = await document(idle_runtime, job.id)
    await idle_runtime.jobs.collection.update_one({"_id": ObjectId(job.id)}, {"$set": {"delayTil": NOW}})
    assert await idle_runtime.jobs.promote_due() == 0
    assert await document(idle_runtime, job.id) == before | {"delayTil": NOW}


async def test_a_promoted_job_takes_its_old_place_among_its_equals(idle_runtime: Runtime) -> None:
    set_clock(idle_runtime, NOW)
    first = await add(idle_runtime, delay=5)
    second = await add(idle_runtime)
    promoter = Promoter(idle_runtime.jobs, idle_runtime.notifier)
    assert await promoter.run_once() is not None
    set_clock(idle_runtime, NOW + timedelta(seconds=5))
    assert await promoter.run_once() is None
    assert [(await claim(idle_runtime)).job.id for _ in range(2)] == [first.id, second.id]


async def test_the_promoter_knows_when_the_next_job_is_due(idle_runtime: Runtime) -> None:
    promoter = Promoter(idle_runtime.jobs, idle_runtime.notifier)
    assert await promoter.run_once() is None
    await add(idle_runtime, delay=500)
    await add(idle_runtime, delay=50)
    wait = await promoter.run_once()
    assert wait is not None
    assert 45 < wait <= 50


async def test_an_abandoned_job_is_taken_back_as_a_failed_attempt_of_kind_hanging(idle_runtime: Runtime) -> None:
    claimed = await claimed_job(idle_runtime, lease=45, backoff=[7, 9])
    await idle_runtime.work.report(claimed.job, claimed.token, progress=40, lines=[("so far", None)])
    await end_lease(idle_runtime, claimed.job)
    job = await reap(idle_runtime, claimed.job.id)
    assert (job.state, job.attempts_made, job.claim, job.reset_at) == (State.DELAYED, 1, None, None)
    assert job.error is not None
    assert (job.error.kind, job.error.message) == ("hanging", "no heartbeat from worker for 45 s")
    (entry,) = job.history
    assert (entry.outcome, entry.error, entry.token) == (Outcome.HANGING, job.error, claimed.token)
    assert entry.end_at is not None
    assert job.delay_til == entry.end_at + timedelta(seconds=7)
    assert (job.progress, [line.m for line in job.logs]) == (40, ["so far"])


async def test_a_job_past_its_run_time_is_taken_back_as_timed_out_heartbeats_or_not(idle_runtime: Runtime) -> None:
    set_clock(idle_runtime, NOW)
    claimed = await claimed_job(idle_runtime, lease=10, timeout=25, backoff=0)
    for seconds in (5, 12, 20, 24):
        set_clock(idle_runtime, NOW + timedelta(seconds=seconds))
        assert await idle_runtime.work.report(claimed.job, claimed.token) is not None
    assert (await reap(idle_runtime, claimed.job.id)).state is State.PROCESSING
    set_clock(idle_runtime, NOW + timedelta(seconds=25))
    job = await reap(idle_runtime, claimed.job.id)
    assert (job.state, job.attempts_made, job.history[0].outcome) == (State.PENDING, 1, Outcome.TIMEOUT)
    assert job.error is not None
    assert (job.error.kind, job.error.message) == ("timeout", "ran longer than its 25 s on worker")


async def test_a_worker_that_vanished_before_the_run_time_was_over_counts_as_hanging(idle_runtime: Runtime) -> None:
    set_clock(idle_runtime, NOW)
    claimed = await claimed_job(idle_runtime, lease=10, timeout=25, backoff=0)
    set_clock(idle_runtime, NOW + timedelta(seconds=60))
    assert (await reap(idle_runtime, claimed.job.id)).history[0].outcome is Outcome.HANGING


async def test_an_abandoned_job_without_attempts_left_fails_and_fires_its_children(idle_runtime: Runtime) -> None:
    await add(idle_runtime, attempts=2, backoff=0, on_failure=NewJob(type="child"), on_success=NewJob(type="wrong"))
    for expected in (State.PENDING, State.FAILED):
        claimed = await claim(idle_runtime)
        await end_lease(idle_runtime, claimed.job)
        job = await reap(idle_runtime, claimed.job.id)
        assert job.state is expected
    assert (job.attempts_made, job.end_at is not None, job.outbox) == (2, True, ())
    assert [entry.outcome for entry in job.history] == [Outcome.HANGING] * 2
    (child,) = (await idle_runtime.manager.family(job.id)).tree.children
    assert child.job.type == "child"


async def test_a_job_whose_lease_lasts_is_left_alone_to_the_millisecond(idle_runtime: Runtime) -> None:
    set_clock(idle_runtime, NOW)
    claimed = await claimed_job(idle_runtime, lease=10)
    set_clock(idle_runtime, NOW + timedelta(seconds=10) - EDGE)
    assert await idle_runtime.jobs.expired(1e6) == []
    assert (await reap(idle_runtime, claimed.job.id)).state is State.PROCESSING
    set_clock(idle_runtime, NOW + timedelta(seconds=10))
    assert (await reap(idle_runtime, claimed.job.id)).state is State.DELAYED


async def test_a_job_that_was_claimed_again_meanwhile_is_left_alone(idle_runtime: Runtime) -> None:
    claimed = await claimed_job(idle_runtime)
    await end_lease(idle_runtime, claimed.job)
    (seen,) = await idle_runtime.jobs.expired(1e6)
    await idle_runtime.work.release(claimed.job, claimed.token)
    again = await claim(idle_runtime)
    await end_lease(idle_runtime, again.job)
    change = reaped(seen, claimed.token)
    assert not await idle_runtime.jobs.apply(seen.id, seen.queue, change)
    assert (await succeed(idle_runtime, again)).state is State.SUCCESS


async def test_between_a_heartbeat_and_the_reaper_exactly_one_wins_at_the_edge(idle_runtime: Runtime) -> None:
    set_clock(idle_runtime, NOW)
    jobs = await idle_runtime.producer.add_all(
        [NewJob(type="work", lease=10, backoff=FixedBackoff(5)) for _ in range(300)]
    )
    claims = [await claim(idle_runtime) for _ in jobs]
    set_clock(idle_runtime, NOW + timedelta(seconds=10))
    won = {"heartbeat": 0, "reaper": 0}
    for number, one in enumerate(claims):
        beat = idle_runtime.work.report(one.job, one.token)
        take = idle_runtime.jobs.apply(one.job.id, one.job.queue, reaped(one.job, one.token))
        both: list[Any] = [beat, take] if number % 2 else [take, beat]
        found: list[Any] = await asyncio.gather(*both)
        renewed, taken = found if number % 2 else found[::-1]
        assert (renewed is None) == bool(taken)
        won["reaper" if taken else "heartbeat"] += 1
        job = await idle_runtime.jobs.lean(one.job.id)
        assert job.state is (State.DELAYED if taken else State.PROCESSING)
        assert job.history[0].outcome is (Outcome.HANGING if taken else None)
    assert won["heartbeat"] + won["reaper"] == 300


async def test_several_reapers_take_each_abandoned_job_back_once(settings: Settings, idle_runtime: Runtime) -> None:
    jobs = await idle_runtime.producer.add_all(
        [NewJob(type="work", backoff=FixedBackoff(0)) for _ in range(sized(300, 1000))]
    )
    for _ in jobs:
        await claim(idle_runtime)
    await idle_runtime.jobs.collection.update_many({}, {"$set": {"resetAt": NOW}})
    async with open_runtime(settings) as other, open_runtime(settings) as third:
        # At most five hundred in a round.
        for _ in range(2):
            await asyncio.gather(*(patient_reaper(one).run_once() for one in (idle_runtime, other, third)))
    for job in [await idle_runtime.jobs.get(one.id) for one in jobs]:
        assert (job.state, job.attempts_made) == (State.PENDING, 1)
        assert [entry.outcome for entry in job.history] == [Outcome.HANGING]


async def test_a_lease_that_a_claim_asked_for_itself_is_the_one_that_counts(idle_runtime: Runtime) -> None:
    set_clock(idle_runtime, NOW)
    await add(idle_runtime, lease=60)
    claimed = await idle_runtime.work.claim("default", None, worker="w", lease=600)
    assert claimed is not None
    assert claimed.job.held_lease == 600
    set_clock(idle_runtime, NOW + timedelta(seconds=600))
    (seen,) = await idle_runtime.jobs.expired(600)
    assert (seen.id, seen.held_lease) == (claimed.job.id, 600)
    assert await idle_runtime.jobs.expired(599) == []
    job = await reap(idle_runtime, claimed.job.id)
    assert job.error is not None
    assert job.error.message == "no heartbeat from w for 600 s"


class Reapings:
    """A reaper on a clock that the test sets, over a database that it takes away."""

    def __init__(self, runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        self.up = True
        monkeypatch.setattr(loops, "time", SimpleNamespace(monotonic=lambda: self.now))
        self._reaper = Reaper(runtime.jobs, runtime.outboxes, runtime.breakers, runtime.notifier, runtime.crashes)
        expired = runtime.jobs.expired

        async def look(patience: float, most: int = 100) -> list[Job]:
            if not self.up:
                raise DatabaseUnavailableError("gone")
            return await expired(patience, most)

        monkeypatch.setattr(runtime.jobs, "expired", look)

    async def look(self, *, after: float) -> float | None:
        self.now += after
        return await self._reaper.run_once()


async def test_after_the_start_of_a_process_every_worker_has_one_lease_to_say_that_it_lives(
    idle_runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    claimed = await claimed_job(idle_runtime, lease=100)
    await end_lease(idle_runtime, claimed.job)
    reapings = Reapings(idle_runtime, monkeypatch)
    for _ in range(4):
        await reapings.look(after=20)
        assert (await idle_runtime.jobs.get(claimed.job.id)).state is State.PROCESSING
    await reapings.look(after=20)
    assert (await idle_runtime.jobs.get(claimed.job.id)).state is State.DELAYED


async def test_after_an_outage_living_workers_are_not_robbed_and_dead_ones_are_noticed(
    idle_runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = await idle_runtime.producer.add_all([NewJob(type="work", lease=100) for _ in range(100)])
    claims = [await claim(idle_runtime) for _ in jobs]
    dead = claims.pop()
    reapings = Reapings(idle_runtime, monkeypatch)
    for _ in range(20):
        await reapings.look(after=20)
    reapings.up = False
    with pytest.raises(DatabaseUnavailableError):
        await reapings.look(after=300)
    await idle_runtime.jobs.collection.update_many({}, {"$set": {"resetAt": NOW}})
    reapings.up = True
    sooner = await reapings.look(after=10)
    assert sooner == 25
    for one in claims:
        assert await idle_runtime.work.report(one.job, one.token) is not None
    for _ in range(4):
        await reapings.look(after=25)
    states = {job.id: (await idle_runtime.jobs.get(job.id)).state for job in jobs}
    assert states.pop(dead.job.id) is State.DELAYED
    assert set(states.values()) == {State.PROCESSING}


async def test_after_a_sleep_of_the_host_or_a_step_of_the_servers_clock_living_workers_are_not_robbed(
    idle_runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    claimed = await claimed_job(idle_runtime, lease=100)
    reapings = Reapings(idle_runtime, monkeypatch)
    for _ in range(10):
        await reapings.look(after=20)
    told = await idle_runtime.jobs.server_time() + timedelta(minutes=10)

    async def later() -> datetime:
        return told

    monkeypatch.setattr(idle_runtime.jobs, "server_time", later)
    await end_lease(idle_runtime, claimed.job)
    for _ in range(4):
        await reapings.look(after=20)
        assert (await idle_runtime.jobs.get(claimed.job.id)).state is State.PROCESSING
    await reapings.look(after=20)
    await reapings.look(after=20)
    assert (await idle_runtime.jobs.get(claimed.job.id)).state is State.DELAYED


async def test_a_job_of_a_worker_that_died_is_run_by_another_soon(settings: Settings, idle_runtime: Runtime) -> None:
    claimed = await claimed_job(idle_runtime, lease=1, backoff=0)
    async with open_runtime(settings, started=True) as other:

        async def claimed_again() -> bool:
            return await other.work.claim("default", None, worker="other") is not None

        await eventually(claimed_again, within=60)
    job = await idle_runtime.jobs.get(claimed.job.id)
    assert [entry.worker for entry in job.history] == ["worker", "other"]
    assert (job.history[0].outcome, job.attempts_made) == (Outcome.HANGING, 2)
