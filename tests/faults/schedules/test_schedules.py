"""One job a tick over processes that are killed and replaced while they make it."""

from __future__ import annotations

import random
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from jobqueue.domain.jobs.job import NewJob
from jobqueue.domain.schedules.cron import Every
from jobqueue.domain.schedules.schedule import Schedule
from jobqueue.domain.search.query import JobQuery
from jobqueue.services.schedules.schedules import Schedules
from jobqueue.store.schedules.schedules import ScheduleStore
from tests.support.unmeasured import environment
from tests.support.waiting import eventually
from tests.support.zygote.process import ModuleProcess

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from jobqueue.services.application import Runtime

ROOT = Path(__file__).parents[3]
START = datetime(2026, 3, 28, 12, tzinfo=UTC)
TICKS = 200
HOUR = timedelta(hours=1)
Process = ModuleProcess


@pytest.fixture
def start(mongo_url: str, db_name: str) -> Iterator[Callable[[], Process]]:
    """Start a process that follows schedules; all are stopped at the end."""
    started: list[Process] = []

    def one() -> Process:
        words = ("tests.support.workers.schedule_worker", mongo_url, db_name)
        process = ModuleProcess(*words, cwd=ROOT, env=environment(), stdout=subprocess.PIPE, text=True)
        started.append(process)
        return process

    yield one
    for process in started:
        process.terminate()
    for process in started:
        process.wait(30)
        if process.stdout is not None:
            process.stdout.close()


def await_ready(process: Process) -> None:
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"


class Simulation:
    """The time that all processes go by, and what they have made until then."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._clock = runtime.database.collection("simulation")
        self._schedules = runtime.database.collection("schedules")
        self.hours = 0

    async def move(self, hours: int) -> None:
        self.hours += hours
        # Late enough to count as missed, and early enough for the next tick to be far away.
        now = START + self.hours * HOUR + timedelta(minutes=5)
        await self._clock.update_one({"_id": "now"}, {"$set": {"at": now}}, upsert=True)

    async def caught_up(self) -> bool:
        found = await self._schedules.find_one({"_id": "s"})
        return found is not None and bool(found["nextAt"] == START + (self.hours + 1) * HOUR)

    async def count(self) -> int:
        """Return how many jobs there are or have been: a deleted one leaves its id behind."""
        return int(await self._runtime.jobs.collection.count_documents({}))

    async def delete_last(self) -> None:
        [job] = (await self._runtime.listing.page(JobQuery(schedule="s", limit=1))).items
        await self._runtime.manager.delete(job.id)


async def test_exactly_one_job_for_each_tick_whoever_is_killed(
    idle_runtime: Runtime, start: Callable[[], Process]
) -> None:
    rng = random.Random(11)  # noqa: S311 - no secret
    simulation = Simulation(idle_runtime)
    schedule = Schedule(name="s", job=NewJob(type="tick"), recurrence=Every(seconds=3600), missed="all")
    await Schedules(ScheduleStore(idle_runtime.database, START)).put(schedule)
    await simulation.move(0)
    alive = [start() for _ in range(3)]
    for process in alive:
        await_ready(process)
    deleted = step = 0
    while simulation.hours < TICKS:
        step += 1
        hours = min(rng.randint(1, 5), TICKS - simulation.hours)
        before = await simulation.count()
        await simulation.move(hours)
        if step % 8 == 0:
            wanted = before + rng.randint(0, hours)
            await eventually(lambda wanted=wanted: _reached(simulation, wanted), every=0)  # type: ignore[misc]
            victim = alive.pop(rng.randrange(len(alive)))
            victim.kill()
            alive.append(start())
        await eventually(simulation.caught_up)
        assert await simulation.count() == simulation.hours
        if step % 5 == 0:
            await simulation.delete_last()
            deleted += 1
    living = [one async for one in idle_runtime.jobs.collection.find({"schedule": "s"})]
    assert deleted >= 10
    assert (await simulation.count(), len(living)) == (TICKS, TICKS - deleted)
    assert len({one["scheduledAt"] for one in living}) == len(living)
    assert {one["state"] for one in living} == {"pending"}


async def _reached(simulation: Simulation, wanted: int) -> bool:
    return await simulation.count() >= wanted
