"""After too many failed attempts in a row nothing starts for a while, then one job on trial, over all processes."""

from __future__ import annotations

import asyncio
import contextlib
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp.test_utils import TestClient, TestServer

from jobqueue.api.app import make_app
from jobqueue.domain.attempts.states import Outcome, State
from jobqueue.domain.errors import StaleTokenError, WrongStateError
from jobqueue.domain.jobs import json_form
from jobqueue.domain.jobs.job import NewJob
from jobqueue.domain.work.verdict import Failure
from jobqueue.services.limits.limiter import HeldBack
from tests.support.data.factories import (
    ERROR,
    LONG_AGO,
    add,
    claim,
    claimed_job,
    die,
    end_lease,
    fail,
    open_runtime,
    patient_reaper,
    retry,
    set_clock,
    succeed,
)
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from jobqueue.services.application import Runtime
    from jobqueue.services.runs.attempts import ClaimedJob
    from jobqueue.settings import Settings

NOW = datetime(2026, 1, 1, tzinfo=UTC)
COOLDOWN = 300


async def configure(runtime: Runtime, failures: int = 3, **more: Any) -> None:
    await runtime.queues.put("default", {"breaker": {"failures": failures, "cooldown": COOLDOWN, **more}})


async def broken(runtime: Runtime, failures: int = 3, **more: Any) -> None:
    """Let a breaker be open, after as many jobs have failed as it takes."""
    await configure(runtime, failures, **more)
    for _ in range(failures):
        await fail(runtime, await claimed_job(runtime, attempts=1))


async def attempt(runtime: Runtime, types: list[str] | None = None) -> ClaimedJob | HeldBack | None:
    return await runtime.work.attempt("default", types, worker="worker")


async def held(runtime: Runtime, types: list[str] | None = None) -> float | None:
    """Return for how many seconds jobs are held back, ``None`` if they are not."""
    found = await attempt(runtime, types)
    return found.seconds if isinstance(found, HeldBack) else None


async def cool_down(runtime: Runtime) -> None:
    """Let the time of all open breakers be over."""
    await runtime.limits.collection.update_many({"openUntil": {"$ne": None}}, {"$set": {"openUntil": LONG_AGO}})


async def failures(runtime: Runtime, kind: str | None = None) -> int:
    found = [one.failures for one in await runtime.limits.breakers("default") if one.type == kind]
    return found[0] if found else 0


async def test_after_so_many_failures_in_a_row_nothing_is_claimed_and_no_attempt_is_spent(
    settings: Settings, idle_runtime: Runtime
) -> None:
    await broken(idle_runtime)
    jobs = [await add(idle_runtime, one) for one in ("work", "other")]
    async with open_runtime(settings) as other:
        for runtime in (idle_runtime, other):
            for types in (None, ["work"], ["other", "work"]):
                assert COOLDOWN - 30 < (await held(runtime, types) or 0) <= COOLDOWN
    for job in [await idle_runtime.jobs.get(one.id) for one in jobs]:
        assert (job.state, job.attempts_made, job.history) == (State.PENDING, 0, ())


async def test_before_that_and_without_a_breaker_everything_is_claimed(idle_runtime: Runtime) -> None:
    for _ in range(4):
        await fail(idle_runtime, await claimed_job(idle_runtime, attempts=1))
    assert await failures(idle_runtime) == 0
    await configure(idle_runtime, 5)
    for _ in range(4):
        await fail(idle_runtime, await claimed_job(idle_runtime, attempts=1))
    await claimed_job(idle_runtime)
    assert await failures(idle_runtime) == 4


async def test_a_success_in_between_begins_the_row_anew(idle_runtime: Runtime) -> None:
    await configure(idle_runtime)
    for _ in range(3):
        for _ in range(2):
            await fail(idle_runtime, await claimed_job(idle_runtime, attempts=1))
        await succeed(idle_runtime, await claimed_job(idle_runtime))
    assert await failures(idle_runtime) == 0
    await claimed_job(idle_runtime)


async def test_every_attempt_of_a_job_counts_and_another_queue_goes_on(idle_runtime: Runtime) -> None:
    await configure(idle_runtime)
    await add(idle_runtime, attempts=5, backoff=0)
    for _ in range(3):
        await fail(idle_runtime, await claim(idle_runtime))
    assert await held(idle_runtime) is not None
    await claimed_job(idle_runtime, queue="other")


async def test_the_breaker_stays_open_to_the_millisecond(idle_runtime: Runtime) -> None:
    set_clock(idle_runtime, NOW)
    await broken(idle_runtime)
    job = await add(idle_runtime)
    for seconds, left in ((0, COOLDOWN), (COOLDOWN - 0.001, 0.001)):
        set_clock(idle_runtime, NOW + timedelta(seconds=seconds))
        assert await held(idle_runtime) == pytest.approx(left, abs=1e-6)
    set_clock(idle_runtime, NOW + timedelta(seconds=COOLDOWN))
    assert (await claim(idle_runtime)).job.id == job.id


async def test_failures_of_jobs_that_ran_already_do_not_hold_it_open_longer(idle_runtime: Runtime) -> None:
    set_clock(idle_runtime, NOW)
    await configure(idle_runtime)
    running = [await claimed_job(idle_runtime, attempts=1) for _ in range(5)]
    for seconds, one in enumerate(running):
        set_clock(idle_runtime, NOW + timedelta(seconds=seconds))
        await fail(idle_runtime, one)
    (state,) = await idle_runtime.limits.breakers("default")
    assert (state.failures, state.open_until) == (5, NOW + timedelta(seconds=2 + COOLDOWN))


async def test_after_the_cooldown_exactly_one_job_is_on_trial_over_all_processes(
    settings: Settings, idle_runtime: Runtime
) -> None:
    await broken(idle_runtime)
    await idle_runtime.producer.add_all([NewJob(type="work") for _ in range(10)])
    await cool_down(idle_runtime)
    async with open_runtime(settings) as other:
        for _ in range(3):
            found = await asyncio.gather(*(attempt(one) for one in (idle_runtime, other) * 10))
            (trial,) = [one for one in found if one is not None and not isinstance(one, HeldBack)]
            assert all(isinstance(one, HeldBack) and one.seconds > 0 for one in found if one is not trial)
            assert await idle_runtime.jobs.collection.count_documents({"state": "processing"}) == 1
            await idle_runtime.work.release(trial.job, trial.token)
    untouched = {"state": "pending", "attemptsMade": 0}
    assert await idle_runtime.jobs.collection.count_documents(untouched) == 10


async def test_a_trial_that_succeeds_closes_the_breaker(settings: Settings, idle_runtime: Runtime) -> None:
    await broken(idle_runtime)
    for _ in range(5):
        await add(idle_runtime)
    await cool_down(idle_runtime)
    async with open_runtime(settings) as other:
        await succeed(other, await claim(other))
        assert await failures(idle_runtime) == 0
        for runtime in (idle_runtime, other, idle_runtime, other):
            await claim(runtime)


async def test_a_trial_that_fails_opens_the_breaker_again(settings: Settings, idle_runtime: Runtime) -> None:
    await broken(idle_runtime)
    for _ in range(5):
        await add(idle_runtime, attempts=1)
    async with open_runtime(settings) as other:
        for number in range(3):
            await cool_down(idle_runtime)
            await fail(other, await claim(other))
            assert await failures(idle_runtime) == 4 + number
            for runtime in (idle_runtime, other):
                assert (await held(runtime) or 0) > COOLDOWN - 30
        await cool_down(idle_runtime)
        await succeed(idle_runtime, await claim(idle_runtime))
        await claim(other)


@pytest.mark.parametrize("end", [die, retry])
async def test_a_job_that_dies_or_asks_for_another_run_does_not_count(idle_runtime: Runtime, end: Any) -> None:
    await configure(idle_runtime, 2)
    await fail(idle_runtime, await claimed_job(idle_runtime, attempts=1))
    for _ in range(3):
        claimed = await claimed_job(idle_runtime)
        await end(idle_runtime, claimed)
        with contextlib.suppress(WrongStateError):
            await idle_runtime.manager.kill(claimed.job.id)
    assert await failures(idle_runtime) == 1
    await fail(idle_runtime, await claimed_job(idle_runtime, attempts=1))
    assert await held(idle_runtime) is not None


@pytest.mark.parametrize("end", ["die", "retry", "kill", "release"])
async def test_a_trial_that_tells_nothing_leaves_its_place_to_the_next(idle_runtime: Runtime, end: str) -> None:
    await broken(idle_runtime)
    for _ in range(3):
        await add(idle_runtime)
    await cool_down(idle_runtime)
    trial = await claim(idle_runtime)
    assert await held(idle_runtime) is not None
    match end:
        case "die":
            await die(idle_runtime, trial)
        case "retry":
            await retry(idle_runtime, trial, 60)
        case "kill":
            await idle_runtime.manager.kill(trial.job.id)
        case _:
            await idle_runtime.work.release(trial.job, trial.token)
    assert await failures(idle_runtime) == 3
    await claim(idle_runtime)
    assert await held(idle_runtime) is not None


async def test_an_attempt_that_takes_too_long_counts_and_a_report_that_comes_too_late_does_not(
    idle_runtime: Runtime,
) -> None:
    await configure(idle_runtime)
    for _ in range(2):
        claimed = await claimed_job(idle_runtime, attempts=1)
        await idle_runtime.work.settle(claimed.job, claimed.token, Failure(error=ERROR, timed_out=True))
        with pytest.raises(StaleTokenError):
            await fail(idle_runtime, claimed)
        with pytest.raises(StaleTokenError):
            await succeed(idle_runtime, claimed)
    assert await failures(idle_runtime) == 2


async def test_a_trial_whose_worker_vanishes_counts_as_a_failure(idle_runtime: Runtime) -> None:
    await broken(idle_runtime)
    for _ in range(2):
        await add(idle_runtime, attempts=1)
    await cool_down(idle_runtime)
    trial = await claim(idle_runtime)
    await end_lease(idle_runtime, trial.job)
    await patient_reaper(idle_runtime).run_once()
    assert (await idle_runtime.jobs.get(trial.job.id)).history[0].outcome is Outcome.HANGING
    assert await failures(idle_runtime) == 4
    assert (await held(idle_runtime) or 0) > COOLDOWN - 30
    await cool_down(idle_runtime)
    await claim(idle_runtime)


async def test_a_breaker_for_each_type_holds_back_only_the_type_that_failed(
    settings: Settings, idle_runtime: Runtime
) -> None:
    await broken(idle_runtime, per="type")
    for kind in ("work", "work", "other", "other"):
        await add(idle_runtime, kind)
    async with open_runtime(settings) as other:
        assert [(await claim(one)).job.type for one in (other, idle_runtime)] == ["other", "other"]
        for types in (None, ["work"], ["work", "other"]):
            assert (await held(other, types) or 0) > COOLDOWN - 30
        assert await attempt(other, ["other"]) is None
        assert (await failures(other, "work"), await failures(other, "other"), await failures(other)) == (3, 0, 0)
        await cool_down(idle_runtime)
        found = await asyncio.gather(*(attempt(one) for one in (idle_runtime, other) * 5))
        (trial,) = [one for one in found if one is not None and not isinstance(one, HeldBack)]
        await add(idle_runtime, "other")
        assert (await claim(other)).job.type == "other"
        assert await held(other, ["work"]) is not None
        await succeed(other, trial)
        assert (await claim(idle_runtime)).job.type == "work"


async def test_two_types_are_on_trial_at_the_same_time(idle_runtime: Runtime) -> None:
    await configure(idle_runtime, 1, per="type")
    for kind in ("a", "b"):
        await fail(idle_runtime, await claimed_job(idle_runtime, kind, attempts=1))
    for kind in ("a", "a", "b", "b", "c"):
        await add(idle_runtime, kind)
    await cool_down(idle_runtime)
    assert [(await claim(idle_runtime)).job.type for _ in range(3)] == ["c", "a", "b"]
    assert await held(idle_runtime) is not None


async def test_a_trial_takes_its_place_among_the_limits_of_the_queue_too(idle_runtime: Runtime) -> None:
    limits: Any = {"concurrency": 2, "limitBy": "meta.user", "rate": {"limit": 3, "per": 600}}
    breaker = {"failures": 1, "cooldown": COOLDOWN}
    await idle_runtime.queues.put("default", {**limits, "breaker": breaker})
    await fail(idle_runtime, await claimed_job(idle_runtime, attempts=1, meta={"user": 1}))
    for user in (1, 1, 2, 1):
        await add(idle_runtime, meta={"user": user})
    assert (await held(idle_runtime) or 0) > COOLDOWN - 30
    await cool_down(idle_runtime)
    trial = await claim(idle_runtime)
    assert await held(idle_runtime) is not None
    await succeed(idle_runtime, trial)
    users = [trial.job.meta["user"], *[(await claim(idle_runtime)).job.meta["user"] for _ in range(2)]]
    assert users == [2, 1, 1]
    assert await held(idle_runtime) is not None


async def test_resuming_the_queue_closes_its_breakers(settings: Settings, idle_runtime: Runtime) -> None:
    await broken(idle_runtime, per="type")
    job = await add(idle_runtime)
    assert await held(idle_runtime) is not None
    async with open_runtime(settings) as other:
        await other.queues.set_paused("default", paused=False)
    assert await failures(idle_runtime, "work") == 0
    assert (await claim(idle_runtime)).job.id == job.id


@pytest.mark.parametrize("change", [{"breaker": None}, {"breaker": {"failures": 4}}, {"breaker": {"per": "type"}}])
async def test_another_breaker_does_not_hold_back_what_the_old_one_did(idle_runtime: Runtime, change: Any) -> None:
    await broken(idle_runtime)
    job = await add(idle_runtime)
    assert await held(idle_runtime) is not None
    await idle_runtime.queues.patch("default", change)
    assert (await claim(idle_runtime)).job.id == job.id


async def test_a_deleted_queue_has_forgotten_its_failures(idle_runtime: Runtime) -> None:
    await broken(idle_runtime)
    await idle_runtime.queues.delete("default")
    await configure(idle_runtime)
    await claimed_job(idle_runtime)


@pytest.fixture
async def client(idle_runtime: Runtime) -> AsyncIterator[TestClient[Any, Any]]:
    async with TestClient(TestServer(make_app(idle_runtime))) as one:
        yield one


async def test_a_queue_shows_its_breakers(client: TestClient[Any, Any], idle_runtime: Runtime) -> None:
    async def shown() -> Any:
        return (await (await client.get("/v1/queues/default")).json())["breakers"]

    assert await shown() == []
    await broken(idle_runtime, per="type")
    await fail(idle_runtime, await claimed_job(idle_runtime, "other", attempts=1))
    until = {one.type: json_form.value(one.open_until) for one in await idle_runtime.limits.breakers("default")}
    assert await shown() == [
        {"type": "other", "state": "closed", "failures": 1, "until": None},
        {"type": "work", "state": "open", "failures": 3, "until": until["work"]},
    ]
    await cool_down(idle_runtime)
    assert (await shown())[1]["state"] == "half-open"
    assert (await client.post("/v1/queues/default/resume")).status == 200
    assert await shown() == []


async def test_waiting_workers_go_on_when_a_trial_has_succeeded(settings: Settings, runtime: Runtime) -> None:
    await broken(runtime)
    await cool_down(runtime)
    for _ in range(3):
        await add(runtime)
    trial = await claim(runtime)
    async with (
        open_runtime(settings, started=True) as other,
        TestClient(TestServer(make_app(other))) as polling,
    ):
        body = {"worker": "w", "wait": 30}
        waiting = [asyncio.create_task(polling.post("/v1/queues/default/claim", json=body)) for _ in range(2)]
        await eventually(lambda: len(other.registry._asked) == 1)
        assert not any(one.done() for one in waiting)
        await succeed(runtime, trial)
        async with asyncio.timeout(10):
            assert [one.status for one in await asyncio.gather(*waiting)] == [200, 200]
