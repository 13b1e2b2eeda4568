"""For how long the job that waits longest could have been claimed, whatever waits beside it."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp.test_utils import TestClient, TestServer
from bson import ObjectId
from click.testing import CliRunner
from prometheus_client import parser

from jobqueue.api.app import make_app
from jobqueue.cli.main import cli
from jobqueue.domain.attempts.backoff import FixedBackoff
from jobqueue.domain.attempts.states import State
from jobqueue.domain.jobs.job import NewJob
from jobqueue.services.insight import metrics
from jobqueue.services.insight.job_counts import JobCounts
from jobqueue.services.insight.metrics import OTHERS, Metrics
from jobqueue.store.documents import documents, queue_statements, statements
from jobqueue.store.mongo.database import new_id
from tests.support.data.factories import ERROR, LONG_AGO, add, claimed_job, fail, job_in, succeed
from tests.support.mongo.plans import explain

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from datetime import datetime

    from aiohttp import web

    from jobqueue.services.application import Runtime

    Client = TestClient[web.Request, web.Application]

HOURS = timedelta(hours=2)
prometheus: Any = parser


@pytest.fixture
async def client(idle_runtime: Runtime) -> AsyncIterator[Client]:
    async with TestClient(TestServer(make_app(idle_runtime))) as one:
        yield one


def old_documents(count: int, now: datetime, **changes: Any) -> list[dict[str, Any]]:
    """Return jobs of the queue "q" that were created three hours ago, some of them with another time of their end."""
    made = now - HOURS - timedelta(hours=1)
    new = NewJob(type="work", queue="q", priority=0, attempts=9, lease=60)
    return [documents.new_document(new, job_id=new_id(), now=made) | changes for _ in range(count)]


async def add_old(runtime: Runtime, count: int, **changes: Any) -> list[str]:
    jobs = old_documents(count, await runtime.database.clock.now(), **changes)
    await runtime.jobs.collection.insert_many(jobs)
    return [str(job["_id"]) for job in jobs]


async def come_back(runtime: Runtime, how: str) -> None:
    """Let 130 jobs that are older than any other come back just now."""
    now = await runtime.database.clock.now()
    if how == "promoted":
        entry = {"token": "t", "startAt": now, "endAt": now, "outcome": "fail"}
        await add_old(runtime, 130, state="delayed", delayTil=now, history=[entry])
        assert await runtime.jobs.promote_due() == 130
    elif how == "requeued":
        for job_id in await add_old(runtime, 130, state="failed", endAt=now - HOURS):
            await runtime.manager.requeue(job_id)
    elif how == "patched":
        for job_id in await add_old(runtime, 130, state="delayed", delayTil=now + HOURS):
            await runtime.manager.patch(job_id, {"delay_til": None})
    elif how == "released":
        first = await claimed_job(runtime, queue="other")
        waits = {"state": "delayed", "dependsOn": [ObjectId(first.job.id)], "waitsFor": [ObjectId(first.job.id)]}
        await add_old(runtime, 130, **waits)
        await runtime.jobs.collection.update_one({"_id": ObjectId(first.job.id)}, {"$set": {"dependents": True}})
        await succeed(runtime, first)
        await runtime.outboxes.run_once()
    else:
        # As a version does that knows of no index for this.
        entry = {"token": "t", "startAt": now - HOURS, "endAt": now, "outcome": "release"}
        await add_old(runtime, 130, history=[entry])
    assert await runtime.jobs.collection.count_documents({"queue": "q", "state": "pending"}) == 130


async def forgotten_job(runtime: Runtime) -> None:
    """Leave a job that has waited for two hours."""
    job = await add(runtime, queue="q")
    moment = await runtime.database.clock.now() - HOURS
    await runtime.jobs.collection.update_one({"_id": ObjectId(job.id)}, {"$set": {"insertAt": moment}})


def is_two_hours(seconds: float) -> bool:
    return 7200 <= seconds < 7200 + 600


@pytest.mark.parametrize("how", ["promoted", "requeued", "patched", "released", "came back by an older version"])
async def test_jobs_that_just_came_back_hide_none_that_has_waited_for_hours(idle_runtime: Runtime, how: str) -> None:
    await come_back(idle_runtime, how)
    alone = await idle_runtime.figures.oldest_ready("q")
    assert alone is not None
    assert alone < 600
    await forgotten_job(idle_runtime)
    assert is_two_hours(await idle_runtime.figures.oldest_ready("q") or 0)


async def test_the_age_is_the_same_for_http_prometheus_and_the_command_line(
    client: Client, idle_runtime: Runtime, mongo_url: str, db_name: str
) -> None:
    await come_back(idle_runtime, "promoted")
    await forgotten_job(idle_runtime)
    shown = await (await client.get("/v1/queues/q")).json()
    assert is_two_hours(shown["oldestPendingAge"])
    text = await (await client.get("/metrics")).text()
    assert is_two_hours(ages(text)["q"])
    settings = {"JOBQUEUE_MONGO_URL": mongo_url, "JOBQUEUE_DB": db_name}
    done = await asyncio.to_thread(CliRunner().invoke, cli, ["queues", "--json"], env=settings)
    assert is_two_hours(json.loads(done.output)["items"][0]["oldestPendingAge"])


def ages(text: str) -> dict[str, float]:
    return {
        sample.labels["queue"]: sample.value
        for family in prometheus.text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == "jobqueue_oldest_ready_seconds"
    }


@pytest.mark.parametrize("back", ["failed", "given back", "requeued"])
async def test_a_job_that_comes_back_notes_since_when_it_can_be_claimed(idle_runtime: Runtime, back: str) -> None:
    claimed = await claimed_job(idle_runtime, queue="q", attempts=2, backoff=FixedBackoff(0))
    if back == "failed":
        await fail(idle_runtime, claimed, ERROR)
    elif back == "given back":
        await idle_runtime.work.release(claimed.job, claimed.token)
    else:
        await succeed(idle_runtime, claimed)
        await idle_runtime.manager.requeue(claimed.job.id)
    found = await idle_runtime.jobs.collection.find_one({}, {"readyAt": 1, "state": 1, "ready": statements.ready()})
    assert found is not None
    assert found["state"] == "pending"
    assert found["readyAt"] == found["ready"] >= claimed.job.insert_at


async def test_few_keys_are_looked_at_however_many_jobs_have_come_back(idle_runtime: Runtime) -> None:
    now = await idle_runtime.database.clock.now()
    await add_old(idle_runtime, 3000, state="delayed", delayTil=now)
    await add_old(idle_runtime, 3000)
    await idle_runtime.jobs.promote_due()
    for search, field in queue_statements.oldest("q"):
        command = {"find": "jobs", "filter": search, "sort": {field: 1}, "hint": statements.READY_INDEX, "limit": 20}
        await explain(idle_runtime.database, command, keys=21)
    await idle_runtime.database.raw.command("profile", 2)
    assert await idle_runtime.figures.oldest_ready("q") is not None
    await idle_runtime.database.raw.command("profile", 0)
    profile = idle_runtime.database.raw["system.profile"]
    looked = [one async for one in profile.find({"ns": idle_runtime.jobs.collection.full_name})]
    assert sum(one.get("keysExamined", 0) for one in looked) <= 45, looked
    assert sum(one.get("docsExamined", 0) for one in looked) <= 45, looked


async def test_a_due_job_with_odd_dates_of_another_tool_holds_up_no_other(idle_runtime: Runtime) -> None:
    due = (await job_in(idle_runtime, State.DELAYED, queue="q")).id
    (odd,) = await add_old(idle_runtime, 1, state="delayed", insertAt=[LONG_AGO], readyAt=[LONG_AGO], attrs=None)
    await idle_runtime.jobs.collection.update_one({"_id": ObjectId(odd)}, {"$set": {"delayTil": [LONG_AGO]}})
    await idle_runtime.jobs.collection.update_one({"_id": ObjectId(due)}, {"$set": {"delayTil": LONG_AGO}})
    assert await idle_runtime.jobs.promote_due() == 2
    assert (await idle_runtime.jobs.get(due)).state is State.PENDING


async def test_queues_that_are_not_told_apart_show_the_job_of_theirs_that_waits_longest(
    idle_runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metrics, "MOST_QUEUES", 1)
    await add(idle_runtime, queue="a")
    await add(idle_runtime, queue="a")
    await add(idle_runtime, queue="b")
    await forgotten_job(idle_runtime)
    job_counts = JobCounts(idle_runtime.figures, fresh=0)
    text = (await Metrics(job_counts, idle_runtime.database.clock).text(""))[0].decode()
    found = ages(text)
    assert set(found) == {"a", OTHERS}
    assert found["a"] < 600
    assert is_two_hours(found[OTHERS])
