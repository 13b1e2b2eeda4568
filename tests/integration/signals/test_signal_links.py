"""Links by which a person answers one question of one job, without a token."""

from __future__ import annotations

import asyncio
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp.test_utils import TestClient, TestServer

from jobqueue.api.app import make_app
from jobqueue.domain.access import signal_link
from jobqueue.domain.errors import InvalidInputError
from jobqueue.services.steps.links import SignalLinks
from jobqueue.store.access.secrets import SecretStore
from tests.support.data.factories import add, claimed_job, succeed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aiohttp import ClientResponse, web

    from jobqueue.domain.jobs.job import Job
    from jobqueue.services.application import Runtime

    Client = TestClient[web.Request, web.Application]

FORM = "application/x-www-form-urlencoded"


@pytest.fixture
async def client(idle_runtime: Runtime) -> AsyncIterator[Client]:
    async with TestClient(TestServer(make_app(idle_runtime, open_to_all=False))) as client:
        yield client


async def link(runtime: Runtime, job: Job, question: str = "approved", **more: Any) -> str:
    how: dict[str, Any] = {"choices": None, "title": "", "by": "", "timeout": 60} | more
    url = await runtime.links.make(job.id, question, "approved", **how)
    assert url.startswith("http://127.0.0.1:8080/answer/")
    return url.removeprefix("http://127.0.0.1:8080")


async def choose(client: Client, path: str, choice: str) -> ClientResponse:
    return await client.post(path, data={"choice": choice})


async def test_a_person_answers_by_a_button_and_only_once(client: Client, idle_runtime: Runtime) -> None:
    claimed = await claimed_job(idle_runtime)
    path = await link(idle_runtime, claimed.job, by="ann")
    for method in ("GET", "HEAD", "GET"):
        answer = await client.request(method, path)
        assert answer.status == 200
        policy = answer.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "script" not in policy
        assert "unsafe" not in policy
    page = await (await client.get(path)).text()
    assert re.findall(r'name="choice" value="([^"]*)"', page) == ["Approve", "Reject"]
    assert (await idle_runtime.jobs.get(claimed.job.id)).signals is None

    answer = await choose(client, path, "Approve")
    assert (answer.status, "Approve" in await answer.text()) == (200, True)
    step = await idle_runtime.work.steps.begin_signal(claimed.job, claimed.token, "approved", "approved")
    assert (step.is_finished, step.result) == (True, True)
    (signal,) = (await idle_runtime.jobs.get(claimed.job.id)).signals or ()
    assert (signal.by, signal.taken) == ("ann", "approved")
    other = await link(idle_runtime, claimed.job, by="bob")
    for again in (path, other):
        assert (await choose(client, again, "Reject")).status == 409
        assert (await client.get(again)).status == 409
    # The next question of the same name is another one.
    assert (await client.get(await link(idle_runtime, claimed.job, "approved#2"))).status == 200
    entries = await idle_runtime.database.collection("audit").find({"action": "signal"}).to_list(9)
    assert [(entry["by"]["name"], entry["by"]["via"]) for entry in entries] == [("ann", "link")]


async def test_a_link_takes_no_other_answer(client: Client, idle_runtime: Runtime) -> None:
    job = await add(idle_runtime)
    path = await link(idle_runtime, job, choices={"Ja": {"ok": 1}})
    assert (await choose(client, path, "Nein")).status == 422
    for data in (b"", b"choice=Ja&choice=Ja", b"x" * 4096, b"choice=%ff"):
        assert (await client.post(path, data=data, headers={"Content-Type": FORM})).status == 422
    assert (await client.post(path, data=b"x" * 100_000, headers={"Content-Type": FORM})).status == 413
    assert (await client.post(path, json={"choice": "Ja"})).status == 415
    assert (await idle_runtime.jobs.get(job.id)).signals is None
    assert (await choose(client, path, "Ja")).status == 200
    (signal,) = (await idle_runtime.jobs.get(job.id)).signals or ()
    assert signal.value == {"ok": 1}


async def test_a_link_that_is_changed_or_signed_elsewhere_is_not_valid(client: Client, idle_runtime: Runtime) -> None:
    job = await add(idle_runtime)
    path = await link(idle_runtime, job)
    body, _, mac = path.partition(".")

    class Elsewhere:
        async def links(self) -> bytes:
            return b"another secret"

    stranger = SignalLinks(Elsewhere(), idle_runtime.database.clock, "http://x")  # type: ignore[arg-type]
    url = await stranger.make(job.id, "approved", "approved", choices=None, title="", by="", timeout=60)
    for wrong in (
        f"{body[:-2]}AA.{mac}",
        f"{body}.{mac[:-2]}AA",
        body,
        f"{body}.",
        "/answer/x",
        "/answer/%C3%BC.%C3%BC",
        url.removeprefix("http://x"),
        f"/answer/{'x' * 8000}",
    ):
        assert (await client.get(wrong)).status == 404, wrong
        assert (await choose(client, wrong, "Approve")).status == 404
    assert (await idle_runtime.jobs.get(job.id)).signals is None


async def test_a_link_ends_with_its_time_and_with_its_job(client: Client, idle_runtime: Runtime) -> None:
    claimed = await claimed_job(idle_runtime)
    path = await link(idle_runtime, claimed.job)
    read = await idle_runtime.links.read(path.removeprefix("/answer/"))
    assert read is not None
    secret = await SecretStore(idle_runtime.database).links()
    over = f"/answer/{signal_link.sign(replace(read, until=1_700_000_000), secret)}"
    assert (await client.get(over)).status == 410
    assert (await choose(client, over, "Approve")).status == 410
    assert (await idle_runtime.jobs.get(claimed.job.id)).signals is None
    await succeed(idle_runtime, claimed)
    assert (await choose(client, path, "Approve")).status == 409
    await idle_runtime.manager.delete(claimed.job.id)
    assert (await choose(client, path, "Approve")).status == 404


async def test_texts_of_the_job_are_no_html(client: Client, idle_runtime: Runtime) -> None:
    job = await add(idle_runtime, "<script>alert(1)</script>")
    evil = '"><script>alert(1)</script>'
    for path in (
        await link(idle_runtime, job, choices={evil: 1}, title=evil),
        await link(idle_runtime, job),
    ):
        page = await (await client.get(path)).text()
        assert "<script" not in page
        assert "&lt;script&gt;" in page
    answer = await choose(client, await link(idle_runtime, job, choices={evil: 1}), evil)
    assert "<script" not in await answer.text()


@pytest.mark.parametrize(
    "wrong",
    [
        {"choices": {}},
        {"choices": {str(number): 1 for number in range(11)}},
        {"choices": {"x" * 61: 1}},
        {"choices": {"a\nb": 1}},
        {"choices": {"a": "x" * 4000}},
        {"choices": {"a": {"$b": 1}}},
        {"title": "x" * 501},
        {"by": 5},
        {"timeout": 0},
        {"timeout": 10**12},
    ],
)
async def test_a_link_that_cannot_be_made_is_refused_by_name(idle_runtime: Runtime, wrong: dict[str, Any]) -> None:
    job = await add(idle_runtime)
    with pytest.raises(InvalidInputError):
        await link(idle_runtime, job, **wrong)


async def test_one_deployment_has_one_secret(idle_runtime: Runtime) -> None:
    first, second = SecretStore(idle_runtime.database), SecretStore(idle_runtime.database)
    assert await first.links() == await second.links()
    assert len(await first.links()) == 32


async def test_an_answer_that_arrives_in_parts_is_read_to_its_end(client: Client, idle_runtime: Runtime) -> None:
    job = await add(idle_runtime)
    path = await link(idle_runtime, job, choices={"Pay": 1, "Pay later": 2})

    async def parts() -> AsyncIterator[bytes]:
        yield b"choice=Pay"
        await asyncio.sleep(0.2)
        yield b"+later"

    answer = await client.post(path, data=parts(), headers={"Content-Type": FORM})
    assert answer.status == 200
    (signal,) = (await idle_runtime.jobs.get(job.id)).signals or ()
    assert signal.value == 2


async def test_no_link_is_in_the_log(client: Client, idle_runtime: Runtime, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG", "jobqueue")
    job = await add(idle_runtime)
    path = await link(idle_runtime, job)
    await client.get(path)
    await choose(client, path, "Approve")
    await client.get(f"/prefix{path}")
    lines = [str(vars(record)) for record in caplog.records if record.name.startswith("jobqueue")]
    assert sum("request handled" in line and "/answer/" in line for line in lines) == 3
    assert not [line for line in lines if path.rpartition(".")[2] in line]
