"""Schedules as they are defined over HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from aiohttp.test_utils import TestClient, TestServer

from jobqueue.api.app import make_app

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aiohttp import web

    from jobqueue.services.application import Runtime

    Client = TestClient[web.Request, web.Application]

JOB = {"type": "report", "queue": "media", "data": {"n": 1}}
DAILY = {"cron": "30 2 * * *", "timezone": "Europe/Berlin", "job": JOB}


@pytest.fixture
async def client(idle_runtime: Runtime) -> AsyncIterator[Client]:
    async with TestClient(TestServer(make_app(idle_runtime))) as one:
        yield one


async def test_a_schedule_is_defined_shown_and_deleted(client: Client) -> None:
    put = await client.put("/v1/schedules/nightly", json=DAILY)
    made = await put.json()
    assert put.status == 201
    assert {name: made[name] for name in ("name", "cron", "timezone", "every", "missed", "paused")} == {
        "name": "nightly",
        "cron": "30 2 * * *",
        "timezone": "Europe/Berlin",
        "every": None,
        "missed": "one",
        "paused": False,
    }
    assert made["job"] == JOB
    assert len(made["nextRuns"]) == 5
    assert made["nextAt"] == made["nextRuns"][0]
    assert made["nextAt"].endswith("Z")
    assert (made["lastRuns"], made["lastSkipped"]) == ([], None)
    got = await client.get("/v1/schedules/nightly")
    assert await got.json() == made
    assert got.headers["ETag"] == put.headers["ETag"]
    assert (await client.delete("/v1/schedules/nightly")).status == 204
    assert (await client.get("/v1/schedules/nightly")).status == 404
    assert (await client.delete("/v1/schedules/nightly")).status == 404
    assert (await client.post("/v1/schedules/nightly/pause")).status == 404


async def test_the_same_definition_again_changes_nothing(client: Client, idle_runtime: Runtime) -> None:
    first = await client.put("/v1/schedules/s", json={"every": 3600, "job": JOB})
    shown = await first.json()
    same = [{"every": 3600.0, "job": JOB, "missed": "one", "timezone": "UTC"}, shown]
    for again in same:
        answer = await client.put("/v1/schedules/s", json=again)
        assert answer.status == 200
        assert await answer.json() == shown
        assert answer.headers["ETag"] == first.headers["ETag"]
    assert await idle_runtime.database.collection("audit").count_documents({"target.kind": "schedule"}) == 1


async def test_changes_are_made_to_what_was_seen_and_kept_in_the_audit(client: Client, idle_runtime: Runtime) -> None:
    tag = (await client.put("/v1/schedules/s", json=DAILY)).headers["ETag"]
    for method, path in (("PUT", ""), ("DELETE", ""), ("POST", "/pause")):
        stale = await client.request(method, f"/v1/schedules/s{path}", json=DAILY, headers={"If-Match": '"other"'})
        assert stale.status == 412
    absent = await client.put("/v1/schedules/none", json=DAILY, headers={"If-Match": tag})
    assert absent.status == 412
    paused = await client.post("/v1/schedules/s/pause", headers={"If-Match": tag})
    assert (await paused.json())["paused"] is True
    assert (await client.delete("/v1/schedules/s", headers={"If-Match": tag})).status == 412
    assert (await client.delete("/v1/schedules/s", headers={"If-Match": paused.headers["ETag"]})).status == 204
    entries = [one async for one in idle_runtime.database.collection("audit").find().sort("_id", 1)]
    assert [(one["action"], one["target"], one["by"]["via"]) for one in entries] == [
        (action, {"kind": "schedule", "name": "s"}, "http") for action in ("put", "pause", "delete")
    ]
    assert (entries[0]["before"], entries[0]["after"]["cron"]) == (None, "30 2 * * *")
    assert (entries[1]["before"]["paused"], entries[1]["after"]["paused"]) == (False, True)
    assert entries[2]["after"] is None


@pytest.mark.parametrize(
    ("given", "names"),
    [
        ({}, {"cron", "job"}),
        ({"cron": "@daily", "every": 60, "job": JOB}, {"every"}),
        ({"cron": "0 0 31 2 *", "job": JOB}, {"cron"}),
        ({"cron": "@daily", "timezone": "../../etc/passwd", "job": JOB}, {"timezone"}),
        ({"cron": "@daily", "timezone": "Europe", "job": JOB}, {"timezone"}),
        ({"cron": 5, "timezone": [], "job": JOB}, {"cron", "timezone"}),
        ({"every": 0, "job": JOB}, {"every"}),
        ({"every": 10**30, "job": JOB}, {"every"}),
        ({"every": 60, "job": {"queue": "a b"}}, {"job.type", "job.queue"}),
        ({"every": 60, "job": "report"}, {"job"}),
        ({"every": 60, "job": {**JOB, "delayTil": "2030-01-01T00:00:00Z"}}, {"job.delayTil"}),
        ({"every": 60, "job": {**JOB, "onSuccess": [{"typ": "b"}]}}, {"job.onSuccess.0.type", "job.onSuccess.0.typ"}),
        ({"every": 60, "job": JOB, "missed": "many", "paused": None, "extra": 1}, {"missed", "paused", "extra"}),
    ],
)
async def test_a_wrong_definition_is_refused_by_name_and_not_stored(
    client: Client, idle_runtime: Runtime, given: object, names: set[str]
) -> None:
    answer = await client.put("/v1/schedules/s", json=given)
    assert answer.status == 422
    assert set((await answer.json(content_type=None))["errors"]) == names
    assert await idle_runtime.database.collection("schedules").count_documents({}) == 0


async def test_a_wrong_name_is_refused(client: Client) -> None:
    assert (await client.put("/v1/schedules/a%2Fb", json=DAILY)).status == 422
    assert (await client.get("/v1/schedules/%24a")).status == 422
    assert (await client.get("/v1/jobs", params={"schedule": "a b"})).status == 422


async def test_schedules_are_listed_by_name_in_pages(client: Client) -> None:
    for name in ("c", "a", "b"):
        await client.put(f"/v1/schedules/{name}", json=DAILY)
    first = await (await client.get("/v1/schedules", params={"limit": "2"})).json()
    assert [one["name"] for one in first["items"]] == ["a", "b"]
    rest = await (await client.get("/v1/schedules", params={"cursor": first["next"]})).json()
    assert ([one["name"] for one in rest["items"]], rest["next"]) == (["c"], None)


async def test_the_next_times_of_a_schedule_that_is_not_stored_are_shown(client: Client) -> None:
    body = {"cron": "30 2 * * *", "timezone": "Europe/Berlin"}
    answer = await client.post("/v1/schedules/new/preview", json=body)
    seen = await answer.json()
    assert (answer.status, len(seen["starts"])) == (200, 10)
    assert {name: seen[name] for name in ("cron", "timezone", "every")} == body | {"every": None}
    # 02:30 does not exist on the day on which clocks go forward: the run is at the end of the gap.
    change = seen["clockChange"]
    there = {"forward": ["03:00:00.000+02:00"], "back": ["02:30:00.000+02:00"]}[change["clock"]]
    assert change["starts"] == [f"{change['day']}T{each}" for each in there]
    put = await client.put("/v1/schedules/s", json={"every": 5400, "job": JOB})
    stored = await put.json()
    answer = await client.post("/v1/schedules/s/preview", json={"every": 5400, "count": 5})
    again = await answer.json()
    assert [start["at"] for start in again["starts"]] == stored["nextRuns"]
    assert again["clockChange"] is None
    wrong: dict[str, Any] = {
        "cron": {"cron": "61 * * * *"},
        "timezone": {"cron": "@daily", "timezone": "Moon"},
        "every": {"every": 0},
        "count": {"every": 60, "count": 51},
        "jobs": {"every": 60, "jobs": []},
    }
    for field, given in wrong.items():
        refused = await client.post("/v1/schedules/s/preview", json=given)
        assert (refused.status, list((await refused.json())["errors"])) == (422, [field])
    assert (await client.post("/v1/schedules/a%20b/preview", json={"every": 60})).status == 422
    assert (await client.get("/v1/schedules/new")).status == 404
