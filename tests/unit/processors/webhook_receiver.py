"""A receiver of webhooks for tests, and jobs to send to it."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from ipaddress import ip_network
from typing import TYPE_CHECKING, Any

from aiohttp.abc import AbstractResolver, ResolveResult

from jobqueue.domain.attempts.attempt import Claim
from jobqueue.domain.attempts.backoff import FixedBackoff
from jobqueue.domain.attempts.states import State
from jobqueue.domain.jobs.job import Job
from jobqueue.domain.work.processing import WebhookConfig
from jobqueue.domain.work.verdict import Failure
from tests.support.memory_steps import MemorySteps

if TYPE_CHECKING:
    from pathlib import Path

    from jobqueue.domain.work.verdict import Reporter, Verdict
    from jobqueue.processors.webhooks.webhook import WebhookClient

LOOPBACK = (ip_network("127.0.0.0/8"),)
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"  # noqa: S105 - shared with the tests' own receiver only
TOKEN = "t0k3n"  # noqa: S105 - as above
CERTIFICATE = (  # of localhost, signed by itself
    "MIIBnDCCAUGgAwIBAgIUcRK3KYXCmLTlWTqHCFt6OqeBbI8wCgYIKoZIzj0EAwIwFDESMBAGA1UEAwwJbG9jYWxob3N0MCAXDTI2MTEyNDIyNTYy"
    "OFoYDzIxMjYxMDMxMjI1NjI4WjAUMRIwEAYDVQQDDAlsb2NhbGhvc3QwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAARQknUdarG3sGFifK5NCyVe"
    "W2EfFV+11148G8QU3Dk9kcJXW7NaGZHf1YneNZTD4e3Xr+4q2IwkZRmCBfpHwBWTo28wbTAdBgNVHQ4EFgQU9gH5ZXuHv/CoYchnpy+H18ZQPDAw"
    "HwYDVR0jBBgwFoAU9gH5ZXuHv/CoYchnpy+H18ZQPDAwDwYDVR0TAQH/BAUwAwEB/zAaBgNVHREEEzARgglsb2NhbGhvc3SHBH8AAAEwCgYIKoZI"
    "zj0EAwIDSQAwRgIhAJWSvyafYroWfC2s9vG42NbnZp5FXPoaihNS7mxxCAnsAiEAqRHCx2qMOHqjSu69sNHMEoAv4bERrPJ6dae7QZDRzsA="
)
KEY = (
    "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg1ew4/jrwxeP0gXPL7jVWZcyUHgWzt1/VQHYlkpRj+96hRANCAARQknUdarG3sGFi"
    "fK5NCyVeW2EfFV+11148G8QU3Dk9kcJXW7NaGZHf1YneNZTD4e3Xr+4q2IwkZRmCBfpHwBWT"
)


_TLS_HANDSHAKE = b"\x16"


@dataclass(slots=True)
class Request:
    headers: dict[str, str]
    body: bytes
    line: str = ""


Answer = Callable[[asyncio.StreamWriter], Awaitable[None]]


@dataclass(slots=True)
class Receiver:
    """A server that takes requests and answers as told, well-behaved or not; it takes one over each connection."""

    answer: Answer
    requests: list[Request] = field(default_factory=list)
    connections: int = 0
    open: int = 0
    most: int = 1
    """The number of requests over one connection, after which it is closed."""
    hung_up: asyncio.Event = field(default_factory=asyncio.Event)
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook?a=b"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open += 1
        try:
            for _ in range(self.most):
                self.requests.append(await _read_request(reader))
                await self.answer(writer)
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            return
        finally:
            self.open -= 1
            self.hung_up.set()
            writer.close()


async def hang(writer: asyncio.StreamWriter) -> None:  # noqa: ARG001 - it does not answer
    await asyncio.Event().wait()


async def drip(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
    while True:
        writer.write(b"x")
        await writer.drain()
        await asyncio.sleep(0.01)


def flood(head: bytes, part: bytes) -> Answer:
    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(head)
        while True:
            writer.write(part)
            await writer.drain()

    return answer


def stall(head: bytes) -> Answer:
    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(head)
        await writer.drain()
        await hang(writer)

    return answer


def reset(head: bytes) -> Answer:
    async def answer(writer: asyncio.StreamWriter) -> None:
        raw = writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        writer.write(head)
        await writer.drain()

    return answer


def send(data: bytes) -> Answer:
    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(data)

    return answer


def reply(status: str = "200 OK", headers: str = "", body: bytes = b"") -> Answer:
    length = "" if "Transfer-Encoding" in headers or status.startswith("204") else f"Content-Length: {len(body)}\r\n"
    return send(f"HTTP/1.1 {status}\r\n{headers}{length}\r\n".encode() + body)


class Names(AbstractResolver):
    """Knows some names, each by a list of answers, of which the last one stays."""

    def __init__(self, names: dict[str, list[list[str]]]) -> None:
        self._names = names

    async def resolve(self, host: str, port: int = 0, family: int = socket.AF_INET) -> list[ResolveResult]:
        answers = self._names.get(host)
        if answers is None:
            raise OSError(socket.EAI_NONAME, "Name or service not known")
        addresses = answers.pop(0) if len(answers) > 1 else answers[0]
        return [
            ResolveResult(hostname=host, host=address, port=port, family=family, proto=0, flags=0)
            for address in addresses
        ]

    async def close(self) -> None:
        return


class _Silent:
    steps = MemorySteps()

    async def log(self, line: str, level: str | None = None) -> None:
        raise AssertionError(line, level)

    async def progress(self, percent: float) -> None:
        raise AssertionError(percent)


SILENT: Reporter = _Silent()


def make_job(**changes: Any) -> Job:
    unset: dict[str, Any] = {item.name: None for item in fields(Job)}
    usual = {
        "id": "65e5c0a1b2c3d4e5f6a7b8c9", "queue": "default", "type": "render", "data": {}, "meta": {}, "priority": 0,
        "attempts": 3, "attempts_made": 1, "backoff": FixedBackoff(10), "delay": 0, "lease": 60, "depends_on": (),
        "insert_at": datetime.now(UTC), "progress": 0, "logs": (), "history": (), "state": State.PROCESSING,
        "on_success_delete": False, "claim": Claim(token=TOKEN, worker="w"), "run": 0, "log_count": 0, "outbox": (),
    }  # fmt: skip
    return Job(**{**unset, **usual, **changes})


def config(url: str, **changes: Any) -> WebhookConfig:
    return WebhookConfig(**{"url": url, "secret": SECRET, "timeout": 10, **changes})


async def run(client: WebhookClient, receiver: Receiver, job: Job | None = None, **changes: Any) -> Verdict:
    settings = config(changes.pop("url", receiver.url), **changes)
    return await client.processor(settings, TOKEN).run(job or make_job(), SILENT)


def kind(verdict: Verdict) -> str:
    return verdict.error.kind if isinstance(verdict, Failure) else type(verdict).__name__


def error(verdict: Verdict) -> str:
    assert isinstance(verdict, Failure)
    return verdict.error.message


@asynccontextmanager
async def receiving(
    answer: Answer, host: str = "127.0.0.1", *, port: int = 0, tls: ssl.SSLContext | None = None
) -> AsyncIterator[Receiver]:
    """Listen while the context lasts, on a free port unless told."""
    receiver = Receiver(answer)
    tasks: set[asyncio.Task[None]] = set()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.create_task(receiver.serve(reader, writer)))

    server = await asyncio.start_server(connected, host, port, ssl=tls)
    receiver.port = server.sockets[0].getsockname()[1]
    try:
        yield receiver
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await server.wait_closed()


def self_signed(directory: Path) -> ssl.SSLContext:
    pem = directory / "self-signed.pem"
    armoured = [
        f"-----BEGIN {name}-----\n{text}\n-----END {name}-----\n"
        for name, text in (("CERTIFICATE", CERTIFICATE), ("PRIVATE KEY", KEY))
    ]
    pem.write_text("".join(armoured))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    return context


async def _read_request(reader: asyncio.StreamReader) -> Request:
    first = await reader.readexactly(1)
    if first == _TLS_HANDSHAKE:
        return Request({}, first)
    line, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")[:-2]
    headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
    return Request(headers, await reader.readexactly(int(headers["content-length"])), first.decode() + line)
