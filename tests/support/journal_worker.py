"""A worker process that writes down each start and end in a file of its own.

python -m … JOURNAL URL DB CONCURRENCY [SEED]: with a seed, the whole process stalls at random moments.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
import time
from pathlib import Path
from typing import Any

from jobqueue import JobQueue


async def stall(seed: int | None, stop: asyncio.Event) -> None:
    """Hold up everything in this process for a moment, now and then."""
    rng = random.Random(seed)  # noqa: S311 - no secret
    while seed is not None and not stop.is_set():
        time.sleep(rng.choice([0, 0.01, 0.05, 0.2, 0.5]))  # noqa: ASYNC251 - that is the fault
        await asyncio.sleep(rng.uniform(0, 0.1))


async def work(journal: Path, url: str, name: str, concurrency: int, seed: int | None) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    queue = JobQueue(mongo_url=url, db=name, reap_interval="0.2")
    out = os.open(journal, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def note(what: str, job_id: str) -> None:
        os.write(out, f"{what} {job_id} {time.monotonic_ns()}\n".encode())

    @queue.handler("step")
    async def step(job: Any) -> int:
        note("start", job.id)
        await asyncio.sleep(job.data.get("seconds", 0.005))
        note("end", job.id)
        return int(job.data["n"])

    async with queue, queue.working(concurrency=concurrency):
        note("ready", "-")
        stalls = asyncio.create_task(stall(seed, stop))
        await stop.wait()
        await stalls
    os.close(out)


if __name__ == "__main__":
    asyncio.run(
        work(
            Path(sys.argv[1]),
            sys.argv[2],
            sys.argv[3],
            int(sys.argv[4]),
            seed=int(sys.argv[5]) if len(sys.argv) > 5 else None,
        )
    )
