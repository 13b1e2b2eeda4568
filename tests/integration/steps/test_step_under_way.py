"""The step under way is known while a job runs, and after its worker has died."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from jobqueue.cli.render import job_text
from jobqueue.domain.jobs import json_form
from tests.support.data.factories import LONG_AGO, add, claim, claimed_job, end_lease, patient_reaper
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from jobqueue import ActiveJob, BlockingJob, JobQueue
    from jobqueue.services.application import Runtime

SHORT_LEASE = 2


async def in_step(queue: JobQueue, job_id: str, name: str | None) -> None:
    """Wait until the claim of a job names a step."""

    async def is_there() -> bool:
        claim = (await queue.get(job_id)).claim
        return claim is not None and claim.step == name

    await eventually(is_there)


@pytest.mark.parametrize("way", ["async", "thread"])
async def test_the_step_under_way_comes_with_a_heartbeat(
    queue: JobQueue, way: str, capsys: pytest.CaptureFixture[str]
) -> None:
    runtime = await queue.open()
    go = {name: asyncio.Event() for name in ("one", "two", "plain", "all")}

    async def work(name: str) -> None:
        await go[name].wait()

    @queue.handler("async")
    async def in_loop(job: ActiveJob) -> None:
        await job.step("one", work, "one")
        await go["plain"].wait()
        await asyncio.gather(job.step("two", work, "two"), job.step("three", work, "all"))

    @queue.handler("thread")
    def in_thread(job: BlockingJob) -> None:
        job.step("one", work, "one")
        job.step("three", work, "all")

    job = await queue.add(way, lease=SHORT_LEASE)
    async with queue.working():
        await in_step(queue, job.id, "one")
        why = await runtime.explainer.why(job.id)
        assert why.reasons[0].message == f"it is running on {runtime.name}, in step one"
        assert why.reasons[0].details == {"state": "processing", "steps": ["one"]}
        present = await queue.get(job.id)
        assert json_form.job(present)["claim"]["step"] == "one"
        job_text.print_job(json_form.job(present), [])
        assert ["step", "one"] in [line.split() for line in capsys.readouterr().out.splitlines()]
        go["one"].set()
        if way == "async":
            await in_step(queue, job.id, None)
            go["plain"].set()
            await in_step(queue, job.id, "three")
            go["all"].set()
            await in_step(queue, job.id, "two")
        go["all"].set()
        go["two"].set()

        async def has_ended() -> bool:
            return (await queue.get(job.id)).claim is None

        await eventually(has_ended)
    assert (await queue.get(job.id)).state == "success"


async def test_the_end_of_a_worker_names_the_step(idle_runtime: Runtime) -> None:
    claimed = await claimed_job(idle_runtime, attempts=3)
    under_way: dict[str, Any] = {"$set": {"claim.step": "reserve"}}
    await idle_runtime.jobs.collection.update_one({}, under_way)
    await end_lease(idle_runtime, claimed.job)
    await patient_reaper(idle_runtime).run_once()
    job = await idle_runtime.jobs.get(claimed.job.id)
    (entry,) = job.history
    assert entry.error is not None
    assert (entry.error.kind, entry.error.step) == ("hanging", "reserve")
    assert entry.error.message.endswith("; it was in step reserve")


@pytest.mark.parametrize("attempts", [1, 3])
async def test_a_worker_that_dies_while_it_suspends_a_job_costs_no_attempt_once(
    idle_runtime: Runtime, attempts: int
) -> None:
    await add(idle_runtime, attempts=attempts, backoff=0)
    expected = ["release", "hanging"]
    for outcome in expected:
        claimed = await claim(idle_runtime)
        await idle_runtime.work.steps.begin_sleep(claimed.job, claimed.token, "rest", seconds=3600)
        await end_lease(idle_runtime, claimed.job)
        await patient_reaper(idle_runtime).run_once()
        job = await idle_runtime.jobs.get(claimed.job.id)
        assert job.history[-1].outcome == outcome
    assert job.attempts_made == 1
    assert job.state == ("failed" if attempts == 1 else "pending")
    first = job.history[0].error
    assert first is not None
    assert (first.kind, first.step) == ("hanging", "rest")


async def test_a_worker_that_dies_in_a_step_beside_a_sleep_costs_an_attempt(idle_runtime: Runtime) -> None:
    claimed = await claimed_job(idle_runtime, attempts=3)
    await idle_runtime.work.steps.begin_sleep(claimed.job, claimed.token, "rest", seconds=3600)
    await idle_runtime.jobs.collection.update_one({}, {"$set": {"claim.step": "burn"}})
    await end_lease(idle_runtime, claimed.job)
    await patient_reaper(idle_runtime).run_once()
    job = await idle_runtime.jobs.get(claimed.job.id)
    assert (job.history[0].outcome, job.attempts_made) == ("hanging", 1)


async def test_a_job_that_was_about_to_be_suspended_and_takes_too_long_costs_an_attempt(idle_runtime: Runtime) -> None:
    claimed = await claimed_job(idle_runtime, attempts=3, timeout=1)
    await idle_runtime.work.steps.begin_sleep(claimed.job, claimed.token, "rest", seconds=3600)
    past = {"startAt": LONG_AGO, "steps.0.startAt": LONG_AGO, "resetAt": LONG_AGO + timedelta(seconds=1)}
    await idle_runtime.jobs.collection.update_one({}, {"$set": past})
    await patient_reaper(idle_runtime).run_once()
    job = await idle_runtime.jobs.get(claimed.job.id)
    assert (job.history[0].outcome, job.attempts_made) == ("timeout", 1)
