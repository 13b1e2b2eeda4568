"""The list of jobs and its search box."""

from __future__ import annotations

import csv
import io
import json
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import pytest
from aiohttp.test_utils import TestClient, TestServer

from jobqueue.dashboard.app import make_app
from jobqueue.domain.attempts.attempt import JobError
from jobqueue.domain.attempts.states import State
from jobqueue.domain.insight.audit import Actor
from tests.support.browser.html import first, parsed, words
from tests.support.data.factories import (
    add,
    claim,
    claimed_job,
    die,
    document,
    finished_documents,
    job_in,
    retry,
    succeed,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aiohttp import web
    from bs4 import BeautifulSoup

    from jobqueue.services.application import Runtime

    Client = TestClient[web.Request, web.Application]

BY = Actor(name="ann", via="python")
BROKEN = JobError(kind="Boom", message="no such page")


@pytest.fixture
async def client(idle_runtime: Runtime) -> AsyncIterator[Client]:
    async with TestClient(TestServer(make_app(idle_runtime))) as client:
        yield client


async def shown(client: Client, path: str = "/jobs", **query: str) -> BeautifulSoup:
    reply = await client.get(path, params=query, headers={"HX-Request": "true"}, allow_redirects=False)
    text = await reply.text()
    assert reply.status == 200, text
    assert len(text.encode()) <= 60 * 1024 - 8500, "with the frame"
    return parsed(text)


def rows(page: BeautifulSoup) -> dict[str, str]:
    """Return the words of each row by the id of its job, in order."""
    return {str(row["data-id"]): words(row) for row in page.select("tbody tr")}


async def test_each_row_says_why_its_job_is_where_it_is(client: Client, idle_runtime: Runtime) -> None:
    failed = await die(idle_runtime, await claimed_job(idle_runtime, "charge"), BROKEN)
    again = await retry(idle_runtime, await claimed_job(idle_runtime, "charge"), 3600)
    later = await add(idle_runtime, "report", delay=7200)
    running = await claimed_job(idle_runtime, "render")
    await idle_runtime.work.report(running.job, running.token, progress=40)
    alone = await add(idle_runtime, "thumbnail")
    paused = await add(idle_runtime, "thumbnail", queue="media")
    await idle_runtime.queues.set_paused("media", paused=True, by=BY)
    done = await succeed(idle_runtime, await claimed_job(idle_runtime, "merge", priority=9))
    texts = rows(await shown(client))
    assert list(texts) == [job.id for job in (done, paused, alone, running.job, later, again, failed)]
    assert "killed charge" in texts[failed.id]
    assert texts[failed.id].endswith("Boom: no such page 1 /3 0:00")
    assert "due in 1 h" in texts[later.id] or "due in 2 h" in texts[later.id]
    assert "in 59 min" in texts[again.id] or "in 1 h" in texts[again.id]
    assert "40 %" in texts[running.job.id]
    assert "no worker handles thumbnail in queue default" in texts[alone.id]
    assert "queue media is paused" in texts[paused.id]
    page = await shown(client, q="queue=media", cols="id,meta.x,queue")
    link = urlsplit(str(first(page, "tbody a")["href"]))
    assert link.path == f"/jobs/{paused.id}"
    assert parse_qs(parse_qs(link.query)["back"][0]) == {"q": ["queue=media"], "cols": ["id,meta.x,queue"]}


async def test_an_unacceptable_term_is_shown_where_it_is_and_the_rest_is_searched(
    client: Client, idle_runtime: Runtime
) -> None:
    jobs = [await add(idle_runtime, "a", queue="mail", meta={"user": number}) for number in range(2)]
    await add(idle_runtime, "a")
    page = await shown(client, q="queue=mail nosuch=1 insertAt>=soon")
    assert list(rows(page)) == [job.id for job in reversed(jobs)]
    told = words(first(page, "#wrong"))
    assert "At character 12, nosuch=1 : is not a field that can be searched by." in told
    assert "At character 21" in told
    assert first(page, "#query")["aria-describedby"] == "wrong"
    assert [words(first(chip, "i")) for chip in page.select(".chip")] == ["queue", "nosuch", "insertAt"]
    without = str(page.select(".chip a")[1]["href"])
    assert parse_qs(urlsplit(without).query)["q"] == ["queue=mail insertAt>=soon"]
    assert words(first(await shown(client, q="meta.user=1"), "#count")) == "1 match"
    only = str(first(await shown(client, q="state=failed,killed type=a"), "#none ~ p a")["href"])
    assert parse_qs(urlsplit(only).query)["q"] == ["type=a"]


async def test_columns_are_picked_in_the_address(client: Client, idle_runtime: Runtime) -> None:
    job = await add(idle_runtime, "a", meta={"user": {"id": 7}}, data={"country": "DE", "list": [1, 90071992547409931]})
    sent = await client.get("/jobs?q=type%3Da&col=state&col=&col=meta.user.id", allow_redirects=False)
    assert (sent.status, sent.headers["Location"]) == (303, "/jobs?q=type%3Da&cols=state,meta.user.id")
    page = await shown(client, cols="meta.user.id,data.country,data.list,state,logs,nosuch", sort="priority")
    assert rows(page)[job.id] == "7 DE [1,90071992547409931] pending"
    assert "No column: logs, nosuch." in words(page)
    assert "priority" not in words(first(page, "thead"))
    assert first(page, '[aria-label="Move data.country up"]')["value"] == "data.country"
    moved = await client.get("/jobs?col=state&col=type&col=id&up=id", allow_redirects=False)
    assert moved.headers["Location"] == "/jobs?cols=state,id,type"


async def test_a_live_page_keeps_its_rows_and_says_what_is_new(client: Client, idle_runtime: Runtime) -> None:
    await idle_runtime.jobs.collection.insert_many(finished_documents(60))
    job = await add(idle_runtime, "a")
    whole = parsed(await (await client.get("/jobs", headers={"Accept": "text/html"})).text())
    before = rows(whole)
    assert len(before) == 50
    refetch = str(first(whole, "#main")["hx-get"])
    assert rows(await shown(client, refetch)) == before
    await claim(idle_runtime)
    for _ in range(3):
        await add(idle_runtime, "b")
    after = await shown(client, f"{refetch}&again=1")
    assert list(rows(after)) == list(before)
    assert "processing" in rows(after)[job.id]
    assert words(first(after, "#fresh")) == "3 new \N{EN DASH} show"
    assert len(set(rows(await shown(client, str(first(after, "#fresh")["href"]), n="1"))) - set(before)) == 3


async def test_pages_go_to_older_and_back_to_newer_jobs(client: Client, idle_runtime: Runtime) -> None:
    await idle_runtime.jobs.collection.insert_many(finished_documents(120, queue="many"))
    newest = await shown(client, q="queue=many")
    assert words(first(newest, "#count")) == "120 match"
    older = await shown(client, str(first(newest, "[rel=next]")["href"]))
    oldest = await shown(client, str(first(older, "[rel=next]")["href"]))
    assert len({*rows(newest), *rows(older), *rows(oldest)}) == 120
    assert oldest.select_one("[rel=next]") is None
    assert newest.select_one("[rel=prev]") is None
    back = await shown(client, str(first(oldest, "[rel=prev]")["href"]))
    assert list(rows(back)) == list(rows(older))
    assert list(rows(await shown(client, str(first(back, "[rel=prev]")["href"])))) == list(rows(newest))


async def test_an_id_a_key_or_a_ref_leads_straight_to_its_job(client: Client, idle_runtime: Runtime) -> None:
    job = await add(idle_runtime, "a", key="order-17")
    await add(idle_runtime, "order-18", key="order-18")
    await add(idle_runtime, "order-18")
    for word in (job.id, job.id.upper(), f"…{job.id[-6:]}", job.id[-12:], "order-17"):
        reply = await client.get("/jobs", params={"q": word}, allow_redirects=False)
        assert (reply.status, reply.headers["Location"]) == (303, f"/jobs/{job.id}"), word
    assert len(rows(await shown(client, q="order-18"))) == 2, "a type that is also a key"
    assert len(rows(await shown(client, q="order"))) == 3
    assert len(rows(await shown(client, q=job.id[:6]))) == 3, "a part of several ids"


async def test_a_costly_search_says_what_would_help_and_may_insist(client: Client, idle_runtime: Runtime) -> None:
    await job_in(idle_runtime, State.FAILED)
    store = idle_runtime.searches._store
    store.most_read = 0
    page = await shown(client, q="data.x=1")
    told = words(first(page, "#refused"))
    assert "narrow it by id, batchId" in told
    assert "slow" not in told
    anyway = str(first(page, "#refused a")["href"])
    assert "No job matches" in words(await shown(client, anyway))
    whole = parsed(await (await client.get(anyway, headers={"Accept": "text/html"})).text())
    assert "data-events" not in first(whole, "#main").attrs, "a search that insists is not repeated by itself"


async def test_a_search_is_exported(client: Client, idle_runtime: Runtime) -> None:
    await die(idle_runtime, await claimed_job(idle_runtime, "a", meta={"n": -5, "t": "=1+2"}), BROKEN)
    await add(idle_runtime, "b")
    query = {"q": "type=a", "cols": "id,state,reason,attempts,meta.n,meta.t,age"}
    reply = await client.get("/jobs/export", params={**query, "format": "csv"})
    assert reply.headers["Content-Disposition"] == 'attachment; filename="jobs.csv"'
    head, row = csv.reader(io.StringIO(await reply.text()))
    assert head == ["id", "state", "error or reason", "attempts", "meta.n", "meta.t", "insertAt"]
    assert row[1:6] == ["killed", "Boom: no such page", "1 of 3", "-5", "'=1+2"]
    await idle_runtime.jobs.collection.insert_many(finished_documents(501, queue="many"))
    lines = (await (await client.get("/jobs/export?format=jsonl&q=queue%3Dmany")).text()).splitlines()
    assert len({json.loads(line)["id"] for line in lines}) == 501
    assert (await client.get("/jobs/export?q=nosuch%3D1")).status == 422


async def test_pages_stay_small_whatever_is_in_the_jobs(client: Client, idle_runtime: Runtime) -> None:
    long = "<&" * 3000
    job = await die(
        idle_runtime, await claimed_job(idle_runtime, "<&" * 90, meta={"a": long}), JobError(kind="K", message=long)
    )
    stored: dict[str, Any] = await document(idle_runtime, job.id)
    copies = [
        {**copy, **{name: stored[name] for name in ("type", "meta", "error", "state", "history")}}
        for copy in finished_documents(60)
    ]
    await idle_runtime.jobs.collection.insert_many(copies)
    usual = await shown(client, q="error.kind=K")
    assert len(rows(usual)) == 50
    assert "back=" in str(first(usual, "tbody a")["href"])
    await idle_runtime.jobs.collection.update_many({}, {"$set": {"state": "processing", "startAt": stored["endAt"]}})
    assert len(rows(await shown(client, q="state=processing"))) == 50
    many = "state,type,id,age,reason,attempts,ran,meta.a,error.kind,key,batchId"
    assert len(rows(await shown(client, q=f"insertAt>=2000-01-01 type!={'x' * 300} error.message~&", cols=many))) > 30
    assert len(rows(await shown(client, q=f"meta.a!={'é' * 900}"))) >= 10
