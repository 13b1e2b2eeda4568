"""A token for a value of `meta` sees and changes a job by what its `meta` is now, also while the index is older."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp.test_utils import TestClient, TestServer
from bson import Decimal128, ObjectId

from jobqueue.api.app import make_app
from jobqueue.domain.access.access import Scope
from jobqueue.domain.insight.audit import Actor
from jobqueue.domain.insight.event import EventFilter, JobEvent
from jobqueue.domain.jobs.job import NewJob
from jobqueue.domain.search.filters import compile_filter
from jobqueue.domain.workflow.batch import Member, NewBatch
from jobqueue.services.application import Runtime
from jobqueue.store.documents import attributes, scope_filters
from jobqueue.store.search import filters, search
from tests.support.data.external_documents import taken
from tests.support.data.factories import add, claim, fail
from tests.support.mongo.plans import explain
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aiohttp import web

    from jobqueue.settings import Settings

ADMIN = "the-token-of-the-settings"
BY = Actor(name="test", via="python")
MINE = {"user": 7}
STALE: list[Any] = [{"user": 8}, {"other": 7}, {}, None, 7, [{"user": 7}], {"user": {"id": 7}}, {"user": [[7]]}]


@dataclass(frozen=True, slots=True, kw_only=True)
class House:
    """A server without anything in the background, and a token for one user."""

    client: TestClient[web.Request, web.Application]
    runtime: Runtime
    token: str

    async def ask(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        headers = {"Authorization": f"Bearer {self.token}", **headers}
        async with self.client.request(method, path, json=body, headers=headers) as answer:
            return answer.status, await answer.json() if answer.content_length else None

    async def edit(self, job_id: str, meta: Any) -> None:
        """Give a job another `meta` as with a tool of MongoDB; nothing follows that here."""
        await self.runtime.jobs.collection.update_one({"_id": ObjectId(job_id)}, {"$set": {"meta": meta}})


@pytest.fixture
async def house(settings: Settings) -> AsyncIterator[House]:
    runtime = await Runtime.open(replace(settings, admin_token=ADMIN))
    await runtime.configs.refresh()
    async with TestClient(TestServer(make_app(runtime))) as client:
        _, token = await runtime.access.create(roles=["admin"], meta=[("user", 7)], by=BY)
        yield House(client=client, runtime=runtime, token=token)
    await runtime.close()


async def ids(house: House, method: str, path: str, body: Any = None) -> list[str]:
    status, answer = await house.ask(method, path, body)
    assert status == 200, answer
    return [one["id"] for one in answer["items"]]


@pytest.mark.parametrize("meta", STALE, ids=str)
async def test_what_the_index_still_has_is_neither_listed_nor_counted(house: House, meta: Any) -> None:
    own, lost = [await add(house.runtime, meta=MINE) for _ in range(2)]
    await house.edit(lost.id, meta)
    assert await ids(house, "GET", "/v1/jobs") == [own.id]
    assert await ids(house, "GET", "/v1/jobs?meta.user=7") == [own.id]
    assert await ids(house, "GET", "/v1/jobs?state=pending&sort=insertAt") == [own.id]
    assert await ids(house, "GET", "/v1/jobs?q=work") == [own.id]
    assert await ids(house, "POST", "/v1/jobs/search", {"filter": {"id": {"$in": [own.id, lost.id]}}}) == [own.id]
    assert await ids(house, "POST", "/v1/jobs/search", {"filter": {"meta.user": 7}}) == [own.id]
    for stages in ([{"$count": "n"}], [{"$match": {"state": "pending"}}, {"$count": "n"}]):
        _, rows = await house.ask("POST", "/v1/jobs/aggregate", {"pipeline": stages})
        assert rows["items"] == [{"n": 1}]


async def test_a_search_without_a_scope_shows_nothing_by_what_the_index_still_has(house: House) -> None:
    own, lost = [await add(house.runtime, meta={"user": 7, "tags": ["a", "b"]}) for _ in range(2)]
    await house.edit(lost.id, {"user": 8, "tags": ["a", "c"]})
    headers = {"Authorization": f"Bearer {ADMIN}"}
    for asked in (
        {"meta.user": 7},
        {"meta.user": {"$in": [7, 9]}},
        {"meta.tags": {"$all": ["a", "b"]}},
        {"meta.tags": "b"},
    ):
        async with house.client.post("/v1/jobs/search", json={"filter": asked}, headers=headers) as answer:
            assert [one["id"] for one in (await answer.json())["items"]] == [own.id], asked
    async with house.client.get("/v1/jobs?meta.user=7", headers=headers) as answer:
        assert [one["id"] for one in (await answer.json())["items"]] == [own.id]


@pytest.mark.parametrize("meta", [{"user": 8}, None])
async def test_every_door_to_a_job_is_shut_as_soon_as_its_meta_is_another_one(house: House, meta: Any) -> None:
    job = await add(house.runtime, meta=MINE)
    claimed = await claim(house.runtime)
    await house.edit(job.id, meta)
    token = {"token": claimed.token}
    for method, path, body in (
        ("GET", "", None),
        ("GET", "?wait=5", None),
        ("GET", "/logs", None),
        ("GET", "/logs?wait=5", None),
        ("GET", "/why", None),
        ("GET", "/family", None),
        ("PATCH", "", {"priority": 3}),
        ("DELETE", "", None),
        ("POST", "/kill", {}),
        ("POST", "/requeue", {}),
        ("POST", "/heartbeat", token),
        ("POST", "/succeed", token),
        ("POST", "/fail", {**token, "reason": "x"}),
        ("POST", "/die", {**token, "reason": "x"}),
        ("POST", "/retry", token),
        ("GET", f"/parents/{job.id}", None),
    ):
        status, answer = await house.ask(method, f"/v1/jobs/{job.id}{path}", body)
        assert status == 404, (method, path, answer)
    assert (await house.runtime.jobs.get(job.id)).priority == 0


@pytest.mark.parametrize("verb", ["kill", "delete"])
async def test_an_operation_leaves_alone_what_is_not_in_its_scope_any_more(house: House, verb: str) -> None:
    own, lost, late = [await add(house.runtime, meta=MINE, delay=600) for _ in range(3)]
    await house.edit(lost.id, {"user": 8})
    status, preview = await house.ask("POST", f"/v1/jobs/{verb}", {"all": True, "dryRun": True})
    assert status == 200, preview
    assert preview["matched"] == 2
    status, begun = await house.ask("POST", f"/v1/jobs/{verb}", {"filter": {"meta.user": 7}})
    assert status == 202, begun
    await house.edit(late.id, {"user": 8})
    while await house.runtime.operations.run_once() is not None:
        pass
    assert await house.runtime.jobs.find(own.id) is None or (await house.runtime.jobs.get(own.id)).state != "delayed"
    for one in (lost, late):
        assert (await house.runtime.jobs.get(one.id)).state == "delayed"


async def test_failures_are_grouped_by_what_meta_is_now(house: House) -> None:
    jobs = [await add(house.runtime, meta=MINE, attempts=1) for _ in range(2)]
    for _ in jobs:
        failed = await fail(house.runtime, await claim(house.runtime))
    await house.edit(jobs[0].id, {"user": 8})
    await house.runtime.failures.run_once()
    _, groups = await house.ask("GET", "/v1/failures")
    assert [one["count"] for one in groups["items"]] == [1]
    await house.edit(jobs[1].id, {"user": 8})
    assert (await house.ask("GET", "/v1/failures"))[1]["items"] == []
    assert failed.state == "failed"


async def test_nothing_can_wait_for_a_job_or_hear_of_its_key_that_is_not_in_the_scope_any_more(house: House) -> None:
    job = await add(house.runtime, meta=MINE, key="k")
    await house.edit(job.id, {"user": 8})
    status, problem = await house.ask("POST", "/v1/jobs", {"type": "a", "dependsOn": [job.id]})
    assert status == 422, problem
    status, problem = await house.ask("POST", "/v1/jobs", {"type": "a", "key": "k"})
    assert status == 409
    assert job.id not in str(problem)


async def test_a_repeated_request_does_not_show_what_it_has_made_when_that_is_not_in_the_scope_any_more(
    house: House,
) -> None:
    bodies = {
        "/v1/jobs": {"type": "a"},
        "/v1/jobs/bulk": {"jobs": [{"type": "a"}, {"type": "b"}]},
        "/v1/batches": {"jobs": [{"type": "a"}]},
    }
    for number, (path, body) in enumerate(bodies.items()):
        key = {"Idempotency-Key": f"key-{number}"}
        status, made = await house.ask("POST", path, body, **key)
        assert status == 201, made
        assert (await house.ask("POST", path, body, **key))[0] == 200
        await house.runtime.jobs.collection.update_many({}, {"$set": {"meta": {"user": 8}}})
        status, problem = await house.ask("POST", path, body, **key)
        assert status == 409, problem
        assert made.get("id", "nothing") not in str(problem)


async def test_a_batch_is_shut_when_one_of_its_jobs_or_its_own_meta_is_another_one(house: House) -> None:
    async def batch() -> tuple[str, str]:
        new = NewBatch(members=(Member(job=NewJob(type="a", meta=MINE)),), meta=MINE)
        made, added = await house.runtime.batches.create(new)
        return made.batch.id, added[0].id

    own, (by_job, job_id), (by_meta, _), (odd, _) = (await batch())[0], await batch(), await batch(), await batch()
    await house.edit(job_id, {"user": 8})
    batches = house.runtime.database.collection("batches")
    await batches.update_one({"_id": ObjectId(by_meta)}, {"$set": {"meta": {"user": 8}}})
    await batches.update_one({"_id": ObjectId(odd)}, {"$set": {"meta": "user=7"}})
    assert await ids(house, "GET", "/v1/batches") == [own]
    for shut in (by_job, by_meta, odd):
        assert (await house.ask("GET", f"/v1/batches/{shut}"))[0] == 404
        assert (await house.ask("POST", f"/v1/batches/{shut}/kill", {}))[0] == 404
    headers = {"Authorization": f"Bearer {ADMIN}"}
    async with house.client.get(f"/v1/batches/{odd}", headers=headers) as answer:
        assert answer.status == 200


async def test_events_are_told_by_what_meta_was_at_the_change(house: House) -> None:
    lost, won = await add(house.runtime, meta=MINE), await add(house.runtime, meta={"user": 8})
    heard: list[str] = []

    async def listen() -> None:
        interest = EventFilter(scope=Scope(meta=(("user", 7),)))
        items = house.runtime.events.follow(interest)
        while (item := await anext(items, None)) is not None:
            heard.append(item.job_id if isinstance(item, JobEvent) else "")

    task = asyncio.create_task(listen())
    await eventually(lambda: heard == [""])
    await house.edit(lost.id, {"user": 8})
    await house.edit(won.id, {"user": 7})
    await house.runtime.manager.kill(lost.id)
    await house.runtime.manager.kill(won.id)
    await eventually(lambda: heard == ["", won.id])
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


VALUES: list[Any] = [
    7,
    7.0,
    "7",
    True,
    None,
    0.1,
    Decimal128("0.1"),
    Decimal128("7"),
    ObjectId("a" * 24),
    "a" * 24,
    -0.0,
]


async def test_the_same_jobs_are_in_a_scope_as_their_attributes_say_when_those_are_not_stale(house: House) -> None:
    shapes = [{"user": one} for one in VALUES] + [{"user": [one, "x"]} for one in VALUES]
    shapes += [{"user": {"id": one}} for one in VALUES] + [{"user": [{"id": one}, {"no": 1}, [one]]} for one in VALUES]
    shapes += [{}, {"user": {}}, {"user": []}, {"user": [[7]]}, {"user": {"0": 7}}, {"user": [7]}]
    jobs = [await taken(house.runtime, {"type": "a", "meta": one}) for one in shapes]
    collection = house.runtime.jobs.collection
    asked = [(path, attributes.plain(one)) for path in ("user", "user.id", "user.0") for one in VALUES]
    seen = 0
    for path, value in asked:
        scope = Scope(meta=((path, value),))
        found = {str(one["_id"]) async for one in collection.find({"$and": scope_filters.clauses(scope)}, {"_id": 1})}
        expected = {
            job.id for job, meta in zip(jobs, shapes, strict=True) if Scope.has_meta(scope, attributes.plain(meta))
        }
        assert found == expected, (path, value)
        seen += len(found)
    assert seen > 60


@pytest.mark.parametrize("asked", [{"meta.user": 7}, {"meta.user": {"$in": [7, None]}}, {}])
async def test_a_page_of_a_value_looks_at_few_jobs(house: House, asked: dict[str, Any]) -> None:
    config = house.runtime.configs.of("default")
    new = [config.fill(NewJob(type="a", meta={"user": number % 100})) for number in range(1000)]
    await house.runtime.producer.add_all(new)
    wanted = {"find": "jobs", "sort": {"insertAt": -1, "_id": -1}, "limit": 5}
    scope = Scope(meta=(("user", 7),))
    wanted["filter"] = filters.matching(compile_filter(asked), scope)
    await explain(house.runtime.database, wanted, keys=12)
    estimate, _ = search.candidates(compile_filter(asked), scope)
    assert "meta" not in estimate
