"""Measure how much of what the limits of a queue allow is used, with several worker processes.

Concurrency: jobs a second, as a share of what so many places would do without any loss. Rate: starts in the windows
that were full, as a share of the allowance. Both by the times in the jobs' documents; the machine should have nothing
else to do.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import secrets
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from motor.motor_asyncio import AsyncIOMotorClient

from jobqueue import JobQueue, NewJob
from jobqueue.store.embedded.lifecycle import EmbeddedMongo

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

PLACES = 20
WARM_UP = 100


async def work(url: str, name: str) -> None:
    """Run jobs until the process is ended; each takes as many seconds as its data say."""
    queue = JobQueue(mongo_url=url, db=name)

    @queue.handler("step")
    async def step(job: Any) -> None:
        await asyncio.sleep(job.data["seconds"])

    async with queue, queue.working(concurrency=PLACES):
        await asyncio.Event().wait()


@contextlib.contextmanager
def workers(url: str, name: str, count: int) -> Iterator[None]:
    """Keep worker processes running."""
    started = [subprocess.Popen([sys.executable, __file__, "--work", url, name]) for _ in range(count)]
    try:
        yield
    finally:
        for one in started:
            one.kill()
            one.wait()


@contextlib.asynccontextmanager
async def queue_on(url: str) -> AsyncIterator[tuple[JobQueue, Any, str]]:
    """Give a queue on a fresh database, its collection and the database's name."""
    name = f"bench_{secrets.token_hex(4)}"
    client: AsyncIOMotorClient[Any] = AsyncIOMotorClient(url)
    queue = JobQueue(mongo_url=url, db=name)
    try:
        yield queue, client[name]["jobs"], name
    finally:
        await queue.close()
        await client.drop_database(name)
        client.close()


async def run_all(queue: JobQueue, jobs: Any, *, config: dict[str, Any], count: int, seconds: float) -> list[Any]:
    """Run jobs under a configuration; return their start and end, by start, those of the warm-up left out."""
    await (await queue.open()).queues.patch("default", config)
    for start in range(0, count, 1000):
        part = range(start, min(start + 1000, count))
        await queue.add_all([NewJob(type="step", data={"seconds": seconds}) for _ in part])
    while await jobs.count_documents({"state": {"$ne": "success"}}):  # noqa: ASYNC110 - other processes do it
        await asyncio.sleep(0.1)
    found = [(one["startAt"], one["endAt"]) async for one in jobs.find({}, {"startAt": 1, "endAt": 1})]
    return sorted(found)[WARM_UP:]


async def concurrency(url: str, options: argparse.Namespace, most: int) -> dict[str, Any]:
    """Measure one limit of how many jobs run at a time."""
    count = min(options.jobs, 400) if most == 1 else options.jobs
    async with queue_on(url) as (queue, jobs, name):
        with workers(url, name, options.workers):
            runs = await run_all(
                queue, jobs, config={"concurrency": most}, count=count + WARM_UP, seconds=options.seconds
            )
    took = (max(end for _, end in runs) - runs[0][0]).total_seconds()
    ideal = most / options.seconds
    rate = len(runs) / took
    return {"jobs/s": round(rate, 1), "ideal": round(ideal, 1), "share": round(rate / ideal, 2)}


async def rate(url: str, options: argparse.Namespace) -> dict[str, Any]:
    """Measure how many starts a rate lets through."""
    limit, per, windows = 100, 2, 8
    async with queue_on(url) as (queue, jobs, name):
        with workers(url, name, options.workers):
            config = {"rate": {"limit": limit, "per": per}}
            runs = await run_all(queue, jobs, config=config, count=limit * windows + WARM_UP, seconds=0.005)
    begun = [start for start, _ in runs]
    # From the first start of a window to the first of the last: all in between are whole.
    took = (begun[-limit] - begun[0]).total_seconds()
    rate = (len(begun) - limit) / took
    worst = max(sum(1 for other in begun if 0 <= (other - one).total_seconds() < per) for one in begun)
    return {"starts/s": round(rate, 1), "allowed": limit / per, "share": round(rate * per / limit, 3), "worst": worst}


async def measure(url: str, options: argparse.Namespace) -> dict[str, Any]:
    """Return all figures."""
    figures: dict[str, Any] = {}
    for most in (1, 5, 50):
        figures[f"concurrency {most}"] = await concurrency(url, options, most)
        print(f"concurrency {most}", figures[f"concurrency {most}"], file=sys.stderr, flush=True)
    figures["rate 100 per 2 s"] = await rate(url, options)
    print("rate 100 per 2 s", figures["rate 100 per 2 s"], file=sys.stderr, flush=True)
    return figures


def main() -> None:
    """Measure on the given MongoDB, or on an embedded one of its own."""
    if sys.argv[1:2] == ["--work"]:
        asyncio.run(work(*sys.argv[2:]))
        return
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mongo-url", help="instead of an embedded MongoDB in a temporary directory")
    parser.add_argument("--jobs", type=int, default=2_000, help="jobs for each limit")
    parser.add_argument("--workers", type=int, default=4, help="worker processes")
    parser.add_argument("--seconds", type=float, default=0.03, help="how long a job takes")
    options = parser.parse_args()
    if options.mongo_url:
        print(json.dumps(asyncio.run(measure(options.mongo_url, options)), indent=2))
        return
    with tempfile.TemporaryDirectory(prefix="jobqueue-bench-", ignore_cleanup_errors=True) as directory:
        embedded = EmbeddedMongo.acquire(Path(directory))
        try:
            print(json.dumps(asyncio.run(measure(embedded.url, options)), indent=2))
        finally:
            embedded.release()


if __name__ == "__main__":
    main()
