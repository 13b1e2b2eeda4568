"""Suggestions for filters: known fields and values of the newest jobs, within a scope and a bound."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp.test_utils import TestClient, TestServer

from jobqueue.api.app import make_app
from jobqueue.domain.access.access import EVERYTHING, Scope
from jobqueue.domain.insight.audit import Actor
from jobqueue.domain.jobs.job import NewJob
from jobqueue.domain.queues.queue import QueueConfig
from jobqueue.services.insight.suggestions import Suggestions
from jobqueue.store.documents import documents
from jobqueue.store.mongo.database import new_id
from jobqueue.store.search import samples
from tests.support.data.factories import LONG_AGO, add, claimed_job, fail
from tests.support.mongo.plans import explain

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aiohttp import web

    from jobqueue.services.application import Runtime

    Client = TestClient[web.Request, web.Application]

ANN = Actor(name="ann", via="cli")


@pytest.fixture
async def client(idle_runtime: Runtime) -> AsyncIterator[Client]:
    async with TestClient(TestServer(make_app(idle_runtime))) as client:
        yield client


async def suggested(client: Client, token: str = "", status: int = 200, **query: str) -> Any:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    answer = await client.get("/v1/jobs/suggestions", params=query, headers=headers)
    assert answer.status == status, await answer.text()
    found = await answer.json()
    return found["errors"] if status == 422 else [(item["value"], item["count"]) for item in found["items"]]


async def test_fields_and_their_values_are_suggested(client: Client, idle_runtime: Runtime) -> None:
    await fail(idle_runtime, await claimed_job(idle_runtime, "import", queue="media", attempts=1, meta={"user_id": 42}))
    for value in (42, "4", True, 1, None, 2.5, "x" * 201, {"kind": "gift"}, ["a", "a", "b"]):
        await add(idle_runtime, "mail", queue="posts", meta={"user_id": value, "a=b": "c"})

    fields = dict(await suggested(client))
    assert {"state", "queue", "type", "error.kind", "meta.user_id", "meta.user_id.kind", "meta.a=b"} <= set(fields)
    assert await suggested(client, prefix="META.user_id.") == [("meta.user_id.kind", 1)]
    assert await suggested(client, field="queue") == [("posts", 9), ("media", 1)]
    assert await suggested(client, field="type", prefix="IM") == [("import", 1)]
    assert dict(await suggested(client, field="state")) == {
        **dict.fromkeys(("processing", "delayed", "success", "killed"), 0),
        "pending": 9,
        "failed": 1,
    }
    assert await suggested(client, field="error.kind") == [("Boom", 1)]
    values = await suggested(client, field="meta.user_id")
    assert values[0] == (42, 2)
    assert [(type(value), value) for value, _ in values[1:]] == [
        *((int, 1), (float, 2.5), (str, "4"), (str, "a"), (str, "b"), (type(None), None), (bool, True))
    ]
    assert await suggested(client, field="meta.user_id", prefix="4", limit="1") == [(42, 2)]
    assert await suggested(client, field="meta.nothing") == []


@pytest.mark.parametrize(
    ("query", "name"),
    [
        ({"field": "data"}, "field"),
        ({"field": "meta.$a"}, "field"),
        ({"field": "meta."}, "field"),
        ({"prefix": "x" * 201}, "prefix"),
        ({"limit": "201"}, "limit"),
    ],
)
async def test_an_unacceptable_parameter_is_named(client: Client, query: dict[str, str], name: str) -> None:
    assert set(await suggested(client, status=422, **query)) == {name}


async def test_a_limited_token_learns_no_value_of_others(client: Client, idle_runtime: Runtime) -> None:
    await add(idle_runtime, "mine", queue="media1", meta={"user_id": 7, "city": "Ulm"})
    await add(idle_runtime, "theirs", queue="secret", meta={"user_id": 8, "city": "Bonn", "salary": 1})
    tokens = [
        (await idle_runtime.access.create(roles=["read"], by=ANN, **scope))[1]
        for scope in ({"queues": ["media*"]}, {"meta": [("user_id", 7)]}, {"queues": ["m*"], "meta": [("user_id", 7)]})
    ]
    # The sample of a caller who sees everything is kept, and must serve nobody else.
    assert ("salary" in str(await suggested(client))) is True
    for token in tokens:
        assert "salary" not in str(await suggested(client, token))
        for field, own in (("queue", "media1"), ("type", "mine"), ("meta.city", "Ulm"), ("meta.user_id", 7)):
            assert await suggested(client, token, field=field) == [(own, 1)]
        assert dict(await suggested(client, token, field="state"))["pending"] == 1
    both = tokens[2]
    idle_runtime.suggestions = Suggestions(samples.SampleStore(idle_runtime.database))
    await add(idle_runtime, "theirs", queue="secret", meta={"user_id": 7, "city": "Bonn"})
    assert await suggested(client, both, field="meta.city") == [("Ulm", 1)]


async def test_concurrent_calls_read_one_sample(idle_runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    reads = 0
    read = samples.SampleStore.newest

    async def counted(store: samples.SampleStore, scope: Scope) -> Any:
        nonlocal reads
        reads += 1
        return await read(store, scope)

    monkeypatch.setattr(samples.SampleStore, "newest", counted)
    async with TestClient(TestServer(make_app(idle_runtime))) as client:
        await asyncio.gather(*(suggested(client, prefix="q") for _ in range(5)))
        await suggested(client, field="queue")
    assert reads == 1


async def test_a_sample_looks_at_no_more_than_its_jobs_in_the_order_of_an_index(idle_runtime: Runtime) -> None:
    config = QueueConfig()
    many = [
        documents.new_document(
            config.fill(NewJob(type="a", queue=f"q{number % 3}", meta={"user_id": number % 2})),
            job_id=new_id(),
            now=LONG_AGO + timedelta(seconds=number),
        )
        for number in range(3 * samples.MOST_SAMPLED)
    ]
    await idle_runtime.database.collection("jobs").insert_many(many)
    most = samples.MOST_SAMPLED + 20
    for scope, queues in (
        (EVERYTHING, []),
        (Scope(meta=(("user_id", 1),)), []),
        (Scope(queues=("q*",)), ["q0", "q1", "q2"]),
        (Scope(queues=("q*",)), [f"q{number}" for number in range(31)]),
    ):
        pipeline, index = samples.newest(scope, queues)
        match, sort, limit = (next(iter(stage.values())) for stage in pipeline[:3])
        command = {"find": "jobs", "filter": match, "sort": sort, "limit": limit, "hint": index}
        await explain(idle_runtime.database, command, keys=most)
    sample = await samples.SampleStore(idle_runtime.database).newest(EVERYTHING)
    assert sample.size == samples.MOST_SAMPLED
