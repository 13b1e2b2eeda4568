"""Failures: groups of the same mistake, and one group with what its jobs have in common."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp.test_utils import TestClient, TestServer

from jobqueue.dashboard.app import make_app
from jobqueue.domain.attempts.attempt import JobError
from tests.support.browser.html import first, parsed, words
from tests.support.data.factories import claimed_job, fail, succeed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aiohttp import web
    from bs4 import BeautifulSoup

    from jobqueue.domain.bulk.failure_comparison import FailureComparison
    from jobqueue.services.application import Runtime

    Client = TestClient[web.Request, web.Application]

PAGE = {"Accept": "text/html"}


@pytest.fixture
async def client(idle_runtime: Runtime) -> AsyncIterator[Client]:
    async with TestClient(TestServer(make_app(idle_runtime))) as client:
        yield client


async def visit(client: Client, path: str) -> BeautifulSoup:
    page = await client.get(path, headers=PAGE)
    assert page.status == 200, await page.text()
    return parsed(await page.text())


async def failed(runtime: Runtime, number: int, queue: str = "imports", kind: str = "import-csv") -> str:
    data = {"decimal": ".", "rows": number}
    claimed = await claimed_job(runtime, kind, queue=queue, attempts=1, data=data, meta={"supplier": "Nordhandel"})
    message = f"column “ust_satz”, row {number}12345: is not a number"
    job = await fail(runtime, claimed, JobError(kind="ValidationError", message=message, trace="Traceback\n  in parse"))
    return job.id


async def test_groups_have_their_varying_parts_greyed_and_can_be_narrowed(
    client: Client, idle_runtime: Runtime
) -> None:
    for number in range(3):
        await failed(idle_runtime, number)
    await failed(idle_runtime, 1, queue="media", kind="render")
    page = await visit(client, "/failures")
    assert "2 groups, 4 jobs; 2 groups are new since yesterday" in words(first(page, ".hd"))
    rows = page.select("tbody tr")
    assert [words(row.select("td")[0]) for row in rows] == ["3", "1"]
    assert words(first(rows[0], "a")) == "ValidationError: column … , row # : is not a number"
    assert [part.text for part in rows[0].select(".v")] == ["…", "#"]
    of_queue = await visit(client, "/failures?queue=media&window=24h&sort=-lastAt")
    assert [words(row.select("td")[1]) for row in of_queue.select("tbody tr")] == ["render"]
    chosen = [words(link) for link in of_queue.select("main [aria-current]")]
    assert chosen == ["media", "24 h", "Newest"]
    # A queue whose name is no part of a path as it is.
    nothing = await visit(client, "/failures?queue=a:b&window=1h")
    assert "Nothing has failed here" in words(nothing)


async def test_a_group_says_what_its_jobs_have_in_common(client: Client, idle_runtime: Runtime) -> None:
    ids = []
    for number in range(8):
        usual = {"queue": "imports", "attempts": 1, "data": {"decimal": ",", "rows": number}}
        await succeed(idle_runtime, await claimed_job(idle_runtime, "import-csv", **usual))
        ids.append(await failed(idle_runtime, number))
    (group,) = (await (await client.get("/v1/failures")).json())["items"]
    page = await visit(client, f"/failures/{group['fingerprint']}?compare=yes")
    assert "8 jobs" in words(first(page, ".st.failed"))
    told = 'In 100 % of the failed jobs data.decimal = "." (in 0 % of those that succeeded).'
    assert words(first(page, ".why")) == told
    (row,) = first(page, "table.cm").select("tbody tr")
    assert words(row) == 'data.decimal = "." the same jobs: meta.supplier = "Nordhandel" 100 % 0 %'
    assert "8 failed jobs against 8 that succeeded" in words(page)
    sides = {words(first(row, "th")): row for row in first(page, "table.sm").select("tr")}
    assert [words(cell) for cell in sides["data.rows"].select("td")] == ["7", "6", "5"]
    assert len(sides["data.decimal"].select("td.same")) == 3
    assert words(first(page, "pre")) == "Traceback in parse"
    listed = [str(row["data-id"]) for row in page.select("[data-list] tr")]
    assert listed == ids[::-1]
    assert (await client.get(f"/failures/{'0' * 16}", headers=PAGE)).status == 404


async def test_a_group_is_shown_before_its_comparison(
    client: Client, idle_runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    await failed(idle_runtime, 1)
    (group,) = (await (await client.get("/v1/failures")).json())["items"]
    path, ready, compare = f"/failures/{group['fingerprint']}", asyncio.Event(), idle_runtime.failures.compare
    made = []

    async def slow(*args: Any, **options: Any) -> FailureComparison:
        made.append(args)
        await ready.wait()
        return await compare(*args, **options)

    monkeypatch.setattr(idle_runtime.failures, "compare", slow)
    page = await visit(client, path)
    assert "are being compared with jobs that succeeded" in words(first(page, "#compared"))
    assert len(page.select("[data-list] tr")) == 1, "the rest of the page is there"
    # The script of the page fetches this part, and without scripts its link is followed.
    compared = first(page, "#compared")
    assert compared["hx-get"] == first(compared, "a")["href"] == f"{path}?compare=yes"
    waiting = asyncio.create_task(visit(client, f"{path}?compare=yes"))
    ready.set()
    told = "1 failed job against 0 that succeeded"
    assert told in words(first(await waiting, "#compared"))
    assert len(made) == 1, "both visits share the work"
    found = await client.get(path, headers=PAGE | {"HX-Request": "true"})
    assert told in words(first(parsed(await found.text()), "#compared")), "a later fetch shows it at once"


async def test_no_failures_help(client: Client) -> None:
    assert "No job has failed or was killed" in words(await visit(client, "/failures"))
