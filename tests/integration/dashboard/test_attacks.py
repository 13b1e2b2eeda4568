"""Pages under attack, on spoilt documents, and without a database."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime
from ipaddress import ip_network
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp.test_utils import TestClient, TestServer

from jobqueue.api.http.keys import RUNTIME
from jobqueue.api.jobs.export import ExportPage
from jobqueue.api.security.token_watch import SESSION_COOKIE
from jobqueue.dashboard.app import make_app
from jobqueue.dashboard.frame.preferences import local_path
from jobqueue.dashboard.jobs.search import export
from jobqueue.domain.access.access import EVERYTHING
from jobqueue.domain.errors import DatabaseUnavailableError
from jobqueue.domain.insight.audit import Actor
from jobqueue.services.application import Runtime
from jobqueue.store.mongo.driver import AutoReconnect
from tests.support.browser.html import parsed, words
from tests.support.data.factories import add

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aiohttp import ClientResponse, web

    from jobqueue.settings import Settings

    Client = TestClient[web.Request, web.Application]

ADMIN = "the-token-of-the-settings"
PAGE = {"Accept": "text/html"}
EAST = {**PAGE, "Cookie": "jobqueue_zone=Pacific/Kiritimati"}
WEST = {**PAGE, "Cookie": "jobqueue_zone=America/Los_Angeles"}
ODD_WORKERS: tuple[dict[str, Any], ...] = (
    {"schedules": ["x"]},
    {"posts": "x"},
    {"posts": [{"queue": "a", "types": 5}]},
    {"at": "x"},
)
FORM = "application/x-www-form-urlencoded"


@pytest.fixture
async def client(idle_runtime: Runtime) -> AsyncIterator[Client]:
    async with TestClient(TestServer(make_app(idle_runtime))) as client:
        yield client


@pytest.fixture
async def guarded(settings: Settings) -> AsyncIterator[Client]:
    trusted = replace(settings, admin_token=ADMIN, trusted_proxies=(ip_network("127.0.0.0/8"),))
    runtime = await Runtime.open(trusted)
    async with TestClient(TestServer(make_app(runtime))) as client:
        yield client
    await runtime.close()


async def test_dates_at_the_ends_of_the_calendar_are_shown(client: Client, idle_runtime: Runtime) -> None:
    body = {"type": "far", "delayTil": "9999-12-31T23:59:59Z"}
    job = await (await client.post("/v1/jobs", json=body)).json()
    schedule = {"every": 3600, "job": {"type": "a"}}
    assert (await client.put("/v1/schedules/far", json=schedule)).status == 201
    times = {"nextAt": _date(9999)}
    await idle_runtime.database.collection("schedules").update_one({"_id": "far"}, {"$set": times})
    for headers in (EAST, WEST):
        for path in ("/jobs", f"/jobs/{job['id']}", f"/jobs/{job['id']}/starts", "/schedules"):
            page = await client.get(path, headers=headers)
            assert page.status == 200, (path, words(parsed(await page.text())))
    await idle_runtime.jobs.collection.update_one(
        {"type": "far"}, {"$set": {"insertAt": _date(1), "startAt": _date(1)}}
    )
    for headers in (EAST, WEST):
        assert (await client.get(f"/jobs/{job['id']}", headers=headers)).status == 200


@pytest.mark.parametrize(
    "text", ["/..//evil.example", "/.//evil.example", "/a/..//evil.example", "/%2e//evil.example", "//evil.example"]
)
def test_no_path_leads_to_another_host(text: str) -> None:
    assert not local_path(text).startswith(("//", "/\\"))


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"token=\xff", FORM),
        (b"token=a", f"{FORM}; charset=rubbish"),
        (b"token=a", "multipart/form-data"),
        (b"--x\r\n\r\na\r\n--x--\r\n", "multipart/form-data; boundary=x"),
        (b"--y--", "multipart/form-data; boundary=x"),
    ],
)
async def test_a_broken_form_is_refused(guarded: Client, body: bytes, kind: str) -> None:
    reply = await guarded.post("/login", data=body, headers={"Content-Type": kind})
    assert reply.status in {401, 422}
    assert reply.content_type == "text/html"


async def test_the_cookie_is_secure_behind_a_proxy_with_tls(guarded: Client) -> None:
    for schemes, is_secure in (
        (["https"], True),
        (["HTTPS"], True),
        (["https,http"], True),
        (["https , http"], True),
        (["https", "http"], True),
        (["http,https"], False),
        (["http"], False),
        ([",https"], False),
        ([""], False),
        ([], False),
    ):
        headers = [("X-Forwarded-Proto", scheme) for scheme in schemes]
        reply = await guarded.post("/login", data={"token": ADMIN}, headers=headers, allow_redirects=False)
        assert bool(reply.cookies[SESSION_COOKIE]["secure"]) is is_secure, schemes
        for name in ("Strict-Transport-Security", "Cross-Origin-Opener-Policy"):
            assert (name in reply.headers) is is_secure, (name, schemes)


async def test_without_the_database_pages_say_so(
    client: Client, idle_runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Away:
        def get_database(self, *_: Any, **__: Any) -> Away:
            return self

        async def command(self, *_: Any) -> dict[str, Any]:
            raise AutoReconnect("away")

    monkeypatch.setattr(idle_runtime.database, "_client", Away())
    monkeypatch.setattr(idle_runtime.database.clock, "_known", None)
    for path in ("/", "/jobs", "/workers", "/jobs/export"):
        page = await client.get(path, headers=PAGE)
        assert page.status == 503, path
        assert "MongoDB cannot be reached" in words(parsed(await page.text())), path


async def test_spoilt_schedules_and_workers_stop_no_page(client: Client, idle_runtime: Runtime) -> None:
    schedule = {"every": 3600, "job": {"type": "a"}}
    assert (await client.put("/v1/schedules/odd", json=schedule)).status == 201
    await idle_runtime.database.collection("schedules").update_one({"_id": "odd"}, {"$set": {"every": "soon"}})
    page = await client.get("/schedules", headers=PAGE)
    assert page.status == 200
    assert "cannot be read" in words(parsed(await page.text()))
    workers = idle_runtime.database.collection("workers")
    now = await idle_runtime.database.clock.now()
    for number, odd in enumerate(ODD_WORKERS):
        await workers.insert_one({"_id": f"odd {number}", "posts": [], "at": now, **odd})
    for path in ("/", "/workers", "/queues", "/v1/workers", "/v1/status"):
        assert (await client.get(path, headers=PAGE)).status == 200, path
    # Others wait for workers of older versions: a spoilt list of schedules must not hide one.
    assert "odd 0" in {worker.name for worker in await idle_runtime.roster.workers(EVERYTHING, after=None, limit=9)}


async def test_a_long_way_back_is_left_out(client: Client, idle_runtime: Runtime) -> None:
    job = await add(idle_runtime, "a")
    back = "%26".join(f"a{number}%3D1" for number in range(30))
    assert (await client.get(f"/jobs/{job.id}?back={back}", headers=PAGE)).status == 200


async def test_an_export_that_breaks_off_looks_broken_off(
    client: Client, idle_runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    await add(idle_runtime, "a")

    async def pages(*_: Any) -> AsyncIterator[ExportPage]:
        yield ExportPage([])
        raise DatabaseUnavailableError("away")

    monkeypatch.setattr(export, "_pages", pages)
    reply = await client.get("/jobs/export?format=jsonl")
    with pytest.raises(Exception, match="payload"):
        await reply.read()


async def test_head_of_an_export_has_no_body(client: Client, idle_runtime: Runtime) -> None:
    await add(idle_runtime, "a")
    assert (await client.head("/jobs/export")).status == 200
    # The next reply on the connection is in step.
    assert (await (await client.get("/healthz")).json()) == {"status": "ok"}


async def test_an_export_ends_with_its_token(guarded: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    runtime = guarded.app[RUNTIME]
    token, text = await runtime.access.create(roles=["read"], by=Actor(name="test", via="python"))

    async def pages(*_: Any) -> AsyncIterator[ExportPage]:
        yield ExportPage([])
        await runtime.access.revoke(token.id, by=Actor(name="test", via="python"))
        while True:
            await asyncio.sleep(0.01)
            yield ExportPage([])

    monkeypatch.setattr(export, "_pages", pages)
    reply: ClientResponse = await guarded.get("/jobs/export", headers={"Authorization": f"Bearer {text}"})
    with pytest.raises(Exception, match="payload"):
        await reply.read()


def _date(year: int) -> datetime:
    return datetime(year, 12, 31, 23, 59, 59, tzinfo=UTC)
