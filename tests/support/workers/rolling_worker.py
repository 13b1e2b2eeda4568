"""A process that only counts the activity of jobs, as of a given moment.

python -m … URL DB MOMENT
"""

from __future__ import annotations

import asyncio
import sys
from datetime import datetime

from jobqueue.services.application import Runtime
from jobqueue.services.insight.rollups import RollupWriter
from jobqueue.settings import Settings
from jobqueue.store.insight.rollups import RollupStore
from tests.support.older.pasts import FixedClock


async def roll(url: str, name: str, moment: str) -> None:
    runtime = await Runtime.open(Settings.load({"mongo_url": url, "db": name}, environ={}))
    roller = RollupWriter(RollupStore(runtime.database), FixedClock(datetime.fromisoformat(moment)))
    print("ready", flush=True)
    try:
        while await roller.run_once() is not None:
            pass
    finally:
        await runtime.close()


if __name__ == "__main__":
    asyncio.run(roll(*sys.argv[1:4]))
