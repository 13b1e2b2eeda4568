"""The step under way is known while a job runs, and after its worker has died."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from jobqueue.cli.render import job_text
from jobqueue.domain.jobs import json_form
from tests.support.factories import claimed_job, end_lease, patient_reaper
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
        job_text.print_job(present, [])
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
