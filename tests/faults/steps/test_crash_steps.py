"""A handler of steps whose process dies before and after every write: no finished step runs again, none is lost."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from jobqueue.processors.callbacks.callback import CallbackProcessor
from jobqueue.processors.callbacks.handlers import Handler
from jobqueue.services.runs.reporter import JobReporter
from tests.support.crashes.crash_everywhere import Crash, Mortal, process, reaping
from tests.support.data.factories import LONG_AGO, add, patient_reaper

if TYPE_CHECKING:
    from jobqueue import ActiveJob, BlockingJob
    from jobqueue.domain.jobs.job import Job
    from jobqueue.services.application import Runtime
    from jobqueue.services.runs.attempts import ClaimedJob
    from jobqueue.settings import Settings
    from tests.support.faults.figures import Figures

MOST = 60
"""Writes that no run comes near to."""
NAMES = ("one", "two", "three", "four", "five")
ANSWER = {"by": "ann", "why": "x" * 2000}
"""The value of a signal that is kept outside of the document."""
LARGE = 40_000
"""Characters of a result that is kept outside of the document."""


class Effects:
    """Side effects of a handler, in whichever process it runs."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def make(self, name: str) -> str:
        self.seen.append(name)
        return name * LARGE if name == "three" else name

    async def in_loop(self, job: ActiveJob) -> list[Any]:
        first = await asyncio.gather(job.step("one", self.make, "one"), job.step("two", self.make, "two"))
        third = await job.step("three", self.make, "three")
        await job.sleep("rest", 3600)
        answer = await job.signal("approved", timeout=3600)
        fourth = await job.step("four", self.make, "four", attempts=2, backoff=60)
        fifth = await job.step("five", self.make, "five")
        return [*(len(text) for text in (*first, third, fourth, fifth)), answer]

    def in_thread(self, job: BlockingJob) -> list[Any]:
        made = [job.step(name, self.make, name) for name in NAMES[:3]]
        job.sleep("rest", 3600)
        answer = job.signal("approved")
        made += [job.step(name, self.make, name) for name in NAMES[3:]]
        return [*(len(text) for text in made), answer]


async def run(runtime: Runtime, claimed: ClaimedJob, function: Any) -> None:
    """Run a claimed job as a worker does, and record its outcome."""
    handler = Handler(type="work", queue="default", function=function)
    processor = CallbackProcessor({("default", "work"): handler}, lambda _: None)  # type: ignore[arg-type,return-value]
    reporter = JobReporter(runtime.work, claimed.job, claimed.token, lambda _: None, claimed.results)
    await runtime.work.settle(claimed.job, claimed.token, await processor.run(claimed.job, reporter))


async def let_time_pass(runtime: Runtime) -> None:
    """End leases and sleeps, but no waits for signals."""
    jobs = runtime.jobs.collection
    await jobs.update_many({"state": "processing"}, {"$set": {"resetAt": LONG_AGO}})
    await patient_reaper(runtime).run_once()
    asleep = {"delayTil": {"$type": "date"}, "wait.signals": None}
    await jobs.update_many(asleep, {"$set": {"delayTil": LONG_AGO}})
    late = {"$set": {"steps.$[sleep].until": LONG_AGO}}
    await jobs.update_many(
        {"steps": {"$exists": True}}, late, array_filters=[{"sleep.endAt": None, "sleep.kind": {"$ne": "signal"}}]
    )
    await runtime.jobs.promote_due()


async def die_once(runtime: Runtime, settings: Settings, effects: Effects, way: str, mortal: Mortal) -> list[str]:
    """Run a job to its end, in a process that dies and then in others; return what is not as promised."""
    job = await add(runtime, "work", attempts=9, backoff=0, lease=60)
    function = getattr(effects, way)
    async with process(settings, mortal) as dying:
        with contextlib.suppress(Crash):
            for turn in range(3):
                claimed = await dying.work.claim("default", None, worker="mortal")
                assert claimed is not None
                await run(dying, claimed, function)
                if turn == 1:
                    await dying.signals.send(job.id, "approved", ANSWER, signal_id="click-1")
                await let_time_pass(runtime)
    finished = {step.name for step in (await runtime.jobs.get(job.id)).steps or () if step.is_finished}
    before = len(effects.seen)
    present = await runtime.jobs.get(job.id)
    for turn in range(9):
        if present.state.value == "success":
            break
        if turn:
            # The sender repeats a request that got no answer.
            await runtime.signals.send(job.id, "approved", ANSWER, signal_id="click-1")
        await let_time_pass(runtime)
        claimed = await runtime.work.claim("default", None, worker="next")
        if claimed is not None:
            await run(runtime, claimed, function)
        present = await runtime.jobs.get(job.id)
    return [*violations(present, finished, effects.seen[before:]), *doubled(effects.seen)]


def violations(job: Job, finished: set[str], later: list[str]) -> list[str]:
    found = [f"{name} ran again" for name in finished & set(later)]
    if job.state.value != "success" or job.result != [3, 3, 5 * LARGE, 4, 4, ANSWER]:
        found.append(f"{job.state}: {job.error} {job.result}")
    names = [step.name for step in job.steps or ()]
    if sorted(names) != sorted((*NAMES, "rest", "approved")):
        found.append(f"steps are {names}")
    if [(signal.id, signal.taken) for signal in job.signals or ()] != [("click-1", "approved")]:
        found.append(f"the signals are {job.signals}")
    noted = [name for entry in job.history for name in entry.steps or ()]
    if sorted(noted) != sorted(NAMES):
        found.append(f"the history has {noted}")
    return found


def doubled(seen: list[str]) -> list[str]:
    counts = Counter(seen)
    again = [name for name, count in counts.items() if count > 1]
    # Those whose result was not kept when the process died; two of them run at once.
    return [f"{again} ran again"] if len(again) > 2 or max(counts.values()) > 2 else []


@pytest.mark.timeout(600)
@pytest.mark.parametrize("phase", ["after", "before"])
@pytest.mark.parametrize("way", ["in_loop", "in_thread"])
async def test_no_finished_step_runs_again_and_none_is_lost(
    idle_runtime: Runtime, settings: Settings, figures: Figures, way: str, phase: str
) -> None:
    found: list[str] = []
    with reaping() as reaper:
        for nth in range(1, MOST):
            mortal = Mortal(nth=nth, after=phase == "after")
            with reaper.watching(mortal):
                found += [
                    f"{mortal.at}: {fault}" for fault in await die_once(idle_runtime, settings, Effects(), way, mortal)
                ]
            if mortal.at is None:
                break
            figures.fault("process crashed just before or after a certain write")
    assert found == []
    # A claim and its outcome three times, five steps, one of them with its result outside, a sleep and a signal.
    assert 10 < nth < MOST
