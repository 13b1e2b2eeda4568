"""A worker that dies at random just before or just after a write: python -m … URL DB SEED SHARE."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
from typing import Any

from pymongo import monitoring

from jobqueue import Die, JobQueue
from jobqueue.domain.attempts.states import State

CRASHED = 77
WRITES = frozenset({"insert", "update", "findAndModify", "delete", "commitTransaction"})


class Crasher(monitoring.CommandListener):
    """Ends the process without clean-up at a share of all writes."""

    def __init__(self, seed: int, share: float) -> None:
        self._rng = random.Random(seed)  # noqa: S311 - no secret
        self._share = share

    def started(self, event: monitoring.CommandStartedEvent) -> None:
        self._perhaps(event.command_name)

    def succeeded(self, event: monitoring.CommandSucceededEvent) -> None:
        self._perhaps(event.command_name)

    def failed(self, event: monitoring.CommandFailedEvent) -> None:
        """Live on."""

    def _perhaps(self, command: str) -> None:
        if command in WRITES and self._rng.random() < self._share:
            os._exit(CRASHED)


async def work(url: str, name: str) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    queue = JobQueue(mongo_url=url, db=name, reap_interval="0.2")

    @queue.handler("step")
    async def step(job: Any) -> int:
        # Dates do not say what came first: a claim that had to be tried again has that of its beginning.
        for other in job.job.depends_on:
            if (await queue.get(other)).state is not State.SUCCESS:
                raise Die(f"began before job {other} had succeeded")
        if job.data.get("fails") and job.job.run == 0:
            raise RuntimeError("as told")
        return 1

    @queue.handler("after")
    async def after(_job: Any) -> int:
        return 1

    async with queue, queue.working(concurrency=8):
        await stop.wait()


if __name__ == "__main__":
    monitoring.register(Crasher(int(sys.argv[3]), float(sys.argv[4])))
    asyncio.run(work(sys.argv[1], sys.argv[2]))
