"""Alerts as they are defined over HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from aiohttp.test_utils import TestClient, TestServer

from jobqueue.api.app import make_app
from jobqueue.domain.alerts.alert import ALERT_QUEUE
from jobqueue.domain.insight.audit import Actor
from tests.support.data.factories import add, claimed_job, fail

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aiohttp import web

    from jobqueue.services.application import Runtime

    Client = TestClient[web.Request, web.Application]

ANN = Actor(name="ann", via="cli")
URL = "https://hooks.example.com/T0/B0/hush"
MASK = "********"


@pytest.fixture
async def client(idle_runtime: Runtime) -> AsyncIterator[Client]:
    async with TestClient(TestServer(make_app(idle_runtime))) as one:
        yield one


async def test_an_alert_is_defined_changed_muted_tested_and_deleted(client: Client, idle_runtime: Runtime) -> None:
    put = await client.put("/v1/alerts/ops", json={"url": URL, "headers": {"X-Key": "hush"}, "stuckSeconds": 60})
    made = await put.json()
    assert (put.status, made["url"], made["stuckSeconds"], made["headers"]) == (201, URL, 60, {"X-Key": MASK})
    assert made["secret"].startswith("whsec_")
    got = await client.get("/v1/alerts/ops")
    shown = await got.json()
    assert shown == made | {"secret": MASK}
    tag = got.headers["ETag"]
    same = await client.put("/v1/alerts/ops", json=shown)
    assert (same.status, same.headers["ETag"], await same.json()) == (200, tag, shown)
    stale = await client.put("/v1/alerts/ops", json=shown | {"stuckSeconds": 90}, headers={"If-Match": '"other"'})
    assert stale.status == 412
    muted = await client.post("/v1/alerts/ops/mute", json={"seconds": 60, "reason": "x"}, headers={"If-Match": tag})
    assert (await muted.json())["muteReason"] == "x"
    assert (await (await client.post("/v1/alerts/ops/mute", json={"seconds": 0})).json())["mutedUntil"] is None
    tested = await client.post("/v1/alerts/ops/test")
    assert (tested.status, (await tested.json())["queue"]) == (201, ALERT_QUEUE)
    [listed] = (await (await client.get("/v1/alerts")).json())["items"]
    assert listed["name"] == "ops"
    stored = await idle_runtime.alerts.get("ops")
    assert stored.alert is not None
    assert (stored.alert.webhook.secret, stored.alert.webhook.headers) == (made["secret"], {"X-Key": "hush"})
    assert (await client.delete("/v1/alerts/ops", headers={"If-Match": tag})).status == 412
    assert (await client.delete("/v1/alerts/ops")).status == 204
    for method, path in (("GET", ""), ("DELETE", ""), ("POST", "/test")):
        assert (await client.request(method, f"/v1/alerts/ops{path}")).status == 404
    entries = (await (await client.get("/v1/audit", params={"kind": "alert"})).json())["items"]
    assert [entry["action"] for entry in entries] == ["delete", "unmute", "mute", "put"]
    assert "hush" not in str(entries)
    assert idle_runtime.configs.of(ALERT_QUEUE).retention["success"] == 30 * 86_400


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"url": None}, "url"),
        ({"url": "ftp://x"}, "url"),
        ({"url": "https://ann:pw@x/"}, "url"),
        ({"secret": "whsec_short"}, "secret"),
        ({"headers": {"Host": "x"}}, "headers.Host"),
        ({"headers": {"X-Key": MASK}}, "headers.X-Key"),
        ({"timeout": True}, "timeout"),
        ({"kinds": []}, "kinds"),
        ({"kinds": ["worker", {}]}, "kinds"),
        ({"queues": ["a b"]}, "queues.0"),
        ({"queues": {}}, "queues"),
        ({"stuckSeconds": 5}, "stuckSeconds"),
        ({"waitingSeconds": "1"}, "waitingSeconds"),
        ({"minimumFailures": 1.5}, "minimumFailures"),
        ({"remindSeconds": 1}, "remindSeconds"),
        ({"recovered": 1}, "recovered"),
        ({"remindSecond": 1}, "remindSecond"),
    ],
)
async def test_a_wrong_definition_is_refused_by_its_field(client: Client, changes: Any, field: str) -> None:
    refused = await client.put("/v1/alerts/ops", json={"url": URL, **changes})
    assert (refused.status, list((await refused.json())["errors"])) == (422, [field])


async def test_a_wrong_mute_or_name_is_refused(client: Client) -> None:
    await client.put("/v1/alerts/ops", json={"url": URL})
    for body, field in (
        ({"seconds": -1}, "seconds"),
        ({"seconds": 9e9}, "seconds"),
        ({"seconds": 1, "reason": ""}, "reason"),
    ):
        refused = await client.post("/v1/alerts/ops/mute", json=body)
        assert (refused.status, list((await refused.json())["errors"])) == (422, [field])
    assert (await client.put("/v1/alerts/a%20b", json={"url": URL})).status == 422


async def test_readers_see_no_path_of_the_url_and_limited_tokens_nothing(idle_runtime: Runtime) -> None:
    await idle_runtime.alerts.put("ops", {"url": URL}, by=ANN)
    made = {
        "reader": (await idle_runtime.access.create(by=ANN, roles=["read"]))[1],
        "limited": (await idle_runtime.access.create(by=ANN, roles=["admin"], queues=["media"]))[1],
    }
    async with TestClient(TestServer(make_app(idle_runtime, open_to_all=False))) as client:
        headers = {name: {"Authorization": f"Bearer {token}"} for name, token in made.items()}
        shown = await (await client.get("/v1/alerts/ops", headers=headers["reader"])).json()
        assert (shown["url"], shown["secret"]) == (f"https://hooks.example.com/{MASK}", MASK)
        for method, path in (("GET", ""), ("GET", "/ops"), ("PUT", "/ops"), ("DELETE", "/ops"), ("POST", "/ops/test")):
            refused = await client.request(method, f"/v1/alerts{path}", json={"url": URL}, headers=headers["limited"])
            assert refused.status == 403


async def test_spoilt_documents_are_shown_and_put_anew(client: Client, idle_runtime: Runtime) -> None:
    await idle_runtime.alerts.store.collection.insert_many([{"_id": "odd", "url": 7}, {"_id": "odder", "kinds": "x"}])
    listed = (await (await client.get("/v1/alerts")).json())["items"]
    assert [(one["name"], "url" in one) for one in listed] == [("odd", False), ("odder", False)]
    assert (await client.get("/v1/alerts/odd")).status == 404
    assert (await client.put("/v1/alerts/odd", json={"url": URL})).status == 200
    assert (await client.delete("/v1/alerts/odder")).status == 204
    await fail(idle_runtime, await claimed_job(idle_runtime, attempts=1))
    await add(idle_runtime)
    await idle_runtime.detector.look(await idle_runtime.alerts.store.all())
    assert await idle_runtime.jobs.collection.count_documents({"queue": ALERT_QUEUE}) == 1
