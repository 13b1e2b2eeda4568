"""Statistics in equal steps of time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp.test_utils import TestClient, TestServer

from jobqueue.api.app import make_app
from jobqueue.domain.insight.audit import Actor
from jobqueue.domain.jobs.json_form import date
from jobqueue.services.insight.series import Series
from jobqueue.store.insight.rollups import hour_of, minute_of
from tests.support.data.factories import claimed_job, fail, succeed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aiohttp import web

    from jobqueue.services.application import Runtime

    Client = TestClient[web.Request, web.Application]


@pytest.fixture
async def client(idle_runtime: Runtime) -> AsyncIterator[Client]:
    async with TestClient(TestServer(make_app(idle_runtime))) as client:
        yield client


async def series(client: Client, status: int = 200, token: str = "", **query: Any) -> Any:
    texts = {name.rstrip("_"): date(value) if isinstance(value, datetime) else value for name, value in query.items()}
    headers = {"Authorization": f"Bearer {token}"} if token else None
    answer = await client.get("/v1/stats/series", params=texts, headers=headers)
    assert answer.status == status, await answer.text()
    return await answer.json()


async def ended(runtime: Runtime, kind: str, at: datetime, *, queue: str = "media", fails: bool = False) -> None:
    """Store a job that was added a minute before a moment, begun at it, and ended a minute after it."""
    claimed = await claimed_job(runtime, kind, queue=queue, attempts=1)
    await (fail if fails else succeed)(runtime, claimed)
    minute = timedelta(minutes=1)
    dates: dict[str, Any] = {"insertAt": at - minute, "startAt": at, "endAt": at + minute}
    entry = {"history.0.startAt": at, "history.0.endAt": at + minute, "history.0.readyAt": at - minute}
    await runtime.jobs.collection.update_one({"type": kind}, {"$set": dates | entry})


async def test_activity_is_told_in_steps(client: Client, idle_runtime: Runtime) -> None:
    now = datetime.now(UTC)
    # The second of two hours ago, in the middle of it.
    then = hour_of(now - timedelta(hours=2)) + timedelta(minutes=30)
    await ended(idle_runtime, "old", then)
    await ended(idle_runtime, "failed", then, fails=True)
    await ended(idle_runtime, "new", minute_of(now) - timedelta(minutes=3), queue="mail")

    day = await series(client, step="1h", from_=then - timedelta(hours=3))
    assert (day["step"], day["from"]) == (3600, date(hour_of(then - timedelta(hours=3))))
    points = {point["at"]: point for point in day["points"]}
    past = points[date(hour_of(then))]
    assert (past["added"], past["started"], past["succeeded"], past["failed"]) == (2, 2, 1, 1)
    assert (past["attempts"]["success"], past["run"]["count"]) == (1, 2)
    assert past["wait"]["p50"] == pytest.approx(60, rel=0.1)
    assert sum(point["succeeded"] for point in day["points"]) == 2

    minutes = await series(client, step="1m", queue="mail", from_=now - timedelta(minutes=10))
    busy = [point["at"] for point in minutes["points"] if point["started"]]
    assert (busy, len(minutes["points"])) == ([date(minute_of(now) - timedelta(minutes=3))], 11)
    only = await series(client, step="1d", type="failed", from_=then)
    assert (only["points"][0]["failed"], only["points"][0]["succeeded"]) == (1, 0)

    each = await series(client, step="1h", from_=then, by="queue")
    assert {own["queue"]: sum(point["started"] for point in own["points"]) for own in each["queues"]} == {
        "mail": 1,
        "media": 2,
    }
    await series(client, 422, step="1m", from_=now - timedelta(hours=2), by="queue")

    _, token = await idle_runtime.access.create(roles=["read"], queues=["mail"], by=Actor(name="ann", via="cli"))
    assert [
        own["queue"] for own in (await series(client, from_=then, step="1h", by="queue", token=token))["queues"]
    ] == ["mail"]
    seen = await series(client, step="1h", from_=then, token=token)
    assert sum(point["succeeded"] for point in seen["points"]) == 1


async def test_a_span_without_a_step_has_a_fitting_one(client: Client) -> None:
    now = datetime.now(UTC)
    assert (await series(client))["step"] == 60
    assert (await series(client, from_=now - timedelta(days=1)))["step"] == 900
    assert (await series(client, from_=now - timedelta(days=30)))["step"] == 21_600


@pytest.mark.parametrize(
    ("query", "path"),
    [
        ({"step": "2m"}, "step"),
        ({"step": "1m", "from_": timedelta(days=1)}, "step"),
        ({"step": "1m", "from_": timedelta(days=5), "to": timedelta(days=5, hours=-1)}, "from"),
        ({"step": "1d", "from_": timedelta(days=200)}, "from"),
        ({"from_": timedelta(days=-1)}, "from"),
        ({"from_": timedelta(hours=1), "to": timedelta(hours=2)}, "from"),
        ({"from_": "yesterday"}, "from"),
        ({"window": "1h"}, "window"),
    ],
)
async def test_a_series_that_cannot_be_is_refused(client: Client, query: dict[str, Any], path: str) -> None:
    now = datetime.now(UTC)
    dated: dict[str, Any] = {
        name: now - value if isinstance(value, timedelta) else value for name, value in query.items()
    }
    assert list((await series(client, 422, **dated))["errors"]) == [path]


async def test_series_share_the_sum_of_their_kept_hours_and_no_other_activity(
    client: Client, idle_runtime: Runtime
) -> None:
    now = datetime.now(UTC)
    then = hour_of(now - timedelta(hours=3)) + timedelta(minutes=30)
    await ended(idle_runtime, "old", then)
    asked: dict[str, Any] = {"step": "1h", "by": "queue", "from_": then}
    first = await series(client, **asked)
    # Started in a kept hour, and still counted there with what comes after it.
    await ended(idle_runtime, "long", then)
    late = {"endAt": now, "history.0.endAt": now, "insertAt": now - timedelta(minutes=20)}
    await idle_runtime.jobs.collection.update_one({"type": "long"}, {"$set": late})
    idle_runtime.series = Series(idle_runtime.series._store, idle_runtime.roller, idle_runtime.database.clock)
    fresh = await series(client, **asked)
    for _ in range(2):
        again = await series(client, **asked)
        assert [(own["queue"], started(own)) for own in again["queues"]] == [("media", started(fresh))]
        assert (started(again), sum(started(again))) == (started(fresh), 2)
        assert sum(point["succeeded"] for point in again["points"]) == 2
    assert (sum(started(first)), sum(point["succeeded"] for point in first["points"])) == (1, 1)
    # Another question has sums of its own, and hours that are read anew are summed up anew.
    assert sum(started(await series(client, **asked, type="old"))) == 1
    idle_runtime.roller._store._forget()
    assert started(await series(client, **asked)) == started(fresh)


def started(series: Any) -> list[int]:
    return [point["started"] for point in series["points"]]
