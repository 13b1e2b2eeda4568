from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp.test_utils import TestClient, TestServer

from jobqueue.api.app import make_app
from jobqueue.domain.errors import DatabaseUnavailableError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aiohttp import ClientResponse, web

    from jobqueue.services.runtime import Runtime

    Client = TestClient[web.Request, web.Application]


@pytest.fixture
async def client(runtime: Runtime) -> AsyncIterator[Client]:
    async with TestClient(TestServer(make_app(runtime))) as one:
        yield one


async def post(client: Client, once: str, **fields: Any) -> ClientResponse:
    return await client.post("/v1/jobs", json={"type": "a", **fields}, headers={"Idempotency-Key": once})


async def count(runtime: Runtime) -> int:
    return int(await runtime.jobs.collection.count_documents({}))


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
    assert sorted(answer.status for answer in answers) == [200] * 19 + [201]
    assert len({(await answer.json())["id"] for answer in answers}) == 1
    assert await count(runtime) == 1


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


async def test_keys_are_for_single_jobs_and_kept_a_day(client: Client, runtime: Runtime) -> None:
    answer = await client.post("/v1/jobs/bulk", json={"jobs": [{"type": "a"}]}, headers={"Idempotency-Key": "k"})
    assert answer.status == 422
    await post(client, "~" * 255)
    record = await runtime.database.collection("idempotency").find_one({})
    assert record is not None
    assert abs((record["at"] - await runtime.database.clock.now()).total_seconds()) < 10
    assert await runtime.database.index_differences() == []
