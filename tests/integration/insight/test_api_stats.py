"""Statistics over HTTP and on the command line."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp.test_utils import TestClient, TestServer
from click.testing import CliRunner

from jobqueue.api.app import make_app
from jobqueue.cli.main import cli
from jobqueue.domain.access.access import Scope
from jobqueue.domain.attempts.states import FINAL
from jobqueue.services.insight.job_counts import JobCounts
from jobqueue.services.insight.stats import StatsRequest
from jobqueue.store.documents.queue_statements import count_by_queue
from tests.support.data.factories import add, claimed_job, die, fail, finished_documents, succeed
from tests.support.mongo.plans import stages

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aiohttp import web

    from jobqueue.services.application import Runtime

    Client = TestClient[web.Request, web.Application]


@pytest.fixture
async def client(idle_runtime: Runtime) -> AsyncIterator[Client]:
    await succeed(idle_runtime, await claimed_job(idle_runtime, "a", queue="x"))
    await fail(idle_runtime, await claimed_job(idle_runtime, "b", queue="x", attempts=1))
    await die(idle_runtime, await claimed_job(idle_runtime, "a", queue="y:z"))
    await add(idle_runtime, "a", queue="y:z")
    async with TestClient(TestServer(make_app(idle_runtime))) as one:
        yield one


async def test_all_windows_are_shown_by_queue_and_type(client: Client) -> None:
    shown = await (await client.get("/v1/stats")).json()
    assert list(shown["windows"]) == ["5m", "1h", "24h", "7d"]
    for window in shown["windows"].values():
        assert [window[name] for name in ("added", "started", "succeeded", "failed", "killed")] == [4, 3, 1, 1, 1]
        assert [one["queue"] for one in window["queues"]] == ["x", "y:z"]
        assert [one["type"] for one in window["queues"][0]["types"]] == ["a", "b"]
        assert window["run"]["count"] == 3
        assert window["perMinute"]["added"] == pytest.approx(4 * 60 / window["seconds"], abs=0.01)
    assert shown["counts"]["total"] == {
        "pending": 1,
        "processing": 0,
        "delayed": 0,
        "success": 1,
        "failed": 1,
        "killed": 1,
    }
    assert shown["counts"]["queues"]["x"]["success"] == 1


async def test_they_can_be_narrowed(client: Client) -> None:
    shown = await (await client.get("/v1/stats", params={"queue": "y:z", "window": "1h,5m"})).json()
    assert list(shown["windows"]) == ["1h", "5m"]
    assert shown["windows"]["5m"]["added"] == 2
    assert list(shown["counts"]["queues"]) == ["y:z"]
    shown = await (await client.get("/v1/stats", params={"type": "b"})).json()
    assert shown["windows"]["7d"]["added"] == 1
    assert "counts" not in shown
    none = await (await client.get("/v1/stats", params={"queue": "none"})).json()
    assert none["windows"]["7d"] | {"from": "", "to": "", "seconds": 0} == {
        **none["windows"]["5m"],
        "from": "",
        "to": "",
        "seconds": 0,
    }
    assert none["windows"]["7d"]["wait"] == {"count": 0, "p50": None, "p90": None, "p99": None}


@pytest.mark.parametrize("query", ["window=2h", "window=", "window=5m,5m,x", "what=1", "queue=a&queue=b"])
async def test_what_cannot_be_understood_is_refused(client: Client, query: str) -> None:
    assert (await client.get(f"/v1/stats?{query}")).status == 422


async def test_a_caller_sees_its_queues_only(client: Client, idle_runtime: Runtime) -> None:
    del client
    view = await idle_runtime.stats.view(StatsRequest(windows=("1h",)), Scope(queues=("y*",)))
    assert [one["queue"] for one in view["windows"]["1h"]["queues"]] == ["y:z"]
    assert view["windows"]["1h"]["added"] == 2
    assert (list(view["counts"]["queues"]), view["counts"]["total"]["success"]) == (["y:z"], 0)


async def test_counts_are_read_from_the_index_alone_and_remembered_for_a_while(idle_runtime: Runtime) -> None:
    await idle_runtime.jobs.collection.insert_many(finished_documents(300))
    command: dict[str, Any] = {"aggregate": "jobs", "pipeline": count_by_queue(FINAL), "cursor": {}}
    plan = await idle_runtime.database.raw.command(
        "explain", command | {"hint": "newestOfQueue"}, verbosity="queryPlanner"
    )
    assert not set(stages(plan)) & {"COLLSCAN", "FETCH"}
    job_counts = JobCounts(idle_runtime.figures, fresh=600)
    first = await job_counts.states()
    assert first["default"]["success"] == 100
    await add(idle_runtime)
    assert await job_counts.states() == first
    fresh = JobCounts(idle_runtime.figures, fresh=0)
    assert (await fresh.states())["default"]["pending"] == 1
    assert (await fresh.oldest_ready())["default"] < 60


def run(settings: dict[str, str], *words: str) -> str:
    done = CliRunner().invoke(cli, ["stats", *words], env=settings, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


async def test_the_command_prints_a_table_or_json(client: Client, mongo_url: str, db_name: str) -> None:
    del client
    settings = {"JOBQUEUE_MONGO_URL": mongo_url, "JOBQUEUE_DB": db_name}
    table = await asyncio.to_thread(run, settings)
    lines = [line for line in table.splitlines() if line]
    assert [line.split()[0] for line in lines][:3] == ["PENDING", "1", "FIGURE"]
    assert lines[2].split()[1:] == ["LAST", "5m", "LAST", "1h", "LAST", "24h", "LAST", "7d"]
    detailed = await asyncio.to_thread(run, settings, "--window", "1h", "--queue", "x")
    assert [line.split()[0] for line in detailed.splitlines()[-2:]] == ["x", "x"]
    shown = json.loads(await asyncio.to_thread(run, settings, "--json", "--type", "b"))
    assert shown["windows"]["1h"]["failed"] == 1
