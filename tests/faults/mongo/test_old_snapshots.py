"""Statistics on a server that cannot keep the moment at which a reading has begun."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp.test_utils import TestClient, TestServer

from jobqueue.api.app import make_app
from jobqueue.domain.attempts.states import State
from jobqueue.services.insight.rollups import RollupWriter
from jobqueue.settings import Settings
from jobqueue.store.insight.rollups import MINUTE, TRIES, RollupStore, minute_of
from tests.faults.conftest import DATABASE
from tests.support.data.factories import add, claim, claimed_job, fail, open_runtime, retry_now, succeed
from tests.support.older.pasts import FixedClock, count, past, seeded

if TYPE_CHECKING:
    from jobqueue.services.application import Runtime
    from tests.support.faults.replica_set import ReplicaSet

NOW = datetime(2026, 3, 5, 12, 34, 20, tzinfo=UTC)
TOO_OLD = 239
UNAVAILABLE = 246


def settings(one_node: ReplicaSet) -> Settings:
    return Settings.load({"mongo_url": one_node.url, "db": DATABASE}, environ={})


def too_old(one_node: ReplicaSet, code: int = TOO_OLD) -> Any:
    """Make all tries of a reading at one moment fail, until the reading goes another way."""
    how: dict[str, Any] = {"failCommands": ["aggregate"], "appName": "jobqueue", "errorCode": code}
    return one_node.fail_point("failCommand", {"times": TRIES}, **how)


async def make_activity(runtime: Runtime) -> None:
    """Leave something for each of the sources of statistics."""
    await succeed(runtime, await claimed_job(runtime))
    deleted = await succeed(runtime, await claimed_job(runtime))
    await runtime.manager.delete(deleted.id)
    await runtime.manager.kill((await add(runtime, delay=100)).id)
    await fail(runtime, await claimed_job(runtime, "other", attempts=1))
    claimed = await claimed_job(runtime)
    for _ in range(4):
        await retry_now(runtime, claimed)
        claimed = await claim(runtime)
    await runtime.jobs.history.spill(claimed.job.id, keep=2, state=State.PROCESSING)


@pytest.mark.parametrize("code", [TOO_OLD, UNAVAILABLE])
async def test_a_reading_finds_the_same_when_its_moment_is_too_old(one_node: ReplicaSet, code: int) -> None:
    async with open_runtime(settings(one_node)) as runtime:
        await make_activity(runtime)
        store = RollupStore(runtime.database)
        now = await runtime.database.clock.now()
        span = minute_of(now) - 10 * MINUTE, minute_of(now) + 2 * MINUTE
        expected = await store.read(*span, with_running=True)
        assert sum(one.added for tally in expected[0].values() for one in tally.values()) == 5
        assert expected[1]
        with too_old(one_node, code):
            assert await store.read(*span, with_running=True) == expected


async def test_minutes_are_counted_when_their_moment_is_too_old(one_node: ReplicaSet) -> None:
    chance = seeded(1)
    jobs = [past(chance, NOW - timedelta(minutes=9), 60) for _ in range(20)]
    async with open_runtime(settings(one_node)) as runtime:
        await runtime.jobs.collection.insert_many(jobs)
        store = RollupStore(runtime.database)
        roller = RollupWriter(store, FixedClock(NOW))
        first, edge = minute_of(min(job["insertAt"] for job in jobs)), minute_of(NOW - MINUTE)
        with too_old(one_node):
            assert await roller.run_once() is not None
        expected = count(jobs, first, edge)
        for minute, tally in expected.items():
            assert await store.tally(minute, minute + MINUTE) == tally


async def test_statistics_are_answered_when_their_moment_is_too_old(one_node: ReplicaSet) -> None:
    async with open_runtime(settings(one_node)) as runtime, TestClient(TestServer(make_app(runtime))) as client:
        await make_activity(runtime)
        with too_old(one_node):
            answer = await client.get("/v1/stats")
            assert answer.status == 200, await answer.text()
        shown = (await answer.json())["windows"]["5m"]
        assert (shown["added"], shown["killed"], shown["failed"]) == (5, 1, 1)
