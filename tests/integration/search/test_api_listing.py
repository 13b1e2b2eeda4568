from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp.test_utils import TestClient, TestServer
from bson import ObjectId

from jobqueue.api.app import make_app
from jobqueue.domain.access.access import EVERYTHING
from jobqueue.domain.jobs.job import NewJob
from jobqueue.domain.search.filters import compile_filter
from jobqueue.domain.search.search import search
from jobqueue.store.search.search import counted, order, statement

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aiohttp import web

    from jobqueue.services.application import Runtime

    Client = TestClient[web.Request, web.Application]

MOMENT = datetime(2030, 1, 1, tzinfo=UTC)


@pytest.fixture
async def client(runtime: Runtime) -> AsyncIterator[Client]:
    async with TestClient(TestServer(make_app(runtime))) as one:
        yield one


async def listed(client: Client, **query: str) -> list[dict[str, Any]]:
    """Return all items of all pages."""
    items: list[dict[str, Any]] = []
    while True:
        response = await client.get("/v1/jobs", params=query)
        assert response.status == 200, await response.text()
        page = await response.json()
        items += page["items"]
        if page["next"] is None:
            return items
        assert len(page["items"]) == int(query.get("limit", "50"))
        query["cursor"] = page["next"]


async def insert(runtime: Runtime, count: int, **fields: Any) -> list[str]:
    """Write documents of one moment as another program would."""
    made = [
        {"_id": ObjectId(), "queue": "q", "type": "a", "state": "failed", "insertAt": MOMENT, **fields}
        for _ in range(count)
    ]
    await runtime.jobs.collection.insert_many(made)
    return [str(one["_id"]) for one in made]


async def test_pages_have_every_job_once_even_those_of_one_moment(client: Client, runtime: Runtime) -> None:
    ids = await insert(runtime, 130)
    later = await insert(runtime, 1, insertAt=MOMENT + timedelta(milliseconds=1))
    newest = [job["id"] for job in await listed(client, limit="20")]
    assert newest == [*later, *sorted(ids, reverse=True)]
    assert [job["id"] for job in await listed(client, limit="7", sort="insertAt")] == newest[::-1]
    assert len(await listed(client)) == 131
    assert len(await listed(client, limit="200", queue="q", state="failed")) == 131


async def test_a_cursor_belongs_to_its_listing(client: Client, runtime: Runtime) -> None:
    await insert(runtime, 3)
    page = await (await client.get("/v1/jobs", params={"limit": "1"})).json()
    other = await client.get("/v1/jobs", params={"limit": "1", "queue": "q", "cursor": page["next"]})
    assert other.status == 422
    assert list((await other.json(content_type=None))["errors"]) == ["cursor"]
    longer = await client.get("/v1/jobs", params={"limit": "2", "cursor": page["next"]})
    assert len((await longer.json())["items"]) == 2


async def test_filters_narrow_a_listing_together(client: Client, runtime: Runtime) -> None:
    batch, parent = ObjectId(), ObjectId()
    await insert(runtime, 2)
    (wanted,) = await insert(
        runtime,
        1,
        queue="x",
        type="b",
        state="killed",
        batchId=batch,
        parentId=parent,
        insertAt=MOMENT + timedelta(days=1),
    )
    filters = {
        "queue": "x",
        "type": "b",
        "state": "killed,success",
        "batchId": str(batch),
        "parentId": str(parent).upper(),
        "insertedAfter": "2030-01-02",
        "insertedBefore": "2030-01-02T00:00:01+00:00",
    }
    for name, value in filters.items():
        found = [job["id"] for job in await listed(client, **{name: value})]
        assert wanted in found, name
        assert len(found) == (3 if name == "insertedBefore" else 1), name
    assert [job["id"] for job in await listed(client, **filters)] == [wanted]
    assert await listed(client, **{**filters, "state": "pending"}) == []


async def test_meta_is_searched_by_any_path(client: Client, runtime: Runtime) -> None:
    added = [
        await runtime.producer.add(NewJob(type="a", meta=meta))
        for meta in ({"user_id": 42, "tags": ["red", "blue"]}, {"user_id": "42", "user": {"name": "Zoë & Co"}})
    ]
    first, second = (job.id for job in added)
    assert {job["id"] for job in await listed(client, **{"meta.user_id": "42"})} == {first, second}
    assert [job["id"] for job in await listed(client, **{"meta.user_id": '"42"'})] == [second]
    assert [job["id"] for job in await listed(client, **{"meta.tags": "blue"})] == [first]
    assert [job["id"] for job in await listed(client, **{"meta.user.name": "Zoë & Co"})] == [second]
    assert [job["id"] for job in await listed(client, **{"meta.user_id": "42", "meta.tags": "red"})] == [first]
    assert await listed(client, **{"meta.user_id": '{"$gt": 0}'}) == []


async def test_only_the_asked_fields_are_given_and_the_id(client: Client, runtime: Runtime) -> None:
    (wanted,) = await insert(runtime, 1, meta={"a": 1})
    assert await listed(client, fields="state,meta") == [{"id": wanted, "state": "failed", "meta": {"a": 1}}]


async def test_all_log_lines_come_in_order_a_part_at_a_time(client: Client, runtime: Runtime) -> None:
    job = await runtime.producer.add(NewJob(type="a"))
    claimed = await runtime.work.claim("default", None, worker="w")
    assert claimed is not None
    for start in range(0, 1050, 150):
        await runtime.work.report(job, claimed.token, lines=[(f"line {start + index}", None) for index in range(150)])
    path, query, lines = f"/v1/jobs/{job.id}/logs", {"limit": "400"}, []
    while True:
        part = await (await client.get(path, params=query)).json()
        lines += [line["m"] for line in part["items"]]
        if part["next"] is None:
            break
        query["cursor"] = part["next"]
    assert lines == [f"line {number}" for number in range(1050)]
    await runtime.work.report(job, claimed.token, lines=[("one more", "warning")])
    more = await (await client.get(path, params={"cursor": part["resume"]})).json()
    assert [(line["m"], line["level"], line["attempt"]) for line in more["items"]] == [("one more", "warning", 1)]


async def test_pages_go_back_to_newer_jobs(client: Client, runtime: Runtime) -> None:
    await insert(runtime, 5, priority=1)
    await insert(runtime, 4, priority=2)
    for sort in ("-insertAt", "priority", "-endAt", "endAt"):
        query = {"limit": "4", "sort": sort, "fields": "id"}
        pages = [await (await client.get("/v1/jobs", params=query)).json()]
        while pages[-1]["next"]:
            pages.append(await (await client.get("/v1/jobs", params={**query, "cursor": pages[-1]["next"]})).json())
        assert [len(page["items"]) for page in pages] == [4, 4, 1]
        assert "previous" not in pages[0]
        for before, page in itertools.pairwise(pages):
            back = await (await client.get("/v1/jobs", params={**query, "cursor": page["previous"]})).json()
            assert back["items"] == before["items"]
            assert ("previous" not in back) == (before is pages[0])
            again = await (await client.get("/v1/jobs", params={**query, "cursor": back["next"]})).json()
            assert again["items"] == page["items"]


async def test_jobs_are_counted_up_to_a_bound_by_a_text_too(client: Client, runtime: Runtime) -> None:
    await insert(runtime, 3, queue="mail", error={"kind": "Boom", "message": "no such page"})
    await insert(runtime, 2, queue="mail", state="killed")

    async def count(**body: Any) -> Any:
        return await (await client.post("/v1/jobs/count", json=body)).json(content_type=None)

    assert await count() == {"count": 5, "states": {"failed": 3, "killed": 2}, "truncated": False}
    assert await count(filter={"queue": "mail"}, most=4) == {"count": 4, "states": None, "truncated": True}
    assert (await count(q="SUCH P"))["count"] == 3
    assert list((await count(most=10_001))["errors"]) == ["most"]
    found = await client.post("/v1/jobs/search", json={"q": "such page", "filter": {"state": "failed"}, "limit": 2})
    page = await found.json()
    assert len(page["items"]) == 2
    rest = {"q": "such page", "filter": {"state": "failed"}, "cursor": page["next"]}
    assert len((await (await client.post("/v1/jobs/search", json=rest)).json())["items"]) == 1


async def test_keys_and_counts_look_at_few_jobs_however_many_there_are(client: Client, runtime: Runtime) -> None:
    await insert(runtime, 300)
    job = await runtime.producer.add(NewJob(type="a", queue="q", key="order-17"))
    runtime.searches._store.most_read = 0
    unfinished = ["pending", "processing", "delayed"]
    by_key = {"queue": {"$in": ["q", "other"]}, "key": "order-17", "state": {"$in": unfinished}}
    found = await client.post("/v1/jobs/search", json={"filter": by_key})
    assert [each["id"] for each in (await found.json())["items"]] == [job.id]
    for costly in (
        {"key": "order-17"},
        {**by_key, "state": {"$in": ["pending", "failed"]}},
        {"queue": "q", "key": "x"},
    ):
        assert (await client.post("/v1/jobs/search", json={"filter": costly})).status == 422, costly
        assert (await client.post("/v1/jobs/count", json={"filter": costly})).status == 422, costly

    async def examined(command: dict[str, Any]) -> int:
        plan = await runtime.database.raw.command("explain", command, verbosity="executionStats")
        first = plan["stages"][0]["$cursor"] if "stages" in plan else plan
        return int(first["executionStats"]["totalKeysExamined"])

    query = search(by_key)
    assert await examined({"find": "jobs", "filter": statement(query), "sort": dict(order(query)), "limit": 51}) <= 5
    for asked in ({}, {"queue": "q"}, {"queue": "q", "state": "failed"}, {"type": "a"}):
        pipeline = counted(compile_filter(asked), EVERYTHING, 20)
        assert await examined({"aggregate": "jobs", "pipeline": pipeline, "cursor": {}}) <= 25, asked
