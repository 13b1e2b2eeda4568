"""Tests of a webhook: the ping that is sent, the answer that is shown, and what is refused."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp.test_utils import TestClient, TestServer
from standardwebhooks.webhooks import Webhook

from jobqueue import AsyncClient
from jobqueue.dashboard.app import make_app
from jobqueue.domain.insight.audit import Actor
from tests.support.browser.forms import opened, send
from tests.support.browser.html import first, parsed, words
from tests.support.data.factories import open_runtime
from tests.unit.processors.webhook_receiver import LOOPBACK, SECRET, Receiver, hang, receiving, reply

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aiohttp import web

    from jobqueue.services.application import Runtime
    from jobqueue.settings import Settings

    Client = TestClient[web.Request, web.Application]

ANN = Actor(name="ann", via="cli")
PATH = "/v1/queues/media/test-webhook"
KEY = "the-key-of-the-receiver"


@pytest.fixture
async def runtime(settings: Settings) -> AsyncIterator[Runtime]:
    async with open_runtime(replace(settings, webhook_allow=LOOPBACK)) as runtime:
        yield runtime


@pytest.fixture
async def client(runtime: Runtime) -> AsyncIterator[Client]:
    async with TestClient(TestServer(make_app(runtime))) as client:
        yield client


async def hook(runtime: Runtime, receiver: Receiver, *kinds: str, **more: Any) -> None:
    made = {"kind": "webhook", "url": receiver.url, "secret": SECRET, "headers": {"X-Key": KEY}, **more}
    await runtime.queues.put("media", {"processors": dict.fromkeys(kinds, made)}, by=ANN)


async def ping(client: Client, kind: str = "a", status: int = 200, **headers: str) -> Any:
    answer = await client.post(PATH, json={"type": kind}, headers=headers)
    assert answer.status == status, await answer.text()
    return await answer.json(content_type=None)


async def test_a_ping_is_signed_as_a_job_is_and_shows_the_answer_without_secrets(
    client: Client, runtime: Runtime
) -> None:
    body = f'{{"pong": "{KEY}", "asked": "/hook?a=b", "secret": "{SECRET}"}}'.encode()
    async with receiving(reply(body=body)) as receiver:
        await hook(runtime, receiver, "a", "*")
        answer = await ping(client)
        await ping(client, "*")
    request, other = receiver.requests
    sent = Webhook(SECRET).verify(request.body.decode(), request.headers)
    assert {name: sent[name] for name in ("event", "queue", "type")} == {"event": "ping", "queue": "media", "type": "a"}
    assert set(sent) == {"event", "queue", "type", "at"}, "it cannot be taken for a job"
    headers = {name.lower(): value for name, value in request.headers.items()}
    assert (headers["x-key"], headers["content-type"]) == (KEY, "application/json")
    assert headers["user-agent"].startswith("jobqueue/")
    assert headers["webhook-id"] == answer["id"] != other.headers.get("webhook-id")
    assert (answer["type"], answer["ok"], answer["status"], answer["error"]) == ("a", True, 200, None)
    assert answer["seconds"] >= 0
    assert json.loads(answer["excerpt"]) == {"pong": "********", "asked": "/hook?********", "secret": "********"}
    entry = (await (await client.get("/v1/audit?kind=queue&action=test&limit=1")).json())["items"][0]
    assert (entry["target"]["name"], entry["after"]) == ("media", {"type": "*", "status": 200, "error": None})
    changes = (await (await client.get("/v1/queues/media/changes")).json())["items"]
    assert [change["action"] for change in changes] == ["put"]


async def test_a_ping_that_fails_says_why_as_a_job_would(client: Client, runtime: Runtime) -> None:
    for answer, status, kind, text in (
        (reply("500 Oops", body=b"broken"), 500, "http", "the webhook answered 500 Oops"),
        (reply("410 Gone"), 410, "http", "410"),
        (reply("503 Busy", "Retry-After: 5\r\n"), 503, "http", "503"),
        (reply("302 Found", "Location: http://x.example/?k=v\r\n"), 302, "http", "redirects are not followed"),
        (hang, None, "timeout", "within 0.5 s"),
    ):
        async with receiving(answer) as receiver:
            await hook(runtime, receiver, f"{status}", timeout=0.5 if status is None else 30)
            told = await ping(client, f"{status}")
        assert (told["ok"], told["status"], told["error"]["kind"]) == (False, status, kind)
        assert text in told["error"]["message"]
        assert told["excerpt"] == ("broken" if status == 500 else "")
    await runtime.queues.put("media", {"processors": {"r": {"kind": "webhook", "url": receiver.url}}}, by=ANN)
    assert (await ping(client, "r"))["error"]["kind"] == "connection"


async def test_a_ping_reaches_no_address_that_a_job_would_not_reach(client: Client, runtime: Runtime) -> None:
    for kind, url in (("private", "http://10.0.0.1/"), ("meta", "http://169.254.169.254/"), ("six", "http://[::1]/")):
        await runtime.queues.put("media", {"processors": {kind: {"kind": "webhook", "url": url}}}, by=ANN)
        told = await ping(client, kind)
        assert (told["status"], told["error"]["kind"], told["excerpt"]) == (None, "blocked-address", "")
        assert "JOBQUEUE_WEBHOOK_ALLOW" in told["error"]["message"]


async def test_two_clicks_send_one_ping_and_others_are_refused(client: Client, runtime: Runtime) -> None:
    async with receiving(reply()) as receiver:
        await hook(runtime, receiver, "a", "c")
        answers = await asyncio.gather(*(client.post(PATH, json={"type": "a"}) for _ in range(5)))
        assert sorted(answer.status for answer in answers) == [200, 429, 429, 429, 429]
        assert {answer.headers["Retry-After"] for answer in answers if answer.status == 429} <= {"1", "30", "31"}
        assert len(receiver.requests) == 1
        await runtime.queues.patch("media", {"processors": {"c": {"kind": "command", "name": "x"}}}, by=ANN)
        for kind in ("c", "none"):
            await ping(client, kind, 404)
        assert (await client.post(PATH, json={})).status == 422
        assert (await client.post("/v1/queues/a%2Fb/test-webhook", json={"type": "a"})).status == 422
        _, token = await runtime.access.create(roles=["read"], by=ANN)
        await ping(client, "a", 403, Authorization=f"Bearer {token}")
        assert len(receiver.requests) == 1


async def test_the_page_shows_the_answer_and_a_second_click_sends_nothing(client: Client, runtime: Runtime) -> None:
    async with receiving(reply(body=b"<b>pong</b>")) as receiver:
        await hook(runtime, receiver, "<i>", "b")
        page = parsed(await (await client.get("/queues/media", headers={"Accept": "text/html"})).text())
        links = [str(link["href"]) for link in page.select("a[href*='/test?type=']")]
        assert links == ["/queues/media/test?type=%3Ci%3E", "/queues/media/test?type=b"]
        form = await opened(client, links[0])
        assert form["type"] == "<i>"
        for _ in range(2):
            answer = parsed(await (await send(client, "/queues/media/test", form)).text())
            assert "The receiver answered 200 in" in words(first(answer, "#answer"))
            assert first(answer, "#answer pre").get_text() == "<b>pong</b>"
        assert len(receiver.requests) == 1
        # The button of the answer is another form; a moment later it would send another ping.
        again = first(answer, "main form[method=post] input[name=key]")["value"]
        assert again != form["key"]
        refused = await send(client, "/queues/media/test", form | {"key": str(again)})
        assert "tested a moment ago" in words(first(parsed(await refused.text()), "#trouble"))
    page = parsed(await (await client.get("/queues/media/test?type=none", headers={"Accept": "text/html"})).text())
    assert "of media" in words(first(page, "h1"))


async def test_a_client_has_the_same_call(client: Client, runtime: Runtime) -> None:
    async with receiving(reply("404 Not Found", body=b"no")) as receiver:
        await hook(runtime, receiver, "a")
        async with AsyncClient(str(client.make_url("/"))) as over_http:
            test = await over_http.test_webhook("media", "a")
    assert (test.ok, test.status, test.excerpt) == (False, 404, "no")
    assert test.error is not None
    assert test.error.message == "the webhook answered 404 Not Found"
