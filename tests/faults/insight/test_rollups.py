"""Statistics are exact whichever of the processes that count is killed, and whenever."""

from __future__ import annotations

import asyncio
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bson import Binary

from jobqueue.domain.insight.activity import total
from jobqueue.store.insight.rollups import HOUR, MINUTE, RollupStore, minute_of
from tests.support.older.pasts import count, past, seeded
from tests.support.unmeasured import environment
from tests.support.zygote.process import ModuleProcess

if TYPE_CHECKING:
    from jobqueue.services.application import Runtime

ROOT = Path(__file__).parents[3]
NOW = datetime(2026, 3, 5, 12, 34, 20, tzinfo=UTC)
SPAN = timedelta(hours=40)
KILLS = 4


async def let_go(runtime: Runtime) -> None:
    """End the transactions of the dead now: they are in the way of who drops a collection, for a minute."""
    admin = runtime.database.raw.client.get_database("admin")
    idle: list[dict[str, Any]] = [
        {"$currentOp": {"idleSessions": True}},
        {"$match": {"transaction": {"$exists": True}}},
    ]
    found = [one["lsid"] async for one in admin.aggregate(idle)]
    if found:
        await admin.command("killSessions", [{"id": Binary.from_uuid(one["id"])} for one in found])


async def test_minutes_and_hours_are_exact_though_processes_are_killed_while_they_count(
    idle_runtime: Runtime, mongo_url: str, db_name: str
) -> None:
    chance = seeded(11)
    made = [past(chance, NOW - SPAN, SPAN.total_seconds() - 3600) for _ in range(500)]
    jobs = [one for one in made if one["latest"] < NOW]
    await idle_runtime.jobs.collection.insert_many(jobs)
    store = RollupStore(idle_runtime.database)
    words = ("tests.support.workers.rolling_worker", mongo_url, db_name, NOW.isoformat())

    async def mortal(*, kill: bool) -> int:
        process = ModuleProcess(*words, cwd=ROOT, env=environment(), stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        with process.stdout:
            assert await asyncio.to_thread(process.stdout.readline) == "ready\n"
            if kill:
                await asyncio.sleep(chance.uniform(0, 0.15))
                process.kill()
            return await asyncio.to_thread(process.wait)

    async def line(kills: int) -> set[int]:
        return {await mortal(kill=True) for _ in range(kills)} | {await mortal(kill=False)}

    codes = await asyncio.gather(line(KILLS // 2), line(KILLS // 2))
    await let_go(idle_runtime)
    assert -9 in codes[0] | codes[1]
    first, edge = minute_of(min(job["insertAt"] for job in jobs)), minute_of(NOW - MINUTE)
    expected = count(jobs, first, edge)
    kept = dict(await store.parts(first, edge))
    minute = first
    while minute < edge:
        assert kept.get(minute, {}) == expected.get(minute, {}), minute
        minute += MINUTE
    (newest,) = [one["_id"] async for one in store.hours.find(sort=[("_id", -1)], limit=1)]
    assert newest == datetime(2026, 3, 5, 11, tzinfo=UTC)
    hours = await store.tally(first - HOUR, newest + HOUR, hours=True)
    summed = total(tally for minute, tally in expected.items() if minute < newest + HOUR)
    assert {key: (one.added, one.attempts, one.ended, one.runs) for key, one in hours.items()} == {
        key: (one.added, one.attempts, one.ended, one.runs) for key, one in summed.items()
    }
