"""Changes of jobs over HTTP: as server-sent events, and waited for."""

from __future__ import annotations

import asyncio
import gc
import socket
import weakref
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp.test_utils import TestClient, TestServer

from jobqueue.api.app import make_app
from jobqueue.api.insight import events as api
from jobqueue.domain.jobs.job import NewJob
from jobqueue.services.insight import events
from jobqueue.services.jobs import watch
from tests.support.data.factories import add, claim, claimed_job, retry, succeed
from tests.support.http.sse import Source
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aiohttp import web

    from jobqueue.services.application import Runtime

    Client = TestClient[web.Request, web.Application]


def narrow(host: str, port: int, _family: socket.AddressFamily) -> socket.socket:
    """Return a listening socket whose connections hold little that is not taken."""
    made = socket.socket()
    made.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    made.bind((host, port))
    return made


@pytest.fixture
async def client(idle_runtime: Runtime) -> AsyncIterator[Client]:
    async with TestClient(TestServer(make_app(idle_runtime), socket_factory=narrow)) as one:
        yield one


async def test_events_come_as_a_browser_understands_them(client: Client, idle_runtime: Runtime) -> None:
    async with client.get("/v1/events", params={"queue": "q"}) as response:
        assert response.status == 200
        assert response.headers["Content-Type"] == "text/event-stream"
        assert response.headers["Cache-Control"] == "no-store"
        source = Source()
        stream = source.read(response)
        await add(idle_runtime, "other")
        job = await add(idle_runtime, "a", queue="q")
        name, event = await anext(stream)
        assert (name, event["event"], event["id"], event["state"]) == ("inserted", "inserted", job.id, "pending")
        assert source.retry == 2000
        assert source.last_id
    await claim(idle_runtime, "q")
    again = Source()
    async with client.get("/v1/events?queue=q", headers={"Last-Event-ID": source.last_id}) as response:
        name, event = await anext(again.read(response))
        assert (name, event["id"]) == ("started", job.id)
    await eventually(lambda: idle_runtime.events.readers == 0)


async def test_an_id_that_is_not_known_begins_with_a_gap(client: Client, idle_runtime: Runtime) -> None:
    async with client.get("/v1/events", headers={"Last-Event-ID": "00" * 20}) as response:
        stream = Source().read(response)
        assert (await anext(stream))[0] == "gap"
        await add(idle_runtime)
        assert (await anext(stream))[0] == "inserted"


@pytest.mark.parametrize(
    ("query", "headers"),
    [
        ("", {"Last-Event-ID": "x"}),
        ("state=none", {}),
        ("job=1", {}),
        ("batch=", {}),
        ("progress=2", {}),
        ("what=1", {}),
    ],
)
async def test_what_cannot_be_understood_is_refused(client: Client, query: str, headers: dict[str, str]) -> None:
    answer = await client.get(f"/v1/events?{query}", headers=headers)
    assert answer.status == 422
    assert list((await answer.json(content_type=None))["errors"]) == [query.partition("=")[0] or "Last-Event-ID"]


async def test_too_many_readers_are_refused(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "MOST_READERS", 0)
    answer = await client.get("/v1/events")
    assert (answer.status, answer.headers["Retry-After"]) == (503, "5")
    assert (await client.head("/v1/events")).status == 200


async def test_a_reader_that_takes_nothing_is_cut_off(
    client: Client, idle_runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api, "_SEND_SECONDS", 0.5)
    assert client.port is not None
    with socket.socket() as lazy:
        lazy.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        lazy.connect((client.host, client.port))
        lazy.sendall(b"GET /v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await eventually(lambda: idle_runtime.events.readers == 1)
        [reader] = idle_runtime.events._readers
        for _ in range(3):
            await idle_runtime.producer.add_all([NewJob(type="a" * 200) for _ in range(1000)])
            assert len(reader._items) <= events.MOST_KEPT
        await eventually(lambda: idle_runtime.events.readers == 0)
        gone = weakref.ref(reader)
        del reader
        await eventually(lambda: gc.collect() >= 0 and gone() is None)


async def test_streams_end_when_the_server_stops(idle_runtime: Runtime) -> None:
    server = TestServer(make_app(idle_runtime))
    async with TestClient(server) as client, client.get("/v1/events") as response:
        source = Source()
        reading = asyncio.create_task(anext(source.read(response), None))
        await eventually(lambda: source.last_id)
        async with asyncio.timeout(20):
            await server.close()
            assert await reading is None


async def shown(client: Client, job_id: str, query: str = "", **headers: str) -> tuple[int, str, Any]:
    async with client.get(f"/v1/jobs/{job_id}{query}", headers=headers) as answer:
        body = await answer.json(content_type=None) if answer.status != 304 else None
        return answer.status, answer.headers.get("ETag", ""), body


async def test_a_change_that_the_caller_does_not_know_is_shown_at_once(client: Client, idle_runtime: Runtime) -> None:
    claimed = await claimed_job(idle_runtime)
    job_id = claimed.job.id
    status, tag, job = await shown(client, job_id)
    assert (status, job["state"], tag[:1]) == (200, "processing", '"')
    assert (await shown(client, job_id, **{"If-None-Match": tag}))[0] == 304
    await idle_runtime.work.report(claimed.job, claimed.token, progress=5)
    async with asyncio.timeout(10):
        status, newer, job = await shown(client, job_id, "?wait=60", **{"If-None-Match": tag})
    assert (status, job["progress"]) == (200, 5)
    assert newer != tag
    assert (await shown(client, job_id, "?wait=0.05", **{"If-None-Match": newer}))[:2] == (304, newer)
    assert (await shown(client, job_id, "?wait=0.05"))[:2] == (200, newer)
    await idle_runtime.work.report(claimed.job, claimed.token, lines=[("only a line", None)])
    assert (await shown(client, job_id, "?wait=0.05", **{"If-None-Match": newer}))[0] == 304


async def test_a_wait_ends_with_the_first_change_wherever_it_was_made(
    client: Client, idle_runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "_LOOK_SECONDS", 60.0)
    job = await add(idle_runtime)

    async def next_change(act: Any) -> Any:
        waits = asyncio.create_task(shown(client, job.id, "?wait=60"))
        await eventually(lambda: idle_runtime.events.readers == 1)
        await act
        async with asyncio.timeout(20):
            return (await waits)[2]["state"]

    assert await next_change(idle_runtime.manager.kill(job.id)) == "killed"
    assert await next_change(idle_runtime.manager.requeue(job.id)) == "pending"
    claimed = await claim(idle_runtime)
    assert await next_change(retry(idle_runtime, claimed)) == "delayed"
    assert await next_change(idle_runtime.manager.patch(job.id, {"delay_til": None})) == "pending"
    assert await next_change(claim(idle_runtime)) == "processing"


async def test_a_wait_for_a_job_that_is_deleted_ends_too(
    client: Client, idle_runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "_LOOK_SECONDS", 0.05)
    job = await succeed(idle_runtime, await claimed_job(idle_runtime))
    waits = asyncio.create_task(shown(client, job.id, "?wait=60"))
    await eventually(lambda: idle_runtime.events.readers == 1)
    await idle_runtime.manager.delete(job.id)
    assert (await waits)[0] == 404


async def test_waits_are_limited_in_time_and_number(
    client: Client, idle_runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = await add(idle_runtime)
    for wrong in ("61", "-1", "x", "", "1e1"):
        assert (await shown(client, job.id, f"?wait={wrong}"))[0] == 422
    assert (await shown(client, "0" * 24, "?wait=60"))[0] == 404
    monkeypatch.setattr(watch, "MOST_WAITING", 0)
    assert (await shown(client, job.id, "?wait=60"))[0] == 503
