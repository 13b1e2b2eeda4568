"""One key, four server processes, many requests at once to each: one job, also when processes are killed meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from pymongo import MongoClient

from tests.acceptance.cli.cli_process import Cli, Service
from tests.support.data.scale import sized
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

SERVERS = 4
EACH = sized(60, 200)
Answers = list[tuple[int, dict[str, Any]]]


@pytest.fixture
def servers(tmp_path: Path, mongo_url: str, db_name: str) -> Iterator[list[tuple[Service, str]]]:
    with contextlib.ExitStack() as stack:
        started = []
        for number in range(SERVERS):
            home = tmp_path / str(number)
            home.mkdir()
            cli = Cli(home, {"JOBQUEUE_MONGO_URL": mongo_url, "JOBQUEUE_DB": db_name})
            started.append(stack.enter_context(cli.start("serve", "--port", "0")))
        yield [(one, one.ready().removeprefix("listening on ")) for one in started]


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as one:
        yield one


@pytest.fixture
def stored(mongo_url: str, db_name: str) -> Iterator[Any]:
    client: MongoClient[dict[str, Any]] = MongoClient(mongo_url)
    with client:
        yield client[db_name]


async def create(
    session: aiohttp.ClientSession, url: str, path: str, body: Any, key: str | None = None
) -> tuple[int, dict[str, Any]]:
    headers = {} if key is None else {"Idempotency-Key": key}
    try:
        async with session.post(f"{url}{path}", json=body, headers=headers) as answer:
            return answer.status, await answer.json(content_type=None)
    except aiohttp.ClientError:
        return 0, {}


async def storm(session: aiohttp.ClientSession, urls: list[str], path: str, body: Any, key: str | None) -> Answers:
    calls = [create(session, url, path, body, key) for _ in range(EACH) for url in urls]
    return list(await asyncio.gather(*calls))


async def test_one_key_makes_one_job_or_one_batch(
    servers: list[tuple[Service, str]], session: aiohttp.ClientSession, stored: Any
) -> None:
    urls = [url for _, url in servers]
    for path, body in (("/v1/jobs", {"type": "a"}), ("/v1/batches", {"jobs": [{"type": "b"}], "meta": {"n": 1}})):
        answers = await storm(session, urls, path, body, f"k{path}")
        statuses = [status for status, _ in answers]
        assert statuses.count(201) == 1
        assert set(statuses) <= {200, 201, 409}
        assert len({answer["id"] for status, answer in answers if status != 409}) == 1
        assert {answer["type"] for status, answer in answers if status == 409} <= {"/problems/in-flight"}
    assert (stored.jobs.count_documents({}), stored.batches.count_documents({})) == (2, 1)
    await lets_one_live(session, urls)
    assert stored.jobs.count_documents({}) == 3


async def lets_one_live(session: aiohttp.ClientSession, urls: list[str]) -> None:
    """Make sure that of jobs with one key of their own one is made, and named to the others."""
    answers = await storm(session, urls, "/v1/jobs", {"type": "a", "key": "k"}, None)
    (job,) = [answer for status, answer in answers if status == 201]
    assert [answer["jobId"] for status, answer in answers if status == 409] == [job["id"]] * (SERVERS * EACH - 1)


async def test_processes_that_are_killed_meanwhile_leave_one_job_for_the_key(
    servers: list[tuple[Service, str]], session: aiohttp.ClientSession, stored: Any
) -> None:
    survivor = servers[-1][1]

    async def try_one(number: int, victim: Service, url: str) -> None:
        body, key = {"type": "a", "data": {"n": number}, "key": str(number)}, f"k{number}"
        requests = [asyncio.create_task(create(session, url, "/v1/jobs", body, key)) for _ in range(10)]
        await eventually(lambda: stored.idempotency.count_documents({"_id": {"$regex": f"{key}$"}}), every=0)
        victim.send(signal.SIGKILL)
        await asyncio.gather(*requests)

        async def is_there() -> bool:
            status, _ = await create(session, survivor, "/v1/jobs", body, key)
            assert status in {200, 409}
            return status == 200

        await eventually(is_there, every=0.1)
        assert stored.jobs.count_documents({"data.n": number}) == 1

    await asyncio.gather(*(try_one(number, *one) for number, one in enumerate(servers[:-1])))
