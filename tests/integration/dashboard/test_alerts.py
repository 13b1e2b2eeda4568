"""The page of alerts: where messages go, what goes on, and what they said."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp.test_utils import TestClient, TestServer

from jobqueue.dashboard.app import make_app
from jobqueue.domain.alerts.alert import ALERT_QUEUE
from jobqueue.domain.attempts.attempt import JobError
from jobqueue.domain.insight.audit import Actor
from tests.support.browser.html import first, parsed, words
from tests.support.browser.night import TURNED
from tests.support.data.factories import add, claim, claimed_job, die, fail

if TYPE_CHECKING:
    from aiohttp import web
    from bs4 import BeautifulSoup

    from jobqueue.services.application import Runtime

    Client = TestClient[web.Request, web.Application]

ANN = Actor(name="ann", via="cli")


async def main_of(client: Client, visit: str) -> BeautifulSoup:
    # A page is kept for a second.
    page = await client.get("/alerts", params={"visit": visit}, headers={"Accept": "text/html"})
    assert page.status == 200, await page.text()
    return parsed(await page.text())


async def test_the_page_shows_alerts_what_goes_on_and_what_they_said(idle_runtime: Runtime) -> None:
    async with TestClient(TestServer(make_app(idle_runtime))) as client:
        empty = await main_of(client, "1")
        assert "jobqueue alerts set ops url=" in words(first(empty, "main pre"))
        await idle_runtime.alerts.put("ops", {"url": "https://hooks.example.com/"}, by=ANN)
        assert "They have said nothing yet" in words(first(await main_of(client, "2"), "main"))
        error = JobError(kind="Boom", message=TURNED)
        await fail(idle_runtime, await claimed_job(idle_runtime, TURNED[:60].replace("\u202e", ""), attempts=1), error)
        await idle_runtime.detector.look(await idle_runtime.alerts.store.all())
        await die(idle_runtime, await claim(idle_runtime, ALERT_QUEUE), JobError(kind="http", message="gone for good"))
        await add(idle_runtime, "alert", queue=ALERT_QUEUE, data={"kind": "javascript:x", "message": [1]})
        await idle_runtime.alerts.mute("ops", 600, reason="a new disk", by=ANN)
        page = await main_of(client, "3")
        alert = words(first(page, "#a-ops"))
        assert all(part in alert for part in ("muted", "a new disk", "1 job of type", "1 message"))
        said = [words(row) for row in page.select("section tbody tr")]
        assert [row.split()[0] for row in said] == ["waits", "given"]
        assert "gone for good" in said[1]
        assert str(first(page, "section tbody tr:nth-child(2) .q")["href"]).startswith("/failures/")
        assert not page.select("main script, main img")
