"""A process that only carries operations on, a few jobs at a time and under a short lease.

python -m … URL DB
"""

from __future__ import annotations

import asyncio
import signal
import sys

from jobqueue.services.application import Runtime
from jobqueue.services.bulk import operations
from jobqueue.settings import Settings
from jobqueue.store.bulk import operation_statements

LEASE_SECONDS = 1.0
AT_ONCE = 10


async def work(url: str, name: str) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    runtime = await Runtime.open(Settings.load({"mongo_url": url, "db": name}, environ={}))
    await runtime.configs.refresh()
    print("ready", flush=True)
    try:
        while not stop.is_set():
            if await runtime.operations.run_once() is None:
                await asyncio.sleep(0.02)
    finally:
        await runtime.close()


if __name__ == "__main__":
    # A short lease, so that tests are quick.
    operation_statements.LEASE_MS = round(LEASE_SECONDS * 1000)  # type: ignore[misc]
    operations.LEASE_SECONDS = LEASE_SECONDS  # type: ignore[attr-defined]
    operations._AT_ONCE = AT_ONCE  # type: ignore[misc]
    asyncio.run(work(sys.argv[1], sys.argv[2]))
