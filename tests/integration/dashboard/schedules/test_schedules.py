"""The page of schedules: words, next runs, last runs as dots, missed ticks."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from jobqueue import NewJob
from jobqueue.domain.insight.audit import Actor
from jobqueue.domain.schedules.cron import Cron, Every
from jobqueue.domain.schedules.schedule import Schedule
from tests.support.browser.html import first, words
from tests.support.browser.visit import main_of, visitor
from tests.support.data.factories import claim, fail

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from jobqueue.services.application import Runtime
    from tests.support.browser.visit import Client


@pytest.fixture
async def client(idle_runtime: Runtime) -> AsyncIterator[Client]:
    async with visitor(idle_runtime) as client:
        yield client


async def test_schedules_are_told_in_words_with_their_runs(client: Client, idle_runtime: Runtime) -> None:
    assert "There are no schedules yet" in words(await main_of(client, "/schedules"))
    schedules, collection = idle_runtime.schedules, idle_runtime.schedules.store.collection
    night = Cron(text="30 2 * * 1-5", timezone="Europe/Berlin")
    await schedules.put(Schedule(name="nightly", job=NewJob(type="report", queue="reports"), recurrence=night))
    await schedules.put(Schedule(name="prices", job=NewJob(type="prices"), recurrence=Every(seconds=3600), paused=True))
    for _ in range(2):
        await idle_runtime.manual_runs.run("nightly", by=Actor(name="ann", via="cli"))
    failed = await fail(idle_runtime, await claim(idle_runtime, "reports"))
    missed = {"at": datetime.now(UTC) - timedelta(days=1), "reason": "it was missed: no process was there"}
    await collection.update_one({"_id": "nightly"}, {"$set": {"lastSkipped": missed}})

    page = await main_of(client, "/schedules?x", "jobqueue_zone=America/New_York")
    nightly, prices = page.select("tbody tr")
    told = words(nightly)
    assert "Mondays to Fridays at 02:30, Berlin" in told
    assert "report in reports" in told
    assert "Missed" in told
    assert "no process was there" in told
    runs = [words(run) for run in nightly.select("ol li")]
    assert len(runs) == 5
    assert all("02:30" in run and run.count("in New York") == 1 for run in runs)
    dots = nightly.select("a.x")
    assert [dot["class"][-1] for dot in dots if dot["href"] == f"/jobs/{failed.id}"] == [failed.state.value]
    assert len(dots) == 2
    assert words(prices).startswith("paused prices Every 1 h")
    assert "none while it is paused" in words(prices)

    one = await main_of(client, "/schedules?name=prices")
    assert [words(name) for name in one.select("tbody b")] == ["prices"]
    assert "There is no schedule of this name" in words(first(await main_of(client, "/schedules?name=other"), "p"))
