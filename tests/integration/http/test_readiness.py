"""Readiness on real servers: with roles, without a primary, without a majority."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp.test_utils import TestClient, TestServer
from pymongo import MongoClient

from jobqueue.api.app import make_app
from jobqueue.services.application import Runtime
from jobqueue.settings import Settings
from tests.support.faults.guarded_mongod import GuardedMongod
from tests.support.faults.replica_set import ReplicaSet
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from aiohttp import web

    Client = TestClient[web.Request, web.Application]

DATABASE = "readiness"
WRITES = {"role": "readWrite", "db": DATABASE}
READS = {"role": "read", "db": DATABASE}
ELSEWHERE = {"role": "readWrite", "db": "another"}


@pytest.fixture(scope="module")
def mongod(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GuardedMongod]:
    with GuardedMongod(tmp_path_factory.mktemp("guarded") / "data") as made:
        yield made


@pytest.fixture
async def client(mongod: GuardedMongod) -> AsyncIterator[Client]:
    mongod.create("server", WRITES)
    async with serving(mongod.url("server")) as one:
        yield one
    mongod.root.drop_database(DATABASE)
    users = mongod.root.admin.command("usersInfo", "server")["users"]
    if users:
        mongod.drop("server")


@contextlib.asynccontextmanager
async def serving(url: str) -> AsyncIterator[Client]:
    """Give a client of an application on a MongoDB."""
    runtime = await Runtime.open(Settings(mongo_url=url, db=DATABASE))
    try:
        async with TestClient(TestServer(make_app(runtime))) as one:
            yield one
    finally:
        await runtime.close()


async def readiness(client: Client) -> tuple[int, dict[str, Any]]:
    answer = await client.get("/readyz")
    return answer.status, await answer.json(content_type=None)


async def becomes(client: Client, status: int) -> dict[str, Any]:
    """Return the body of the first answer with this status."""

    async def look() -> dict[str, Any] | None:
        seen, body = await readiness(client)
        return body if seen == status else None

    found: dict[str, Any] | None = await eventually(look, within=60)
    assert found is not None
    return found


async def adds(client: Client) -> int:
    return (await client.post("/v1/jobs", json={"type": "a"})).status


@pytest.mark.parametrize("roles", [(), (READS,), (ELSEWHERE,)], ids=["none", "read", "elsewhere"])
async def test_a_server_without_rights_is_not_ready_until_it_has_them_again(
    roles: tuple[dict[str, str], ...], client: Client, mongod: GuardedMongod
) -> None:
    assert await readiness(client) == (200, {"status": "ready"})
    mongod.grant("server", *roles)
    told = await becomes(client, 503)
    assert (told["type"], told["title"]) == ("/problems/not-ready", "Not ready")
    assert told["detail"] == (
        "MongoDB refuses access: the user of the MongoDB URL needs the right to read and write the database"
    )
    assert await adds(client) == 503
    mongod.grant("server", WRITES)
    await becomes(client, 200)
    assert await adds(client) == 201


async def test_a_server_whose_user_is_gone_is_not_ready(client: Client, mongod: GuardedMongod) -> None:
    await becomes(client, 200)
    mongod.drop("server")
    told = await becomes(client, 503)
    assert told["detail"].startswith("MongoDB refuses access: ")
    assert await adds(client) == 503


@pytest.mark.new_database
async def test_many_probes_cost_few_questions_and_write_nothing(mongo_url: str, db_name: str) -> None:
    runtime = await Runtime.open(Settings(mongo_url=mongo_url, db=db_name))
    with MongoClient[dict[str, Any]](mongo_url) as driver:
        before = counters(driver)
        async with TestClient(TestServer(make_app(runtime))) as client:
            answers = await asyncio.gather(*(client.get("/readyz") for _ in range(100)))
            assert {answer.status for answer in answers} == {200}
        after = counters(driver)
        of_database = {"ns": {"$regex": f"^{db_name}\\."}, "o": {"$exists": True}, "op": {"$in": ["i", "u", "d"]}}
        assert driver["local"]["oplog.rs"].count_documents(of_database) == 0
    await runtime.close()
    assert 1 <= after - before < 20


def counters(driver: MongoClient[dict[str, Any]]) -> int:
    asked: int = driver.admin.command("serverStatus")["metrics"]["commands"]["findAndModify"]["total"]
    return asked


async def test_a_server_without_a_majority_is_not_ready() -> None:
    with ReplicaSet(3) as nodes:
        async with serving(nodes.url) as client:
            await becomes(client, 200)
            primary = nodes.wait_primary()
            for node in nodes.nodes:
                if node is not primary:
                    node.freeze()
            told = await becomes(client, 503)
            assert told["type"] == "/problems/not-ready"
            assert "majority" in told["detail"]
            assert "127.0.0.1" not in str(told)
            for node in nodes.nodes:
                if node is not primary:
                    node.thaw()
            await becomes(client, 200)
            for node in nodes.nodes:
                node.kill()
            # Connections that break are noticed one after the other.
            assert await eventually(lambda: says(client, "MongoDB cannot be reached"), within=60)


async def says(client: Client, detail: str) -> bool:
    return str((await readiness(client))[1].get("detail")) == detail
