from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp.test_utils import TestClient, TestServer

from jobqueue.api.app import make_app
from jobqueue.api.jobs import idempotency_key as once
from jobqueue.domain.access.access import Caller
from jobqueue.domain.errors import DatabaseUnavailableError
from jobqueue.store import indexes
from jobqueue.store.workflow.idempotency import BUSY

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aiohttp import ClientResponse, web

    from jobqueue.services.application import Runtime

    Client = TestClient[web.Request, web.Application]


@pytest.fixture
async def client(runtime: Runtime) -> AsyncIterator[Client]:
    async with TestClient(TestServer(make_app(runtime))) as one:
        yield one


async def send(client: Client, path: str, once: str, body: Any) -> ClientResponse:
    return await client.post(path, json=body, headers={"Idempotency-Key": once})


async def post(client: Client, once: str, **fields: Any) -> ClientResponse:
    return await send(client, "/v1/jobs", once, {"type": "a", **fields})


async def count(runtime: Runtime) -> int:
    return int(await runtime.jobs.collection.count_documents({"state": {"$exists": True}}))


async def test_the_same_key_and_body_is_the_same_job(client: Client, runtime: Runtime) -> None:
    first = await post(client, "k1", data={"a": 1, "b": 2})
    again = await post(client, "k1", data={"b": 2, "a": 1})
    assert (first.status, again.status) == (201, 200)
    assert (await first.json())["id"] == (await again.json())["id"]
    other = await post(client, "k2", data={"a": 1, "b": 2})
    assert (await other.json())["id"] != (await first.json())["id"]
    assert await count(runtime) == 2


async def test_the_same_key_with_another_body_is_refused(client: Client, runtime: Runtime) -> None:
    await post(client, "k", data={"a": 1})
    other = await post(client, "k", data={"a": 2})
    assert other.status == 422
    assert list((await other.json(content_type=None))["errors"]) == ["Idempotency-Key"]
    assert await count(runtime) == 1


async def test_twenty_at_once_make_one_job(client: Client, runtime: Runtime) -> None:
    answers = await asyncio.gather(*(post(client, "k", data={"a": 1}) for _ in range(20)))
    statuses = sorted(answer.status for answer in answers)
    assert statuses.count(201) == 1
    assert set(statuses) <= {200, 201, 409}
    assert len({(await answer.json())["id"] for answer in answers if answer.status != 409}) == 1
    assert await count(runtime) == 1


async def test_while_a_request_is_under_way_its_repetition_is_refused(
    client: Client, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobqueue.store.workflow.idempotency.BUSY", timedelta(minutes=1))
    begun, go_on = asyncio.Event(), asyncio.Event()
    add = runtime.producer.add

    async def slow(*arguments: Any, **more: Any) -> Any:
        begun.set()
        await go_on.wait()
        return await add(*arguments, **more)

    monkeypatch.setattr(runtime.producer, "add", slow)
    first = asyncio.create_task(post(client, "k"))
    await begun.wait()
    second = await post(client, "k")
    assert (second.status, (await second.json(content_type=None))["type"]) == (409, "/problems/in-flight")
    assert (await post(client, "k", priority=1)).status == 422
    go_on.set()
    assert ((await first).status, (await post(client, "k")).status) == (201, 200)
    assert await count(runtime) == 1


@pytest.mark.parametrize("stored", [False, True])
async def test_what_a_process_that_died_has_begun_is_completed_after_a_moment(
    client: Client, runtime: Runtime, *, stored: bool
) -> None:
    job = await (await post(client, "k", key="mine")).json()
    records = runtime.database.collection("idempotency")
    as_of_a_dead_one = {"busyTil": await runtime.database.clock.now() + 2 * BUSY - timedelta(seconds=1)}
    await records.update_one({}, {"$set": as_of_a_dead_one, "$unset": {"made": ""}})
    if not stored:
        await runtime.jobs.collection.delete_many({})
    assert (await post(client, "k", key="mine")).status == 409
    await records.update_one({}, {"$set": {"busyTil": await runtime.database.clock.now()}})
    again = await post(client, "k", key="mine")
    assert (again.status, (await again.json())["id"]) == (200, job["id"])
    assert await count(runtime) == 1
    assert (await post(client, "k", key="mine")).status == 200


def batch(*types: str) -> dict[str, Any]:
    return {"jobs": [{"type": kind, "ref": kind} for kind in types], "onSuccess": {"type": "after"}}


@pytest.mark.parametrize("died", [False, True])
async def test_a_batch_a_bulk_and_an_addition_are_made_once_too(
    client: Client, runtime: Runtime, *, died: bool
) -> None:
    made = await send(client, "/v1/batches", "open", batch("a") | {"sealed": False})
    addition = f"/v1/batches/{(await made.json())['id']}/jobs"
    requests = {"/v1/batches": batch("c", "b"), "/v1/jobs/bulk": {"jobs": [{"type": "x"}, {"type": "y"}]}}
    requests[addition] = {"jobs": [{"type": "z", "ref": "z"}, {"type": "w"}]}
    for path, body in requests.items():
        first = await send(client, path, f"k{path}", body)
        before = await count(runtime)
        if died:
            forget = {"$unset": {"made": ""}, "$set": {"busyTil": await runtime.database.clock.now()}}
            await runtime.database.collection("idempotency").update_many({}, forget)
        again = await send(client, path, f"k{path}", body)
        assert (first.status, again.status) == (201, 200), path
        assert await first.json() == await again.json(), path
        assert await count(runtime) == before, path
        assert (await send(client, path, f"k{path}", body | {"token": "x"})).status == 422, path
    assert (await send(client, "/v1/jobs", f"k{addition}", requests[addition])).status == 422


async def test_two_callers_may_choose_the_same_key(
    client: Client, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = iter("abab")
    monkeypatch.setattr(once, "caller", lambda _: Caller(name=next(names), roles=frozenset({"admin"})))
    answers = [await post(client, "k") for _ in range(4)]
    assert [answer.status for answer in answers] == [201, 201, 200, 200]
    assert await count(runtime) == 2


async def test_a_request_cut_off_before_the_job_was_stored_is_completed_by_its_repetition(
    client: Client, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: object, **__: object) -> None:
        raise DatabaseUnavailableError("gone")

    with monkeypatch.context() as patch:
        patch.setattr(runtime.producer, "add", away)
        assert (await post(client, "k")).status == 503
    assert await count(runtime) == 0
    healed = await post(client, "k")
    assert healed.status == 200
    assert (await client.get(f"/v1/jobs/{(await healed.json())['id']}")).status == 200
    assert await count(runtime) == 1


async def test_a_job_that_was_deleted_is_not_made_again(client: Client, runtime: Runtime) -> None:
    job = await (await post(client, "k")).json()
    await client.delete(f"/v1/jobs/{job['id']}")
    again = await post(client, "k")
    assert again.status == 409
    assert job["id"] in (await again.json(content_type=None))["detail"]
    assert await count(runtime) == 0


async def test_a_conflict_of_the_jobs_own_key_is_not_remembered(client: Client) -> None:
    holder = await (await post(client, "k1", key="x")).json()
    assert (await post(client, "k2", key="x")).status == 409
    await client.delete(f"/v1/jobs/{holder['id']}")
    assert (await post(client, "k2", key="x")).status == 200


async def test_a_refused_job_leaves_the_key_free(client: Client, runtime: Runtime) -> None:
    assert (await post(client, "k", priority="x")).status == 422
    assert await runtime.database.collection("idempotency").count_documents({}) == 0
    assert (await post(client, "k", priority=1)).status == 201


@pytest.mark.parametrize("key", ["", "x" * 256, "é", "\t"])
async def test_a_key_of_the_wrong_shape_is_refused(client: Client, runtime: Runtime, key: str) -> None:
    answer = await post(client, key)
    assert answer.status == 422
    assert list((await answer.json(content_type=None))["errors"]) == ["Idempotency-Key"]
    assert await count(runtime) == 0


async def test_keys_are_kept_a_day(client: Client, runtime: Runtime) -> None:
    await post(client, "~" * 255)
    record = await runtime.database.collection("idempotency").find_one({})
    assert record is not None
    assert abs((record["at"] - await runtime.database.clock.now()).total_seconds()) < 10
    assert await indexes.differences(runtime.database) == []
