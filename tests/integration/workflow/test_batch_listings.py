"""Listings of batches by their meta, by the types of their jobs, and by failures."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp.test_utils import TestClient, TestServer
from bson import ObjectId

from jobqueue import Member, NewBatch, NewJob
from jobqueue.api.app import make_app
from jobqueue.domain.insight.audit import Actor
from jobqueue.domain.workflow.batch_query import BatchQuery
from jobqueue.services.workflow.batch_pages import MOST_LOOKED_AT
from tests.support.data.factories import claim, fail

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from aiohttp import web

    from jobqueue.services.application import Runtime

    Client = TestClient[web.Request, web.Application]

ANN = Actor(name="ann", via="cli")


@pytest.fixture
async def client(idle_runtime: Runtime) -> AsyncIterator[Client]:
    async with TestClient(TestServer(make_app(idle_runtime))) as client:
        yield client


async def listed(client: Client, query: Mapping[str, str], token: str = "") -> list[str]:
    """Return the ids of all pages of a listing of batches."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    ids: list[str] = []
    more: dict[str, str] = {}
    while True:
        answer = await client.get("/v1/batches", params={"limit": "1", **query, **more}, headers=headers)
        assert answer.status == 200, await answer.text()
        page = await answer.json()
        ids += [item["id"] for item in page["items"]]
        if page["next"] is None:
            return ids
        more = {"cursor": page["next"]}


async def made(runtime: Runtime, meta: Mapping[str, Any], *types: str) -> str:
    own = {"user_id": meta.get("user_id")}
    members = [Member(job=NewJob(type=kind, queue="q", attempts=1, meta=own)) for kind in types]
    return (await runtime.batches.create(NewBatch(members=members, meta=meta)))[0].batch.id


async def test_batches_are_listed_by_meta_by_type_and_by_failures(client: Client, idle_runtime: Runtime) -> None:
    failed = await made(idle_runtime, {"user_id": 42, "order": {"kind": "gift"}}, "import")
    claimed = await claim(idle_runtime, queue="q")
    assert claimed is not None
    await fail(idle_runtime, claimed)
    mixed = await made(idle_runtime, {"user_id": "42", "labels": ["a", "b"]}, "import", "mail")
    other = await made(idle_runtime, {"user_id": 7}, "mail")
    empty = await made(idle_runtime, {})

    assert await listed(client, {"meta.user_id": "42"}) == [mixed, failed]
    assert await listed(client, {"meta.user_id": "42", "meta.order.kind": "gift"}) == [failed]
    assert await listed(client, {"meta.labels": "b"}) == [mixed]
    assert await listed(client, {"meta.user_id": "42", "state": "open"}) == [mixed]
    assert await listed(client, {"type": "mail"}) == [other, mixed]
    assert await listed(client, {"type": "import", "failed": "true"}) == [failed]
    assert await listed(client, {"failed": "true", "state": "finished"}) == [failed]
    assert await listed(client, {"failed": "true", "meta.user_id": "7"}) == []
    assert await listed(client, {"failed": "false"}) == [empty, other, mixed, failed]

    # Batches of an earlier version have no attributes until somebody asks.
    store = idle_runtime.database.collection("batches")
    await store.update_many({}, {"$unset": {"attrs": 1}})
    assert await listed(client, {"meta.user_id": "42"}) == [mixed, failed]
    assert await store.count_documents({"attrs": None}) == 0


async def test_a_limited_token_lists_its_own_batches_only(client: Client, idle_runtime: Runtime) -> None:
    mine = await made(idle_runtime, {"user_id": 7, "kind": "a"}, "mail")
    await made(idle_runtime, {"user_id": 8, "kind": "a"}, "mail")
    _, limited = await idle_runtime.access.create(roles=["read"], meta=[("user_id", 7)], by=ANN)
    for query in ({"meta.kind": "a"}, {"type": "mail"}, {}):
        assert await listed(client, query, limited) == [mine]
    assert await listed(client, {"meta.user_id": "8"}, limited) == []


@pytest.mark.parametrize(
    ("query", "name"),
    [
        ({"meta.$where": "1"}, "meta.$where"),
        ({"meta.a..b": "1"}, "meta.a..b"),
        ({"meta.a": "x" * 201}, "meta.a"),
        ({"failed": "yes"}, "failed"),
        ({"failed": ""}, "failed"),
        ({"type": ""}, "type"),
        ({"failed": "true", "cursor": "a" * 24}, "cursor"),
        ({"state": "new"}, "state"),
        ({"typ": "a"}, "typ"),
    ],
)
async def test_an_unacceptable_filter_is_named(client: Client, query: Mapping[str, str], name: str) -> None:
    answer = await client.get("/v1/batches", params=query)
    assert answer.status == 422
    assert set((await answer.json())["errors"]) == {name}


async def test_a_page_looks_at_so_many_batches_and_has_a_cursor_to_go_on(idle_runtime: Runtime) -> None:
    """A batch behind more others than a page looks at is found by the next page."""
    rare = await made(idle_runtime, {}, "rare")
    later = datetime.now(UTC) + timedelta(hours=1)
    many = [
        {
            "_id": ObjectId(),
            "attrs": [],
            "insertAt": later + timedelta(milliseconds=number % 7),
            "state": "open",
        }
        for number in range(MOST_LOOKED_AT)
    ]
    await idle_runtime.database.collection("batches").insert_many(many)
    pages = idle_runtime.batches.pages
    views, place = await pages.page(BatchQuery(type="rare"))
    assert (views, place is None) == ([], False)
    views, place = await pages.page(BatchQuery(type="rare"), after=place)
    assert ([view.batch.id for view in views], place) == ([rare], None)
    assert [view.batch.id for view in await pages.newest(BatchQuery(type="rare"), 5)] == [rare]
