"""Three processes that keep one schedule and die again and again: one job for each tick."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from jobqueue.domain.schedule import read
from tests.support.mortals import mortals
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from jobqueue import JobQueue

TICKS = 200


async def test_there_is_one_job_for_each_tick_whatever_dies(queue: JobQueue, mongo_url: str, db_name: str) -> None:
    runtime = await queue.open()
    definition = read({"every": 3600, "missed": "all", "job": {"type": "tick"}})
    await runtime.schedules.put("s", definition)
    last = await runtime.database.clock.now()
    # The last of so many ticks was half a minute ago.
    anchor = last - timedelta(hours=TICKS, seconds=30)
    changed = {"$set": {"anchor": anchor, "nextAt": anchor + timedelta(hours=1)}}
    await runtime.schedule_store.collection.update_one({"_id": "s"}, changed)
    program = "tests.support.schedule_worker"
    with mortals(mongo_url, db_name, program=program, count=3, seed=5, share=0.01) as workers:

        async def is_over() -> bool:
            workers.look_after()
            found = await runtime.schedule_store.find("s")
            return found is not None and found.next_at is not None and found.next_at > last

        await eventually(is_over, within=100, every=0.1)
    assert workers.deaths["crashed"] > 1
    ticks = [one["scheduledAt"] async for one in runtime.jobs.collection.find({"schedule": "s"})]
    assert sorted(ticks) == [anchor + timedelta(hours=1 + number) for number in range(TICKS)]
