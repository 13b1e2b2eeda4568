"""Schedules over HTTP and on the database: one job a tick, whoever looks, whatever crashes."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp.test_utils import TestClient, TestServer

from jobqueue.api.app import make_app
from jobqueue.domain.query import JobQuery
from jobqueue.domain.schedule import read
from jobqueue.domain.state import State
from jobqueue.services.schedules import Scheduler
from tests.support.factories import claim, open_runtime, succeed
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from datetime import datetime

    from aiohttp import web

    from jobqueue.services.runtime import Runtime
    from jobqueue.settings import Settings

    Client = TestClient[web.Request, web.Application]

HOURLY = {"every": 3600, "job": {"type": "tick", "queue": "ops", "data": {"n": 1}}}


@pytest.fixture
async def client(idle_runtime: Runtime) -> AsyncIterator[Client]:
    async with TestClient(TestServer(make_app(idle_runtime))) as one:
        yield one


def scheduler(runtime: Runtime) -> Scheduler:
    return Scheduler(runtime.schedule_store, runtime.jobs, runtime.configs, runtime.wakeups)


async def ago(runtime: Runtime, **span: float) -> datetime:
    return await runtime.database.clock.now() - timedelta(**span)


async def set_next(runtime: Runtime, moment: datetime, name: str = "s") -> None:
    """Let a tick be due since a moment."""
    changed = {"$set": {"nextAt": moment, "anchor": moment}}
    await runtime.schedule_store.collection.update_one({"_id": name}, changed)


async def made(runtime: Runtime, name: str = "s") -> list[Any]:
    page = await runtime.admin.page(JobQuery(schedule=name, oldest_first=True, limit=200))
    return sorted(page.items, key=lambda job: job.scheduled_at)


async def put(client: Client, body: dict[str, Any], name: str = "s", **headers: str) -> dict[str, Any]:
    answer = await client.put(f"/v1/schedules/{name}", json=body, headers=headers)
    assert answer.status == 200, await answer.text()
    shown: dict[str, Any] = await answer.json()
    return shown


async def test_a_schedule_is_defined_shown_listed_paused_and_deleted(client: Client) -> None:
    shown = await put(client, HOURLY)
    assert (shown["every"], shown["missed"], shown["job"]["type"]) == (3600, "one", "tick")
    assert shown["nextRuns"][0] == shown["nextAt"]
    assert (len(shown["nextRuns"]), shown["lastRuns"]) == (5, [])
    await put(client, {"cron": "@daily", "timezone": "Europe/Berlin", "job": {"type": "a"}}, "t")
    first = await (await client.get("/v1/schedules?limit=1")).json()
    rest = await (await client.get(f"/v1/schedules?cursor={first['next']}")).json()
    assert [one["name"] for one in first["items"] + rest["items"]] == ["s", "t"]
    paused = await (await client.post("/v1/schedules/s/pause")).json()
    assert (paused["paused"], paused["nextAt"], paused["nextRuns"]) == (True, None, [])
    assert (await (await client.post("/v1/schedules/s/resume")).json())["nextAt"] is not None
    assert (await client.delete("/v1/schedules/s")).status == 200
    for method, path in (("GET", ""), ("DELETE", ""), ("POST", "/pause"), ("POST", "/resume")):
        assert (await client.request(method, f"/v1/schedules/s{path}")).status == 404


async def test_the_same_definition_again_changes_nothing(client: Client, idle_runtime: Runtime) -> None:
    shown = await put(client, HOURLY)
    await set_next(idle_runtime, await ago(idle_runtime, seconds=-5))
    before = await (await client.get("/v1/schedules/s")).json()
    assert await put(client, HOURLY) == before
    assert await put(client, shown) == before
    assert await idle_runtime.database.collection("audit").count_documents({}) == 1
    other = await put(client, {**HOURLY, "every": 7200})
    assert other["nextAt"] != before["nextAt"]
    kept = await put(client, {**HOURLY, "every": 7200, "job": {"type": "other"}})
    assert kept["nextAt"] == other["nextAt"]
    assert await idle_runtime.database.collection("audit").count_documents({"target.kind": "schedule"}) == 3


async def test_a_change_is_made_only_to_what_the_caller_has_seen(client: Client) -> None:
    await put(client, HOURLY)
    tag = (await client.get("/v1/schedules/s")).headers["ETag"]
    await put(client, {**HOURLY, "every": 60}, **{"If-Match": tag})
    for method in ("PUT", "DELETE"):
        answer = await client.request(method, "/v1/schedules/s", json=HOURLY, headers={"If-Match": tag})
        assert answer.status == 412


@pytest.mark.parametrize(
    ("given", "names"),
    [
        ({"cron": "x", "job": {"type": "a"}}, {"cron"}),
        ({"job": {"type": "", "atempts": 1}, "every": 0}, {"job.type", "job.atempts", "every"}),
        ({"every": 60}, {"job"}),
        ({"every": "60", "job": {"type": "a"}, "until": 5}, {"every", "until", "cron"}),
    ],
)
async def test_a_wrong_definition_is_refused_by_name(client: Client, given: object, names: set[str]) -> None:
    answer = await client.put("/v1/schedules/s", json=given)
    assert answer.status == 422
    assert set((await answer.json(content_type=None))["errors"]) == names
    assert (await client.put("/v1/schedules/a.b", json=HOURLY)).status == 422


async def test_a_due_tick_adds_one_job_with_its_queues_defaults(client: Client, idle_runtime: Runtime) -> None:
    await client.put("/v1/queues/ops", json={"attempts": 9, "limitBy": "data.n", "concurrency": 1})
    await put(client, HOURLY)
    tick = await ago(idle_runtime, seconds=2)
    await set_next(idle_runtime, tick)
    wait = await scheduler(idle_runtime).run_once()
    assert wait is not None
    assert 3500 < wait <= 3600
    (job,) = await made(idle_runtime)
    assert (job.schedule, job.scheduled_at, job.attempts, job.limit_key) == ("s", tick, 9, "data.n=1")
    await scheduler(idle_runtime).run_once()
    assert len(await made(idle_runtime)) == 1
    listed = await (await client.get("/v1/jobs?schedule=s")).json()
    assert [one["id"] for one in listed["items"]] == [job.id]
    shown = await (await client.get("/v1/schedules/s")).json()
    assert [(one["id"], one["state"]) for one in shown["lastRuns"]] == [(job.id, "pending")]


@pytest.mark.parametrize(("missed", "count"), [("skip", 1), ("one", 2), ("all", 11)])
async def test_after_a_downtime_missed_ticks_are_made_up_for_as_it_says(
    client: Client, idle_runtime: Runtime, missed: str, count: int
) -> None:
    await put(client, {**HOURLY, "missed": missed})
    await set_next(idle_runtime, await ago(idle_runtime, hours=10, seconds=1))
    await scheduler(idle_runtime).run_once()
    assert len(await made(idle_runtime)) == count


async def test_a_crash_between_adding_and_going_on_makes_no_second_job(
    client: Client, idle_runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    await put(client, {**HOURLY, "missed": "all"})
    await set_next(idle_runtime, await ago(idle_runtime, hours=3, seconds=1))

    async def crash(*_: object) -> None:
        raise SystemError("the process dies here")

    with monkeypatch.context() as patched:
        patched.setattr(idle_runtime.schedule_store, "advance", crash)
        await scheduler(idle_runtime).run_once()
    before = [job.id for job in await made(idle_runtime)]
    assert len(before) == 4
    # What has run and is deleted meanwhile does not come again either.
    done = await succeed(idle_runtime, await claim(idle_runtime, "ops"))
    await idle_runtime.admin.delete(done.id)
    await scheduler(idle_runtime).run_once()
    assert [job.id for job in await made(idle_runtime)] == [one for one in before if one != done.id]


async def test_any_number_of_processes_make_one_job_a_tick(
    client: Client, settings: Settings, idle_runtime: Runtime
) -> None:
    await put(client, {**HOURLY, "missed": "all"})
    await set_next(idle_runtime, await ago(idle_runtime, hours=50, seconds=1))
    async with open_runtime(settings) as other, open_runtime(settings) as third:
        await asyncio.gather(*(scheduler(one).run_once() for one in (idle_runtime, other, third)))
    jobs = await made(idle_runtime)
    assert len(jobs) == len({job.scheduled_at for job in jobs}) == 51


async def test_a_schedule_of_the_same_name_is_another_one_once_it_was_deleted(
    client: Client, idle_runtime: Runtime
) -> None:
    tick = await ago(idle_runtime, seconds=1)
    for _ in range(2):
        await put(client, HOURLY)
        await set_next(idle_runtime, tick)
        await scheduler(idle_runtime).run_once()
        await client.delete("/v1/schedules/s")
    assert len(await made(idle_runtime)) == 2


async def test_a_key_that_is_taken_skips_the_tick_and_says_so(client: Client, idle_runtime: Runtime) -> None:
    await put(client, {**HOURLY, "job": {"type": "a", "key": "k"}, "missed": "all"})
    await set_next(idle_runtime, await ago(idle_runtime, hours=1, seconds=1))
    await scheduler(idle_runtime).run_once()
    assert len(await made(idle_runtime)) == 1
    shown = await (await client.get("/v1/schedules/s")).json()
    assert "has the key" in shown["lastSkipped"]["reason"]
    assert shown["nextAt"] is not None


async def test_a_schedule_that_was_spoilt_by_hand_holds_up_no_other(client: Client, idle_runtime: Runtime) -> None:
    await put(client, HOURLY, "bad")
    await put(client, HOURLY, "good")
    now = await ago(idle_runtime, seconds=1)
    await idle_runtime.schedule_store.collection.update_one({"_id": "bad"}, {"$set": {"definition": 5}})
    for name in ("bad", "good"):
        await set_next(idle_runtime, now, name)
    await scheduler(idle_runtime).run_once()
    assert len(await made(idle_runtime, "good")) == 1
    assert [one["name"] for one in (await (await client.get("/v1/schedules")).json())["items"]] == ["good"]
    assert (await client.get("/v1/schedules/bad")).status == 404
    assert (await put(client, HOURLY, "bad"))["every"] == 3600


async def test_a_running_service_keeps_its_schedules_by_itself(runtime: Runtime) -> None:
    await runtime.schedules.put("s", read({"every": 1, "job": {"type": "a"}}))
    jobs = await eventually(lambda: _at_least(runtime, 2))
    assert all(job.state is State.PENDING for job in jobs)


async def _at_least(runtime: Runtime, count: int) -> list[Any]:
    jobs = await made(runtime)
    return jobs if len(jobs) >= count else []
