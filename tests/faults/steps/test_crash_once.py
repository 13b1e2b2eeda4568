"""A step that must not run twice, in a process that dies before and after every write: it never runs twice."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest

from jobqueue.domain.attempts.states import FINAL
from tests.faults.steps.test_crash_steps import let_time_pass, run
from tests.support.crashes.crash_everywhere import Crash, Mortal, process, reaping
from tests.support.data.factories import add

if TYPE_CHECKING:
    from jobqueue import ActiveJob, BlockingJob
    from jobqueue.domain.jobs.job import Job
    from jobqueue.services.application import Runtime
    from jobqueue.settings import Settings
    from tests.support.faults.figures import Figures

MOST = 40
"""Writes that no run comes near to."""


class Effects:
    """Side effects of a handler, in whichever process it runs."""

    def __init__(self) -> None:
        self.charged = 0

    def charge(self) -> str:
        self.charged += 1
        return "paid"

    async def in_loop(self, job: ActiveJob) -> list[str]:
        first = await job.step("before", str, "x")
        return [first, await job.step("charge", self.charge, once=True), await job.step("after", str, "y")]

    def in_thread(self, job: BlockingJob) -> list[str]:
        first = job.step("before", str, "x")
        return [first, job.step("charge", self.charge, once=True), job.step("after", str, "y")]


async def look(runtime: Runtime, job: Job, effects: Effects) -> Job:
    """Return a job; a person who has looked at the bank ends its doubt."""
    present = await runtime.jobs.get(job.id)
    if present.wait is not None and present.wait.doubt is not None:
        happened = effects.charged > 0
        return await runtime.doubts.decide(job.id, "charge", happened=happened, result="paid" if happened else None)
    return present


async def die_once(runtime: Runtime, settings: Settings, effects: Effects, way: str, mortal: Mortal) -> Job:
    """Run a job to its end, in a process that dies and then in others."""
    job = await add(runtime, "work", attempts=9, backoff=0, lease=60)
    function = getattr(effects, way)
    async with process(settings, mortal) as dying:
        with contextlib.suppress(Crash):
            claimed = await dying.work.claim("default", None, worker="mortal")
            assert claimed is not None
            await run(dying, claimed, function)
    present = await look(runtime, job, effects)
    for _ in range(9):
        if present.state in FINAL:
            break
        await let_time_pass(runtime)
        claimed = await runtime.work.claim("default", None, worker="next")
        if claimed is not None:
            await run(runtime, claimed, function)
        present = await look(runtime, job, effects)
    return present


@pytest.mark.timeout(600)
@pytest.mark.parametrize("phase", ["after", "before"])
@pytest.mark.parametrize("way", ["in_loop", "in_thread"])
async def test_a_step_that_must_not_run_twice_never_does(
    idle_runtime: Runtime, settings: Settings, figures: Figures, way: str, phase: str
) -> None:
    found: list[str] = []
    doubts = 0
    with reaping() as reaper:
        for nth in range(1, MOST):
            mortal, effects = Mortal(nth=nth, after=phase == "after"), Effects()
            with reaper.watching(mortal):
                job = await die_once(idle_runtime, settings, effects, way, mortal)
            doubts += any(entry.outcome == "suspend" for entry in job.history)
            if effects.charged != 1 or job.result != ["x", "paid", "y"]:
                found.append(f"{mortal.at}: charged {effects.charged} times, {job.state}: {job.error} {job.result}")
            if mortal.at is None:
                break
            figures.fault("process crashed just before or after a certain write")
    assert found == []
    # A crash between the mark and the result leaves a doubt.
    assert doubts >= 1
    assert 4 < nth < MOST
