"""Queues: their standing, why nothing starts, who uses the limits, and what was changed."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from aiohttp.test_utils import TestClient, TestServer

from jobqueue.dashboard.app import make_app
from jobqueue.dashboard.frame.texts import NONE
from jobqueue.domain.insight.audit import Actor
from tests.support.browser.html import first, parsed, words
from tests.support.data.factories import add, claim

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aiohttp import web
    from bs4 import BeautifulSoup

    from jobqueue.services.application import Runtime

    Client = TestClient[web.Request, web.Application]

ANN = Actor(name="ann", via="cli")
PAGE = {"Accept": "text/html"}


@pytest.fixture
async def client(idle_runtime: Runtime) -> AsyncIterator[Client]:
    async with TestClient(TestServer(make_app(idle_runtime))) as client:
        yield client


async def visit(client: Client, path: str, status: int = 200, token: str = "") -> BeautifulSoup:
    page = await client.get(path, headers=PAGE | ({"Authorization": f"Bearer {token}"} if token else {}))
    assert page.status == status, await page.text()
    return parsed(await page.text())


async def test_every_queue_has_its_gauge_and_its_link(client: Client, idle_runtime: Runtime) -> None:
    await idle_runtime.queues.put("billing:eu", {"concurrency": 2, "rate": {"limit": 30, "per": 60}}, by=ANN)
    for _ in range(3):
        await add(idle_runtime, "charge", queue="billing:eu")
    await claim(idle_runtime, "billing:eu")
    await add(idle_runtime, queue="default", delay=60)
    page = await visit(client, "/queues")
    row, _ = page.select("tbody tr")
    assert first(row, "th a")["href"] == "/queues/billing%3Aeu"
    assert first(row, "meter")["aria-label"] == "1 of 2 slots"
    texts = [words(cell) for cell in row.select("td.n")]
    assert texts[:3] == ["2", "1 / 2", "0.2 / 30"]
    assert words(first(await visit(client, "/queues/billing%3Aeu"), "h1")) == "billing:eu"


async def test_a_queue_says_why_nothing_starts_and_who_waits(client: Client, idle_runtime: Runtime) -> None:
    config = {"concurrency": 1, "rate": {"limit": 9, "per": 60}, "limitBy": "meta.customer_id"}
    await idle_runtime.queues.put("billing", config, by=ANN)
    for customer in (42, 42, 42, 7):
        await add(idle_runtime, "charge", queue="billing", meta={"customer_id": customer})
    running = await claim(idle_runtime, "billing")
    await idle_runtime.queues.patch("billing", {"rate": {"limit": 30, "per": 60}}, by=ANN)
    await idle_runtime.queues.set_paused("billing", paused=True, by=ANN)

    page = await visit(client, "/queues/billing")
    bands = [words(band) for band in page.select(".why")]
    assert re.match(r"Nothing starts: the queue is paused since today [\d:]+ by ann.", bands[0])
    assert any(f"{running.job.id[-6:]} charge for" in band for band in bands)
    values = [[words(cell) for cell in row.select("th, td.n")] for row in first(page, "#groups").select("tbody tr")]
    assert values == [["42", "1 / 1", "2", "1 / 30", "after a running one"], ["7", "0 / 1", "1", "0 / 30", NONE]]
    settings = {words(first(row, "th")): row for row in first(page, "table.sm").select("tr")}
    assert words(first(settings["rate"], "td")) == '{"limit": 30, "per": 60}'
    assert not settings["rate"].select("td.dim")
    assert settings["attempts"].select("td.dim")
    assert "rate.limit 9 → 30" in words(page)
    assert "paused false → true" in words(page) or f"paused {NONE} → true" in words(page)


async def test_a_limited_visitor_sees_only_its_queues_and_no_changes(client: Client, idle_runtime: Runtime) -> None:
    for queue in ("mine", "theirs"):
        await idle_runtime.queues.put(queue, {"concurrency": 1}, by=ANN)
    _, token = await idle_runtime.access.create(roles=["read"], queues=["mine"], by=ANN)
    page = await visit(client, "/queues", token=token)
    assert [words(link) for link in page.select("tbody th")] == ["mine"]
    assert "Not for this token" in words(await visit(client, "/queues/mine", token=token))
    for name in ("theirs", "nothing"):
        await visit(client, f"/queues/{name}", 404, token=token)
    _, narrow = await idle_runtime.access.create(roles=["read"], meta=[("user_id", 7)], by=ANN)
    assert "limited to a value of meta" in words(await visit(client, "/queues", token=narrow))
    await visit(client, "/queues/mine", 403, token=narrow)
