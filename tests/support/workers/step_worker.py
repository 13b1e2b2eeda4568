"""A worker process for one job of many steps at once; each step notes its name in a file before it begins.

python -m … EFFECTS URL DB SEED
"""

from __future__ import annotations

import asyncio
import random
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from jobqueue import JobQueue

if TYPE_CHECKING:
    from jobqueue import ActiveJob

STEPS = 50
LONGEST = 1.5


async def work(effects: Path, url: str, name: str, seed: int) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    chance = random.Random(seed)  # noqa: S311 - no secret
    queue = JobQueue(mongo_url=url, db=name)

    async def one(number: int) -> int:
        with effects.open("a") as file:
            file.write(f"{number}\n")
        await asyncio.sleep(chance.uniform(0, LONGEST))
        return number

    @queue.handler("gather")
    async def gather(job: ActiveJob) -> int:
        numbers = list(range(STEPS))
        chance.shuffle(numbers)
        return sum(await asyncio.gather(*(job.step(str(number), one, number) for number in numbers)))

    async with queue, queue.working():
        await stop.wait()


if __name__ == "__main__":
    asyncio.run(work(Path(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4])))
