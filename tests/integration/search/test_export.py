"""The jobs of a search as a file, over the API."""

from __future__ import annotations

import asyncio
import csv
import io
import json
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import ClientError
from aiohttp.test_utils import TestClient, TestServer

from jobqueue.api.app import make_app
from jobqueue.api.jobs import download, export
from jobqueue.domain.errors import BusyError, DatabaseUnavailableError
from jobqueue.domain.insight.audit import Actor
from tests.support.data.factories import add, claimed_job, finished_documents
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aiohttp import web

    from jobqueue.services.application import Runtime

    Client = TestClient[web.Request, web.Application]


@pytest.fixture
async def client(idle_runtime: Runtime) -> AsyncIterator[Client]:
    async with TestClient(TestServer(make_app(idle_runtime))) as one:
        yield one


async def exported(client: Client, body: Any = None, status: int = 200, **headers: str) -> str:
    reply = await client.post("/v1/jobs/export", json=body or {}, headers=headers)
    assert reply.status == status, await reply.text()
    return await reply.text()


async def test_all_jobs_of_a_search_are_written_page_by_page(
    client: Client, idle_runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "AT_ONCE", 2)
    await idle_runtime.jobs.collection.insert_many(finished_documents(5, queue="many"))
    await add(idle_runtime, "other")
    lines = [json.loads(line) for line in (await exported(client, {"filter": {"queue": "many"}})).splitlines()]
    assert len({line["id"] for line in lines}) == 5
    whole = {"filter": {"queue": "many"}, "limit": 5}
    assert len((await exported(client, whole)).splitlines()) == 5, "nothing was cut"
    # The search goes on where the file was cut.
    for limit in (2, 3):
        *some, cut = map(json.loads, (await exported(client, whole | {"limit": limit})).splitlines())
        assert (len(some), cut["truncated"]) == (limit, True)
    *some, cut = map(json.loads, (await exported(client, whole | {"limit": 2})).splitlines())
    rest = await client.post("/v1/jobs/search", json={"filter": {"queue": "many"}, "cursor": cut["next"]})
    found = [job["id"] for job in (await rest.json())["items"]]
    assert sorted([*found, *(job["id"] for job in some)]) == sorted(line["id"] for line in lines)
    assert "truncated: " in (await exported(client, whole | {"limit": 4, "format": "csv"})).splitlines()[-1]


async def test_cells_are_no_formulas(client: Client, idle_runtime: Runtime) -> None:
    texts = ["=1+2", "+1", "-1", "@a", "\tx", "\nx", "a=1"]
    for text in texts:
        await add(idle_runtime, "a", meta={"t": text, "n": -5})
    body = {"format": "csv", "fields": ["type", "meta.t", "meta.n", "data", "key"], "sort": {"insertAt": 1}}
    head, *rows = csv.reader(io.StringIO(await exported(client, body)))
    assert head == body["fields"]
    assert [row[1] for row in rows] == [*(f"'{text}" for text in texts[:-1]), "a=1"]
    assert rows[0][2:] == ["-5", "{}", ""]


async def test_an_export_keeps_to_the_rights_of_its_token(idle_runtime: Runtime) -> None:
    mine, _ = await claimed_job(idle_runtime, "a", queue="mine"), await add(idle_runtime, "b", queue="theirs")
    by = Actor(name="test", via="python")
    _, limited = await idle_runtime.access.create(roles=["read"], queues=["mine"], by=by)
    _, adder = await idle_runtime.access.create(roles=["enqueue"], by=by)
    async with TestClient(TestServer(make_app(idle_runtime, open_to_all=False))) as guarded:
        text = await exported(guarded, Authorization=f"Bearer {limited}")
        assert [json.loads(line)["queue"] for line in text.splitlines()] == ["mine"]
        assert mine.token not in text, "a token of a claim is enough to end its job"
        await exported(guarded, status=403, Authorization=f"Bearer {adder}")


async def test_wrong_input_is_told_before_a_file_begins(client: Client) -> None:
    for body in (
        {"format": "xls"},
        {"limit": 0},
        {"limit": 100_001},
        {"fields": ["nosuch"]},
        {"filter": {"$where": 1}},
    ):
        told = json.loads(await exported(client, body, 422))
        assert told["errors"], body


async def endless(*_: Any) -> AsyncIterator[export.ExportPage]:
    while True:
        yield export.ExportPage([{"id": "x" * 100_000}])
        await asyncio.sleep(0)


async def ended(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    """Wait for an export that is aborted, without a crash."""
    await eventually(lambda: "export aborted" in caplog.text)
    assert "request crashed" not in caplog.text
    # The next request is answered as ever.
    assert (await client.get("/healthz")).status == 200


async def test_a_client_that_leaves_a_file_is_no_crash(
    client: Client, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(export, "pages", endless)
    # Servers of aiohttp's tests cancel the handlers of lost connections; others do not.
    assert isinstance(client.server, TestServer)
    assert client.server.runner is not None
    assert client.server.runner.server is not None
    client.server.runner.server.handler_cancellation = False
    reply = await client.post("/v1/jobs/export", json={})
    await reply.content.read(10)
    reply.close()
    await ended(client, caplog)


async def test_a_client_that_takes_nothing_is_left(
    client: Client, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(export, "pages", endless)
    monkeypatch.setattr(download, "STALLED", 0.1)
    reply = await client.post("/v1/jobs/export", json={})
    await ended(client, caplog)
    with pytest.raises(ClientError):
        await reply.read()


async def test_an_unforeseen_error_does_not_end_up_in_the_file(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    async def spoilt(*_: Any) -> AsyncIterator[export.ExportPage]:
        yield export.ExportPage([{"id": "a"}])
        raise KeyError("spoilt")

    monkeypatch.setattr(export, "pages", spoilt)
    reply = await client.post("/v1/jobs/export", json={})
    assert await reply.content.readline() == b'{"id":"a"}\n'
    with pytest.raises(ClientError):
        await reply.content.read()


async def test_a_file_that_has_begun_waits_for_a_database_that_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "PAUSES", (0, 0))
    away = [DatabaseUnavailableError("away"), BusyError("busy")]

    async def page(cursor: str | None) -> tuple[list[dict[str, Any]], str | None]:
        if cursor and away:
            raise away.pop()
        return [{"id": cursor}], None if cursor else "next"

    found = [item async for each in export.pages(page, 10) for item in each.items]
    assert found == [{"id": None}, {"id": "next"}]
    away += [BusyError("busy")] * 4
    with pytest.raises(BusyError):
        assert [each async for each in export.pages(page, 10)]


async def test_columns_below_lists_have_the_values_of_all_their_objects(client: Client, idle_runtime: Runtime) -> None:
    items = [{"n": 1, "to": [{"x": "=a"}]}, 5, {"n": None}]
    await add(idle_runtime, "a", data={"items": items})
    body = {"format": "csv", "fields": ["data.items.n", "data.items.to.x", "data.items.0", "history.outcome"]}
    _, row = csv.reader(io.StringIO(await exported(client, body)))
    assert row == ["[1,null]", '[["=a"],null]', "[null,null]", "[]"]
