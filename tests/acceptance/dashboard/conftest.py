"""A played night behind a server, and a browser, once for all tests of a worker."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio
from aiohttp.test_utils import TestServer

from jobqueue.dashboard.app import make_app
from jobqueue.domain.insight.audit import Actor
from jobqueue.settings import Settings
from tests.support.browser import chromium, night
from tests.support.data.factories import open_runtime

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from playwright.async_api import Browser

    from jobqueue.services.application import Runtime
    from jobqueue.store.mongo.scratch import ScratchDatabases

ADMIN = "the-token-of-the-settings"
BY = Actor(name="test", via="python")


@dataclass(frozen=True, slots=True)
class House:
    """A server on the night.

    Attributes:
        base: the address of a server that needs no token.
        guarded: that of a server that needs tokens.
        tokens: a token of every kind, by name.
    """

    runtime: Runtime
    night: night.Night
    base: str
    guarded: str
    tokens: dict[str, str]


@pytest.fixture(scope="session")
def played(
    mongo_url: str, databases: ScratchDatabases, tmp_path_factory: pytest.TempPathFactory, worker_id: str
) -> Iterator[tuple[Settings, night.Night]]:
    """Give the settings of the database of a night, and the ids in it; one worker of a run plays it for all."""
    name = databases.ready()
    settings = Settings.load({"mongo_url": mongo_url, "db": name}, environ={}, cwd=tmp_path_factory.mktemp("night"))
    # The directory above that of a worker is that of the run.
    run = tmp_path_factory.getbasetemp()
    run = run if worker_id == "master" else run.parent
    yield settings, night.played_once(settings, run)
    databases.put_back(name)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def house(played: tuple[Settings, night.Night]) -> AsyncIterator[House]:
    """Serve the night, once with tokens and once without."""
    settings, there = played
    async with open_runtime(replace(settings, admin_token=ADMIN)) as runtime:
        tokens: dict[str, str] = {}
        for role in ("read", "enqueue"):
            _, tokens[role] = await runtime.access.create(roles=[role], name=role, by=BY)
        _, tokens["queue"] = await runtime.access.create(roles=["read"], queues=["mail"], name="mailer", by=BY)
        _, tokens["meta"] = await runtime.access.create(roles=["read"], meta=[("customer_id", 45)], name="one", by=BY)
        servers = [TestServer(make_app(runtime, open_to_all=is_open)) for is_open in (True, False)]
        for server in servers:
            await server.start_server()
        base, guarded = (str(server.make_url("")).rstrip("/") for server in servers)
        yield House(runtime=runtime, night=there, base=base, guarded=guarded, tokens=tokens)
        for server in servers:
            await server.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    """Give a browser."""
    async with chromium.browser() as started:
        yield started
