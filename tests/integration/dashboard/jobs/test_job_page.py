"""The page of one job, with its log and its values, on what the API says."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp.test_utils import TestClient, TestServer
from bson import Int64, ObjectId

from jobqueue.dashboard.app import make_app
from jobqueue.domain.attempts.attempt import JobError
from jobqueue.domain.insight.audit import Actor
from jobqueue.services.application import Runtime
from tests.support.browser.html import first, parsed, words
from tests.support.data.factories import add, claim, claimed_job, fail, succeed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from datetime import datetime

    from aiohttp import web
    from bs4 import Tag

    from jobqueue.settings import Settings

    Client = TestClient[web.Request, web.Application]

PAGE = {"Accept": "text/html"}
MOST_BYTES = 60 * 1024
ADMIN = "the-token-of-the-settings"
ANN = Actor(name="ann", via="python")
EVIL = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>\u202e&"


@pytest.fixture
async def client(idle_runtime: Runtime) -> AsyncIterator[Client]:
    async with TestClient(TestServer(make_app(idle_runtime))) as client:
        yield client


async def look(client: Client, path: str, status: int = 200) -> Tag:
    async with client.get(path, headers=PAGE) as reply:
        text = await reply.text()
        assert reply.status == status, words(first(parsed(text), "main"))
        assert len(text.encode()) <= MOST_BYTES
        return first(parsed(text), "main")


async def import_job(runtime: Runtime, **fields: Any) -> str:
    """Insert a job as another tool does; its history lies in the past."""
    document = {"_id": ObjectId(), "type": "import-csv", "queue": "default", "attempts": 3, "attemptsMade": 3} | fields
    await runtime.database.collection("jobs").insert_one(document)
    await runtime.adopter.run_once()
    return str(document["_id"])


def attempt(number: int, begin: datetime, message: str = "it broke", **more: Any) -> dict[str, Any]:
    error = {"kind": "Boom", "message": message, "trace": None}
    times = {"startAt": begin, "endAt": begin + timedelta(minutes=2)}
    return (
        {"attempt": number, "token": "t", "worker": "host:1:ab", "outcome": "fail", "error": error, "code": 3}
        | times
        | more
    )


async def test_a_failed_job_says_why_and_shows_a_retry_after_days(client: Client, idle_runtime: Runtime) -> None:
    now = await idle_runtime.database.clock.now()
    begin = now - timedelta(days=3)
    history = [attempt(1, begin, "row 12 is bad"), attempt(2, now - timedelta(hours=1), "row 13 is bad")]
    error = history[1]["error"] | {
        "step": "validate",
        "trace": 'Traceback (most recent call last):\n  File "/app/a.py", line 3, in f\n    g()\nBoom: x',
    }
    times = {"insertAt": begin, "startAt": history[1]["startAt"], "endAt": history[1]["endAt"]}
    job = {
        "state": "failed",
        "error": error,
        "history": history,
        "data": {"id": Int64(90071992547409931)},
        "meta": {"customer_id": 42},
    }
    ids = [await import_job(idle_runtime, **job, **times) for _ in range(3)]
    await idle_runtime.failures.run_once()
    main = await look(client, f"/jobs/{ids[0]}?back=q%3Dstate%253Dfailed")
    band = words(first(main, "#why"))
    assert "Failed after 3 of 3 attempts in step validate . row 13 is bad ." in band
    assert "2 other jobs have the same mistake" in band
    assert str(first(main, "#why a")["href"]).startswith("/failures/")
    assert "3 d" not in words(first(main, ".tl ol"))
    assert "2 d 22 h" in words(first(main, ".tl svg"))
    assert [words(tag) for tag in main.select(".dif b")] == ["12", "13"]
    assert "/app/a.py:3 in f" in words(first(main, ".tr"))
    assert len(main.select("#starts tbody tr")) == 2
    assert "90071992547409931" in words(first(main, "#values"))
    assert first(main, "dl a[href='/jobs?q=meta.customer_id%3D42']")
    back = first(main, "a[href^='/jobs?']")
    assert (back["href"], words(first(main, ".hd code"))) == ("/jobs?q=state%3Dfailed", "state=failed")


async def test_a_waiting_job_says_what_mends_it(client: Client, idle_runtime: Runtime) -> None:
    await idle_runtime.queues.patch("media", {}, by=ANN)
    await idle_runtime.queues.set_paused("media", paused=True, by=ANN)
    job = await add(idle_runtime, queue="media", delay=3600.0)
    await idle_runtime.manager.patch(job.id, {"priority": 7}, by=ANN)
    main = await look(client, f"/jobs/{job.id}")
    band = words(first(main, "#why"))
    assert "queue media is paused" in band.lower()
    assert "jobqueue queue resume media" in band
    assert "jobqueue worker app:queue" in band
    assert "It can start in 59 min" in band
    assert first(main, "#why a[href='/queues/media']")
    assert "ann changed: priority from 0 to 7" in words(first(main, "#changes"))
    assert "curl http://" in words(first(main, "#copy-as"))
    assert "The job has not been started yet." in words(first(main, "#timeline"))


async def test_a_running_job_shows_its_steps_children_and_progress(client: Client, idle_runtime: Runtime) -> None:
    parent = await claimed_job(idle_runtime, "parent", on_success={"type": "notify"})
    await idle_runtime.work.report(parent.job, parent.token, progress=40, lines=[("reading", "info")])
    main = await look(client, f"/jobs/{parent.job.id}")
    assert "processing for" in words(first(main, ".hd"))
    assert "40 %" in words(first(main, "dl"))
    assert "reading" in words(first(main, "#log"))
    assert "running" in words(first(main, "#starts"))
    assert first(main, "#log tr[id=L1] a")["href"] == f"/jobs/{parent.job.id}/log?line=1#L1"
    await succeed(idle_runtime, parent, {"rows": 3})
    await idle_runtime.outboxes.run_once()
    # Another address of the same page, as this one is kept for a second.
    family = words(first(await look(client, f"/jobs/{parent.job.id}?again=1"), "#family"))
    assert "success parent this job" in family
    assert "pending └ notify" in family


async def test_the_log_has_lines_by_number_text_level_and_attempt(client: Client, idle_runtime: Runtime) -> None:
    claimed = await claimed_job(idle_runtime, backoff=0.0)
    for part in range(2):
        lines = [(f"Row {part * 500 + number} ok", "error" if number == 7 else "info") for number in range(500)]
        assert await idle_runtime.work.report(claimed.job, claimed.token, lines=lines)
    path = f"/jobs/{claimed.job.id}/log"

    async def numbers(query: str) -> tuple[list[str], Tag]:
        main = await look(client, f"{path}{query}")
        return [str(row["id"]) for row in main.select("table.log tr[id]")], main

    shown, main = await numbers("")
    assert (shown[0], shown[-1]) == ("L901", "L1000")
    assert first(main, "#lines[data-follow]")
    shown, main = await numbers(str(first(main, "a[rel=prev]")["href"]).partition("log")[2])
    assert (shown[0], shown[-1]) == ("L801", "L900")
    shown, main = await numbers("?line=500")
    assert "L500" in shown
    assert words(first(main, "tr.at")).endswith("Row 499 ok")
    shown, _ = await numbers("?q=row+50&level=error")
    assert shown == ["L508"]
    assert (await numbers("?q=nowhere"))[0] == []
    assert (await numbers("?attempt=9"))[0] == []
    assert "cursor" in words((await numbers("?cursor=%21"))[1])
    text = await client.get(f"/v1/jobs/{claimed.job.id}/logs?format=text&level=error")
    assert (await text.text()).count("\n") == 2


async def test_large_values_and_long_lives_are_there_in_parts(client: Client, idle_runtime: Runtime) -> None:
    now = await idle_runtime.database.clock.now()
    history = [attempt(number, now - timedelta(minutes=3 * (1000 - number))) for number in range(1000)]
    steps = [
        {
            "name": f"step {number}",
            "kind": "step",
            "startAt": now,
            "endAt": now,
            "attempt": 1,
            "tries": 1,
            "result": number,
        }
        for number in range(1000)
    ]
    result = {"list": list(range(5000)), "text": f"{'x' * 50_000}end"}
    job_id = await import_job(
        idle_runtime, state="success", insertAt=now, endAt=now, history=history, steps=steps, result=result
    )
    main = await look(client, f"/jobs/{job_id}")
    assert "All 1,000 starts" in words(first(main, "#timeline"))
    assert len(main.select(".tl li")) <= 24
    assert len((await look(client, f"/jobs/{job_id}/starts?from=60")).select("tbody tr")) == 60
    assert "step 999" in words(await look(client, f"/jobs/{job_id}/steps?from=960"))
    assert words(first(await look(client, f"/jobs/{job_id}/value?at=/steps/step 7"), ".js")) == "7"
    page = await look(client, f"/jobs/{job_id}/value?at=/result/text")
    rest = await look(client, str(first(page, "a[rel=next]")["href"]))
    assert words(first(rest, "pre")).endswith("xend")
    assert "4999 : 4999" in words(await look(client, f"/jobs/{job_id}/value?at=/result/list&from=4900"))
    await look(client, f"/jobs/{job_id}/value?at=/result/nothing", 404)
    await look(client, f"/jobs/{ObjectId()}", 404)
    await look(client, "/jobs/x", 422)


async def test_hostile_jobs_neither_run_nor_swell(client: Client, idle_runtime: Runtime) -> None:
    now = await idle_runtime.database.clock.now()
    error = {"kind": EVIL, "message": EVIL * 100, "trace": EVIL * 200, "step": EVIL}
    history = [
        attempt(number, now, worker=EVIL * 9, error=error | {"message": EVIL * (number + 90)}) for number in range(30)
    ]
    steps = [
        {
            "name": f"{EVIL[:60]}{number}",
            "kind": "step",
            "startAt": now,
            "endAt": now,
            "attempt": 1,
            "tries": 1,
            "result": EVIL,
        }
        for number in range(30)
    ]
    large = {f"{EVIL}{number}": [EVIL * 20] * 20 for number in range(200)}
    job_id = await import_job(
        idle_runtime,
        type=EVIL,
        state="failed",
        insertAt=now,
        startAt=now,
        endAt=now,
        error=error,
        key=EVIL,
        history=history,
        steps=steps,
        data={EVIL: EVIL * 999},
        meta={f"m{n}": EVIL * 9 for n in range(9)},
        result=large,
        logs=[{"t": now, "m": EVIL * 90, "level": EVIL[:40], "attempt": 1} for _ in range(200)],
    )
    for path in (
        "",
        "/log",
        "/starts",
        "/steps",
        "/value?at=/result",
        "/value?at=/data",
        "/log?line=3&whole=1",
        f"?back={EVIL}",
    ):
        main = await look(client, f"/jobs/{job_id}{path}")
        assert not main.select("script, img, [onerror], a[href^='javascript:']"), path
        assert "alert(1)" in words(main), path
    trees = first(await look(client, f"/jobs/{job_id}"), "#values")
    assert all(
        tag.parent is not None and tag.parent.name == "bdi"
        for tag in trees.find_all(string=lambda text: "\u202e" in text)
    )


async def test_a_limited_token_learns_why_it_sees_no_changes(settings: Settings) -> None:
    runtime = await Runtime.open(replace(settings, admin_token=ADMIN))
    try:
        await runtime.configs.refresh()
        own, foreign = [await add(runtime, meta={"customer": number}) for number in (1, 2)]
        _, text = await runtime.access.create(roles=["admin"], meta=[("customer", 1)], by=ANN)
        async with TestClient(TestServer(make_app(runtime))) as client:
            await client.post("/login", data={"token": text})
            main = await look(client, f"/jobs/{own.id}")
            assert "Not for this token: this is about" in words(first(main, "#changes"))
            for part in ("", "/log", "/starts", "/steps", "/value"):
                await look(client, f"/jobs/{foreign.id}{part}", 404)
    finally:
        await runtime.close()


async def test_the_same_error_again_is_told_so(client: Client, idle_runtime: Runtime) -> None:
    claimed = await claimed_job(idle_runtime, attempts=1)
    await fail(idle_runtime, claimed, JobError(kind="Boom", message="it broke"))
    await idle_runtime.manager.requeue(claimed.job.id)
    await fail(idle_runtime, await claim(idle_runtime), JobError(kind="Boom", message="it broke"))
    main = await look(client, f"/jobs/{claimed.job.id}?run=2")
    assert "The same as in run 1, attempt 1." in words(first(main, "#error"))
    assert [words(tag) for tag in main.select("#timeline .seg a")] == ["All", "Run 1", "Run 2"]
    assert [words(tag) for tag in main.select(".tl li")] == ["Run 2, attempt 1"]
