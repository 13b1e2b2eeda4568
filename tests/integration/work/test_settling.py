"""Runs that begin while outcomes of earlier runs are being recorded."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from jobqueue import ActiveJob, NewJob
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from jobqueue import JobQueue
    from jobqueue.services.application import Runtime


class SlowOutcomes:
    """Holds all outcomes back until they are let go."""

    def __init__(self, runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
        self.go_on = asyncio.Event()
        self.waiting = 0
        self._settle = runtime.work.settle
        monkeypatch.setattr(runtime.work, "settle", self)

    async def __call__(self, *args: Any, **options: Any) -> Any:
        self.waiting += 1
        await self.go_on.wait()
        return await self._settle(*args, **options)


async def started(queue: JobQueue, jobs: int, **fields: Any) -> list[str]:
    """Add jobs, and a handler; return the ids of the jobs that have run, as a list that grows."""
    ran: list[str] = []

    @queue.handler("quick")
    async def quick(job: ActiveJob) -> None:
        ran.append(job.id)

    await queue.add_all([NewJob(type="quick", **fields) for _ in range(jobs)])
    return ran


async def states(queue: JobQueue, ran: list[str]) -> set[str]:
    return {(await queue.get(job_id)).state.value for job_id in ran}


async def test_a_run_begins_while_the_last_outcome_is_recorded_and_no_more_than_one(
    queue: JobQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    outcomes = SlowOutcomes(await queue.open(), monkeypatch)
    ran = await started(queue, 4)
    async with queue.working(concurrency=1) as dispatcher:
        await eventually(lambda: outcomes.waiting == 2)
        assert await states(queue, ran) == {"processing"}
        assert (len(ran), dispatcher.running) == (2, 2)
        outcomes.go_on.set()
        await eventually(lambda: len(ran) == 4)
    assert await states(queue, ran) == {"success"}


@pytest.mark.parametrize("jobs", [1, 2])
async def test_stopping_waits_for_the_outcomes_of_all_runs(
    queue: JobQueue, monkeypatch: pytest.MonkeyPatch, jobs: int
) -> None:
    outcomes = SlowOutcomes(await queue.open(), monkeypatch)
    ran = await started(queue, jobs)
    async with queue.working(concurrency=1) as dispatcher:
        await eventually(lambda: outcomes.waiting == jobs)
        stopping = asyncio.create_task(dispatcher.stop(60))
        await eventually(lambda: not dispatcher.is_running)
        assert not stopping.done()
        outcomes.go_on.set()
        assert await stopping == 0
    assert await states(queue, ran) == {"success"}


async def test_a_job_with_a_slot_records_its_outcome_before_the_next_run(
    queue: JobQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime = await queue.open()
    await runtime.queues.put("default", {"concurrency": 3})
    outcomes = SlowOutcomes(runtime, monkeypatch)
    ran = await started(queue, 3)
    async with queue.working(concurrency=1) as dispatcher:
        await eventually(lambda: outcomes.waiting == 1)
        assert (len(ran), dispatcher.running) == (1, 1)
        outcomes.go_on.set()
        await eventually(lambda: len(ran) == 3)
    assert await states(queue, ran) == {"success"}


async def test_the_lease_of_a_run_is_kept_until_its_outcome_is_recorded(
    queue: JobQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime = await queue.open()
    outcomes = SlowOutcomes(runtime, monkeypatch)
    ran = await started(queue, 2, lease=0.5)
    async with queue.working(concurrency=1):
        await eventually(lambda: outcomes.waiting == 2)
        first = await queue.get(ran[0])
        ends = {first.reset_at}

        async def is_renewed() -> bool:
            ends.add((await queue.get(ran[0])).reset_at)
            return len(ends) > 2

        await eventually(is_renewed)
        outcomes.go_on.set()
    assert [(await queue.get(job_id)).attempts_made for job_id in ran] == [1, 1]
    assert await states(queue, ran) == {"success"}
