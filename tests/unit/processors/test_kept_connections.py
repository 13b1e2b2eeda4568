"""Connections to receivers that are kept, and what becomes of a request if the receiver has closed them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from jobqueue.domain.work.verdict import Success
from jobqueue.processors.webhooks import kept_connections, webhook
from jobqueue.processors.webhooks.webhook import WebhookClient
from tests.support.waiting import eventually
from tests.unit.processors.webhook_receiver import LOOPBACK, Names, error, kind, receiving, reply, reset, run, send

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.unit.processors.webhook_receiver import Answer

OK = reply(body=b"1")
DONE = Success(result=1, code=200)


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep connections for longer than any test takes."""
    monkeypatch.setattr(kept_connections, "KEPT_SECONDS", 600.0)


@pytest.fixture
async def client() -> AsyncIterator[WebhookClient]:
    async with WebhookClient(allow=LOOPBACK) as client:
        yield client


def in_turn(*answers: Answer) -> Answer:
    """Answer each request by the next answer, and all further ones by the last."""
    left = list(answers)

    async def answer(writer: asyncio.StreamWriter) -> None:
        await (left.pop(0) if len(left) > 1 else left[0])(writer)

    return answer


async def hang_up(writer: asyncio.StreamWriter) -> None:
    writer.close()
    await writer.wait_closed()


def broken_off(data: bytes) -> Answer:
    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        await writer.drain()
        await hang_up(writer)

    return answer


async def test_webhooks_of_one_receiver_share_a_connection(client: WebhookClient) -> None:
    async with receiving(OK) as receiver:
        receiver.most = 10
        for _ in range(3):
            assert await run(client, receiver) == DONE
        assert (len(receiver.requests), receiver.connections) == (3, 1)
        assert "connection" not in receiver.requests[0].headers
        await client.close()
        await eventually(lambda: receiver.open == 0)


async def test_a_connection_that_the_receiver_closed_is_not_used_again(client: WebhookClient) -> None:
    async with receiving(OK) as receiver:
        for number in (1, 2, 3):
            assert await run(client, receiver) == DONE
            await receiver.hung_up.wait()
            receiver.hung_up.clear()
            assert (len(receiver.requests), receiver.connections) == (number, number)


@pytest.mark.parametrize("cut", [hang_up, reset(b"")], ids=["closed", "reset"])
async def test_a_request_that_met_a_closed_connection_is_sent_again_under_its_id(
    client: WebhookClient, cut: Answer
) -> None:
    async with receiving(in_turn(OK, cut, OK)) as receiver:
        receiver.most = 2
        verdicts = [await run(client, receiver) for _ in range(2)]
    assert verdicts == [DONE, DONE]
    assert (len(receiver.requests), receiver.connections) == (3, 2)
    _, first, second = receiver.requests
    assert (first.body, first.headers["webhook-id"]) == (second.body, second.headers["webhook-id"])
    assert second.headers["connection"] == "close"


async def test_a_request_is_sent_again_once_only(client: WebhookClient) -> None:
    async with receiving(in_turn(OK, hang_up)) as receiver:
        receiver.most = 2
        await run(client, receiver)
        verdict = await run(client, receiver)
    assert (kind(verdict), len(receiver.requests)) == ("connection", 3)


@pytest.mark.parametrize(
    "part", [b"H", b"HTTP/1.1 200 OK\r\nContent-Le", b"HTTP/1.1 102 Processing\r\n\r\n"], ids=["byte", "head", "102"]
)
async def test_a_reply_that_breaks_off_counts_as_an_attempt(client: WebhookClient, part: bytes) -> None:
    async with receiving(in_turn(OK, broken_off(part), OK)) as receiver:
        receiver.most = 2
        await run(client, receiver)
        verdict = await run(client, receiver)
    assert (kind(verdict), len(receiver.requests)) == ("connection", 2)
    assert "broke off" in error(verdict)


async def test_a_request_over_a_new_connection_is_never_sent_again(client: WebhookClient) -> None:
    async with receiving(in_turn(hang_up, OK)) as receiver:
        verdict = await run(client, receiver)
    assert (kind(verdict), len(receiver.requests)) == ("connection", 1)


async def test_a_receiver_that_dies_at_work_counts_as_an_attempt(
    client: WebhookClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As if it had worked for longer than a closed connection takes to show.
    monkeypatch.setattr(webhook, "STALE_SECONDS", -1.0)
    async with receiving(in_turn(OK, hang_up, OK)) as receiver:
        receiver.most = 2
        await run(client, receiver)
        verdict = await run(client, receiver)
    assert (kind(verdict), len(receiver.requests)) == ("connection", 2)


async def test_bytes_that_nobody_asked_for_are_no_reply_to_the_next_request(client: WebhookClient) -> None:
    writers: list[asyncio.StreamWriter] = []

    async def answer(writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        await OK(writer)

    async with receiving(answer) as receiver:
        receiver.most = 2
        await run(client, receiver)
        await reply("408 Request Timeout")(writers[0])
        async with asyncio.timeout(20):
            await receiver.hung_up.wait()
        assert await run(client, receiver) == DONE
        assert (len(receiver.requests), receiver.connections) == (2, 2)


async def test_two_replies_to_one_request_are_not_taken_for_two(client: WebhookClient) -> None:
    twice = b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n1HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n"
    async with receiving(in_turn(send(twice), OK)) as receiver:
        receiver.most = 2
        assert [await run(client, receiver) for _ in range(2)] == [DONE, DONE]
        assert receiver.connections == 2


async def test_only_some_connections_are_kept(client: WebhookClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_connections, "MOST_KEPT", 2)
    all_in = asyncio.Event()

    async def together(writer: asyncio.StreamWriter) -> None:
        if len(receiver.requests) == 5:
            all_in.set()
        await all_in.wait()
        await OK(writer)

    async with receiving(together) as receiver:
        receiver.most = 10
        await asyncio.gather(*(run(client, receiver) for _ in range(5)))
        assert receiver.connections == 5
        await eventually(lambda: receiver.open == 2)


async def test_a_name_is_looked_up_again_after_a_while_and_its_address_checked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    names = Names({"rebind.test": [["127.0.0.1"], ["10.0.0.1"]]})
    async with WebhookClient(allow=LOOPBACK, resolver=names) as client, receiving(OK) as receiver:
        receiver.most = 10
        url = f"http://rebind.test:{receiver.port}/"
        assert [await run(client, receiver, url=url) for _ in range(2)] == [DONE, DONE]
        assert receiver.connections == 1
    names = Names({"rebind.test": [["127.0.0.1"], ["10.0.0.1"]]})
    monkeypatch.setattr(kept_connections, "LONGEST_SECONDS", 0.0)
    async with WebhookClient(allow=LOOPBACK, resolver=names) as client, receiving(OK) as receiver:
        receiver.most = 10
        url = f"http://rebind.test:{receiver.port}/"
        verdicts = [await run(client, receiver, url=url) for _ in range(2)]
    assert (verdicts[0], kind(verdicts[1]), receiver.connections) == (DONE, "blocked-address", 1)


async def test_the_address_of_a_connection_for_a_second_sending_is_checked_too() -> None:
    names = Names({"rebind.test": [["127.0.0.1"], ["10.0.0.1"]]})
    async with WebhookClient(allow=LOOPBACK, resolver=names) as client, receiving(in_turn(OK, hang_up)) as receiver:
        receiver.most = 2
        url = f"http://rebind.test:{receiver.port}/"
        verdicts = [await run(client, receiver, url=url) for _ in range(2)]
    assert (verdicts[0], kind(verdicts[1]), receiver.connections) == (DONE, "blocked-address", 1)


async def test_a_kept_connection_serves_no_other_name_and_no_stricter_client() -> None:
    names = Names({"a.test": [["127.0.0.1"]], "b.test": [["127.0.0.1"]]})
    async with WebhookClient(allow=LOOPBACK, resolver=names) as client, receiving(OK) as receiver:
        receiver.most = 10
        for name in ("a.test", "b.test"):
            assert await run(client, receiver, url=f"http://{name}:{receiver.port}/") == DONE
        assert receiver.connections == 2
        async with WebhookClient(resolver=names) as stricter:
            assert kind(await run(stricter, receiver)) == "blocked-address"
