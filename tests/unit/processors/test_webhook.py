from __future__ import annotations

import asyncio
import socket
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import orjson
import pytest
from standardwebhooks.webhooks import Webhook

from jobqueue.domain.access.masking import masked_url
from jobqueue.domain.jobs import json_form
from jobqueue.domain.work.verdict import Accepted, Death, Failure, RunAgain, Success
from jobqueue.processors.webhooks.webhook import WebhookClient
from tests.unit.processors.webhook_receiver import (
    LOOPBACK,
    SECRET,
    SILENT,
    TOKEN,
    Names,
    Receiver,
    config,
    error,
    kind,
    make_job,
    receiving,
    reply,
    run,
    self_signed,
    send,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@pytest.fixture
async def client() -> AsyncIterator[WebhookClient]:
    async with WebhookClient(allow=LOOPBACK) as client:
        yield client


async def test_the_receiver_gets_the_job_the_token_and_the_attempt(client: WebhookClient) -> None:
    job = make_job(attempts_made=2, data={"name": "Žofie ☃"}, meta={"user_id": 42})
    async with receiving(reply()) as receiver:
        await run(client, receiver, job, headers={"X-Team": "a", "Authorization": "Bearer b"})

    (request,) = receiver.requests
    assert orjson.loads(request.body) == {"job": json_form.job(job) | {"steps": {}}, "token": TOKEN, "attempt": 2}
    assert request.headers["content-type"] == "application/json"
    assert request.headers["user-agent"].startswith("jobqueue/")
    assert request.headers["accept-encoding"] == "identity"
    assert (request.headers["x-team"], request.headers["authorization"]) == ("a", "Bearer b")


async def test_configured_headers_may_name_the_sender_and_nothing_else_of_ours(client: WebhookClient) -> None:
    async with receiving(reply()) as receiver:
        await run(client, receiver, headers={"user-agent": "me", "ACCEPT-ENCODING": "gzip"})

    (request,) = receiver.requests
    assert (request.headers["user-agent"], request.headers["accept-encoding"]) == ("me", "identity")


async def test_the_receiver_can_verify_the_signature_over_the_bytes_it_got(client: WebhookClient) -> None:
    async with receiving(reply()) as receiver:
        await run(client, receiver, make_job(data={"name": "Žofie ☃ \u2028"}))

    (request,) = receiver.requests
    assert Webhook(SECRET).verify(request.body, request.headers)["token"] == TOKEN


async def test_the_id_is_the_same_for_all_attempts_and_another_after_a_requeue(client: WebhookClient) -> None:
    job = make_job(run=0)
    async with receiving(reply("500 Oops")) as receiver:
        await run(client, receiver, job)
        await run(client, receiver, replace(job, attempts_made=2))
        await run(client, receiver, replace(job, attempts_made=1, run=1))

    first, second, requeued = (request.headers["webhook-id"] for request in receiver.requests)
    assert first == second == f"msg_{job.id}_0"
    assert requeued == f"msg_{job.id}_1"


async def test_a_reply_lost_after_the_work_was_done_is_repeated_under_the_same_id(client: WebhookClient) -> None:
    job = make_job()
    async with receiving(send(b"")) as receiver:
        lost = await run(client, receiver, job)
        receiver.answer = reply(body=b'{"n": 1}')
        done = await run(client, receiver, replace(job, attempts_made=2))

    assert kind(lost) == "connection"
    assert done == Success(result={"n": 1}, code=200)
    assert len({request.headers["webhook-id"] for request in receiver.requests}) == 1


@pytest.mark.parametrize(
    ("status", "headers", "body", "expected"),
    [
        ("200 OK", "", b'{"n": 1}', Success(result={"n": 1}, code=200)),
        ("200 OK", "Content-Type: text/plain\r\n", b"done", Success(result="done", code=200)),
        ("204 No Content", "", b"", Success(code=204)),
        ("202 Accepted", "", b"", Accepted(code=202)),
        ("200 OK", "", b'{"outcome": "die", "reason": "gone"}', Death),
        ("500 Oops", "", b'{"outcome": "retry", "delay": 3}', RunAgain),
        ("410 Gone", "", b"", Death),
        ("429 Slow Down", "Retry-After: 30\r\n", b"", RunAgain),
        (
            "503 Busy",
            "Date: Mon, 01 Jan 2001 00:00:00 GMT\r\nRetry-After: Mon, 01 Jan 2001 00:01:00 GMT\r\n",
            b"",
            RunAgain,
        ),
        ("503 Busy", "", b"", Failure),
        ("500 Oops", "", b"x" * 100_000, Failure),
        ("404 Not Found", "Transfer-Encoding: chunked\r\n", b"3\r\nabc\r\n0\r\n\r\n", Failure),
    ],
)
async def test_the_reply_decides_how_the_job_ended(
    client: WebhookClient, status: str, headers: str, body: bytes, expected: Any
) -> None:
    async with receiving(reply(status, headers, body)) as receiver:
        verdict = await run(client, receiver)

    assert type(verdict) is expected if isinstance(expected, type) else verdict == expected
    assert verdict.code == int(status[:3])


async def test_cookies_are_not_kept(client: WebhookClient) -> None:
    async with receiving(reply(headers="Set-Cookie: a=b; Path=/\r\n")) as receiver:
        await run(client, receiver)
        await run(client, receiver)

    assert all("cookie" not in request.headers for request in receiver.requests)


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "307 Temporary Redirect", "308 Permanent Redirect"])
async def test_a_redirect_is_not_followed(client: WebhookClient, status: str) -> None:
    async with receiving(reply()) as canary, receiving(reply(status, f"Location: {canary.url}\r\n")) as receiver:
        verdict = await run(client, receiver)

    assert kind(verdict) == "http"
    assert masked_url(canary.url) in error(verdict)
    assert canary.connections == 0


async def test_a_job_of_many_megabytes_is_sent_whole(client: WebhookClient) -> None:
    job = make_job(data={"text": "ž" * 3_000_000})
    async with receiving(reply()) as receiver:
        verdict = await run(client, receiver, job, timeout=20)

    assert verdict == Success(code=200)
    assert Webhook(SECRET).verify(receiver.requests[0].body, receiver.requests[0].headers)["job"]["id"] == job.id


async def test_many_webhooks_run_at_a_time(client: WebhookClient) -> None:
    all_in = asyncio.Event()

    async def together(writer: asyncio.StreamWriter) -> None:
        if len(receiver.requests) == 150:
            all_in.set()
        await all_in.wait()
        await reply()(writer)

    async with receiving(together) as receiver:
        verdicts = await asyncio.gather(*(run(client, receiver, timeout=20) for _ in range(150)))

    assert set(map(type, verdicts)) == {Success}


async def test_cancelling_hangs_up(client: WebhookClient) -> None:
    called = asyncio.Event()

    async def wait_for_the_end(writer: asyncio.StreamWriter) -> None:
        called.set()
        while not writer.transport.is_closing():
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            await writer.drain()
            await asyncio.sleep(0.01)

    async with receiving(wait_for_the_end) as receiver:
        task = asyncio.create_task(run(client, receiver, timeout=30))
        await called.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.wait_for(receiver.hung_up.wait(), 5)


async def test_a_receiver_that_is_not_there_fails_the_attempt(client: WebhookClient) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        verdict = await run(client, Receiver(reply(), port=unused.getsockname()[1]))

    assert kind(verdict) == "connection"
    assert error(verdict) == "no connection to 127.0.0.1: Connection refused"


@pytest.mark.parametrize("host", ["nowhere.invalid", "a" * 64 + ".invalid", "a..b.invalid"])
async def test_a_name_that_does_not_exist_fails_the_attempt(host: str) -> None:
    async with WebhookClient(allow=LOOPBACK, resolver=Names({})) as client:
        verdict = await client.processor(config(f"http://{host}/"), "t").run(make_job(), SILENT)

    assert kind(verdict) in {"connection", "invalid-url"}
    assert isinstance(verdict, Failure)


async def test_tls_that_fails_fails_the_attempt(client: WebhookClient, tmp_path: Path) -> None:
    async with receiving(reply()) as plain, receiving(reply(), tls=self_signed(tmp_path)) as untrusted:
        no_tls = await run(client, plain, url=plain.url.replace("http:", "https:"))
        bad_tls = await run(client, untrusted, url=untrusted.url.replace("http:", "https:"))

    assert (kind(no_tls), kind(bad_tls)) == ("connection", "connection")
    assert "secure connection" in error(no_tls)
    assert "certificate" in error(bad_tls)
    assert untrusted.requests == []


async def test_without_a_secret_nothing_is_sent(client: WebhookClient) -> None:
    async with receiving(reply()) as receiver:
        verdict = await run(client, receiver, secret=None)

    assert kind(verdict) == "no-secret"
    assert receiver.connections == 0


async def test_a_client_can_be_started_and_closed_again_and_again() -> None:
    client = WebhookClient(allow=LOOPBACK)
    with pytest.raises(RuntimeError, match="not started"):
        client.processor(config("http://127.0.0.1"), "t")
    async with receiving(reply()) as receiver:
        for _ in range(2):
            await client.start()
            await client.start()
            assert await run(client, receiver) == Success(code=200)
            await client.close()
            await client.close()
