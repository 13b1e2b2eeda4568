"""A process that only follows changes of `meta`, as fast as it can.

python -m … URL DB
"""

from __future__ import annotations

import asyncio
import signal
import sys

from jobqueue.services.application import Runtime
from jobqueue.services.jobs import edits as service
from jobqueue.services.jobs.edits import EditFollower
from jobqueue.settings import Settings
from jobqueue.store.edits import edits as store

MOST = 20
"""Changes in one step, so that many positions are stored."""


async def follow(url: str, name: str) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    store.MOST, service.EDIT_SECONDS, service.WALK_SECONDS = MOST, 0.0, 0.0  # type: ignore[misc]
    runtime = await Runtime.open(Settings.load({"mongo_url": url, "db": name}, environ={}))
    follower = EditFollower(runtime.edits, runtime.configs, runtime.limit_keys, runtime.notifier)
    print("ready", flush=True)
    try:
        while not stop.is_set():
            await follower.run_once()
            # Others on this machine have work to do, too.
            await asyncio.sleep(0.005)
    finally:
        await runtime.close()


if __name__ == "__main__":
    asyncio.run(follow(sys.argv[1], sys.argv[2]))
