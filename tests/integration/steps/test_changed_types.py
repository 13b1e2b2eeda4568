"""Steps whose kept result is of another type than the function declares now."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from jobqueue import ActiveJob, BlockingJob, JobQueue, State
from jobqueue.domain.attempts.states import FINAL
from tests.support.data.factories import document
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from jobqueue import Job


@dataclass
class Old:
    x: str


@dataclass
class New:
    y: str


@pytest.mark.parametrize("size", [1, 20_000], ids=["inside", "outside"])
async def test_a_step_with_a_result_of_another_type_runs_again_and_keeps_the_new_result(
    queue: JobQueue, size: int
) -> None:
    calls: list[str] = []

    def old() -> Old:
        calls.append("old")
        return Old("x" * size)

    def new() -> New:
        calls.append("new")
        return New("y" * size)

    @queue.handler("order")
    async def order(job: ActiveJob) -> int:
        if job.attempt == 1:
            await job.step("fetch", old)
            raise ValueError("the code was changed")
        fetched = await job.step("fetch", new)
        if job.attempt == 2:
            raise ValueError("once more")
        return len(fetched.y)

    async with queue.working():
        job = await queue.add("order", attempts=3, backoff=0)

        async def ended() -> Job | None:
            present = await queue.get(job.id)
            return present if present.state in FINAL else None

        done = await eventually(ended, within=30)
    assert done is not None
    assert (done.state, done.result) == (State.SUCCESS, size), done.error
    assert calls == ["old", "new"]
    assert [step.name for step in done.steps or ()] == ["fetch"]
    (line,) = (await document(await queue.open(), job.id))["logs"]
    assert "of another type, so the step runs again" in str(line)


@dataclass
class Payment:
    number: str


@pytest.mark.parametrize("way", ["in_loop", "in_thread"])
async def test_a_decision_without_a_fitting_result_fails_the_attempt_at_once(queue: JobQueue, way: str) -> None:
    calls: list[str] = []

    def charge() -> Payment:
        calls.append("charge")
        raise OSError("the line broke")

    if way == "in_loop":

        @queue.handler("order")
        async def in_loop(job: ActiveJob) -> str:
            return (await job.step("charge", charge, once=True)).number
    else:

        @queue.handler("order")
        def in_thread(job: BlockingJob) -> str:
            return job.step("charge", charge, once=True).number

    async with queue.working():
        job = await queue.add("order", attempts=2, backoff=0)

        async def doubted() -> bool:
            present = await queue.get(job.id)
            return present.wait is not None and present.wait.doubt == "charge"

        async def ended() -> Job | None:
            present = await queue.get(job.id)
            return present if present.state in FINAL else None

        assert await eventually(doubted, within=60)
        await (await queue.open()).doubts.decide(job.id, "charge", happened=True)
        done = await eventually(ended, within=60)
    assert done is not None
    assert calls == ["charge"]
    assert done.state is State.FAILED
    assert done.error is not None
    assert (done.error.kind, done.error.step) == ("step", "charge")
    assert "of another type" in done.error.message
    assert [entry.outcome for entry in done.history] == ["fail", "suspend", "fail"]
