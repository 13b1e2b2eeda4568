"""Compare the library with the raw driver doing the same three operations, in one run.

Absolute figures mean little on shared machines: read the ratios. Every part is run in turns with the raw driver, and
the median of the turns counts.
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
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bson import ObjectId
from motor.motor_asyncio import AsyncIOMotorClient
from pymongo import WriteConcern

from jobqueue import JobQueue
from jobqueue.domain.work.verdict import Success
from jobqueue.store.embedded.lifecycle import EmbeddedMongo

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

Figures = dict[str, Any]
_FINISHED_BATCH = 5_000


@dataclass(slots=True)
class Bench:
    """One database, one client for the raw driver and one queue."""

    url: str
    name: str
    turns: int
    jobs: int
    client: AsyncIOMotorClient[Any]
    queue: JobQueue
    done: int = 0
    awaited: asyncio.Event = field(default_factory=asyncio.Event)
    wanted: int = 0

    def raw_collection(self) -> Any:
        """Return the raw driver's collection, with the same write concern."""
        return self.client[self.name].get_collection("raw", write_concern=WriteConcern("majority", j=True))

    async def raw(self, concurrency: int) -> float:
        """Return cycles a second of insert, findOneAndUpdate and updateOne in as many loops."""
        raw = self.raw_collection()
        await raw.create_index([("priority", -1), ("_id", 1)], partialFilterExpression={"state": "pending"})
        left = self.jobs

        async def loop() -> None:
            nonlocal left
            while left > 0:
                left -= 1
                await raw.insert_one({"type": "bench", "data": {"n": left}, "priority": 0, "state": "pending"})
                job = await raw.find_one_and_update(
                    {"state": "pending"},
                    {"$set": {"state": "processing", "startAt": datetime.now(UTC)}},
                    sort=[("priority", -1), ("_id", 1)],
                )
                await raw.update_one({"_id": job["_id"]}, {"$set": {"state": "success", "result": 1}})

        return await self._rate(lambda: _together(loop, concurrency))

    async def calls(self, concurrency: int) -> float:
        """Return cycles a second of the library's add, claim and settle, called in as many loops."""
        runtime = await self.queue.open()
        await runtime.configs.refresh()
        left = self.jobs

        async def loop() -> None:
            nonlocal left
            while left > 0:
                left -= 1
                await self.queue.add("calls", {"n": left}, queue="calls")
                claimed = await runtime.work.claim("calls", ("calls",), worker="bench")
                if claimed is not None:
                    await runtime.work.settle(claimed.job, claimed.token, Success(result=1))

        return await self._rate(lambda: _together(loop, concurrency))

    async def worker(self, concurrency: int) -> float:
        """Return cycles a second of a worker with as many places, fed by as many producers."""
        left = self.jobs
        self.done, self.wanted = 0, self.jobs
        self.awaited.clear()

        async def loop() -> None:
            nonlocal left
            while left > 0:
                left -= 1
                await self.queue.add("bench", {"n": left})

        async def all_done() -> None:
            await _together(loop, concurrency)
            await self.awaited.wait()
            while dispatcher.running:  # noqa: ASYNC110 - the last outcomes are being recorded: a matter of milliseconds
                await asyncio.sleep(0.001)

        async with self.queue.working(concurrency=concurrency) as dispatcher:
            return await self._rate(all_done)

    async def latency(self, count: int) -> tuple[float, float]:
        """Return the median and 99th percentile of milliseconds from the call of add to the start of the handler."""
        times: list[float] = []
        started = asyncio.Event()

        async def handler(job: Any) -> None:
            times.append(time.perf_counter() - job.data["t"])
            started.set()

        self.queue.handler("latency")(handler)
        async with self.queue.working(concurrency=10):
            for _ in range(count):
                started.clear()
                await self.queue.add("latency", {"t": time.perf_counter()})
                await started.wait()
                await asyncio.sleep(0.02)
        return statistics.median(times) * 1000, statistics.quantiles(times, n=100)[98] * 1000

    async def raw_latency(self, count: int) -> float:
        """Return the median of milliseconds of an insert and a findOneAndUpdate of the raw driver."""
        raw = self.raw_collection()
        times = []
        for _ in range(count):
            begun = time.perf_counter()
            await raw.insert_one({"type": "bench", "data": {}, "priority": 0, "state": "pending"})
            await raw.find_one_and_update(
                {"state": "pending"}, {"$set": {"state": "success"}}, sort=[("priority", -1), ("_id", 1)]
            )
            times.append(time.perf_counter() - begun)
            await asyncio.sleep(0.02)
        return statistics.median(times) * 1000

    async def keep_finished(self, count: int) -> None:
        """Put finished jobs into the collection, as a long history would."""
        jobs = self.client[self.name]["jobs"]
        now = datetime.now(UTC)
        sample = await jobs.find_one({"state": "success"})
        for start in range(0, count, _FINISHED_BATCH):
            batch = range(start, min(start + _FINISHED_BATCH, count))
            await jobs.insert_many(
                [sample | {"_id": ObjectId(), "insertAt": now - timedelta(seconds=count - n)} for n in batch],
                ordered=False,
            )

    async def _rate(self, work: Callable[[], Awaitable[Any]]) -> float:
        begun = time.perf_counter()
        await work()
        return self.jobs / (time.perf_counter() - begun)

    async def compare(self, concurrency: int) -> Figures:
        """Return medians over the turns, and how the library compares with the raw driver."""
        rates: dict[str, list[float]] = {"raw": [], "worker": [], "calls": []}
        for _ in range(self.turns):
            rates["raw"].append(await self.raw(concurrency))
            rates["worker"].append(await self.worker(concurrency))
            rates["calls"].append(await self.calls(concurrency))
        medians = {name: statistics.median(found) for name, found in rates.items()}
        return {
            **{name: round(rate) for name, rate in medians.items()},
            "worker/raw": round(medians["worker"] / medians["raw"], 2),
            "calls/raw": round(medians["calls"] / medians["raw"], 2),
        }


async def _together(loop: Callable[[], Awaitable[None]], count: int) -> None:
    await asyncio.gather(*(loop() for _ in range(count)))


async def run(url: str, options: argparse.Namespace) -> Figures:
    """Measure everything and return the figures."""
    name = f"bench_{secrets.token_hex(4)}"
    client: AsyncIOMotorClient[Any] = AsyncIOMotorClient(url)
    queue = JobQueue(mongo_url=url, db=name)
    bench = Bench(url=url, name=name, turns=options.turns, jobs=options.jobs, client=client, queue=queue)

    @queue.handler("bench")
    async def handler(_job: Any) -> int:
        bench.done += 1
        if bench.done >= bench.wanted:
            bench.awaited.set()
        return 1

    def say(what: str, figures: Any) -> None:
        print(f"{what:42} {figures}", file=sys.stderr, flush=True)

    figures: Figures = {}
    try:
        for concurrency in (1, 10):
            figures[f"concurrency {concurrency}"] = await bench.compare(concurrency)
            say(f"cycles/s, concurrency {concurrency}", figures[f"concurrency {concurrency}"])
        p50, p99 = await bench.latency(200)
        raw_p50 = await bench.raw_latency(200)
        figures["latency ms"] = {"p50": round(p50, 2), "p99": round(p99, 2), "raw p50": round(raw_p50, 2)}
        say("add to start, idle queue", figures["latency ms"])
        before = figures["concurrency 10"]
        await bench.keep_finished(options.finished)
        kept = await bench.compare(10)
        figures[f"with {options.finished} finished"] = kept | {"of before": round(kept["worker"] / before["worker"], 2)}
        say(f"cycles/s, 10, {options.finished:,} finished kept", figures[f"with {options.finished} finished"])
        bench.jobs = options.claims
        during = await bench.worker(10)
        bench.jobs = options.jobs
        after = await bench.compare(10)
        figures[f"after {options.claims} claims"] = after | {
            "while claiming": round(during),
            "of before": round(after["worker"] / before["worker"], 2),
        }
        say(f"cycles/s, 10, after {options.claims:,} claims", figures[f"after {options.claims} claims"])
    finally:
        await client.drop_database(name)
        await queue.close()
        client.close()
    return figures


def main() -> None:
    """Run the benchmark on the given MongoDB, or on an embedded one of its own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mongo-url", help="instead of an embedded MongoDB in a temporary directory")
    parser.add_argument("--jobs", type=int, default=2_000, help="cycles in one turn")
    parser.add_argument("--turns", type=int, default=3, help="turns of each; the median counts")
    parser.add_argument("--finished", type=int, default=200_000, help="finished jobs kept in the collection")
    parser.add_argument("--claims", type=int, default=50_000, help="claims in a row before the last part")
    options = parser.parse_args()
    if options.mongo_url:
        print(json.dumps(asyncio.run(run(options.mongo_url, options)), indent=2))
        return
    with tempfile.TemporaryDirectory(prefix="jobqueue-bench-", ignore_cleanup_errors=True) as directory:
        embedded = EmbeddedMongo.acquire(Path(directory))
        try:
            print(json.dumps(asyncio.run(run(embedded.url, options)), indent=2))
        finally:
            embedded.release()


if __name__ == "__main__":
    main()
