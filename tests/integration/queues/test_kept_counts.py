"""Counts of ended jobs: right after every change of few, and of many after a known time, however long history is."""

from __future__ import annotations

import asyncio
import random
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp.test_utils import TestClient, TestServer

from jobqueue.api.app import make_app
from jobqueue.domain.attempts.states import FINAL, State
from jobqueue.services.insight import count_keeper
from jobqueue.services.insight.count_keeper import CountKeeper
from jobqueue.store.queues import kept_counts
from jobqueue.store.queues.kept_counts import KeptCount
from tests.support.data.factories import add, claim, fail, finished_documents, open_runtime, succeed

if TYPE_CHECKING:
    from jobqueue.services.application import Runtime
    from jobqueue.settings import Settings


def keeper(runtime: Runtime) -> CountKeeper:
    return CountKeeper(runtime.figures.kept, runtime.figures)


async def turn(runtime: Runtime, *, later: float = 0) -> None:
    """Take a turn as if so many seconds had passed since the last one."""
    await runtime.database.collection("streams").delete_many({"_id": "counts"})
    if later:
        earlier = {"$set": {"countedAt": datetime.now(UTC) - timedelta(seconds=later)}}
        await runtime.database.collection("counts").update_many({}, earlier)
    assert await keeper(runtime).run_once() is not None


async def counts(runtime: Runtime, queue: str = "default") -> dict[str, int]:
    return (await runtime.figures.figures(queue)).counts


async def exact(runtime: Runtime, queue: str = "default") -> dict[str, int]:
    found = runtime.jobs.collection
    return {state.value: await found.count_documents({"queue": queue, "state": state.value}) for state in State}


async def store_ended(runtime: Runtime, count: int, queue: str = "default") -> None:
    """Store jobs that have ended long ago: in equal parts by success, failure and kill."""
    for start in range(0, count, 30_000):
        some = finished_documents(min(30_000, count - start), queue=queue)
        await runtime.jobs.collection.insert_many(some, ordered=False)


async def test_few_are_counted_as_they_are(idle_runtime: Runtime) -> None:
    await turn(idle_runtime)
    await store_ended(idle_runtime, 90)
    await turn(idle_runtime)
    await succeed(idle_runtime, await _running(idle_runtime))
    assert await counts(idle_runtime) == await exact(idle_runtime)
    await idle_runtime.jobs.collection.delete_many({"state": "failed"})
    assert await counts(idle_runtime) == await exact(idle_runtime)


async def test_of_many_the_new_ones_are_counted_at_once_and_the_lost_ones_with_the_next_count(
    idle_runtime: Runtime,
) -> None:
    await store_ended(idle_runtime, 600)
    await turn(idle_runtime)
    await succeed(idle_runtime, await _running(idle_runtime))
    await fail(idle_runtime, await _running(idle_runtime))
    assert await counts(idle_runtime) == await exact(idle_runtime)
    assert (await counts(idle_runtime))["success"] == 201
    oldest = idle_runtime.jobs.collection.find({"state": "success"}, {"_id": 1}, sort=[("endAt", 1)]).limit(50)
    some = [one["_id"] async for one in oldest]
    await idle_runtime.jobs.collection.delete_many({"_id": {"$in": some}})
    await turn(idle_runtime)
    assert (await counts(idle_runtime))["success"] == 201
    await turn(idle_runtime, later=3600)
    assert await counts(idle_runtime) == await exact(idle_runtime)


@pytest.mark.parametrize("seed", range(2))
async def test_after_any_changes_and_a_count_all_is_right(
    idle_runtime: Runtime, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    for module in (kept_counts, count_keeper):
        monkeypatch.setattr(module, "FEW", 3)
    monkeypatch.setattr(kept_counts, "SETTLED", timedelta(seconds=0))
    chance = random.Random(seed)  # noqa: S311 - no secret
    jobs = idle_runtime.jobs.collection
    for _ in range(40):
        match chance.randrange(5):
            case 0:
                await store_ended(idle_runtime, chance.randrange(1, 30))
            case 1:
                await succeed(idle_runtime, await _running(idle_runtime))
            case 2:
                await fail(idle_runtime, await _running(idle_runtime))
            case 3:
                some = [one["_id"] async for one in jobs.aggregate([{"$sample": {"size": 5}}])]
                await jobs.delete_many({"_id": {"$in": some}})
            case _:
                await turn(idle_runtime)
    await turn(idle_runtime, later=3600)
    assert await counts(idle_runtime) == await exact(idle_runtime)
    kept = await idle_runtime.figures.kept.kept()
    assert {state for _, state in kept} <= {state.value for state in FINAL}


async def test_one_process_counts_at_a_time_and_another_goes_on_when_it_has_died(
    idle_runtime: Runtime, settings: Settings
) -> None:
    await store_ended(idle_runtime, 300)
    async with open_runtime(settings) as other:
        turns = await asyncio.gather(*(keeper(runtime).run_once() for runtime in (idle_runtime, other) * 5))
        assert [pause is not None for pause in turns].count(True) == 1
        assert await idle_runtime.figures.kept.take_turn() is None
        # As a minute after a process has died in its turn.
        past = {"$set": {"until": datetime.now(UTC) - timedelta(seconds=1)}}
        await idle_runtime.database.collection("streams").update_one({"_id": "counts"}, past)
        assert await other.figures.kept.take_turn() is not None


async def test_a_count_that_several_advance_at_once_is_advanced_once(idle_runtime: Runtime) -> None:
    store = idle_runtime.figures.kept
    await store_ended(idle_runtime, 600)
    pair, now = ("default", "success"), await idle_runtime.jobs.server_time()
    old = KeptCount(number=150, up_to=datetime(2000, 1, 1, tzinfo=UTC), counted_at=now, cost=1)
    await store.keep(pair, old)
    await asyncio.gather(*(store.advance(pair, old, now) for _ in range(5)))
    assert (await store.kept())[pair].number == 350


@pytest.mark.parametrize("count", [1_500, 6_000])
async def test_what_is_looked_at_is_bounded_however_long_history_is(idle_runtime: Runtime, count: int) -> None:
    await store_ended(idle_runtime, count)
    await turn(idle_runtime)
    # What comes before the statistics of the last minutes is counted in the background, however long it takes.
    await idle_runtime.roller.catch_up(await idle_runtime.database.clock.now() - timedelta(days=7), 60)
    await idle_runtime.stats.windows(["7d"])
    raw = idle_runtime.database.raw
    async with TestClient(TestServer(make_app(idle_runtime))) as client:
        for path in ("/v1/queues", "/v1/queues/default", "/metrics", "/v1/stats"):
            await raw.drop_collection("system.profile")
            await raw.command("profile", 2)
            async with client.get(path) as reply:
                assert reply.status == 200
            await raw.command("profile", 0)
            looked = [one async for one in raw["system.profile"].find({"ns": {"$regex": r"\.jobs$"}})]
            seen = sum(one.get("keysExamined", 0) + one.get("docsExamined", 0) for one in looked)
            assert seen <= 1_000, (path, seen)


async def test_the_api_tells_of_them(idle_runtime: Runtime) -> None:
    await store_ended(idle_runtime, 900)
    await turn(idle_runtime)
    async with TestClient(TestServer(make_app(idle_runtime))) as client:
        (shown,) = (await (await client.get("/v1/queues")).json())["items"]
        assert shown["counts"] == {"success": 300, "failed": 300, "killed": 300} | dict.fromkeys(
            ("delayed", "pending", "processing"), 0
        )
        total = (await (await client.get("/v1/stats")).json())["counts"]["total"]
        assert total == shown["counts"]


async def _running(runtime: Runtime) -> Any:
    await add(runtime, attempts=1)
    return await claim(runtime)
