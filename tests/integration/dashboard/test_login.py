"""Login, sessions, and requests by cookie."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest
from aiohttp.test_utils import TestClient, TestServer

from jobqueue.api.security.token_watch import SESSION_COOKIE
from jobqueue.dashboard.app import make_app
from jobqueue.domain.insight.audit import Actor
from jobqueue.services.access.sessions import ADMIN as ADMINISTRATOR
from jobqueue.services.access.sessions import SESSION_TIME
from jobqueue.services.application import Runtime
from tests.support.browser.html import first, parsed, words

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aiohttp import ClientResponse, web

    from jobqueue.settings import Settings

    Client = TestClient[web.Request, web.Application]

ADMIN = "the-token-of-the-settings"
BY = Actor(name="test", via="python")
PAGE = {"Accept": "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8"}


@pytest.fixture
async def runtime(settings: Settings) -> AsyncIterator[Runtime]:
    runtime = await Runtime.open(replace(settings, admin_token=ADMIN))
    yield runtime
    await runtime.close()


@pytest.fixture
async def client(runtime: Runtime) -> AsyncIterator[Client]:
    async with TestClient(TestServer(make_app(runtime))) as client:
        yield client


async def log_in(client: Client, token: str, **fields: str) -> ClientResponse:
    return await client.post("/login", data={"token": token, **fields}, allow_redirects=False)


async def get(client: Client, path: str, **headers: str) -> ClientResponse:
    return await client.get(path, headers={**PAGE, **headers}, allow_redirects=False)


async def test_a_page_sends_a_stranger_to_the_login_and_the_login_back(client: Client) -> None:
    answer = await get(client, "/workers?a=1&b=2")
    assert answer.status == 303
    assert answer.headers["Location"] == f"/login?next={quote('/workers?a=1&b=2', safe='')}"
    form = parsed(await (await get(client, answer.headers["Location"])).text())
    assert first(form, "input[name=next]")["value"] == "/workers?a=1&b=2"
    answer = await log_in(client, ADMIN, next="/workers?a=1&b=2")
    assert (answer.status, answer.headers["Location"]) == (303, "/workers?a=1&b=2")
    cookie = answer.cookies[SESSION_COOKIE]
    assert (cookie["httponly"], cookie["samesite"], cookie["path"]) == (True, "Lax", "/")
    assert ADMIN not in cookie.value
    page = await get(client, "/workers")
    assert page.status == 200
    assert "admin" in words(first(parsed(await page.text()), ".top"))


async def test_a_wrong_token_is_refused_with_a_sentence(client: Client) -> None:
    for token, status, text in (("wrong", 401, "not valid"), ("", 422, "Enter a token"), ("x" * 20_000, 413, "no")):
        answer = await log_in(client, token)
        assert answer.status == status
        assert SESSION_COOKIE not in answer.cookies
        assert text in words(first(parsed(await answer.text()), "#problem"))


async def test_after_many_wrong_tokens_the_address_has_to_wait(client: Client) -> None:
    statuses = [(await log_in(client, f"jq_{number:08}_{'x' * 43}")).status for number in range(60)]
    assert 429 in statuses
    answer = await log_in(client, "wrong")
    assert answer.status == 429
    assert int(answer.headers["Retry-After"]) >= 1


@pytest.mark.parametrize(
    "back", ["//evil.example/", "https://evil.example/", "/\\evil.example", "javascript:alert(1)", "/\t/evil.example"]
)
async def test_the_login_leads_to_no_other_place(client: Client, back: str) -> None:
    assert (await log_in(client, ADMIN, next=back)).headers["Location"] == "/"
    assert (await get(client, f"/preferences?theme=dark&back={quote(back)}")).headers["Location"] == "/"


async def test_the_session_of_a_stored_token_ends_with_the_token(client: Client, runtime: Runtime) -> None:
    token, text = await runtime.access.create(roles=["read"], name="ann", by=BY)
    assert (await log_in(client, text)).status == 303
    assert "ann" in words(first(parsed(await (await get(client, "/workers")).text()), ".top"))
    await runtime.access.revoke(token.id, by=BY)
    assert (await get(client, "/workers", **{"Cache-Control": "no-cache"})).status == 303


async def test_a_session_ends_after_twelve_hours(client: Client, runtime: Runtime) -> None:
    assert (await log_in(client, ADMIN)).status == 303
    now = await runtime.database.clock.now()
    runtime.database.clock.present = now + SESSION_TIME - timedelta(minutes=1)
    assert (await get(client, "/workers")).status == 200
    runtime.database.clock.present = now + SESSION_TIME + timedelta(minutes=1)
    assert (await get(client, "/workers")).status == 303


async def test_a_changed_cookie_is_no_session(client: Client, runtime: Runtime) -> None:
    other, _ = await runtime.access.create(roles=["admin"], by=BY)
    _, text = await runtime.access.create(roles=["read"], by=BY)
    cookie = (await log_in(client, text)).cookies[SESSION_COOKIE].value
    token_id, until, signature = cookie.split(".")
    client.session.cookie_jar.clear()
    for changed in (
        f"{other.id}.{until}.{signature}",
        f"env.{until}.{signature}",
        f"{token_id}.{int(until) + 1}.{signature}",
        f"{token_id}.{until}.{'0' * 64}",
        f"{token_id}.{until}",
        "",
        "é",
    ):
        headers = {"Cookie": f"{SESSION_COOKIE}={changed}"}
        assert (await client.get("/v1/workers", headers=headers)).status == 401, changed
    assert (await client.get("/v1/workers", headers={"Cookie": f"{SESSION_COOKIE}={cookie}"})).status == 200


async def test_a_new_admin_token_ends_the_sessions_of_the_old_one(runtime: Runtime, settings: Settings) -> None:
    cookie = await runtime.sessions.begin(ADMINISTRATOR)
    assert await runtime.sessions.caller(cookie) is not None
    for other_token in ("another-token-of-the-settings", None):
        other = await Runtime.open(replace(settings, admin_token=other_token))
        try:
            assert await other.sessions.caller(cookie) is None
        finally:
            await other.close()


async def test_a_cookie_alone_changes_nothing(client: Client) -> None:
    assert (await log_in(client, ADMIN)).status == 303
    body = {"type": "a"}
    assert (await client.post("/v1/jobs", json=body)).status == 401
    assert (await client.delete(f"/v1/jobs/{'0' * 24}")).status == 401
    # Searches only read, but a page of another site could start costly ones.
    assert (await client.post("/v1/jobs/search", json={})).status == 401
    assert (await client.get("/v1/jobs")).status == 200
    assert not (await (await client.get("/v1/jobs")).json())["items"]


async def test_a_page_of_another_site_cannot_log_in_or_out(client: Client) -> None:
    foreign = {"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"}
    for path in ("/login", "/logout"):
        answer = await client.post(path, data={"token": ADMIN}, headers=foreign, allow_redirects=False)
        assert answer.status == 403
        assert SESSION_COOKIE not in answer.cookies


async def test_logout_ends_the_session_of_the_browser(client: Client) -> None:
    await log_in(client, ADMIN)
    answer = await client.post("/logout", allow_redirects=False)
    assert (answer.status, answer.headers["Location"]) == (303, "/login")
    assert (await get(client, "/workers")).status == 303


async def test_the_event_stream_takes_the_cookie_and_ends_with_the_token(client: Client, runtime: Runtime) -> None:
    token, text = await runtime.access.create(roles=["read"], by=BY)
    await log_in(client, text)
    async with client.get("/v1/events") as stream:
        assert stream.status == 200
        await runtime.access.revoke(token.id, by=BY)
        assert b"retry" in await stream.content.readline()
        await stream.content.read()
