"""Plays jobs by a function of `callbacks` without access to the database, over HTTP: ``URL CONCURRENCY``."""

from __future__ import annotations

import asyncio
import os
import socket
import sys

from jobqueue import AsyncClient
from tests.support.conformance.callbacks import play_async

LEASE = 3.0
"""A job that is killed learns of it by its next heartbeat, after a third of it."""


async def work(url: str, concurrency: int) -> None:
    name = f"{socket.gethostname()}:{os.getpid()}:0"
    async with AsyncClient(url) as client:
        worker = client.worker("http", concurrency=concurrency, name=name, lease=LEASE, poll=1.0)
        worker.handler("play")(play_async)
        sys.stdout.write(f"{name}\n")
        sys.stdout.flush()
        await worker.work()


if __name__ == "__main__":
    asyncio.run(work(sys.argv[2], int(sys.argv[3])))
