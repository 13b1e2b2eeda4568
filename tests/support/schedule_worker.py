"""A process that keeps schedules and nothing else, and dies at random at a write: python -m … URL DB SEED SHARE."""

from __future__ import annotations

import asyncio
import sys

from pymongo import monitoring

from jobqueue import JobQueue
from jobqueue.domain import schedule
from jobqueue.services.schedules import Scheduler
from tests.support.crashing_worker import Crasher

TICKS_AT_ONCE = 5


async def work(url: str, name: str) -> None:
    async with JobQueue(mongo_url=url, db=name) as queue:
        runtime = await queue.open()
        scheduler = Scheduler(runtime.schedule_store, runtime.jobs, runtime.configs, runtime.wakeups)
        while True:
            await scheduler.run_once()
            await asyncio.sleep(0)


if __name__ == "__main__":
    # Otherwise one pass would do for all ticks.
    schedule.MOST_TICKS = TICKS_AT_ONCE  # type: ignore[misc]
    monitoring.register(Crasher(int(sys.argv[3]), float(sys.argv[4])))
    asyncio.run(work(sys.argv[1], sys.argv[2]))
