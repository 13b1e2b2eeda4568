"""A worker process that writes down each start and end in a file of its own: python -m … JOURNAL URL DB CONCURRENCY."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from jobqueue import JobQueue


async def work(journal: Path, url: str, name: str, concurrency: int) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    queue = JobQueue(mongo_url=url, db=name, reap_interval="0.2")
    out = os.open(journal, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def note(what: str, job_id: str) -> None:
        os.write(out, f"{what} {job_id} {time.monotonic_ns()}\n".encode())

    @queue.handler("step")
    async def step(job: Any) -> int:
        note("start", job.id)
        await asyncio.sleep(0.005)
        note("end", job.id)
        return int(job.data["n"])

    async with queue, queue.working(concurrency=concurrency):
        note("ready", "-")
        await stop.wait()
    os.close(out)


if __name__ == "__main__":
    asyncio.run(work(Path(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4])))
