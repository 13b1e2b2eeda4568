from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from aiohttp.test_utils import TestClient, TestServer

from jobqueue.api.app import make_app

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aiohttp import web

    from jobqueue.services.application import Runtime

    Client = TestClient[web.Request, web.Application]

FIGURES = {"counts", "oldestPendingAge", "ended", "breakers"}
HOOK = {"kind": "webhook", "url": "https://example.com/hook", "headers": {"Authorization": "Bearer x"}}


@pytest.fixture
async def client(runtime: Runtime) -> AsyncIterator[Client]:
    async with TestClient(TestServer(make_app(runtime))) as one:
        yield one


async def test_a_configuration_holds_for_the_jobs_created_after_it(client: Client) -> None:
    given = {"attempts": 9, "backoff": [1, 2], "lease": 30, "timeout": 5, "priority": 3, "onSuccessDelete": True}
    put = await client.put("/v1/queues/mail", json=given)
    assert put.status == 200
    shown = await (await client.get("/v1/queues/mail")).json()
    assert await put.json() == {name: inner for name, inner in shown.items() if name not in FIGURES}
    job = await (await client.post("/v1/jobs", json={"type": "a", "queue": "mail", "priority": 1})).json()
    assert {name: job[name] for name in given} == {**given, "priority": 1}
    assert (await (await client.put("/v1/queues/mail", json={})).json())["attempts"] == 3


async def test_a_secret_is_made_shown_once_and_kept(client: Client, runtime: Runtime) -> None:
    made = await (await client.put("/v1/queues/q", json={"processors": {"a.b": HOOK, "*": HOOK}})).json()
    secret = made["processors"]["a.b"]["secret"]
    assert secret.startswith("whsec_")
    assert secret != made["processors"]["*"]["secret"]
    shown = await (await client.get("/v1/queues/q")).json()
    assert shown["processors"]["a.b"] == {
        **HOOK,
        "timeout": 30,
        "secret": "********",
        "headers": {"Authorization": "********"},
    }
    assert secret not in await (await client.get("/v1/queues/q")).text()
    again = await (await client.put("/v1/queues/q", json=shown)).json()
    assert again == {name: inner for name, inner in shown.items() if name not in FIGURES}
    config, _ = await runtime.queues.tagged("q")
    assert getattr(config.processor_for("a.b"), "secret", None) == secret
    assert getattr(config.processor_for("a.b"), "headers", None) == HOOK["headers"]


async def test_pause_and_resume_change_nothing_else(client: Client) -> None:
    await client.put("/v1/queues/default", json={"attempts": 9})
    await client.post("/v1/jobs", json={"type": "a"})
    paused = await (await client.post("/v1/queues/default/pause")).json()
    assert (paused["paused"], paused["attempts"]) == (True, 9)
    assert (await client.post("/v1/queues/default/claim", json={"worker": "w"})).status == 204
    resumed = await (await client.post("/v1/queues/default/resume")).json()
    assert (resumed["paused"], resumed["attempts"]) == (False, 9)
    assert (await client.post("/v1/queues/default/claim", json={"worker": "w"})).status == 200


@pytest.mark.parametrize(
    ("given", "names"),
    [
        ({"pause": True}, {"pause"}),
        ({"paused": "yes", "attempts": "3"}, {"paused", "attempts"}),
        ({"attempts": 0, "lease": -1, "timeout": 0, "priority": 2**70}, {"attempts", "lease", "timeout", "priority"}),
        ({"backoff": {"kind": "linear"}}, {"backoff.kind"}),
        ({"lease": None}, {"lease"}),
        ({"processors": []}, {"processors"}),
        ({"processors": {"a": 5, "b": {}}}, {"processors.a", "processors.b.kind"}),
        ({"processors": {"a": {"kind": "email"}}}, {"processors.a.kind"}),
        ({"processors": {"a": {"kind": ["webhook"]}}}, {"processors.a.kind"}),
        ({"processors": {"a": {**HOOK, "url": "ftp://x"}}}, {"processors.a.url"}),
        ({"processors": {"a": {**HOOK, "headers": {"Host": "x"}}}}, {"processors.a.headers.Host"}),
        ({"processors": {"a": {**HOOK, "headers": {"X": 5}}}}, {"processors.a.headers.X"}),
        ({"processors": {"a": {**HOOK, "secret": "short"}}}, {"processors.a.secret"}),
        ({"processors": {"a": {**HOOK, "secret": ["x"]}}}, {"processors.a.secret"}),
        ({"processors": {"a": {**HOOK, "secret": {}}}}, {"processors.a.secret"}),
        ({"processors": {"a": {**HOOK, "timeout": 0}}}, {"processors.a.timeout"}),
        ({"processors": {"a": {"kind": "webhook"}}}, {"processors.a"}),
        ({"processors": {"a": {"kind": "command", "name": "x", "argv": []}}}, {"processors.a.argv"}),
        ({"processors": {"$a": {"kind": "command", "name": "x"}}}, {"processors.$a"}),
    ],
)
async def test_a_wrong_configuration_is_refused_by_name_and_not_stored(
    client: Client, runtime: Runtime, given: object, names: set[str]
) -> None:
    answer = await client.put("/v1/queues/q", json=given)
    assert answer.status == 422
    assert set((await answer.json(content_type=None))["errors"]) == names
    assert await runtime.database.collection("config").count_documents({}) == 0
