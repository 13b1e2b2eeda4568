"""A worker process that notes each start and end in a file of its own.

python -m … JOURNAL URL DB CONCURRENCY [SEED]: with a seed, the whole process stalls at random moments.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobqueue import JobQueue
from tests.support.faults.journals import Journal

if TYPE_CHECKING:
    from collections.abc import Iterator


async def stall(seed: int | None, stop: asyncio.Event) -> None:
    """Block this process for a moment, now and then."""
    rng = random.Random(seed)  # noqa: S311 - no secret
    while seed is not None and not stop.is_set():
        time.sleep(rng.choice([0, 0.01, 0.05, 0.2, 0.5]))  # noqa: ASYNC251 - that is the fault
        await asyncio.sleep(rng.uniform(0, 0.1))


@contextlib.contextmanager
def noted(journal: Journal, job: Any) -> Iterator[None]:
    token = job.job.claim.token
    journal.note("start", job.id, token)
    try:
        yield
    finally:
        journal.note("end", job.id, token)


async def play(job: Any) -> int:
    """Obey the data: take some seconds, or until a file exists; fail so often; or end the whole process."""
    if "until" in job.data:
        while not Path(job.data["until"]).exists():  # noqa: ASYNC110, ASYNC240 - it is made by another process
            await asyncio.sleep(0.02)
    if job.data.get("poison"):
        os._exit(3)
    await asyncio.sleep(job.data.get("seconds", 0.005))
    if job.attempt <= job.data.get("failures", 0):
        raise RuntimeError("as told")
    return int(job.data["n"])


async def work(path: Path, url: str, name: str, concurrency: int, seed: int | None) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    queue = JobQueue(mongo_url=url, db=name, reap_interval="0.2")
    journal = Journal(path)

    @queue.handler("step")
    async def step(job: Any) -> int:
        with noted(journal, job):
            return await play(job)

    async with queue, queue.working(concurrency=concurrency):
        journal.note("ready")
        stalls = asyncio.create_task(stall(seed, stop))
        await stop.wait()
        await stalls
    journal.close()


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
