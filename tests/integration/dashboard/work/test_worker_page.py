"""Workers: the silent ones first, versions side by side, and types that nobody serves."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from aiohttp.test_utils import TestClient, TestServer
from yarl import URL

from jobqueue.dashboard.app import make_app
from tests.support.browser.html import first, parsed, words
from tests.support.data.factories import LONG_AGO, add, claim

if TYPE_CHECKING:
    from jobqueue.services.application import Runtime


async def test_what_is_wrong_with_workers_comes_first(idle_runtime: Runtime) -> None:
    job = await add(idle_runtime, "thumbnail", queue="media")
    old = job.insert_at - timedelta(minutes=5)
    await idle_runtime.jobs.collection.update_one({}, {"$set": {"insertAt": old, "readyAt": old}})
    now = await idle_runtime.database.clock.now()
    running = await add(idle_runtime, "send", queue="mail")
    await claim(idle_runtime, "mail", worker="b-host:1")
    workers = idle_runtime.database.collection("workers")
    for name, version, age in (("a-host:1", "1.1", 0), ("b-host:1", "1.0", 0), ("c-host:1", "1.0", 3600)):
        sign = {
            "at": now - timedelta(seconds=age),
            "expireAt": now + timedelta(days=1),
            "posts": [{"queue": "mail", "types": ["send"], "excluded": []}],
            "host": name[:6],
            "version": version,
            "since": LONG_AGO,
        }
        await workers.update_one({"_id": name}, {"$set": sign}, upsert=True)
    async with TestClient(TestServer(make_app(idle_runtime))) as client:
        page = parsed(await (await client.get("/workers", headers={"Accept": "text/html"})).text())
    assert "media : no worker takes thumbnail" in words(first(page, ".need li"))
    assert "2 versions run side by side: 1.1 in 1 worker, 1.0 in 1 worker" in words(first(page, ".why"))
    rows = page.select("tbody tr")
    assert [words(first(row, "th")) for row in rows] == ["c-host:1", "a-host:1", "b-host:1"]
    assert words(first(rows[0], ".st")) == "silent"
    assert f"{running.id[-6:]} send for" in words(rows[2])


async def test_all_jobs_of_a_worker_are_found_whatever_its_name(idle_runtime: Runtime) -> None:
    for name in ("w-1:2", 'a"b, <i>c\\'):
        for _ in range(6):
            await add(idle_runtime, "send", queue="mail")
            await claim(idle_runtime, "mail", worker=name)
        idle_runtime.registry.heard(name, "mail", None)
    await idle_runtime.registry.run_once()
    async with TestClient(TestServer(make_app(idle_runtime))) as client:
        page = parsed(await (await client.get("/workers", headers={"Accept": "text/html"})).text())
        for row in page.select("tbody tr"):
            [whole] = [link for link in row.select("a") if words(link) == "all 6"]
            found = await client.get(URL(str(whole["href"]), encoded=True), headers={"Accept": "text/html"})
            assert len(parsed(await found.text()).select("tbody tr[data-id]")) == 6, words(first(row, "th"))
