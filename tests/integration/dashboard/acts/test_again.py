"""Forms that are sent again when their subject is as it was before, with odd values, and behind a proxy."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from aiohttp.test_utils import TestClient, TestServer

from jobqueue.dashboard.app import make_app
from jobqueue.dashboard.frame.acts.form import Sent
from jobqueue.dashboard.jobs.acts import schema_fields
from jobqueue.domain.jobs.job import NewJob
from jobqueue.domain.workflow.batch import Member, NewBatch
from jobqueue.services.application import Runtime
from tests.support.browser.forms import PAGE, fields, opened, send
from tests.support.browser.html import first, parsed, words
from tests.support.data.factories import add

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aiohttp import web

    from jobqueue.settings import Settings

    Client = TestClient[web.Request, web.Application]

ADMIN = "the-token-of-the-settings"
PUBLIC = "http://jobs.example"


@pytest.fixture
async def client(idle_runtime: Runtime) -> AsyncIterator[Client]:
    async with TestClient(TestServer(make_app(idle_runtime))) as client:
        yield client


@pytest.fixture
async def proxied(settings: Settings) -> AsyncIterator[Client]:
    runtime = await Runtime.open(replace(settings, admin_token=ADMIN, public_url=f"{PUBLIC}/"))
    async with TestClient(TestServer(make_app(runtime))) as client:
        yield client
    await runtime.close()


async def told_after(client: Client, path: str) -> str:
    """Open the page of an action, send its form, and return the sentence that the next page tells."""
    reply = await send(client, path, await opened(client, path))
    assert reply.status == 303, words(parsed(await reply.text()))
    shown = await client.get(reply.headers["Location"], headers=PAGE)
    return words(first(parsed(await shown.text()), "#said"))


async def test_a_queue_is_paused_each_time_it_is_paused(client: Client) -> None:
    here = "/queues/media:eu"
    assert (await client.put(f"/v1{here}", json={"concurrency": 5})).ok
    for _ in range(3):
        for action, is_paused in (("pause", True), ("resume", False)):
            assert "done once" not in await told_after(client, f"{here}/{action}")
            assert (await (await client.get(f"/v1{here}")).json())["paused"] is is_paused


async def test_a_batch_is_killed_and_restarted_as_often_as_somebody_says_so(
    client: Client, idle_runtime: Runtime
) -> None:
    new = NewBatch(members=(Member(job=NewJob(type="a")),), sealed=False)
    view, _ = await idle_runtime.batches.create(new)
    here = f"/batches/{view.batch.id}"
    for _ in range(2):
        for action, state in (("kill", "killed"), ("requeue", "pending")):
            await told_after(client, f"{here}/{action}")
            assert (await (await client.get(f"/v1{here}")).json())["counts"][state] == 1, action


@pytest.mark.parametrize("text", [r'{"a": "\ud800"}', '{"a": 1e999}'])
async def test_json_that_cannot_be_written_is_refused_beside_its_field(
    client: Client, idle_runtime: Runtime, text: str
) -> None:
    job = await add(idle_runtime, "a")
    assert (await client.post(f"/v1/jobs/{job.id}/kill")).status == 200
    for action in ("change", "requeue"):
        path = f"/jobs/{job.id}/{action}"
        reply = await send(client, path, await opened(client, path) | {"data": text})
        assert reply.status == 422, action
        assert words(first(parsed(await reply.text()), "#p-data")), action


async def test_a_time_stays_as_it_is_if_the_zone_changes_after_the_page_was_loaded(
    client: Client, idle_runtime: Runtime
) -> None:
    job = await add(idle_runtime, "a", delay_til=datetime(2040, 1, 31, 18, 30, tzinfo=UTC))
    path = f"/jobs/{job.id}/change"
    # The script of the first page of a visitor tells the zone of the browser.
    form, zone = await opened(client, path), {"Cookie": "jobqueue_zone=Pacific/Kiritimati"}
    assert (await send(client, path, form | {"priority": "7"}, **zone)).status == 303
    changed = await idle_runtime.jobs.get(job.id)
    assert (changed.priority, changed.delay_til) == (7, job.delay_til)
    reply = await send(client, path, form | {"priority": "8", "delayTil": "2040-01-31T19:30"}, **zone)
    shown = parsed(await reply.text())
    assert (reply.status, first(shown, "#f-delayTil")["value"]) == (412, "2040-01-31T19:30")
    assert "In UTC" in words(first(shown, "#h-delayTil"))
    assert (await send(client, path, fields(first(shown, "main form")), **zone)).status == 303
    assert (await idle_runtime.jobs.get(job.id)).delay_til == datetime(2040, 1, 31, 19, 30, tzinfo=UTC)


def test_a_text_with_line_breaks_keeps_them() -> None:
    schema = {"required": 5, "properties": {"a": {"type": "string"}, "b": {"type": "string"}}}
    data = {"a": "one\r\ntwo", "b": "one"}
    made = schema_fields.fields(schema, data)
    assert [field.kind for field in made] == ["area", "text"]
    assert schema_fields.read(schema, data, Sent(values={"data.a": "one\ntwo", "data.b": "one"}, lists={})) == data


async def test_behind_a_proxy_that_replaces_the_host_only_forms_of_the_public_address_count(proxied: Client) -> None:
    others = ("http://evil.example", f"{PUBLIC}.evil.example", f"{PUBLIC}:81", "https://jobs.example", "null", "")
    for origin, status in ((PUBLIC, 303), *((other, 403) for other in others)):
        headers = {**PAGE, "Origin": origin}
        reply = await proxied.post("/login", data={"token": ADMIN}, headers=headers, allow_redirects=False)
        assert reply.status == status, origin
    bearer = {"Authorization": f"Bearer {ADMIN}"}
    assert (await proxied.put("/v1/queues/default", json={"concurrency": 5}, headers=bearer)).ok
    form = await opened(proxied, "/queues/default/pause")
    for origin, status in (*((other, 403) for other in others), (PUBLIC, 303)):
        headers = {**PAGE, "Origin": origin}
        reply = await proxied.post("/queues/default/pause", data=form, headers=headers, allow_redirects=False)
        assert reply.status == status, origin
    page = parsed(await (await proxied.get("/queues/default/resume", headers=PAGE)).text())
    assert f"{PUBLIC}/v1/queues/default/resume" in first(page, "#curl pre").get_text()


async def test_any_text_as_the_name_of_the_server_is_no_fault(proxied: Client) -> None:
    for path in ("/login?next=/jobs", "/preferences?back=/jobs"):
        reply = await proxied.get(path, headers={**PAGE, "Host": "a:b:c"}, allow_redirects=False)
        assert reply.status in {200, 303}, path


async def test_after_a_session_has_ended_the_login_leads_back_to_the_page_of_the_form(proxied: Client) -> None:
    reply = await send(proxied, "/queues/default/pause", {"reason": "x"})
    assert (reply.status, reply.headers["Location"]) == (303, "/login?next=%2Fqueues%2Fdefault%2Fpause")
