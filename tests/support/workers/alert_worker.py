"""A process that looks for what alerts tell of, all the time, and dies at a share of its writes.

python -m … URL DB SEED SHARE
"""

from __future__ import annotations

import asyncio
import sys

from pymongo import monitoring

from jobqueue.services.application import Runtime
from jobqueue.settings import Settings
from tests.support.workers.crashing_worker import Crasher


async def work(url: str, name: str, crasher: Crasher, share: float) -> None:
    runtime = await Runtime.open(Settings.load({"mongo_url": url, "db": name}, environ={}))
    await runtime.configs.refresh()
    crasher._share = share
    while True:
        await runtime.detector.look(await runtime.alerts.store.all())
        await asyncio.sleep(0.02)


if __name__ == "__main__":
    crasher = Crasher(int(sys.argv[3]), 0)
    monitoring.register(crasher)
    asyncio.run(work(sys.argv[1], sys.argv[2], crasher, float(sys.argv[4])))
