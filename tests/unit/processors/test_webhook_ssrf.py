from __future__ import annotations

import socket
from contextlib import AsyncExitStack, asynccontextmanager
from ipaddress import ip_network
from typing import TYPE_CHECKING

import pytest

from jobqueue.domain.work.verdict import Success
from jobqueue.processors.webhooks.webhook import WebhookClient
from tests.support.ports import free_port
from tests.unit.processors.webhook_receiver import (
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
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from jobqueue.domain.work.verdict import Verdict

ALLOWED = ip_network("127.0.0.2/32")
HOSTS = [
    *(
        "127.0.0.1",
        "127.0.0.1.",
        "127.1",
        "127.0.1",
        "2130706433",
        "0x7f.1",
        "0x7f000001",
        "0177.0.0.1",
        "017700000001",
    ),
    *("0.0.0.0", "0", "localhost", "LOCALHOST", "localhost.", "①②⑦.⓪.⓪.①", "１２７.0.0.1", "127。0。0。1", "ⓛocalhost"),  # noqa: S104, RUF001 - the attack
    *(
        "[::1]",
        "[::]",
        "[0:0:0:0:0:0:0:1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[::127.0.0.1]",
        "[::ffff:0:127.0.0.1]",
    ),
    *("[64:ff9b::127.0.0.1]", "[64:ff9b:1::7f00:1]", "[2002:7f00:1::1]", "[2001:0:7f00:1::]", "[fe80::1%25lo]"),
    *("%31%32%37.0.0.1", "127.0.0.1%00.example.com", "user@127.0.0.1", "1.1.1.1@127.0.0.1", "127.0.0.1#@1.1.1.1"),
    *("169.254.169.254", "10.0.0.1", "192.168.1.1", "[fd00:ec2::254]"),
]


@pytest.fixture
async def canary() -> AsyncIterator[Receiver]:
    """Listen on loopback, where no webhook may get: one port of both protocols, if the machine has both."""
    async with AsyncExitStack() as stack:
        port = free_port()
        canary = await stack.enter_async_context(receiving(reply(), port=port))
        if _has_ipv6_loopback():
            second = await stack.enter_async_context(receiving(reply(), "::1", port=port))
        else:
            second = canary
        yield canary
        assert (canary.connections, second.connections) == (0, 0)


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_no_way_of_writing_an_address_leads_to_this_machine(canary: Receiver, scheme: str, host: str) -> None:
    async with WebhookClient() as client:
        verdict = await ask(client, f"{scheme}://{host}:{canary.port}/")

    assert kind(verdict) in {"blocked-address", "invalid-url", "connection"}


async def test_a_refusal_names_the_host_and_the_setting(canary: Receiver) -> None:
    async with WebhookClient() as client:
        verdict = await ask(client, f"http://127.0.0.1:{canary.port}/")

    assert kind(verdict) == "blocked-address"
    assert error(verdict).startswith("127.0.0.1 ")
    assert "JOBQUEUE_WEBHOOK_ALLOW" in error(verdict)


async def test_a_refusal_does_not_tell_which_ports_are_open(canary: Receiver) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        async with WebhookClient() as client:
            there = await ask(client, f"http://127.0.0.1:{canary.port}/")
            not_there = await ask(client, f"http://127.0.0.1:{closed.getsockname()[1]}/")

    assert there == not_there


async def test_a_public_address_is_refused_on_a_port_that_is_not_allowed() -> None:
    async with WebhookClient(resolver=Names({"example.com": [["1.1.1.1"]]})) as client:
        verdict = await ask(client, "http://example.com:22/")

    assert kind(verdict) == "blocked-address"
    assert "JOBQUEUE_WEBHOOK_PORTS" in error(verdict)


async def test_another_network_that_is_allowed_does_not_open_this_one(canary: Receiver) -> None:
    async with WebhookClient(allow=[ip_network("10.0.0.0/8")], ports=[canary.port]) as client:
        assert kind(await ask(client, f"http://localhost:{canary.port}/")) == "blocked-address"


async def test_a_name_that_changes_its_mind_is_refused_the_second_time() -> None:
    names = Names({"rebind.test": [["127.0.0.2"], ["127.0.0.1"]]})
    async with two_addresses() as (good, canary), WebhookClient(allow=[ALLOWED], resolver=names) as client:
        first = await ask(client, f"http://rebind.test:{good.port}/")
        second = await ask(client, f"http://rebind.test:{good.port}/")

    assert (first, kind(second)) == (Success(code=200), "blocked-address")
    assert (good.connections, canary.connections) == (1, 0)


@pytest.mark.parametrize("addresses", [["127.0.0.1", "127.0.0.2"], ["127.0.0.2", "127.0.0.1"], ["::1", "127.0.0.2"]])
async def test_of_mixed_addresses_only_the_allowed_one_is_used(addresses: list[str]) -> None:
    names = Names({"mixed.test": [addresses]})
    async with two_addresses() as (good, canary), WebhookClient(allow=[ALLOWED], resolver=names) as client:
        assert await ask(client, f"http://mixed.test:{good.port}/") == Success(code=200)

    assert (good.connections, canary.connections) == (1, 0)


@pytest.mark.parametrize("name", ["http_proxy", "HTTP_PROXY", "https_proxy", "all_proxy", "ALL_PROXY"])
async def test_a_proxy_of_the_environment_is_not_used(
    monkeypatch: pytest.MonkeyPatch, canary: Receiver, name: str
) -> None:
    monkeypatch.setenv(name, f"http://127.0.0.1:{canary.port}")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    async with WebhookClient(allow=[ALLOWED]) as client, receiving(reply(), "127.0.0.2") as good:
        assert await run(client, good, url=f"http://127.0.0.2:{good.port}/") == Success(code=200)


async def test_credentials_of_the_environment_are_not_sent(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login a password b\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    async with WebhookClient(allow=[ip_network("127.0.0.0/8")]) as client, receiving(reply()) as receiver:
        await run(client, receiver)

    assert "authorization" not in receiver.requests[0].headers


@asynccontextmanager
async def two_addresses() -> AsyncIterator[tuple[Receiver, Receiver]]:
    """Listen on one port of 127.0.0.2, which is allowed, and of 127.0.0.1, which is not."""
    port = free_port()
    async with receiving(reply(), "127.0.0.2", port=port) as good, receiving(reply(), "127.0.0.1", port=port) as canary:
        yield good, canary


async def ask(client: WebhookClient, url: str) -> Verdict:
    """Send a job to any URL, also to one that the configuration would not have taken."""
    settings = config("http://example.com", timeout=5)
    object.__setattr__(settings, "url", url)
    return await client.processor(settings, TOKEN).run(make_job(), SILENT)


def _has_ipv6_loopback() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True
