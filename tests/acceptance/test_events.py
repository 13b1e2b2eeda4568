"""Readers of events across servers that are killed, restarted and stopped."""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING

import aiohttp
import pytest

from jobqueue import JobQueue
from tests.acceptance.cli.cli_process import Cli, Service
from tests.support.http.sse import Source
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from pathlib import Path

LIMIT = 60
_SERVE = ("serve", "--port", "0")


@pytest.fixture
def cli(tmp_path: Path, mongo_url: str, db_name: str) -> Cli:
    return Cli(tmp_path, {"JOBQUEUE_MONGO_URL": mongo_url, "JOBQUEUE_DB": db_name})


def url_of(service: Service) -> str:
    return service.ready().removeprefix("listening on ")


class Follower:
    """Reads all events and begins again where it broke off, with the server that is there."""

    def __init__(self) -> None:
        self.source = Source()
        self.url = ""

    async def follow(self, end: str) -> None:
        async with aiohttp.ClientSession() as session:
            while not any(event.get("type") == end for _, event in self.source.events):
                headers = {"Last-Event-ID": self.source.last_id} if self.source.last_id else {}
                try:
                    async with session.get(f"{self.url}/v1/events", headers=headers) as response:
                        async for _, event in self.source.read(response):
                            if event.get("type") == end:
                                return
                except aiohttp.ClientError:
                    await asyncio.sleep(0.02)


async def test_no_event_is_missed_or_doubled_whatever_becomes_of_the_server(
    cli: Cli, mongo_url: str, db_name: str
) -> None:
    follower = Follower()
    ids: list[str] = []

    async def add(count: int, kind: str = "work") -> None:
        ids.extend([(await queue.add(kind)).id for _ in range(count)])

    async with JobQueue(mongo_url=mongo_url, db=db_name) as queue, asyncio.timeout(LIMIT):
        with cli.start(*_SERVE) as first:
            follower.url = url_of(first)
            reading = asyncio.create_task(follower.follow("end"))
            await eventually(lambda: follower.source.last_id)
            adding = asyncio.create_task(add(50))
            await eventually(lambda: len(follower.source.events) >= 10)
            first.process.kill()
            await adding
        await add(5)
        with cli.start(*_SERVE) as second:
            follower.url = url_of(second)
            await add(20)
            await eventually(lambda: len(follower.source.events) >= 70)
            # On SIGTERM streams end at once, and so does the process.
            second.process.send_signal(signal.SIGTERM)
            async with asyncio.timeout(15):
                assert await asyncio.to_thread(second.process.wait) == 0
        await add(5)
        with cli.start(*_SERVE) as third:
            follower.url = url_of(third)
            await add(1, "end")
            await reading
    assert [name for name, _ in follower.source.events] == ["inserted"] * len(ids)
    assert [event["id"] for _, event in follower.source.events] == ids
