"""The overview: what needs somebody comes first, and every figure leads to its jobs."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

from aiohttp.test_utils import TestClient, TestServer

from jobqueue.dashboard.app import make_app
from jobqueue.dashboard.frame import around
from jobqueue.domain.attempts.attempt import JobError
from jobqueue.domain.bulk.operation import Action, NewOperation
from jobqueue.domain.insight.audit import Actor
from tests.support.browser.html import first, parsed, words
from tests.support.data.factories import add, claimed_job, fail, succeed

if TYPE_CHECKING:
    import pytest
    from aiohttp import web
    from bs4 import BeautifulSoup

    from jobqueue.services.application import Runtime

    Client = TestClient[web.Request, web.Application]

ANN = Actor(name="ann", via="cli")
PAGE = {"Accept": "text/html"}


async def visit(client: Client, path: str = "/", token: str = "") -> BeautifulSoup:
    page = await client.get(path, headers=PAGE | ({"Authorization": f"Bearer {token}"} if token else {}))
    assert page.status == 200, await page.text()
    return parsed(await page.text())


async def stuck(runtime: Runtime, queue: str) -> None:
    """Pause a queue with a job that could have been claimed an hour ago."""
    job = await add(runtime, queue=queue)
    await runtime.queues.set_paused(queue, paused=True, by=ANN)
    old = job.insert_at - timedelta(hours=1)
    await runtime.jobs.collection.update_one({"queue": queue}, {"$set": {"insertAt": old, "readyAt": old}})


async def test_an_empty_database_says_how_to_add_the_first_job(idle_runtime: Runtime) -> None:
    async with TestClient(TestServer(make_app(idle_runtime))) as client:
        page = await visit(client)
        assert words(first(page, "h1")) == "Nothing needs you"
        assert [words(line).split()[0] for line in page.select("pre")] == ["curl", "await", "jobqueue"]
        assert not page.select(".tiles")


async def test_what_needs_somebody_comes_first_with_the_place_that_mends_it(idle_runtime: Runtime) -> None:
    await stuck(idle_runtime, "imports")
    for _ in range(2):
        claimed = await claimed_job(idle_runtime, "render", queue="media", attempts=1)
        await fail(idle_runtime, claimed, JobError(kind="exit", message="exit code 137: killed at frame 12345"))
    await succeed(idle_runtime, await claimed_job(idle_runtime, "render", queue="media"))
    async with TestClient(TestServer(make_app(idle_runtime))) as client:
        page = await visit(client)
        assert words(first(page, "h1")) == "1 queue and 1 group of failures need you"
        paused, failing = page.select(".need li")
        assert re.search(r"imports is paused since .* by ann. 1 job waits, the oldest for 1 h", words(paused))
        assert "jobqueue queue resume imports" in words(paused)
        assert first(paused, "a.b")["href"] == "/queues/imports"
        assert "2 jobs of type render failed within the last hour" in words(failing)
        assert [part.text for part in failing.select(".v")] == ["#"]

        numbers = [words(first(tile, "b")) for tile in page.select(".tiles a")]
        assert numbers == ["1", "0", "0", "2"]
        state = {words(first(row, "th")): words(row.select("td")[0]) for row in first(page, "table").select("tbody tr")}
        assert state == {"imports": "paused", "media": "works"}
        # A bar leads to the jobs that ended then.
        bar = [link for link in page.select("#jobs-chart a") if "1 succeeded, 2 failed" in words(link)]
        (query,) = parse_qs(urlsplit(str(bar[0]["href"])).query)["q"]
        assert re.fullmatch(r"endAt>=(\S+Z) endAt<(\S+Z) insertAt<\2", query)


async def test_the_window_is_in_the_address_and_a_wrong_one_is_an_hour(idle_runtime: Runtime) -> None:
    await succeed(idle_runtime, await claimed_job(idle_runtime))
    async with TestClient(TestServer(make_app(idle_runtime))) as client:
        for query, window in (("", "1 h"), ("window=7d", "7 d"), ("window=x", "1 h"), ("from=x&to=1", "1 h")):
            page = await visit(client, f"/?{query}")
            assert [words(link) for link in page.select("#charts [aria-current]")] == [window], query
        now = (await idle_runtime.database.clock.now()).replace(second=30)
        span = f"from={now - timedelta(minutes=30):%FT%TZ}&to={now - timedelta(minutes=20):%FT%TZ}"
        page = await visit(client, f"/?{span}")
        assert not page.select("#charts [aria-current]")
        assert len(page.select("#jobs-chart a")) == 11
        rows = (await visit(client, f"/?{span}&as=table")).select("#charts tbody tr")
        assert len(rows) == 11
        # Minutes of long ago are not kept: hours are shown in their place.
        then = now - timedelta(days=20)
        ago = await visit(client, f"/?from={then:%FT%TZ}&to={then + timedelta(hours=2):%FT%TZ}")
        assert len(ago.select("#jobs-chart a")) == 3
        told = await visit(client, f"/?from={now - timedelta(days=400):%FT%TZ}&to={now - timedelta(days=399):%FT%TZ}")
        assert "kept for 90 days" in words(first(told, "#charts"))


async def test_a_limited_visitor_sees_what_concerns_its_jobs(
    idle_runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    for user in (7, 8):
        claimed = await claimed_job(idle_runtime, f"render-{user}", attempts=1, meta={"user_id": user})
        await fail(idle_runtime, claimed)
    await stuck(idle_runtime, "imports")
    _, token = await idle_runtime.access.create(roles=["read"], meta=[("user_id", 7)], by=ANN)
    _, whole = await idle_runtime.access.create(roles=["read"], by=ANN)
    monkeypatch.setattr(around, "PATIENCE", 30)
    async with TestClient(TestServer(make_app(idle_runtime, open_to_all=False))) as client:
        stranger = await client.get("/", headers=PAGE, allow_redirects=False)
        assert (stranger.status, stranger.headers["Location"]) == (303, "/login?next=%2F")
        everything = await visit(client, token=whole)
        page = await visit(client, token=token)
        assert [words(first(seen, "#count-f")) for seen in (everything, page)] == ["2", "1"]
        assert words(first(page, "h1")) == "1 group of failures needs you"
        assert "render-8" not in words(page)
        assert "imports" not in words(first(page, "main"))
        assert "limited to a value of meta" in words(page)


async def test_operations_and_counts_are_around_every_page(
    idle_runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(around, "PATIENCE", 30)
    for _ in range(3):
        await fail(idle_runtime, await claimed_job(idle_runtime, attempts=1))
    new = NewOperation(action=Action.REQUEUE, by=ANN, filter={"state": "failed"})
    made = await idle_runtime.operations.create(new)
    async with TestClient(TestServer(make_app(idle_runtime))) as client:
        page = await visit(client, "/workers")
        part = parsed(await (await client.get("/workers", headers={"HX-Request": "true"})).text())
        for tree in (page, part):
            assert words(first(tree, "#count-f")) == "1"
            assert words(first(tree, "#count-p")) == "1"
            assert first(tree, f"#op-{made.id}")
            assert "Requeue" in words(first(tree, ".op"))
        assert all(mark["hx-swap-oob"] == "true" for mark in part.select("[id^=count-]"))
