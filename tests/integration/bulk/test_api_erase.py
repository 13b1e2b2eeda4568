"""`POST /v1/erase` and `jobqueue erase`: a look first, the receipt, and what is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from aiohttp.test_utils import TestClient, TestServer

from jobqueue.api.app import make_app
from tests.support.browser.html import first, words
from tests.support.browser.visit import main_of, visitor
from tests.support.data.factories import add, claim, succeed
from tests.support.data.planted import META, PERSON, left_in

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aiohttp import web

    from jobqueue.services.application import Runtime

    Client = TestClient[web.Request, web.Application]


@pytest.fixture
async def client(idle_runtime: Runtime) -> AsyncIterator[Client]:
    async with TestClient(TestServer(make_app(idle_runtime))) as one:
        yield one


async def post(client: Client, content: Any, status: int) -> dict[str, Any]:
    response = await client.post("/v1/erase", json=content)
    assert response.status == status, await response.text()
    answer: dict[str, Any] = await response.json(content_type=None)
    return answer


async def test_an_erasure_over_http_looks_first_and_leaves_a_receipt(client: Client, idle_runtime: Runtime) -> None:
    job = await add(idle_runtime, meta=META)
    waiting = await add(idle_runtime, queue="later", meta=META)
    await succeed(idle_runtime, await claim(idle_runtime))
    preview = await post(client, {"meta": META, "dryRun": True}, 200)
    assert (preview["matched"], preview["left"]["jobs"]) == (1, {"count": 1, "ids": [waiting.id]})
    begun = await post(client, {"meta": META}, 202)
    await idle_runtime.operations.carry_on(begun["id"])
    ended = await (await client.get(f"/v1/operations/{begun['id']}")).json()
    assert (ended["state"], ended["receipt"]["jobs"], ended["filter"]) == ("finished", 1, {"meta.user_id": "erased"})
    shown = await (await client.get(f"/v1/jobs/{job.id}")).json()
    assert (shown["meta"], shown["erased"]["operation"]) == ({}, begun["id"])
    requeue = await client.post(f"/v1/jobs/{job.id}/requeue", json={})
    assert requeue.status == 409
    assert "was erased on" in (await requeue.json(content_type=None))["detail"]
    audit = await (await client.get("/v1/audit", params={"action": "erase"})).json()
    assert PERSON not in str(audit)
    async with visitor(idle_runtime) as browser:
        page = await main_of(browser, f"/jobs/{job.id}")
        assert words(first(page, "#erased")).startswith("Erased on ")
        page = await main_of(browser, f"/operations/{begun['id']}")
        assert words(first(page, "h1")) == "Erase jobs with meta.user_id=erased"
        assert "1 job has not ended and still has the values" in words(first(page, "#receipt"))
        page = await main_of(browser, f"/jobs/{waiting.id}")
        assert PERSON in words(page)
    await idle_runtime.manager.delete(waiting.id)
    assert await left_in(idle_runtime) == {}


@pytest.mark.parametrize(
    ("content", "fields"),
    [
        ({}, ["meta"]),
        ({"meta": {}}, ["meta"]),
        ({"meta": [1]}, ["meta"]),
        ({"meta": {"a": None}}, ["meta.a"]),
        ({"meta": {"a": [1]}}, ["meta.a"]),
        ({"meta": {"$a": 1}}, ["meta.$a"]),
        ({"meta": {"": 1}}, ["meta."]),
        ({"meta": {f"a{number}": 1 for number in range(11)}}, ["meta"]),
        ({"meta": {"a": 1}, "all": True}, ["all"]),
    ],
)
async def test_a_wrong_erasure_is_refused_by_the_name_of_the_field(
    client: Client, idle_runtime: Runtime, content: Any, fields: list[str]
) -> None:
    assert list((await post(client, content, 422))["errors"]) == fields
    assert await idle_runtime.operations.store.page() == []
