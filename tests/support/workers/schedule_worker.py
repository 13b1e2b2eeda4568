"""A process that only follows schedules, as fast as it can, at the time in a document of the test.

python -m … URL DB
"""

from __future__ import annotations

import asyncio
import signal
import sys
from datetime import UTC, datetime

from jobqueue.services.application import Runtime
from jobqueue.services.schedules.schedules import Scheduler
from jobqueue.settings import Settings
from jobqueue.store.schedules.schedules import ScheduleStore

EARLY = datetime(2020, 1, 1, tzinfo=UTC)


class SimulatedStore(ScheduleStore):
    """Takes the present from ``simulation``."""

    async def now(self) -> datetime:
        stored = await self._database.collection("simulation").find_one({"_id": "now"})
        return EARLY if stored is None else stored["at"]


async def follow(url: str, name: str) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    runtime = await Runtime.open(Settings.load({"mongo_url": url, "db": name}, environ={}))
    scheduler = Scheduler(SimulatedStore(runtime.database), runtime.producer)
    print("ready", flush=True)
    try:
        while not stop.is_set():
            await scheduler.run_once()
            # Others on this machine have work to do, too.
            await asyncio.sleep(0.005)
    finally:
        await runtime.close()


if __name__ == "__main__":
    asyncio.run(follow(sys.argv[1], sys.argv[2]))
