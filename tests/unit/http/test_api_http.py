"""What needs no MongoDB to be right: refusals, headers, tokens, and reading what is there."""

from __future__ import annotations

import asyncio
import gzip
import io
import logging
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp.test_utils import TestClient, TestServer
from bson import ObjectId

from jobqueue.api.app import make_app
from jobqueue.api.http import json_body
from jobqueue.api.http.keys import RUNTIME
from jobqueue.api.route_table import ROUTES
from jobqueue.domain.errors import DatabaseUnavailableError
from jobqueue.settings import Settings
from tests.support.mongo.mocked import mocked

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aiohttp import ClientResponse, web

    Client = TestClient[web.Request, web.Application]

TOKEN = "a-token-of-some-length"  # noqa: S105 - a test's own
ID = "0123456789abcdef01234567"
JSON = {"Content-Type": "application/json"}
DOCUMENT = {"type": "a", "queue": "q", "state": "failed", "meta": {"user": 7}, "logs": [{"m": "one"}, {"m": "two"}]}


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    runtime = mocked(Settings())
    await runtime.jobs.collection.insert_one({**DOCUMENT, "_id": ObjectId(ID)})
    async with TestClient(TestServer(make_app(runtime))) as one:
        yield one


@pytest.fixture
async def guarded() -> AsyncIterator[Client]:
    async with TestClient(TestServer(make_app(mocked(Settings(admin_token=TOKEN))))) as one:
        yield one


async def problem(response: ClientResponse, status: int, slug: str) -> dict[str, Any]:
    assert response.content_type == "application/problem+json"
    body: dict[str, Any] = await response.json(content_type=None)
    assert (response.status, body["status"], body["type"]) == (status, status, f"/problems/{slug}")
    assert body["title"]
    assert body["detail"]
    return body


def filled(path: str, job_id: str = ID, queue: str = "q") -> str:
    parts = {"id": job_id, "parent": ID, "step": "fetch", "queue": queue, "name": "approved", "key": "k"}
    for part, value in parts.items():
        path = path.replace(f"{{{part}}}", value)
    return path


async def test_a_stored_job_is_read_with_its_logs_and_family(client: Client) -> None:
    job = await (await client.get(f"/v1/jobs/{ID.upper()}")).json()
    assert (job["id"], job["state"], job["meta"]) == (ID, "failed", {"user": 7})
    first = await (await client.get(f"/v1/jobs/{ID}/logs?limit=1")).json()
    assert [line["m"] for line in first["items"]] == ["one"]
    rest = await (await client.get(f"/v1/jobs/{ID}/logs", params={"cursor": first["next"]})).json()
    assert ([line["m"] for line in rest["items"]], rest["next"]) == (["two"], None)
    again = await (await client.get(f"/v1/jobs/{ID}/logs", params={"cursor": rest["resume"]})).json()
    place = {"count": 2, "earlier": 3}
    assert again == {"items": [], "next": None, "resume": rest["resume"], "ended": True} | place
    assert [line["number"] for line in first["items"] + rest["items"]] == [1, 2]
    family = await (await client.get(f"/v1/jobs/{ID}/family")).json()
    assert (family["job"]["id"], family["job"]["children"], family["ancestors"]) == (ID, [], [])
    assert (family["batch"], family["truncated"]) == (None, False)


async def test_health_and_index_answer(client: Client) -> None:
    assert await (await client.get("/healthz")).json() == {"status": "ok"}
    assert await (await client.get("/readyz")).json() == {"status": "ready"}
    index = await (await client.get("/")).json()
    assert index["routes"] == [f"{route.method} {route.path}" for route in ROUTES]


async def test_what_is_not_there_and_what_is_not_allowed_are_problems(client: Client) -> None:
    await problem(await client.get("/v1/nothing"), 404, "not-found")
    await problem(await client.get("/v1/jobs/"), 404, "not-found")
    response = await client.put("/v1/jobs", json={})
    body = await problem(response, 405, "method-not-allowed")
    assert response.headers["Allow"] == "GET,HEAD,POST"
    assert "GET, HEAD, POST" in body["detail"]
    missing = await problem(await client.get(f"/v1/jobs/{'f' * 24}"), 404, "not-found")
    assert "f" * 24 in missing["detail"]


@pytest.mark.parametrize("route", [route for route in ROUTES if "{id}" in route.path], ids=lambda one: one.path)
async def test_an_id_of_the_wrong_shape_is_named(client: Client, route: Any) -> None:
    for wrong in ("1", ID[1:], "g" * 24, ID + "0", "%00" * 24):
        response = await client.request(route.method, filled(route.path, job_id=wrong), json={"token": "t"})
        assert list((await problem(response, 422, "invalid-input"))["errors"]) == ["id"]


@pytest.mark.parametrize("route", [route for route in ROUTES if "{queue}" in route.path], ids=lambda one: one.path)
async def test_a_queue_name_of_the_wrong_shape_is_named(client: Client, route: Any) -> None:
    for wrong in ("a.b", "$a", "a%20b", "a" * 101, "%C3%A4"):
        response = await client.request(route.method, filled(route.path, queue=wrong), json={"worker": "w"})
        assert list((await problem(response, 422, "invalid-input"))["errors"]) == ["queue"]


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("quque=a", {"quque"}),
        ("limit=0", {"limit"}),
        ("limit=201", {"limit"}),
        ("limit=-1&sort=data&state=done&insertedAfter=now", {"limit", "sort", "state", "insertedAfter"}),
        ("insertedBefore=2030-02-31", {"insertedBefore"}),
        ("queue=a.b", {"queue"}),
        ("batchId=1", {"batchId"}),
        ("parentId=x", {"parentId"}),
        ("queue=a&queue=b", {"queue"}),
        ("limit=1&limit=1&slow&slow", {"limit", "slow"}),
        ("meta.a=1&meta.a=2", {"meta.a"}),
        ("state=failed&state=done", {"state"}),
        ("insertedAfter=2030-01-31T12:00:00", {"insertedAfter"}),
        ("insertedAfter=2030-01-31T12:00:00+02:00", {"insertedAfter"}),
        ("cursor=%FF", {"cursor"}),
        ("cursor=bm9uZQ", {"cursor"}),
        ("meta.=1", {"meta."}),
        ("meta.$where=1", {"meta.$where"}),
        ("fields=id,secret", {"fields"}),
    ],
)
async def test_a_wrong_query_parameter_is_named(client: Client, query: str, names: set[str]) -> None:
    body = await problem(await client.get(f"/v1/jobs?{query}"), 422, "invalid-input")
    assert set(body["errors"]) == names


@pytest.mark.parametrize("query", ["limit=0", "limit=1001", "cursor=x", "cursor=bGluZTp4", "tail=1"])
async def test_a_wrong_part_of_a_log_is_named(client: Client, query: str) -> None:
    body = await problem(await client.get(f"/v1/jobs/{ID}/logs?{query}"), 422, "invalid-input")
    assert list(body["errors"]) == [query.partition("=")[0]]


@pytest.mark.parametrize(
    "media_type",
    ["text/plain", "application/json; charset=utf-7", "application/json; charset=latin-1", "application/jsonx", ""],
)
async def test_only_json_in_utf_8_is_taken(client: Client, media_type: str) -> None:
    headers = {"Content-Type": media_type}
    await problem(await client.post("/v1/jobs", data=b'{"type": "a"}', headers=headers), 415, "unsupported-media-type")


async def test_a_body_of_the_wrong_kind_is_refused(client: Client) -> None:
    await problem(await client.post("/v1/jobs"), 400, "bad-body")
    await problem(await client.post("/v1/jobs", data=b'{"type": "a"', headers=JSON), 400, "bad-body")
    await problem(await client.post("/v1/jobs", data=b'{"type": 1, "type": 2}', headers=JSON), 400, "bad-body")
    body = await problem(await client.post("/v1/jobs", json=[]), 422, "invalid-input")
    assert list(body["errors"]) == ["body"]
    body = await problem(await client.patch(f"/v1/jobs/{ID}", json={}), 422, "invalid-input")
    assert list(body["errors"]) == ["body"]
    content = gzip.compress(b'{"type": "a"}')[:-9]
    coded = {**JSON, "Content-Encoding": "gzip"}
    await problem(await client.post("/v1/jobs", data=b"none" + content, headers=coded), 400, "bad-body")


async def test_a_body_over_the_limit_is_refused_however_it_comes(client: Client) -> None:
    host, port = client.server.host, client.server.port
    reader, writer = await asyncio.open_connection(host, port)
    writer.write(
        b"POST /v1/jobs HTTP/1.1\r\nHost: [::1]\r\nContent-Type: application/json\r\nContent-Length: 20000000\r\n\r\n{"
    )
    # The answer comes although only one of twenty million bytes was sent.
    assert b" 413 " in await reader.readline()
    writer.close()
    large = b'{"type": "a", "data": {"x": "' + b"y" * json_body.MOST_BODY + b'"}}'

    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(large), 1 << 20):
            yield large[start : start + (1 << 20)]

    await problem(await client.post("/v1/jobs", data=chunks(), headers=JSON), 413, "too-large")
    coded = {**JSON, "Content-Encoding": "gzip"}
    await problem(await client.post("/v1/jobs", data=gzip.compress(large), headers=coded), 413, "too-large")
    data = io.BytesIO(b'{"type": "a", "data": {"x": "' + b"y" * (1 << 20) + b'"}}')
    body = await problem(await client.post("/v1/jobs", data=data, headers=JSON), 413, "too-large")
    assert "data" in body["detail"]


async def test_a_body_that_does_not_come_is_not_waited_for(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_body, "READ_SECONDS", 0.05)
    reader, writer = await asyncio.open_connection(client.server.host, client.server.port)
    writer.write(
        b"POST /v1/jobs HTTP/1.1\r\nHost: [::1]\r\nContent-Type: application/json\r\nContent-Length: 20\r\n\r\n{"
    )
    assert b" 408 " in await reader.readline()
    writer.close()


@pytest.mark.parametrize("route", [route for route in ROUTES if route.role], ids=lambda one: f"{one.method} {one.path}")
async def test_every_route_with_a_role_needs_the_token(
    guarded: Client, route: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    # There is no stream of events here to be waited for.
    monkeypatch.setattr("jobqueue.services.insight.events._OPEN_SECONDS", 0.01)
    for header in (None, "", "Bearer", "Bearer wrong", f"Basic {TOKEN}", f"Bearer {TOKEN}x", "Bearer \xff"):
        headers = {} if header is None else {"Authorization": header}
        response = await guarded.request(route.method, filled(route.path), headers=headers, json={})
        await problem(response, 401, "unauthorized")
        assert response.headers["WWW-Authenticate"].startswith("Bearer")
    right = await guarded.request(
        route.method, filled(route.path, job_id="x", queue="a.b"), headers={"Authorization": f"bearer {TOKEN}"}, json={}
    )
    assert right.status not in {401, 403}


async def test_health_needs_no_token_and_unknown_paths_of_the_api_do(guarded: Client) -> None:
    for path in ("/", "/healthz", "/readyz"):
        assert (await guarded.get(path)).status == 200
    await problem(await guarded.get("/favicon.ico"), 404, "not-found")
    await problem(await guarded.get("/v1/unknown"), 401, "unauthorized")
    await problem(await guarded.get("/%761/jobs"), 401, "unauthorized")


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
async def test_pages_of_other_sites_cannot_make_a_browser_act(client: Client, headers: dict[str, str]) -> None:
    await problem(await client.post("/v1/queues/q/pause", headers=headers), 403, "foreign-page")
    assert (await client.get("/healthz", headers=headers)).status == 200


async def test_own_pages_and_programs_may_act(client: Client) -> None:
    own = f"http://{client.server.host}:{client.server.port}"
    for headers in ({}, {"Origin": own}, {"Sec-Fetch-Site": "same-origin", "Origin": "http://proxy.example"}):
        assert (await client.post(f"/v1/jobs/{'f' * 24}/kill", headers=headers)).status == 404


async def test_every_answer_has_the_careful_headers_and_a_request_id(client: Client) -> None:
    for path in ("/healthz", "/v1/jobs/1", "/nothing"):
        response = await client.get(path, headers={"X-Request-Id": "my.id-1"})
        assert response.headers["X-Request-Id"] == "my.id-1"
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert response.headers["Cache-Control"] == "no-store"
        assert response.headers["Server"] == "jobqueue"
    replaced = await client.get("/healthz", headers={"X-Request-Id": "a b"})
    assert len(replaced.headers["X-Request-Id"]) == 32


async def test_a_mistake_in_the_program_is_logged_and_not_shown(
    client: Client, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(_job_id: str) -> None:
        raise RuntimeError("a secret detail")

    monkeypatch.setattr(client.app[RUNTIME].jobs, "whole", broken)
    response = await client.get(f"/v1/jobs/{ID}", headers={"X-Request-Id": "find-me"})
    await problem(response, 500, "internal")
    assert "secret" not in await response.text()
    assert "find-me" in caplog.text
    assert "a secret detail" in caplog.text


async def test_a_database_that_is_away_is_a_503_that_names_no_host(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(_job_id: str) -> None:
        raise DatabaseUnavailableError("MongoDB cannot be reached: db.internal:27017")

    monkeypatch.setattr(client.app[RUNTIME].jobs, "whole", away)
    response = await client.get(f"/v1/jobs/{ID}")
    await problem(response, 503, "database-unavailable")
    assert response.headers["Retry-After"] == "2"
    assert "internal:27017" not in await response.text()


async def test_good_health_checks_are_quiet_in_the_log(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    await client.get("/healthz")
    await client.get("/v1/jobs/1?secret=x")
    told = [record.getMessage() for record in caplog.records if record.name == "jobqueue.api.http.middleware"]
    assert len(told) == 1
    assert "path=/v1/jobs/1 status=422" in told[0]
    assert "secret" not in told[0]
