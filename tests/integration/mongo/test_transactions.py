"""Transactions that collide with what a dead process has left."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp.test_utils import TestClient, TestServer
from motor.motor_asyncio import AsyncIOMotorClient
from pymongo import MongoClient

from jobqueue.api.app import make_app
from jobqueue.domain.errors import DatabaseUnavailableError
from jobqueue.store.embedded.lifecycle import EmbeddedMongo
from jobqueue.store.mongo import database
from tests.support.data.factories import add

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from motor.motor_asyncio import AsyncIOMotorClientSession

    from jobqueue.services.application import Runtime
    from jobqueue.settings import Settings


@pytest.fixture
async def held_key(settings: Settings, idle_runtime: Runtime) -> AsyncIterator[str]:
    """Give a key that a transaction holds which nobody ends."""
    assert idle_runtime.database.name == settings.db
    client: AsyncIOMotorClient[Any] = AsyncIOMotorClient(settings.mongo_url)
    async with await client.start_session() as session:
        session.start_transaction()
        jobs = client[settings.db].jobs
        await jobs.insert_one({"queue": "default", "key": "held", "state": "pending"}, session=session)
        yield "held"
    client.close()


async def test_a_bulk_that_collides_is_refused_soon_and_has_not_been_tried_without_pause(
    idle_runtime: Runtime, held_key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "_TRANSACTION_SECONDS", 1.0)
    tries = 0

    async def insert(session: AsyncIOMotorClientSession) -> None:
        nonlocal tries
        tries += 1
        document = {"queue": "default", "key": held_key, "state": "pending"}
        await idle_runtime.jobs.collection.insert_one(document, session=session)

    with pytest.raises(DatabaseUnavailableError, match="in the way"):
        await idle_runtime.database.in_transaction(insert)
    assert 1 < tries < 20
    async with TestClient(TestServer(make_app(idle_runtime))) as client:
        for path in ("/v1/jobs/bulk", "/v1/batches"):
            body = {"jobs": [{"type": "a"}, {"type": "b", "key": held_key}]}
            async with client.post(path, json=body) as answer:
                assert answer.status == 503, await answer.text()
                assert int(answer.headers["Retry-After"]) > 0
    assert await idle_runtime.jobs.collection.count_documents({}) == 0


async def test_a_job_whose_key_is_held_holds_up_no_other(idle_runtime: Runtime, held_key: str) -> None:
    stuck = asyncio.create_task(add(idle_runtime, key=held_key))
    try:
        # Those that come meanwhile would share a round trip, if they shared one with it.
        await asyncio.wait_for(asyncio.gather(*(add(idle_runtime) for _ in range(5))), 15)
        assert not stuck.done()
    finally:
        stuck.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await stuck


def test_the_embedded_server_ends_transactions_of_dead_processes_soon(tmp_path: Path) -> None:
    with EmbeddedMongo.acquire(tmp_path) as embedded, MongoClient[dict[str, Any]](embedded.url) as client:
        asked = client.admin.command({"getParameter": 1, "transactionLifetimeLimitSeconds": 1})
        assert asked["transactionLifetimeLimitSeconds"] <= 10
