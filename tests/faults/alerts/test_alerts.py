"""A process that dies at any write of an alert loses no message and doubles none."""

from __future__ import annotations

import contextlib
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from jobqueue.domain.alerts.alert import ALERT_QUEUE
from tests.support.crashes.crash_everywhere import Crash, Mortal, process, reaping
from tests.support.data.factories import claimed_job, fail, set_clock
from tests.support.mortals import mortals
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from jobqueue.services.application import Runtime
    from jobqueue.settings import Settings

GROUPS = 8
MOST = 20
"""Writes that a look does not come near to."""


async def look(runtime: Runtime, *, later: bool = False) -> None:
    if later:
        set_clock(runtime, await runtime.database.clock.ask() + timedelta(hours=2))
    await runtime.detector.look(await runtime.alerts.store.all())


async def told(runtime: Runtime) -> list[str]:
    found = runtime.jobs.collection.find({"queue": ALERT_QUEUE}).sort("_id", 1)
    return [job["data"]["event"] async for job in found]


@pytest.mark.parametrize("phase", ["after", "before"])
@pytest.mark.parametrize("is_over", [False, True], ids=["begin", "end"])
async def test_whatever_write_a_process_dies_at_each_message_comes_once(
    idle_runtime: Runtime, settings: Settings, phase: str, *, is_over: bool
) -> None:
    await idle_runtime.alerts.put("ops", {"url": "https://hooks.example.com/"})
    nth = 0
    with reaping() as reaper:
        for nth in range(1, MOST):
            await idle_runtime.jobs.collection.delete_many({})
            await idle_runtime.alerts.incidents.collection.delete_many({})
            idle_runtime.database.clock.present = "$$NOW"
            await fail(idle_runtime, await claimed_job(idle_runtime, attempts=1))
            if is_over:
                await look(idle_runtime)
            mortal = Mortal(nth=nth, after=phase == "after")
            async with process(settings, mortal) as dying:
                with reaper.watching(mortal), contextlib.suppress(Crash):
                    await look(dying, later=is_over)
            for _ in range(2):
                await look(idle_runtime, later=is_over)
            assert await told(idle_runtime) == (["new", "over"] if is_over else ["new"]), mortal.at
            if mortal.at is None:
                break
    assert 3 <= nth < MOST


async def test_each_thing_is_told_once_by_processes_that_die_while_they_look(
    idle_runtime: Runtime, mongo_url: str, db_name: str
) -> None:
    await idle_runtime.alerts.put("ops", {"url": "https://hooks.example.com/", "kinds": ["failures"]})
    program = "tests.support.workers.alert_worker"
    with mortals(mongo_url, db_name, program=program, count=2, seed=7, share=0.15) as processes:
        for group in range(GROUPS):
            await fail(idle_runtime, await claimed_job(idle_runtime, f"type{group}", attempts=1))

        async def are_told() -> bool:
            processes.look_after()
            waiting = await idle_runtime.alerts.incidents.collection.count_documents({"waiting": None})
            return waiting == GROUPS

        await eventually(are_told, within=60, every=0.2)
        assert processes.deaths.total() > 0
    assert await told(idle_runtime) == ["new"] * GROUPS
