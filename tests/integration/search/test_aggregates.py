"""Pipelines over jobs: what they give, what they may cost, and that nothing foreign or secret comes out of them."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp.test_utils import TestClient, TestServer

from jobqueue.api.app import make_app
from jobqueue.domain.access.access import Scope
from jobqueue.domain.errors import InvalidInputError, TooCostlyError
from jobqueue.domain.jobs import json_form
from jobqueue.domain.jobs.job import NewJob
from jobqueue.domain.queues.queue import QueueConfig
from jobqueue.domain.search.pipelines import compile_pipeline
from jobqueue.store.documents import documents
from jobqueue.store.mongo.database import new_id
from jobqueue.store.search.aggregates import MOST_ROWS, AggregateStore
from jobqueue.store.search.search import SearchStore
from tests.support.data.hostile import HOSTILE_STAGES, RandomPipeline

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aiohttp import web

    from jobqueue.services.application import Runtime

    Client = TestClient[web.Request, web.Application]

NOW = datetime(2026, 1, 1, tzinfo=UTC)
STATES = ["pending", "processing", "delayed", "success", "failed", "killed"]
SCOPE = Scope(queues=("media",))
SECRET, FOREIGN = "secret-token", "foreign-text"


def stored(number: int) -> dict[str, Any]:
    foreign = number % 2
    new = NewJob(
        type=FOREIGN if foreign else "abc"[number % 3],
        queue="other" if foreign else "media",
        data={"n": number, "list": [1, number], "text": FOREIGN if foreign else "own"},
        meta={"user_id": FOREIGN if foreign else number % 10, "tags": ["x", "y"][: number % 3]},
    )
    made = documents.new_document(QueueConfig().fill(new), job_id=new_id(), now=NOW + timedelta(seconds=number))
    history = [{"attempt": 1, "token": SECRET, "worker": "w", "startAt": NOW, "outcome": "fail", "error": None}]
    return made | {
        "state": STATES[number % 6],
        "history": history,
        "claim": {"token": SECRET, "worker": "w"},
        "startAt": NOW + timedelta(seconds=number + 60),
        "outbox": [SECRET],
        "limitKey": SECRET,
        "logs": [{"t": NOW, "m": FOREIGN if foreign else "line"}],
    }


@pytest.fixture
async def jobs(idle_runtime: Runtime) -> list[dict[str, Any]]:
    made = [stored(number) for number in range(120)]
    await idle_runtime.jobs.collection.insert_many(made)
    return made


@pytest.fixture
async def client(idle_runtime: Runtime) -> AsyncIterator[Client]:
    async with TestClient(TestServer(make_app(idle_runtime))) as one:
        yield one


async def rows(runtime: Runtime, *stages: Any) -> list[Any]:
    return [json_form.value(row) for row in (await runtime.searches.aggregate(compile_pipeline(list(stages)))).items]


async def test_pipelines_give_what_they_say(idle_runtime: Runtime, jobs: list[dict[str, Any]]) -> None:
    own = {"$match": {"queue": "media"}}
    by_type = [own, {"$group": {"_id": "$type", "n": {"$sum": 1}, "most": {"$max": "$data.n"}}}, {"$sort": {"_id": 1}}]
    assert await rows(idle_runtime, *by_type) == [
        {"_id": "a", "n": 20, "most": 114},
        {"_id": "b", "n": 20, "most": 118},
        {"_id": "c", "n": 20, "most": 116},
    ]
    assert await rows(idle_runtime, own, {"$count": "jobs"}) == [{"jobs": 60}]
    counted = await rows(idle_runtime, own, {"$unwind": "$meta.tags"}, {"$sortByCount": "$meta.tags"})
    assert counted == [{"_id": "x", "count": 40}, {"_id": "y", "count": 20}]
    wait = {"$project": {"seconds": {"$divide": [{"$subtract": ["$startAt", "$insertAt"]}, 1000]}}}
    (first, _) = await rows(idle_runtime, own, {"$sort": {"insertAt": 1}}, {"$limit": 2}, wait)
    assert first == {"id": str(jobs[0]["_id"]), "seconds": 60}
    day = {"$dateTrunc": {"date": "$insertAt", "unit": "minute"}}
    text = {"$dateToString": {"date": "$insertAt", "format": "%H:%M", "timezone": "Europe/Berlin"}}
    minutes = {row["_id"]: row["count"] for row in await rows(idle_runtime, own, {"$sortByCount": day})}
    assert minutes == {"2026-01-01T00:00:00.000Z": 30, "2026-01-01T00:01:00.000Z": 30}
    texts = {row["_id"]: row["count"] for row in await rows(idle_runtime, own, {"$sortByCount": text})}
    assert texts == {"01:00": 30, "01:01": 30}
    kind = {"$switch": {"branches": [{"case": {"$lt": ["$data.n", 10]}, "then": "low"}], "default": "high"}}
    found = await rows(idle_runtime, own, {"$project": {"_id": 0, "kind": kind}}, {"$sortByCount": "$kind"})
    assert found == [{"_id": "high", "count": 55}, {"_id": "low", "count": 5}]


async def test_rows_that_are_jobs_are_shown_as_jobs_without_secrets(client: Client, jobs: list[dict[str, Any]]) -> None:
    pipeline = [{"$match": {"id": str(jobs[0]["_id"])}}, {"$unwind": "$history"}]
    response = await client.post("/v1/jobs/aggregate", json={"pipeline": pipeline})
    body = await response.json()
    (row,) = body["items"]
    assert (row["id"], row["data"]["n"], row["history"]["worker"]) == (str(jobs[0]["_id"]), 0, "w")
    assert row["insertAt"] == "2026-01-01T00:00:00.000Z"
    assert body["truncated"] is False
    assert SECRET not in json.dumps(body)


async def test_random_pipelines_show_nothing_foreign_or_secret_and_break_nothing(
    idle_runtime: Runtime, jobs: list[dict[str, Any]]
) -> None:
    assert jobs
    some = 0
    for seed in range(1500):
        try:
            pipeline = compile_pipeline(RandomPipeline(seed).pipeline())
            found = await idle_runtime.searches.aggregate(pipeline, scope=SCOPE)
        except InvalidInputError:
            continue
        some += 1
        shown = json.dumps([json_form.value(row) for row in found.items])
        assert SECRET not in shown, seed
        assert FOREIGN not in shown, seed
    assert some > 100


async def test_what_cannot_be_computed_is_the_callers_mistake(client: Client, jobs: list[dict[str, Any]]) -> None:
    assert jobs
    stages: list[Any] = [
        {"$project": {"x": {"$divide": [1, 0]}}},
        {"$project": {"x": {"$toInt": "$data.text"}}},
        {"$project": {"x": {"$size": "$type"}}},
        {"$project": {"x": {"$dateTrunc": {"date": "$insertAt", "unit": "century"}}}},
        {"$project": {"x": {"$dateToString": {"date": "$insertAt", "timezone": "Atlantis"}}}},
        {"$project": {"x": {"$add": ["$insertAt", "$insertAt"]}}},
        {"$project": {"x": {"$concat": [1, 2]}}},
    ]
    for stage in stages:
        response = await client.post("/v1/jobs/aggregate", json={"pipeline": [stage]})
        assert response.status == 422, (stage, await response.text())
        assert "MongoDB refuses it" in (await response.json())["errors"]["pipeline"][0]


async def test_hostile_stages_are_refused_over_http(client: Client, jobs: list[dict[str, Any]]) -> None:
    assert jobs
    for stage in HOSTILE_STAGES:
        try:
            response = await client.post("/v1/jobs/aggregate", json={"pipeline": [stage]})
        except UnicodeEncodeError:
            continue
        assert response.status in {400, 422}, stage


async def test_costly_pipelines_are_refused_unless_they_insist(
    idle_runtime: Runtime, jobs: list[dict[str, Any]]
) -> None:
    assert jobs
    store = AggregateStore(idle_runtime.database, SearchStore(idle_runtime.database, most_read=50))
    count: Any = {"$count": "n"}
    newest: Any = {"$sort": {"insertAt": -1}}
    for stages in ([count], [{"$match": {"data.n": 1}}, newest, {"$limit": 5}], [{"$limit": 51}, count], [newest]):
        with pytest.raises(TooCostlyError, match=r"pipeline: .*more than 50 jobs"):
            await store.rows(compile_pipeline(stages))
    for cheap in ([newest, {"$limit": 50}, count], [{"$match": {"meta.user_id": 4}}, count], [{"$limit": 7}, count]):
        assert (await store.rows(compile_pipeline(cheap))).items
    assert (await store.rows(compile_pipeline([count]), slow=True)).items == ({"n": 120},)


async def test_no_more_rows_than_so_many_are_given(idle_runtime: Runtime) -> None:
    made = [stored(number) | {"data": {"text": "x" * 20_000, "n": number}} for number in range(MOST_ROWS + 1)]
    await idle_runtime.jobs.collection.insert_many(made)
    few = await idle_runtime.searches.aggregate(compile_pipeline([{"$project": {"data.n": 1}}]))
    assert (len(few.items), few.truncated) == (MOST_ROWS, True)
    large = await idle_runtime.searches.aggregate(compile_pipeline([{"$project": {"data": 1}}]))
    assert (300 < len(large.items) < 500, large.truncated) == (True, True)
