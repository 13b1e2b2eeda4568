"""Forms of pages: who may send them, what is done once, and what happens when two people change the same."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from aiohttp.test_utils import TestClient, TestServer

from jobqueue.dashboard.app import make_app
from jobqueue.dashboard.frame.acts import flash
from jobqueue.domain.insight.audit import Actor
from jobqueue.services.application import Runtime
from tests.support.browser.forms import OWN, PAGE, fields, opened, send
from tests.support.browser.html import first, parsed, words
from tests.support.data.factories import add

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aiohttp import web

    from jobqueue.settings import Settings

    Client = TestClient[web.Request, web.Application]

ADMIN = "the-token-of-the-settings"
BY = Actor(name="test", via="python")


@pytest.fixture
async def runtime(settings: Settings) -> AsyncIterator[Runtime]:
    runtime = await Runtime.open(replace(settings, admin_token=ADMIN))
    yield runtime
    await runtime.close()


@pytest.fixture
async def client(runtime: Runtime) -> AsyncIterator[Client]:
    async with TestClient(TestServer(make_app(runtime))) as client:
        yield client


@pytest.fixture
async def open_client(idle_runtime: Runtime) -> AsyncIterator[Client]:
    async with TestClient(TestServer(make_app(idle_runtime))) as client:
        yield client


async def log_in(client: Client, runtime: Runtime, *roles: str, name: str = "ann") -> None:
    _, text = await runtime.access.create(roles=list(roles), name=name, by=BY)
    client.session.cookie_jar.clear()
    assert (await client.post("/login", data={"token": text}, allow_redirects=False)).status == 303


async def test_a_cookie_alone_changes_nothing(client: Client, runtime: Runtime) -> None:
    job = await add(runtime, "a")
    await log_in(client, runtime, "admin", name="bob")
    other = await opened(client, f"/jobs/{job.id}/kill")
    await log_in(client, runtime, "admin")
    form = await opened(client, f"/jobs/{job.id}/kill")
    path, origin = f"/jobs/{job.id}/kill", str(client.make_url("/")).rstrip("/")
    without = {name: value for name, value in form.items() if name != "form"}
    wrong = (
        (without, OWN),
        (form | {"form": "0" * 64}, OWN),
        (form | {"form": ""}, OWN),
        (form | {"form": other["form"]}, OWN),
        (form, {**OWN, "Sec-Fetch-Site": "cross-site"}),
        (form, {**OWN, "Sec-Fetch-Site": "same-site"}),
        (form, {**OWN, "Sec-Fetch-Site": "none"}),
        (form, PAGE),
        (form, {**PAGE, "Origin": "null"}),
        (form, {**PAGE, "Origin": "https://evil.example"}),
        (form, {**PAGE, "Origin": f"{origin}.evil.example"}),
    )
    for values, headers in wrong:
        reply = await client.post(path, data=values, headers=headers, allow_redirects=False)
        assert reply.status == 403, (values, headers)
    assert (await client.post(path, json=form, headers=OWN)).status == 415
    # The API itself goes on to refuse the cookie, with the token of a form or without.
    for headers in (OWN, {**OWN, "X-Form-Token": form["form"]}):
        assert (await client.post(f"/v1/jobs/{job.id}/kill", json={}, headers=headers)).status == 401
        assert (await client.patch(f"/v1/jobs/{job.id}", json={"priority": 1}, headers=headers)).status == 401
    for _ in range(2):
        assert (await client.get(f"{path}?reason=x&form={form['form']}", headers=PAGE)).status == 200
    assert (await runtime.jobs.get(job.id)).state == "pending"
    # By the origin alone, as browsers send it that know no Sec-Fetch-Site.
    reply = await client.post(path, data=form, headers={**PAGE, "Origin": origin}, allow_redirects=False)
    assert (reply.status, reply.headers.get("Location")) == (303, f"/jobs/{job.id}"), await reply.text()
    assert (await runtime.jobs.get(job.id)).state == "killed"


async def test_an_open_server_takes_forms_of_its_own_pages_only(open_client: Client, idle_runtime: Runtime) -> None:
    job = await add(idle_runtime, "a")
    path = f"/jobs/{job.id}/kill"
    form = await opened(open_client, path)
    foreign = {**PAGE, "Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}
    rebound = {**OWN, "Host": "evil.example", "Origin": "http://evil.example"}
    for values, headers in ((form, foreign), (form, PAGE), (form, rebound), ({}, OWN)):
        assert (await open_client.post(path, data=values, headers=headers)).status == 403, headers
    assert (await idle_runtime.jobs.get(job.id)).state == "pending"
    assert (await send(open_client, path, form)).status == 303


async def test_a_form_of_another_session_is_shown_again_with_its_text(client: Client, runtime: Runtime) -> None:
    job = await add(runtime, "a")
    await log_in(client, runtime, "admin", name="old")
    form = await opened(client, f"/jobs/{job.id}/kill")
    await log_in(client, runtime, "admin", name="new")
    reply = await send(client, f"/jobs/{job.id}/kill", form | {"reason": "typed before lunch"})
    page = parsed(await reply.text())
    assert reply.status == 403
    assert "another session" in words(first(page, "#trouble"))
    assert "frame-ancestors 'none'" in reply.headers["Content-Security-Policy"]
    assert first(page, "input[name=reason]")["value"] == "typed before lunch"


async def test_the_same_form_is_carried_out_once(client: Client, runtime: Runtime) -> None:
    job = await add(runtime, "a")
    await log_in(client, runtime, "admin")
    path = f"/jobs/{job.id}/kill"
    form = await opened(client, path) | {"reason": "<b>twice</b>"}
    replies = await asyncio.gather(*(send(client, path, form) for _ in range(3)))
    assert [reply.status for reply in replies] == [303] * 3
    # Also after the page was loaded again with the button to go back.
    assert (await send(client, path, form)).status == 303
    entries = await runtime.audit.store.page("job", job.id, before=None, limit=9)
    assert [(entry.action, entry.by["name"].partition(" ")[0]) for entry in entries] == [("kill", "ann")]
    killed = (await runtime.jobs.get(job.id)).error
    assert killed is not None
    assert killed.message == "<b>twice</b>"
    page = parsed(await (await client.get(f"/jobs/{job.id}", headers=PAGE)).text())
    assert "The job was killed. This was the same form: it was done once." in words(first(page, "#said"))
    # What has ended cannot be killed: the page says so, and has no button.
    page = parsed(await (await client.get(path, headers=PAGE)).text())
    assert "has ended" in words(first(page, "main"))
    assert not page.select("main form")


async def test_two_people_who_change_the_same_job_lose_nothing(client: Client, runtime: Runtime) -> None:
    job = await add(runtime, "a", data={"n": 1})
    await log_in(client, runtime, "admin")
    path = f"/jobs/{job.id}/change"
    first_form, second_form = await opened(client, path), await opened(client, path)
    assert (await send(client, path, first_form | {"priority": "7"})).status == 303
    typed = second_form | {"priority": "9", "data": '{"n": 2}'}
    reply = await send(client, path, typed)
    page = parsed(await reply.text())
    assert reply.status == 412
    assert "somebody has changed it" in words(first(page, "#trouble"))
    assert "It is now 7" in words(first(page, "main"))
    assert first(page, "#f-priority")["value"] == "9"
    assert first(page, "#f-data").get_text().strip() == '{"n": 2}'
    assert (await runtime.jobs.get(job.id)).priority == 7
    # Who has seen both may go on.
    assert (await send(client, path, fields(first(page, "main form")))).status == 303
    changed = await runtime.jobs.get(job.id)
    assert (changed.priority, changed.data) == (9, {"n": 2})


async def test_a_wrong_value_is_told_beside_its_field_and_nothing_typed_is_lost(
    open_client: Client, idle_runtime: Runtime
) -> None:
    job = await add(idle_runtime, "a", data={"n": 1})
    path = f"/jobs/{job.id}/change"
    form = await opened(open_client, path)
    typed = form | {"data": '{"n": 1,\n oops}', "attempts": "many", "meta": "[1]", "backoff": "-3"}
    for wrong, field, told in ((typed, "data", "line 2"), (form | {"backoff": "-3"}, "backoff", "from 0 to")):
        reply = await send(open_client, path, wrong)
        page = parsed(await reply.text())
        assert reply.status == 422
        assert told in words(first(page, f"#p-{field}"))
    reply = await send(open_client, path, typed)
    page = parsed(await reply.text())
    assert first(page, "#f-data").get_text().removeprefix("\n") == typed["data"]
    assert first(page, "#f-attempts")["aria-invalid"] == "true"
    assert (await send(open_client, path, form)).status == 422, "nothing differs"


async def test_nobody_can_put_words_into_a_page(client: Client, runtime: Runtime) -> None:
    job = await add(runtime, "a")
    await log_in(client, runtime, "admin")
    reply = await send(client, f"/jobs/{job.id}/kill", await opened(client, f"/jobs/{job.id}/kill"))
    cookie = reply.cookies[flash.COOKIE].value
    text, _, signature = cookie.partition(".")
    for forged in (f"{text[:-4]}AAAA.{signature}", f"{text}.{'0' * 64}", "x", ".", f"{text}.é"):
        client.session.cookie_jar.update_cookies({flash.COOKIE: forged}, client.make_url("/"))
        page = await client.get(f"/jobs/{job.id}", headers=PAGE)
        assert page.status == 200
        assert not parsed(await page.text()).select("#said"), forged
    client.session.cookie_jar.update_cookies({flash.COOKIE: cookie}, client.make_url("/"))
    assert not parsed(await (await client.get("/workers", headers=PAGE)).text()).select("#said"), "of another page"


async def test_a_role_that_may_not_act_is_told_and_refused(client: Client, runtime: Runtime) -> None:
    job = await add(runtime, "a")
    await log_in(client, runtime, "admin")
    form = await opened(client, f"/jobs/{job.id}/kill")
    await log_in(client, runtime, "read")
    page = parsed(await (await client.get(f"/jobs/{job.id}", headers=PAGE)).text())
    assert "needs the role admin" in words(first(page, "#do-kill"))
    assert first(page, "#do-kill")["aria-disabled"] == "true"
    assert (await client.get(f"/jobs/{job.id}/kill", headers=PAGE)).status == 403
    assert (await send(client, f"/jobs/{job.id}/kill", form)).status == 403
    assert (await runtime.jobs.get(job.id)).state == "pending"
