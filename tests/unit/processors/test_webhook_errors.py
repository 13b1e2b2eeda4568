from __future__ import annotations

import asyncio
import errno
from typing import TYPE_CHECKING

import aiohttp
import pytest
from aiohttp.client_reqrep import ConnectionKey

from jobqueue.domain.work.verdict import Accepted, Death, Failure, RunAgain, Success
from jobqueue.processors.webhooks.webhook import WebhookClient
from jobqueue.processors.webhooks.webhook_errors import fault
from tests.unit.processors.webhook_receiver import (
    LOOPBACK,
    Answer,
    drip,
    flood,
    hang,
    kind,
    receiving,
    reply,
    reset,
    run,
    send,
    stall,
)

if TYPE_CHECKING:
    from collections.abc import Callable


def connecting(cause: OSError) -> aiohttp.ClientConnectorError:
    key = ConnectionKey("example.com", 443, is_ssl=True, ssl=True, proxy=None, proxy_auth=None, proxy_headers_hash=None)
    return aiohttp.ClientConnectorError(key, cause)


OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"
CHUNK = b"10000\r\n" + b"x" * 65536 + b"\r\n"


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        pytest.param(hang, "timeout", id="says nothing"),
        pytest.param(drip, "timeout", id="slow headers"),
        pytest.param(stall(OK), "timeout", id="half a head"),
        pytest.param(stall(OK + b"Content-Length: 10\r\n\r\n12345"), "timeout", id="half a body"),
        pytest.param(flood(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 5000), "timeout", id="endless preliminaries"),
        pytest.param(
            flood(OK + CHUNKED, b"1\r\nx\r\n" * 5000), ("timeout", "too-large-reply"), id="endless body, slowly"
        ),
        pytest.param(flood(OK + CHUNKED, CHUNK), "too-large-reply", id="endless body"),
        pytest.param(flood(OK + b"\r\n", b"x" * 65536), "too-large-reply", id="endless body without length"),
        pytest.param(
            flood(OK + b"Content-Encoding: gzip\r\n" + CHUNKED, CHUNK), "too-large-reply", id="endless encoded body"
        ),
        pytest.param(flood(b"HTTP/1.1 500 Oops\r\n" + CHUNKED, CHUNK), "http", id="endless error body"),
        pytest.param(flood(OK, b"X-A: b\r\n" * 5000), "invalid-reply", id="endless headers"),
        pytest.param(flood(OK + b"X-A: ", b"x" * 65536), "invalid-reply", id="endless header"),
        pytest.param(flood(b"", b"x" * 65536), "invalid-reply", id="endless status line"),
        pytest.param(flood(OK + CHUNKED, b"1;" + b"x" * 65536), "timeout", id="endless chunk extension"),
        pytest.param(send(OK + b"X-A: b\r\n" * 10_000 + b"\r\n"), "invalid-reply", id="10,000 headers"),
        pytest.param(send(b""), "connection", id="closes at once"),
        pytest.param(reset(b""), "connection", id="resets at once"),
        pytest.param(reset(OK + b"Content-Length: 10\r\n\r\n12345"), "connection", id="resets in the body"),
        pytest.param(send(OK + b"Content-Length: 99\r\n\r\n{}"), "connection", id="more length than body"),
        pytest.param(send(OK + CHUNKED + b"5\r\nab"), "connection", id="half a chunk"),
        pytest.param(send(OK + CHUNKED + b"zz\r\nab"), "invalid-reply", id="a chunk of no length"),
        pytest.param(send(OK + b"Content-Length: -5\r\n\r\n{}"), "invalid-reply", id="negative length"),
        pytest.param(send(OK + b"Content-Length: 5\r\n" + CHUNKED), "invalid-reply", id="two lengths"),
        pytest.param(send(b"SSH-2.0-OpenSSH_9.2\r\n"), "invalid-reply", id="another protocol"),
        pytest.param(send(b"HTTP/1.1 abc OK\r\n\r\n"), "invalid-reply", id="no status"),
        pytest.param(send(b"HTTP/1.1 99999 OK\r\n\r\n"), "invalid-reply", id="a status of five digits"),
        pytest.param(send(b"\x15\x03\x01\x00\x02\x02\x46"), "invalid-reply", id="TLS where there should be none"),
        pytest.param(send(OK + b"Content-Length: 2\r\n\r\n{}more"), "invalid-reply", id="more body than length"),
        pytest.param(reply(body=b'"' + b"x" * 5 * 2**20 + b'"'), "too-large-reply", id="5 MiB of JSON"),
        pytest.param(reply(body=b"[" + b"0," * 2**20 + b"0]"), "invalid-result", id="2 MiB of JSON that take more"),
    ],
)
async def test_a_receiver_that_misbehaves_fails_the_attempt(answer: Answer, expected: str | tuple[str, ...]) -> None:
    async with WebhookClient(allow=LOOPBACK) as client, receiving(answer) as receiver:
        # The worst reply never ends: then only the client's own limit of time does.
        async with asyncio.timeout(60):
            verdict = await run(client, receiver, timeout=0.5 if "timeout" in expected else 5)

    assert isinstance(verdict, Failure)
    assert kind(verdict) in ({expected} if isinstance(expected, str) else expected)
    assert verdict.timed_out == (kind(verdict) == "timeout")


MANY = "".join(f"X-{number}: {number}\r\n" for number in range(190))


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(reply(headers=f"X-Long: {'x' * 8191}\r\n", body=b"{}"), id="a header of 8 KiB"),
        pytest.param(reply(headers=f"Set-Cookie: {'x' * 90_000}\r\n", body=b"{}"), id="a header of 90 KB"),
        pytest.param(reply(status=f"200 {'x' * 90_000}", body=b"{}"), id="a reason of 90 KB"),
        pytest.param(reply(headers=MANY, body=b"{}"), id="190 headers"),
        pytest.param(send(OK + CHUNKED + b"2\r\n{}\r\n0\r\n" + MANY[:2000].encode() + b"\r\n"), id="trailers"),
    ],
)
async def test_long_and_many_headers_do_not_spoil_a_reply(answer: Answer) -> None:
    async with WebhookClient(allow=LOOPBACK) as client, receiving(answer) as receiver:
        assert await run(client, receiver) == Success(result={}, code=200)


@pytest.mark.parametrize(
    ("answer", "result"),
    [
        pytest.param(reply(headers="Content-Encoding: gzip\r\n", body=b"\x1f\x8b"), "H4s=", id="half a gzip"),
        pytest.param(reply(headers="Content-Type: application/json\r\n", body=b"{"), "{", id="half a JSON"),
        pytest.param(reply(body=b'{"$ref": 1}'), '{"$ref": 1}', id="a name of MongoDB"),
    ],
)
async def test_a_2xx_is_a_success_though_its_body_cannot_be_kept_as_it_is(answer: Answer, result: str) -> None:
    async with WebhookClient(allow=LOOPBACK) as client, receiving(answer) as receiver:
        verdict = await run(client, receiver)

    assert isinstance(verdict, Success)
    assert verdict.result.startswith(result)
    assert verdict.warning is not None


@pytest.mark.parametrize("answer", [reset, stall])
@pytest.mark.parametrize(
    ("status", "expected"),
    [("202 Accepted", Accepted), ("410 Gone", Death), ("429 Slow Down", RunAgain), ("500 No", Failure)],
)
async def test_a_status_that_came_counts_even_if_the_rest_did_not(
    answer: Callable[[bytes], Answer], status: str, expected: type
) -> None:
    head = f"HTTP/1.1 {status}\r\nRetry-After: 5\r\nContent-Length: 10\r\n\r\n".encode()
    async with WebhookClient(allow=LOOPBACK) as client, receiving(answer(head + b"12345")) as receiver:
        verdict = await run(client, receiver, timeout=0.5)

    assert type(verdict) is expected
    assert isinstance(verdict, Accepted | Death | RunAgain | Failure)
    assert verdict.code == int(status[:3])


@pytest.mark.parametrize(
    ("raised", "expected", "said"),
    [
        (aiohttp.ConnectionTimeoutError(), "timeout", "no connection to example.com within 5 s"),
        (TimeoutError(), "timeout", "no whole reply from example.com within 30 s"),
        (connecting(OSError("Multiple exceptions: …")), "connection", "by any of its addresses"),
        (connecting(OSError(errno.ENETUNREACH, "…")), "connection", "Network is unreachable"),
        (aiohttp.ServerDisconnectedError(), "connection", "broke off the connection"),
        (UnicodeError("label too long"), "connection", "label too long"),
    ],
)
def test_what_went_wrong_is_said_in_words(raised: Exception, expected: str, said: str) -> None:
    failure = fault(raised, "example.com", 30)

    assert failure.error.kind == expected
    assert said in failure.error.message


def test_what_comes_from_elsewhere_stays_one_short_line() -> None:
    failure = fault(ValueError("a\nb\x1b[31m" + "c" * 10_000), "example.com\r\n", 30)

    assert failure.error.message.isprintable()
    assert len(failure.error.message) < 400
