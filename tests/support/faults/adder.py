"""Adds jobs over HTTP until each is acknowledged: python -m … JOURNAL COUNT SECONDS QUEUES URL [URL …].

The same Idempotency-Key goes with each repetition. ``SECONDS`` lie between two jobs.
"""

from __future__ import annotations

import asyncio
import itertools
import signal
import sys
import uuid
from pathlib import Path

import aiohttp

from tests.support.faults.journals import Journal


async def add(path: Path, count: int, seconds: float, queues: list[str], urls: list[str]) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    journal = Journal(path)
    to = itertools.cycle(urls)
    child = {"type": "step", "queue": "default", "data": {"n": 1}, "lease": 3, "attempts": 99, "backoff": 0}
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=30)) as session:
        for _, queue in zip(range(count), itertools.cycle(queues), strict=False):
            if stop.is_set():
                break
            headers = {"Idempotency-Key": str(uuid.uuid4())}
            body = {**child, "queue": queue, "onComplete": child}
            status, job_id = 599, ""
            while status not in {200, 201}:
                try:
                    async with session.post(f"{next(to)}/v1/jobs", json=body, headers=headers) as reply:
                        status, job_id = reply.status, (await reply.json()).get("id", "")
                except (aiohttp.ClientError, TimeoutError):
                    status = 599
                if status not in {200, 201}:
                    await asyncio.sleep(0.1)
            journal.note("added", job_id)
            await asyncio.sleep(seconds)


if __name__ == "__main__":
    words = sys.argv
    asyncio.run(add(Path(words[1]), int(words[2]), float(words[3]), words[4].split(","), words[5:]))
