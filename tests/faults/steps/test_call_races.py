"""The end of the last child races with the suspension of its parent: no wake-up is lost, and none comes twice."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from jobqueue.domain.attempts.states import State
from jobqueue.domain.jobs.job import NewJob
from jobqueue.domain.steps.step import Wait
from jobqueue.domain.work.calls import NewCall
from jobqueue.domain.work.verdict import Success, Suspension
from tests.support.data.factories import add, claim, open_runtime
from tests.support.data.scale import sized

if TYPE_CHECKING:
    from jobqueue.services.application import Runtime
    from jobqueue.services.runs.attempts import ClaimedJob
    from jobqueue.settings import Settings

RACES = sized(40, 1000)
TOGETHER = 10
"""Races at a time."""


async def prepared(runtime: Runtime, count: int) -> tuple[ClaimedJob, list[ClaimedJob]]:
    """Return a running parent that has asked for children, and the running children."""
    parent = await claim(runtime, (await add(runtime, "parent", queue="parents")).queue)
    new = NewCall(jobs=tuple(NewJob(type="child", queue="children") for _ in range(count)))
    await runtime.work.steps.call(parent.job, parent.token, "many", new)
    return parent, [await claim(runtime, "children") for _ in range(count)]


async def race(parent: ClaimedJob, children: list[ClaimedJob], runtimes: tuple[Runtime, Runtime]) -> None:
    """Suspend the parent in one process, and end its children at the same time in both."""
    ours, theirs = runtimes
    verdict = Suspension(wait=Wait(names=("many",), jobs=len(children)))
    ends = [
        (ours if place % 2 else theirs).work.settle(child.job, child.token, Success(result=place))
        for place, child in enumerate(children)
    ]
    await asyncio.gather(ours.work.settle(parent.job, parent.token, verdict), *ends)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("count", [1, 3])
async def test_no_wake_up_is_lost_and_none_comes_twice(idle_runtime: Runtime, settings: Settings, count: int) -> None:
    woken: list[str] = []
    async with open_runtime(settings) as other:
        for process in (idle_runtime, other):
            process.notifier.listen(
                lambda wake: (
                    woken.append(wake.job_id or "") if wake.queue == "parents" and wake.kind == "ready" else None
                )
            )
        for _ in range(0, RACES, TOGETHER):
            started = [await prepared(idle_runtime, count) for _ in range(TOGETHER)]
            woken.clear()
            await asyncio.gather(*(race(parent, children, (idle_runtime, other)) for parent, children in started))
            parents = [await idle_runtime.jobs.get(parent.job.id) for parent, _ in started]
            assert {parent.state for parent in parents} == {State.PENDING}
            assert all(parent.steps and parent.steps[0].result is not None for parent in parents)
            assert sorted(woken) == sorted(parent.id for parent in parents)
            for parent in parents:
                await idle_runtime.manager.kill(parent.id)
    assert await idle_runtime.jobs.collection.count_documents({"outbox": {"$exists": True}}) == 0
