"""The pages of batches: progress, the graph, what failed and what it holds up."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from bson import ObjectId

from jobqueue import Member, NewBatch, NewJob
from jobqueue.domain.attempts.attempt import JobError
from tests.support.browser.html import first, words
from tests.support.browser.visit import main_of, visitor
from tests.support.data.factories import claim, fail, succeed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from jobqueue.services.application import Runtime
    from tests.support.browser.visit import Client

HOSTILE = '<script>x</script>" & ' * 20


@pytest.fixture
async def client(idle_runtime: Runtime) -> AsyncIterator[Client]:
    async with visitor(idle_runtime) as client:
        yield client


async def failed_batch(runtime: Runtime) -> str:
    """Return a batch of five jobs: one has succeeded, one has failed, one waits for it, one fell with it."""
    members = [
        Member(job=NewJob(type="fetch"), ref="fetch"),
        Member(job=NewJob(type="parse", attempts=1), ref="parse", after=["fetch"]),
        Member(job=NewJob(type="stats", dependency_policy="hold"), ref="stats", after=["parse"]),
        Member(job=NewJob(type="report"), ref="report", after=["parse"]),
        Member(job=NewJob(type="audit", delay=3600), ref="audit"),
    ]
    meta = {"name": "Nightly import", "customer": 42, "deep": {"a": 1}}
    failure = NewJob(type="notify")
    view, _ = await runtime.batches.create(
        NewBatch(members=members, meta=meta, on_failure=failure, on_success=NewJob(type="publish"))
    )
    await succeed(runtime, await claim(runtime))
    await fail(runtime, await claim(runtime), JobError(kind="exit", message="exit code 137: out of memory"))
    return view.batch.id


async def test_a_batch_says_what_failed_and_what_it_holds_up(client: Client, idle_runtime: Runtime) -> None:
    batch_id = await failed_batch(idle_runtime)
    page = await main_of(client, f"/batches/{batch_id}")
    assert words(first(page, "h1")) == "Nightly import"
    band = words(first(page, ".why"))
    assert "1 job failed and holds up 2 others" in band
    assert "A restart runs 2 jobs again, 1 of them killed; 1 successful job stays as it is" in band
    assert words(first(page, "#progress small")) == "20 % of 5 jobs succeeded"

    boxes = page.select("#graph-wide a.nd")
    assert [words(first(box, "title")) for box in boxes] == [
        "fetch fetch: success",
        "parse parse: failed",
        "stats stats: delayed",
        "report report: killed",
        "audit audit: delayed",
    ]
    assert [str(box["href"]).rpartition("/")[0] for box in boxes] == ["/jobs"] * 5
    assert len(page.select("#graph-wide path")) == 3
    assert len(page.select("#graph-wide path.bad")) == 2
    assert len(page.select("#graph-narrow a.nd")) == 5

    rows = [words(row) for row in page.select("#kinds tbody tr")]
    assert [row.split()[0] for row in rows] == ["audit", "fetch", "parse", "report", "stats"]
    listed = [words(row) for row in page.select("#members tbody tr")]
    assert "exit code 137: out of memory" in listed[0]
    assert "1 report, 1 stats" in listed[0]
    assert listed[1].startswith("killed report")
    callbacks = [words(item) for item in page.select("#callbacks li")]
    assert callbacks[0] == "onSuccess publish, fires when all jobs have succeeded"
    assert callbacks[1].startswith("onFailure notify: pending ")

    stuck = await main_of(client, f"/batches/{batch_id}?show=stuck")
    assert [words(box)[:6].strip() for box in stuck.select("#graph-wide title")] == ["parse", "stats", "report"]
    opened = await main_of(client, f"/batches/{batch_id}?box=parse@1")
    assert [words(row).split()[1] for row in opened.select("#members tbody tr")] == ["parse"]


async def test_a_large_batch_is_folded_and_opens(client: Client, idle_runtime: Runtime) -> None:
    members = [Member(job=NewJob(type="split"), ref="split")]
    members += [Member(job=NewJob(type=HOSTILE[:100]), ref=f"r{n}", after=["split"]) for n in range(70)]
    members += [Member(job=NewJob(type="report"), ref="end", after=[f"r{n}" for n in range(70)])]
    view, jobs = await idle_runtime.batches.create(NewBatch(members=members, meta={"name": HOSTILE}))
    broken = {"state": "failed", "error": {"kind": "Boom", "message": HOSTILE * 30}}
    await idle_runtime.jobs.collection.update_one({"_id": ObjectId(jobs[60].id)}, {"$set": broken})
    path = f"/batches/{view.batch.id}"

    page = await main_of(client, path)
    labels = [words(title).rpartition(": ")[2] for title in page.select("#graph-wide title")]
    assert labels == ["1 pending", "69 delayed, 1 failed", "1 delayed"]
    assert words(first(page, "#graph small")) == "72 jobs in 3 boxes, by type and depth"

    folded = str(page.select("#graph-wide a.nd.bad")[0]["href"])
    opened = await main_of(client, folded.partition("#")[0])
    assert len(opened.select("#graph-wide a.nd")) == 22
    assert not opened.select("#graph-narrow")
    assert words(first(opened, "#members small")) == "1 to 20 of 70, failed first"
    assert words(first(opened, "#members tbody tr")).startswith("failed")
    following = str(first(opened, "#members a[rel=next]")["href"])
    last = await main_of(client, following.replace("from=20", "from=60").partition("#")[0])
    assert words(first(last, "#members small")) == "61 to 70 of 70, failed first"
    larger = await main_of(client, f"{path}?zoom=150")
    assert int(str(first(larger, "#graph-wide svg")["width"])) > int(str(first(page, "#graph-wide svg")["width"]))
    assert len((await main_of(client, f"{path}?zoom=99999&from=-1&box=nothing&show=x")).select("#graph-wide a.nd")) == 3


async def test_a_page_is_small_whatever_a_batch_is_made_of(client: Client, idle_runtime: Runtime) -> None:
    """The reader of pages holds the limit."""
    members = [
        Member(
            job=NewJob(type=f"{n % 40}{HOSTILE}"[:90]),
            ref=f"r{n}",
            after=[f"r{n - step}" for step in (1, 7) if n > step],
        )
        for n in range(240)
    ]
    view, jobs = await idle_runtime.batches.create(NewBatch(members=members, meta={"name": HOSTILE, "x": HOSTILE}))
    states = ("pending", "delayed", "success", "failed", "killed")
    for number, state in enumerate(states):
        change = {"state": state, "error": {"kind": "Boom", "message": HOSTILE * 30}}
        ids = [ObjectId(job.id) for job in jobs[number::7]]
        await idle_runtime.jobs.collection.update_many({"_id": {"$in": ids}}, {"$set": change})
    page = await main_of(client, f"/batches/{view.batch.id}")
    assert len(page.select("#graph-wide a.nd")) == 20
    assert "other types" in words(first(page, "#graph-wide"))
    assert "10 further boxes in the graph" in words(first(page, "#kinds"))
    for link in page.select("#kinds a")[:3]:
        opened = await main_of(client, str(link["href"]).partition("#")[0])
        assert opened.select("#members tbody tr")


async def test_the_list_of_batches(client: Client, idle_runtime: Runtime) -> None:
    empty = await main_of(client, "/batches")
    assert "There are no batches yet" in words(empty)
    await failed_batch(idle_runtime)
    for number in range(21):
        await idle_runtime.batches.create(NewBatch(meta={"workflow": f"run {number}"}))
    newest = await main_of(client, "/batches?x")
    assert len(newest.select("tbody tr")) == 20
    assert "run 20" in words(first(newest, "tbody tr"))
    older = await main_of(client, str(first(newest, "a[rel=next]")["href"]))
    assert [words(link) for link in older.select("tbody a")] == ["run 0", "Nightly import"]
    assert "customer 42" in words(older)
    assert [cell.get_text() for cell in older.select("tbody tr:last-child td.n")][:4] == ["5", "60 %", "1", "1"]
    assert [words(link) for link in (await main_of(client, "/batches?state=open")).select("tbody a")] == [
        "Nightly import"
    ]
