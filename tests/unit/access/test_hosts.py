"""A web page whose name resolves to a loopback address must not reach a server that needs no token."""

from __future__ import annotations

import asyncio
import contextlib
import json
from ipaddress import ip_network
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp.test_utils import TestServer

from jobqueue.api.app import make_app
from jobqueue.api.route_table import ROUTES
from jobqueue.api.security.hosts import is_allowed
from jobqueue.settings import Settings
from tests.support.mongo.mocked import mocked

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

TOKEN = "a-token-of-some-length"  # noqa: S105 - a test's own
EVIL = "evil.example"
PROXIES = (ip_network("127.0.0.0/8"),)

OWN = [
    "127.0.0.1",
    "127.0.0.1:8080",
    "127.1.2.3",
    "127.0.0.1.",
    "[::1]",
    "[::1]:8080",
    "[0:0:0:0:0:0:0:1]:1",
    "[::ffff:127.0.0.1]",
    "localhost",
    "localhost:8080",
    "LOCALHOST.",
    "LocalHost.:80",
    "a.localhost",
    "a.b.localhost:8080",
]
FOREIGN = [
    "",
    EVIL,
    f"{EVIL}:8080",
    "127.0.0.1.evil.example",
    "localhost.evil.example",
    "evillocalhost",
    "localhost..",
    "localhost@evil.example",
    "evil.example@localhost",
    "localhost:80:80",
    "localhost:x",
    "localhost/evil.example",
    "localhost, evil.example",
    "localhost evil.example",
    "128.0.0.1",
    "0.0.0.0",  # noqa: S104 - a name that is asked for, nothing is bound
    "192.168.1.5:8080",
    "127.1",
    "2130706433",
    "0x7f.0.0.1",
    "127.0.0.01",
    "::1",
    "[::2]",
    "[::1",
    "[::ffff:1.2.3.4]",
    "[127.0.0.1]x",
]


@contextlib.asynccontextmanager
async def serving(*, open_to_all: bool | None = None, **settings: Any) -> AsyncIterator[TestServer]:
    server = TestServer(make_app(mocked(Settings(**settings)), open_to_all=open_to_all))
    async with server:
        yield server


async def ask(
    server: TestServer, lines: list[str], *, target: str = "/healthz", method: str = "GET", version: str = "1.1"
) -> tuple[int, dict[str, Any]]:
    """Send these header lines and no others; return status and body."""
    reader, writer = await asyncio.open_connection(server.host, server.port)
    text = "".join(f"{line}\r\n" for line in [f"{method} {target} HTTP/{version}", *lines, "Connection: close", ""])
    writer.write(text.encode("latin-1"))
    head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    status = int(head.split()[1])
    return status, json.loads(body) if body and b"json" in head else {}


def is_refused(answer: tuple[int, dict[str, Any]]) -> bool:
    status, body = answer
    named = body.get("type") == "/problems/foreign-host" and "JOBQUEUE_ALLOWED_HOSTS" in body["detail"]
    return (status, named) == (403, True)


@pytest.mark.parametrize("host", OWN)
async def test_a_request_to_a_loopback_name_or_address_is_answered(host: str) -> None:
    assert is_allowed(host, ())
    async with serving() as server:
        assert (await ask(server, [f"Host: {host}"]))[0] == 200


@pytest.mark.parametrize("host", FOREIGN)
async def test_a_request_to_any_other_name_is_refused(host: str) -> None:
    assert not is_allowed(host, ())
    async with serving() as server:
        assert is_refused(await ask(server, [f"Host: {host}"]))


async def test_a_request_without_a_host_or_with_two_is_refused() -> None:
    async with serving() as server:
        assert is_refused(await ask(server, [], version="1.0"))
        for other in (EVIL, "localhost"):
            status, _ = await ask(server, ["Host: localhost", f"Host: {other}"])
            assert status in {400, 403}


async def test_the_name_in_an_absolute_target_counts_too() -> None:
    async with serving() as server:
        own = f"http://localhost:{server.port}/healthz"
        assert (await ask(server, ["Host: localhost"], target=own))[0] == 200
        assert is_refused(await ask(server, ["Host: localhost"], target=f"http://{EVIL}/healthz"))
        assert is_refused(await ask(server, [f"Host: {EVIL}"], target=own))


@pytest.mark.parametrize(
    ("method", "path"),
    [
        *((route.method, route.path.replace("{id}", "f" * 24).replace("{queue}", "q")) for route in ROUTES),
        ("GET", "/nothing"),
        ("GET", "/v1/nothing"),
        ("PUT", "/v1/jobs/bulk"),
        ("OPTIONS", "/v1/jobs"),
        ("HEAD", "/v1/events"),
    ],
)
async def test_every_route_is_closed_to_a_foreign_name(method: str, path: str) -> None:
    async with serving() as server:
        status, body = await ask(server, [f"Host: {EVIL}", f"Origin: http://{EVIL}"], target=path, method=method)
        assert status == 403
        assert method == "HEAD" or body["type"] == "/problems/foreign-host"


@pytest.mark.parametrize("host", [EVIL, "", "localhost"])
async def test_a_valid_token_is_enough_whatever_the_name(host: str) -> None:
    async with serving(admin_token=TOKEN, open_to_all=True) as server:
        for path in ("/healthz", "/v1/schedules"):
            right = [f"Host: {host}", f"Authorization: Bearer {TOKEN}"]
            assert (await ask(server, right, target=path))[0] == 200


async def test_an_invalid_token_opens_nothing() -> None:
    async with serving() as server:
        for path in ("/healthz", "/v1/queues", "/nothing"):
            wrong = [f"Host: {EVIL}", "Authorization: Bearer wrong"]
            assert (await ask(server, wrong, target=path))[0] == 401


async def test_allowed_names_are_answered_to() -> None:
    allowed = Settings.load({"allowed_hosts": "Queue.Example.org., 192.168.1.5, [fd00::1]"}, {}).allowed_hosts
    assert allowed == ("queue.example.org", "192.168.1.5", "fd00::1")
    async with serving(allowed_hosts=allowed) as server:
        for host in ("queue.example.org", "QUEUE.example.org.:443", "192.168.1.5:8080", "[fd00:0::1]", "localhost"):
            assert (await ask(server, [f"Host: {host}"]))[0] == 200
        for host in ("example.org", "a.queue.example.org", "192.168.1.6", "[fd00::2]"):
            assert is_refused(await ask(server, [f"Host: {host}"]))


async def test_the_name_that_the_server_listens_on_is_its_own() -> None:
    async with serving(host="Render-Node") as server:
        assert (await ask(server, ["Host: render-node:8080"]))[0] == 200
        assert is_refused(await ask(server, ["Host: render-node.evil.example"]))


async def test_a_forwarded_name_counts_only_beside_the_host_and_only_from_a_trusted_proxy() -> None:
    forwarded = f"X-Forwarded-Host: {EVIL}"
    async with serving() as server:
        assert (await ask(server, ["Host: localhost", forwarded]))[0] == 200
        assert is_refused(await ask(server, [f"Host: {EVIL}", "X-Forwarded-Host: localhost"]))
    async with serving(trusted_proxies=PROXIES, allowed_hosts=("queue.example.org",)) as server:
        assert is_refused(await ask(server, ["Host: localhost", forwarded]))
        assert is_refused(await ask(server, ["Host: localhost", f"X-Forwarded-Host: localhost, {EVIL}"]))
        assert is_refused(await ask(server, [f"Host: {EVIL}", "X-Forwarded-Host: localhost"]))
        assert (await ask(server, ["Host: localhost", "X-Forwarded-Host: queue.example.org"]))[0] == 200


async def test_a_server_that_needs_tokens_answers_health_checks_under_any_name_and_nothing_else() -> None:
    async with serving(admin_token=TOKEN) as server:
        for lines, version in ((["Host: 10.1.2.3:8080"], "1.1"), ([f"Host: {EVIL}"], "1.1"), ([], "1.0")):
            for path, expected in (("/healthz", 200), ("/readyz", 200), ("/v1/queues", 401), ("/v1/events", 401)):
                assert (await ask(server, lines, target=path, version=version))[0] == expected


@pytest.mark.parametrize("text", ["a:80", "http://a", "a/b", "*.a", "-a", "a b", "a..b", "ä.example", "[::1]:80", "@"])
def test_what_is_no_host_is_no_setting(text: str) -> None:
    with pytest.raises(Exception, match="is not the name or address of a host"):
        Settings.load({}, {"JOBQUEUE_ALLOWED_HOSTS": f"localhost,{text}"})
