"""Compare the steps of one job with the same number of plain writes of the raw driver, in one run.

Absolute figures mean little on shared machines: read the ratios. The first hundred steps tell the price of a step, and
the last hundred whether it grows with the number of steps.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import secrets
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from motor.motor_asyncio import AsyncIOMotorClient
from pymongo import WriteConcern

from jobqueue import JobQueue
from jobqueue.store.embedded.lifecycle import EmbeddedMongo

if TYPE_CHECKING:
    from jobqueue import ActiveJob

_EDGE = 100


async def raw_times(url: str, name: str, count: int) -> list[float]:
    """Return the seconds of updates of one document, with the write concern of the queue."""
    client: AsyncIOMotorClient[Any] = AsyncIOMotorClient(url)
    raw: Any = client[name].get_collection("raw", write_concern=WriteConcern("majority", j=True))
    await raw.insert_one({"_id": 1})
    times = []
    for number in range(count):
        began = time.perf_counter()
        await raw.find_one_and_update({"_id": 1}, {"$set": {"step": {"name": f"step {number}", "result": number}}})
        times.append(time.perf_counter() - began)
    client.close()
    return times


async def step_times(url: str, name: str, count: int, *, large: bool) -> list[float]:
    """Return the seconds of the steps of one job."""
    times: list[float] = []
    ended = asyncio.Event()
    queue = JobQueue(mongo_url=url, db=name)
    result = "x" * 20_000 if large else 1

    @queue.handler("steps")
    async def handler(job: ActiveJob) -> None:
        async def work() -> Any:
            return result

        await job.step("first use of steps in the queue", work)
        for number in range(count):
            began = time.perf_counter()
            await job.step(f"step {number}", work)
            times.append(time.perf_counter() - began)
        ended.set()

    async with queue, queue.working(concurrency=1):
        await queue.add("steps")
        await ended.wait()
    return times


def figures(times: list[float], raw: list[float]) -> dict[str, float]:
    """Return medians in milliseconds, and as multiples of the raw write."""
    first, last, plain = (statistics.median(part) * 1000 for part in (times[:_EDGE], times[-_EDGE:], raw))
    return {
        "raw ms": round(plain, 2),
        "first ms": round(first, 2),
        "last ms": round(last, 2),
        "mean ms": round(statistics.fmean(times) * 1000, 2),
        "first/raw": round(first / plain, 2),
        "last/raw": round(last / plain, 2),
    }


async def run(url: str, count: int) -> dict[str, Any]:
    """Measure steps with small results, and with results that are kept outside of the document."""
    found: dict[str, Any] = {}
    for what, large in (("small results", False), ("results of 20 kB", True)):
        name = f"bench_{secrets.token_hex(4)}"
        raw = await raw_times(url, name, count)
        found[what] = figures(await step_times(url, name, count, large=large), raw)
        print(f"{count:,} steps, {what:20} {found[what]}", file=sys.stderr, flush=True)
        client: AsyncIOMotorClient[Any] = AsyncIOMotorClient(url)
        await client.drop_database(name)
        client.close()
    return found


def main() -> None:
    """Run the benchmark on the given MongoDB, or on an embedded one of its own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mongo-url", help="instead of an embedded MongoDB in a temporary directory")
    parser.add_argument("--steps", type=int, default=990, help="steps of the job")
    options = parser.parse_args()
    if options.mongo_url:
        print(json.dumps(asyncio.run(run(options.mongo_url, options.steps)), indent=2))
        return
    with tempfile.TemporaryDirectory(prefix="jobqueue-bench-", ignore_cleanup_errors=True) as directory:
        embedded = EmbeddedMongo.acquire(Path(directory))
        try:
            print(json.dumps(asyncio.run(run(embedded.url, options.steps)), indent=2))
        finally:
            embedded.release()


if __name__ == "__main__":
    main()
