"""Measure how fast one worker drains a backlog of short jobs, beside the raw driver in as many loops.

Absolute figures mean little on shared machines: read the ratios. Every part runs in turns with the raw driver, and the
median of the turns counts. With `--workers`, several processes share a backlog while jobs of higher priority come in:
the part tells for how long a job of lower priority began before them.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import secrets
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from motor.motor_asyncio import AsyncIOMotorClient
from pymongo import WriteConcern

from jobqueue import JobQueue, NewJob
from jobqueue.store.embedded.lifecycle import EmbeddedMongo

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

Figures = dict[str, Any]
PLACES = 10
WARM_UP = 200
_TICKS = os.sysconf("SC_CLK_TCK")


async def raw(client: AsyncIOMotorClient[Any], count: int) -> float:
    """Return jobs a second of findOneAndUpdate and updateOne in ten loops on a backlog."""
    jobs = client[f"bench_{secrets.token_hex(4)}"].get_collection("raw", write_concern=WriteConcern("majority", j=True))
    await jobs.create_index([("priority", -1), ("_id", 1)], partialFilterExpression={"state": "pending"})
    await jobs.insert_many(
        [{"type": "bench", "data": {"n": n}, "priority": 0, "state": "pending"} for n in range(count)]
    )

    async def loop() -> None:
        while (
            job := await jobs.find_one_and_update(
                {"state": "pending"}, {"$set": {"state": "processing"}}, sort=[("priority", -1), ("_id", 1)]
            )
        ) is not None:
            await jobs.update_one({"_id": job["_id"]}, {"$set": {"state": "success", "result": 1}})

    begun = time.perf_counter()
    await asyncio.gather(*(loop() for _ in range(PLACES)))
    took = time.perf_counter() - begun
    await client.drop_database(jobs.database.name)
    return count / took


@contextlib.asynccontextmanager
async def queue_on(url: str, name: str | None = None) -> AsyncIterator[JobQueue]:
    """Give a queue on a fresh database."""
    name = name or f"bench_{secrets.token_hex(4)}"
    client: AsyncIOMotorClient[Any] = AsyncIOMotorClient(url)
    queue = JobQueue(mongo_url=url, db=name)
    try:
        yield queue
    finally:
        await queue.close()
        await client.drop_database(name)
        client.close()


async def fill(queue: JobQueue, count: int, **fields: Any) -> None:
    """Add jobs."""
    for start in range(0, count, 1000):
        part = range(start, min(start + 1000, count))
        await queue.add_all([NewJob(type="bench", data={"n": n}, **fields) for n in part])


async def drain(url: str, count: int, seconds: float = 0, pid: int | None = None) -> Figures:
    """Return jobs a second of a worker that drains a backlog, and the CPU time that a job takes."""
    done, begun, ended = 0, 0.0, asyncio.Event()
    async with queue_on(url) as queue:

        @queue.handler("bench")
        async def handler(_job: Any) -> int:
            nonlocal done, begun
            begun = begun or time.perf_counter()
            if seconds:
                await asyncio.sleep(seconds)
            done += 1
            if done >= count:
                ended.set()
            return 1

        await fill(queue, count)
        cpu, server = time.process_time(), cpu_of(pid)
        async with queue.working(concurrency=PLACES) as dispatcher:
            await ended.wait()
            while dispatcher.running:  # noqa: ASYNC110 - the last outcomes are being recorded: a matter of milliseconds
                await asyncio.sleep(0.001)
            took = time.perf_counter() - begun
        return {
            "jobs/s": count / took,
            "worker ms": (time.process_time() - cpu) * 1000 / count,
            "mongod ms": (cpu_of(pid) - server) * 1000 / count,
        }


def cpu_of(pid: int | None) -> float:
    """Return the seconds of CPU time that a process has used."""
    if pid is None:
        return 0.0
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


async def pick_up(url: str, count: int) -> Figures:
    """Return milliseconds from the call of add to the start of the handler, on an idle queue after many short jobs."""
    times: list[float] = []
    started = asyncio.Event()
    warm = 0
    async with queue_on(url) as queue:

        @queue.handler("bench")
        async def handler(job: Any) -> None:
            nonlocal warm
            if "t" in job.data:
                times.append(time.perf_counter() - job.data["t"])
                started.set()
            else:
                warm += 1

        await fill(queue, WARM_UP)
        async with queue.working(concurrency=PLACES) as dispatcher:
            while warm < WARM_UP:  # noqa: ASYNC110 - a matter of seconds
                await asyncio.sleep(0.01)
            for _ in range(count):
                while dispatcher.running:  # noqa: ASYNC110 - a matter of milliseconds
                    await asyncio.sleep(0.002)
                started.clear()
                await queue.add("bench", {"t": time.perf_counter()})
                await started.wait()
                await asyncio.sleep(0.02)
    return {
        "p50": round(statistics.median(times) * 1000, 1),
        "p99": round(statistics.quantiles(times, n=100)[98] * 1000, 1),
    }


async def work(url: str, name: str, path: str) -> None:
    """Run jobs until the process is ended, and write down the start of each."""
    queue = JobQueue(mongo_url=url, db=name)
    with open(path, "a", buffering=1, encoding="utf-8") as journal:  # noqa: ASYNC230, PTH123 - lines of some bytes

        @queue.handler("bench")
        async def handler(job: Any) -> None:
            journal.write(f"{time.monotonic()} {job.job.priority} {job.data['n']}\n")
            await asyncio.sleep(0.001)

        async with queue, queue.working(concurrency=PLACES):
            await asyncio.Event().wait()


@contextlib.contextmanager
def workers(url: str, name: str, paths: list[Path]) -> Iterator[None]:
    """Keep a worker process for each journal running."""
    started = [subprocess.Popen([sys.executable, __file__, "--work", url, name, str(path)]) for path in paths]
    try:
        yield
    finally:
        for one in started:
            one.kill()
            one.wait()


async def shared(url: str, options: argparse.Namespace, directory: Path) -> Figures:
    """Return how long jobs of lower priority began after one of higher priority was there and before it began."""
    added: dict[int, float] = {}
    name = f"bench_{secrets.token_hex(4)}"
    paths = [directory / f"{name}-{n}" for n in range(options.workers)]
    async with queue_on(url, name) as queue:
        await fill(queue, options.backlog)
        with workers(url, name, paths):
            while sum(len(path.read_text().splitlines()) for path in paths if path.exists()) < options.backlog // 10:  # noqa: ASYNC110 - other processes do it
                await asyncio.sleep(0.05)
            for n in range(options.urgent):
                await queue.add("bench", {"n": n}, priority=5)
                added[n] = time.monotonic()
                await asyncio.sleep(0.05)
            while sum(len(path.read_text().splitlines()) for path in paths) < options.backlog + options.urgent:  # noqa: ASYNC110 - as above
                await asyncio.sleep(0.1)
    starts = [[_start(line) for line in path.read_text().splitlines()] for path in paths]
    total = sum(map(len, starts))
    begun = {n: (at, who) for who, lines in enumerate(starts) for at, priority, n in lines if priority == 5}  # noqa: PLR2004 - of the urgent ones
    lows = [[at for at, priority, _ in lines if priority == 0] for lines in starts]
    last = max(max(one, default=0.0) for one in lows)
    every, own = [], []
    for n, at in added.items():
        start, who = begun[n]
        if at > last:
            continue
        before = [max((low - at for low in one if at < low < start), default=0.0) for one in lows]
        every.append(max(before))
        own.append(before[who])
    span = max(at for lines in starts for at, _, _ in lines) - min(at for lines in starts for at, _, _ in lines)
    return {
        "jobs/s": round(total / span),
        "urgent jobs during the backlog": len(every),
        "inversion ms, across, p50 and worst": [round(statistics.median(every) * 1000, 1), round(max(every) * 1000, 1)],
        "inversion ms, within, p50 and worst": [round(statistics.median(own) * 1000, 1), round(max(own) * 1000, 1)],
    }


def _start(line: str) -> tuple[float, int, int]:
    at, priority, number = line.split()
    return float(at), int(priority), int(number)


async def measure(url: str, options: argparse.Namespace, pid: int | None = None) -> Figures:
    """Return all figures."""
    client: AsyncIOMotorClient[Any] = AsyncIOMotorClient(url)
    rates: dict[str, list[float]] = {"raw": [], "drain": [], "ratio": [], "worker ms": [], "mongod ms": [], "50 ms": []}
    for _ in range(options.turns):
        rates["raw"].append(await raw(client, options.jobs))
        drained = await drain(url, options.jobs, pid=pid)
        rates["drain"].append(drained["jobs/s"])
        rates["ratio"].append(rates["drain"][-1] / rates["raw"][-1])
        for part in ("worker ms", "mongod ms"):
            rates[part].append(drained[part])
        slow = await drain(url, options.slow, seconds=0.05)
        rates["50 ms"].append(slow["jobs/s"] / (PLACES / 0.05))
    client.close()
    figures: Figures = {name: round(statistics.median(found), 2) for name, found in rates.items()}
    figures["ratios"] = [round(one, 2) for one in rates["ratio"]]
    print("drain", figures, file=sys.stderr, flush=True)
    figures["pick-up ms"] = await pick_up(url, options.picks)
    print("pick-up ms", figures["pick-up ms"], file=sys.stderr, flush=True)
    if options.workers:
        with tempfile.TemporaryDirectory(prefix="jobqueue-bench-") as directory:
            figures["shared"] = await shared(url, options, Path(directory))
        print("shared", figures["shared"], file=sys.stderr, flush=True)
    return figures


def main() -> None:
    """Measure on the given MongoDB, or on an embedded one of its own."""
    if sys.argv[1:2] == ["--work"]:
        asyncio.run(work(*sys.argv[2:]))
        return
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mongo-url", help="instead of an embedded MongoDB in a temporary directory")
    parser.add_argument("--turns", type=int, default=5, help="turns of each; the median counts")
    parser.add_argument("--jobs", type=int, default=3_000, help="jobs that do nothing, in one turn")
    parser.add_argument("--slow", type=int, default=600, help="jobs of 50 ms in one turn")
    parser.add_argument("--picks", type=int, default=200, help="jobs of an idle queue")
    parser.add_argument("--workers", type=int, default=2, help="processes that share a backlog; 0 leaves the part out")
    parser.add_argument("--backlog", type=int, default=6_000, help="jobs that they share")
    parser.add_argument("--urgent", type=int, default=100, help="jobs of higher priority that come meanwhile")
    options = parser.parse_args()
    if options.mongo_url:
        print(json.dumps(asyncio.run(measure(options.mongo_url, options)), indent=2))
        return
    with tempfile.TemporaryDirectory(prefix="jobqueue-bench-", ignore_cleanup_errors=True) as directory:
        embedded = EmbeddedMongo.acquire(Path(directory))
        try:
            print(json.dumps(asyncio.run(measure(embedded.url, options, _pid(Path(directory)))), indent=2))
        finally:
            embedded.release()


def _pid(directory: Path) -> int | None:
    lock = next(directory.rglob("mongod.lock"), None)
    return int(lock.read_text()) if lock is not None and lock.read_text().strip() else None


if __name__ == "__main__":
    main()
