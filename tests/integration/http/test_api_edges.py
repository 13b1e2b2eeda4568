"""What arrives on a connection before it is a request: every refusal is a problem, and nobody holds one for ever."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web

from jobqueue.api.app import make_app
from jobqueue.api.http import connection, json_body
from jobqueue.api.http.connection import Runner

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from jobqueue.services.application import Runtime

JOB = b'{"type": "a"}'
JSON = {"Content-Type": "application/json"}
CHUNKED = (
    b"POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
)


@pytest.fixture
async def port(idle_runtime: Runtime) -> AsyncIterator[int]:
    runner = Runner(make_app(idle_runtime), shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield runner.addresses[0][1]
    await runner.cleanup()


def request(method: str, path: str, body: bytes = b"", headers: Mapping[str, str] = JSON) -> bytes:
    given = {"Host": "localhost", "Content-Length": str(len(body)), **headers}
    head = "".join(f"{name}: {value}\r\n" for name, value in given.items())
    return f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode("latin-1") + body


async def ask(port: int, sent: bytes) -> tuple[int, dict[str, str], bytes]:
    """Send bytes; return the status, the headers and the body of the first answer that is no interim one."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(sent)
        await writer.drain()
        async with asyncio.timeout(20):
            head = await reader.readuntil(b"\r\n\r\n")
            if b" 100 " in head.partition(b"\r\n")[0]:
                head = await reader.readuntil(b"\r\n\r\n")
            first, *lines = head.decode().strip().split("\r\n")
            headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
            size = int(headers.get("content-length", "0")) if not sent.startswith(b"HEAD") else 0
            return int(first.split()[1]), headers, await reader.readexactly(size)
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


REFUSED: list[tuple[int, bytes]] = [
    (400, b"\0\1\2\r\n\r\n"),
    (400, b"\x16\x03\x01\x02\0\1\0\1\xfc\x03\x03" + b"a" * 100),
    (400, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    (400, b"GET /v1/jobs HTTP/1.1\r\n\r\n"),
    (400, request("GET", "/v1/jobs?q=" + "a" * 20_000)),
    (400, request("GET", "/v1/jobs", headers={"X": "a" * 20_000})),
    (400, request("GET", "/v1/jobs", headers={"Cookie": "a=b;" * 9000})),
    (400, request("GET", "/v1/jobs", headers={f"X{number}": "a" for number in range(1000)})),
    (400, request("GET", "/v1/jobs", headers={"X": "a\0b"})),
    (400, request("FOO", "/v1/jobs")),
    (400, request("GET", "http://[/v1")),
    (400, b"GET /v1/queues/\xff HTTP/1.1\r\nHost: localhost\r\n\r\n"),
    (400, b"POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}"),
    (400, b"POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Length: -2\r\n\r\n{}"),
    (400, b"POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999999999999999\r\n\r\n{}"),
    (413, request("POST", "/v1/jobs", headers={**JSON, "Content-Length": "99999999999"})),
    (400, CHUNKED + b"zz\r\nabc\r\n"),
    (400, CHUNKED + b"2\r\n{}\r\nQQ\r\n\r\n"),
    (400, request("POST", "/v1/jobs", b"no gzip", {**JSON, "Content-Encoding": "gzip"})),
    (413, request("POST", "/v1/jobs", gzip.compress(b" " * 50_000_000), {**JSON, "Content-Encoding": "gzip"})),
    (415, request("POST", "/v1/jobs", JOB, {**JSON, "Content-Encoding": "odd"})),
    (415, request("POST", "/v1/jobs", JOB, {"Content-Type": "text/plain"})),
    (415, request("POST", "/v1/jobs", JOB, {})),
    (417, request("POST", "/v1/jobs", JOB, {**JSON, "Expect": "miracles"})),
    (403, request("POST", "/v1/jobs", JOB, {**JSON, "Origin": "http://["})),
    (404, request("OPTIONS", "*")),
    (404, request("GET", "//v1/jobs")),
    (404, request("GET", "/v1/../v1/jobs")),
    (422, request("GET", "/v1/queues/a%2Fb")),
    (422, request("GET", "/v1/queues/a%00b")),
    (422, request("GET", "/v1/queues/%ff%fe")),
    (422, request("GET", "/v1/queues/%zz")),
    (422, request("GET", "/v1/jobs/%00")),
]


async def test_every_refusal_is_a_problem(port: int) -> None:
    for expected, sent in REFUSED:
        status, headers, body = await ask(port, sent)
        assert (status, headers["content-type"]) == (expected, "application/problem+json"), sent[:100]
        assert json.loads(body)["status"] == status
        assert (headers["server"], headers["x-content-type-options"]) == ("jobqueue", "nosniff")
    _, _, body = await ask(port, request("GET", "/v1/job"))
    assert json.loads(body)["detail"] == "this server has no such path; GET / names all routes"
    assert (await ask(port, request("GET", "/healthz")))[0] == 200


async def test_another_method_is_told_which_there_are(port: int) -> None:
    for method in ("PUT", "OPTIONS", "TRACE"):
        status, headers, body = await ask(port, request(method, "/v1/jobs"))
        assert (status, headers["allow"]) == (405, "GET,HEAD,POST")
        assert json.loads(body)["type"] == "/problems/method-not-allowed"
        # No job is meant by the last part of the path, whatever is asked of it.
        for path, allowed in (("/v1/jobs/bulk", "POST"), ("/v1/jobs/aggregate", "POST")):
            status, headers, _ = await ask(port, request(method, path))
            assert (status, headers["allow"]) == (405, allowed)
    assert (await ask(port, request("HEAD", "/v1/queues/a/claim")))[:1] == (405,)
    assert (await ask(port, request("HEAD", "/v1/jobs")))[0] == 200


async def test_unusual_and_right_is_right(port: int) -> None:
    for sent in (
        CHUNKED + b"d\r\n" + JOB + b"\r\n0\r\n\r\n",
        request("POST", "/v1/jobs", gzip.compress(JOB), {**JSON, "Content-Encoding": "gzip"}),
        request("POST", "/v1/jobs", JOB, {**JSON, "Expect": "100-continue"}),
        request("POST", "/v1/jobs", JOB, {"Content-Type": 'Application/JSON; charset="UTF-8"'}),
    ):
        assert (await ask(port, sent))[0] == 201, sent
    for value in ("9" * 400, "9" * 5000, "9" * 250, "1e999", "NaN", "9223372036854775808", "%00", "%ff", "[" * 2000):
        assert (await ask(port, request("GET", f"/v1/jobs?meta.a={value}")))[0] == 200, value


async def closed(port: int, sent: bytes) -> bool:
    """Send bytes and wait until the other side hangs up without a word."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(sent)
    async with asyncio.timeout(20):
        answer = await reader.read()
    writer.close()
    return answer == b""


async def test_a_connection_on_which_no_request_comes_is_closed(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "HEAD_SECONDS", 0.2)
    assert await closed(port, b"")
    assert await closed(port, b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-Slow: a")


async def test_a_connection_on_which_no_further_request_comes_is_closed(
    idle_runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "IDLE_SECONDS", 0.2)
    runner = Runner(make_app(idle_runtime), shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    for more in (b"", b"GET /hea"):
        reader, writer = await asyncio.open_connection("127.0.0.1", runner.addresses[0][1])
        writer.write(request("GET", "/healthz") + more)
        async with asyncio.timeout(20):
            assert (await reader.read()).endswith(b'{"status":"ok"}')
        writer.close()
    await runner.cleanup()


async def test_a_body_that_does_not_come_is_given_up(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_body, "READ_SECONDS", 0.2)
    sent: Any = request("POST", "/v1/jobs", b'{"ty', {**JSON, "Content-Length": "13"})
    status, headers, body = await ask(port, sent)
    assert (status, headers["connection"]) == (408, "close")
    assert json.loads(body)["type"] == "/problems/request-timeout"
