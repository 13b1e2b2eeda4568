"""One process at a time counts, the present first, and history in a hundredth of its time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from jobqueue.domain.access.access import EVERYTHING
from jobqueue.domain.insight.activity import total
from jobqueue.services.insight import stats as stats_module
from jobqueue.services.insight.rollups import Roller, RollupWriter
from jobqueue.services.insight.stats import WINDOWS, Stats, StatsRequest
from jobqueue.store.insight.rollups import HOUR, MINUTE, RollupStore, hour_of, minute_of, present_hour
from jobqueue.store.mongo.turns import Turn
from tests.integration.insight.test_rollups import NOW, check_window, pasts
from tests.support.data.factories import open_runtime
from tests.support.older.pasts import FixedClock, count, past, seeded

if TYPE_CHECKING:
    import pytest

    from jobqueue.domain.insight.activity import Tally
    from jobqueue.services.application import Runtime
    from jobqueue.settings import Settings

DAYS = 8


class Elapsed:
    """A steady clock on which each reading of a span takes a while."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, cost: float) -> None:
        self.now = 0.0
        self.spans: list[tuple[datetime, datetime]] = []
        read, elapsed = RollupStore.read, self

        async def slow(store: RollupStore, since: datetime, until: datetime, **more: Any) -> tuple[Any, Tally]:
            elapsed.now += cost
            elapsed.spans.append((since, until))
            return await read(store, since, until, **more)

        monkeypatch.setattr(RollupStore, "read", slow)

    def __call__(self) -> float:
        return self.now

    async def pass_by(self, roller: Roller, seconds: float) -> None:
        """Let the roller take its turns for some seconds."""
        until = self.now + seconds
        while self.now < until:
            pause = await roller.run_once()
            self.now += min(10.0, 10.0 if pause is None else max(pause, 0.001))


def roller_of(runtime: Runtime, elapsed: Any, now: datetime = NOW) -> Roller:
    writer = RollupWriter(RollupStore(runtime.database), FixedClock(now))
    return Roller(writer, Turn(runtime.database, "statistics"), elapsed)


async def hours_of(runtime: Runtime) -> list[datetime]:
    return [hour["_id"] async for hour in RollupStore(runtime.database).hours.find(sort=[("_id", -1)])]


async def store_history(runtime: Runtime) -> list[dict[str, Any]]:
    """Store a few jobs of each hour of the last eight days."""
    jobs = [past(seeded(hour), NOW - HOUR * hour, 3000) for hour in range(2, DAYS * 24)]
    jobs = [job for job in jobs if job["latest"] < NOW]
    await runtime.jobs.collection.insert_many(jobs)
    return jobs


async def test_history_takes_a_hundredth_of_the_time_and_the_newest_hours_come_first(
    idle_runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = await store_history(idle_runtime)
    await idle_runtime.jobs.collection.insert_many(pasts(seeded(0), 20, timedelta(minutes=50)))
    elapsed = Elapsed(monkeypatch, 0.5)
    roller = roller_of(idle_runtime, elapsed)
    await elapsed.pass_by(roller, 1.5)
    # The present hour at once: the minutes up to a quarter of an hour ago, the later ones, and the first past hour.
    assert [span[0] for span in elapsed.spans[:2]] == sorted(span[0] for span in elapsed.spans[:2])
    assert elapsed.spans[0][0] >= present_hour(NOW)
    assert len(elapsed.spans) == 3
    await elapsed.pass_by(roller, 1000)
    assert len(elapsed.spans) - 3 <= 1000 / (100 * 0.5) + 1
    closed = await hours_of(idle_runtime)
    assert closed == [present_hour(NOW) - HOUR * number for number in range(1, len(closed) + 1)]
    monkeypatch.undo()
    while await roller._writer.run_once() is not None:
        pass
    closed = await hours_of(idle_runtime)
    first = hour_of(min(job["insertAt"] for job in jobs))
    assert closed == [present_hour(NOW) - HOUR * number for number in range(1, len(closed) + 1)]
    assert closed[-1] == max(first, hour_of(NOW - timedelta(days=DAYS)))


async def test_one_process_counts_and_another_takes_over_when_that_is_silent(
    idle_runtime: Runtime, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store_history(idle_runtime)
    elapsed = Elapsed(monkeypatch, 0.0)
    async with open_runtime(settings) as other:
        first, second = roller_of(idle_runtime, elapsed), roller_of(other, elapsed)
        assert await first.run_once() is not None
        assert [await second.run_once() for _ in range(3)] == [None] * 3
        assert await first.run_once() is not None
        before = len(await hours_of(other))
        # As half a minute after the process has died.
        past_date = {"$set": {"until": datetime.now(UTC) - timedelta(seconds=1)}}
        await idle_runtime.database.collection("streams").update_one({"_id": "statistics"}, past_date)
        assert await second.run_once() is not None
        assert len(await hours_of(other)) == before + 1
        assert [await first.run_once() for _ in range(2)] == [None] * 2
        # The server's clock was set back.
        ahead = {"$set": {"until": datetime.now(UTC) + HOUR}}
        await idle_runtime.database.collection("streams").update_one({"_id": "statistics"}, ahead)
        assert await first.run_once() is not None


async def test_statistics_are_right_before_anything_is_counted(
    idle_runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stats_module, "_CATCH_UP_SECONDS", 600)
    jobs = await store_history(idle_runtime) + pasts(seeded(1), 100, timedelta(minutes=80))
    await idle_runtime.jobs.collection.insert_many(jobs[-100:])
    store, clock = RollupStore(idle_runtime.database), FixedClock(NOW)
    stats = Stats(store, RollupWriter(store, clock), idle_runtime.job_counts, clock)
    for names in (("5m",), ("1h", "24h"), tuple(WINDOWS)):
        view = await stats.view(StatsRequest(windows=names), EVERYTHING)
        for name in names:
            check_window(view["windows"][name], jobs)


async def test_an_hour_that_comes_twice_is_counted_whole(idle_runtime: Runtime) -> None:
    now = datetime.now(UTC)
    store, clock = RollupStore(idle_runtime.database), FixedClock(now)
    # Minutes and hours of the time before the clock was set back by an hour.
    await store.minutes.insert_many(
        {"_id": minute_of(now) + MINUTE * number, "checked": True, "cells": []} for number in range(1, 60)
    )
    await store.hours.insert_one({"_id": hour_of(now), "cells": []})
    writer = RollupWriter(store, clock)
    while await writer.run_once() is not None:
        pass
    assert await store.newest() == minute_of(now - timedelta(minutes=2))
    jobs = [past(seeded(3), now + timedelta(minutes=10), 600) for _ in range(10)]
    await idle_runtime.jobs.collection.insert_many(jobs)
    clock.moment = now + 3 * HOUR
    while await writer.run_once() is not None:
        pass
    since, until = hour_of(now), hour_of(now) + 2 * HOUR
    kept, counted = await store.tally(since, until, hours=True), total(count(jobs, since, until).values())
    assert gist(kept) == gist(counted)


def gist(tally: Tally) -> dict[Any, Any]:
    return {key: (one.added, one.attempts, one.ended, one.runs) for key, one in tally.items()}
