"""Fixtures on a real MongoDB: tests that need it fail, never skip, when it is missing."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING

import hypothesis
import pytest

from jobqueue.services.application import Runtime
from jobqueue.services.queue import JobQueue
from jobqueue.settings import Settings
from jobqueue.store import indexes
from jobqueue.testing import mongod
from tests.support.data.factories import PATIENCE
from tests.support.used import uses

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from jobqueue.store.mongo.database import Database
    from jobqueue.store.mongo.scratch import ScratchDatabases

_ensure = indexes.ensure
_indexed: set[str] = set()


# How long an example takes says more about the machine than about the code.
hypothesis.settings.register_profile("shared", deadline=None)
hypothesis.settings.load_profile("shared")


def pytest_collection_finish() -> None:
    """Keep all that is loaded by now out of garbage collections, which go over it again and again otherwise."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(5000, 20, 20)


@pytest.fixture(autouse=True, scope="session")
def indexes_made_once() -> Iterator[None]:
    """Open the databases of `db_name` without a look at their indexes, a third of all commands of the tests."""

    async def ensure(database: Database, *, creates: bool = True) -> list[str]:
        return [] if database.name in _indexed else await _ensure(database, creates=creates)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(indexes, "ensure", ensure)
        yield


@pytest.fixture(scope="session")
def mongo_url() -> Iterator[str]:
    """Give the URL of a real replica set: that of JOBQUEUE_TEST_MONGODB_URI, or one started for this run."""
    with mongod.server() as url:
        yield url


@pytest.fixture(scope="session")
def jobqueue_mongo_url(mongo_url: str) -> str:
    """Give the plugin for tests of users the same server."""
    return mongo_url


@pytest.fixture(scope="session")
def databases(mongo_url: str) -> Iterator[ScratchDatabases]:
    """Hand out databases of the server."""
    with mongod.databases(mongo_url, resting=2) as databases:
        yield databases


@pytest.fixture
def db_name(databases: ScratchDatabases, request: pytest.FixtureRequest) -> Iterator[str]:
    """Give the name of a database without documents, with all its indexes unless the test is to have a new one."""
    if request.node.get_closest_marker("own_indexes") is not None:
        name = databases.ready()
        yield name
        databases.drop(name)
    # An index that once held a list answers fewer queries alone for good.
    elif not uses(request, "tests.support.mongo.plans") and request.node.get_closest_marker("new_database") is None:
        name = databases.ready()
        _indexed.add(name)
        yield name
        _indexed.discard(name)
        databases.put_back(name)
    else:
        name = databases.new()
        yield name
        databases.drop(name)


@pytest.fixture
def settings(mongo_url: str, db_name: str, tmp_path: Path) -> Settings:
    """Give settings of a fresh database."""
    return Settings.load({"mongo_url": mongo_url, "db": db_name}, environ={}, cwd=tmp_path)


@pytest.fixture
async def idle_runtime(settings: Settings) -> AsyncIterator[Runtime]:
    """Give the services without anything in the background: nothing is promoted, reaped or fired by itself."""
    runtime = await Runtime.open(settings)
    runtime.outboxes.patience = PATIENCE
    await runtime.configs.refresh()
    try:
        yield runtime
    finally:
        await runtime.close()


@pytest.fixture
async def runtime(settings: Settings) -> AsyncIterator[Runtime]:
    """Give the services with their background work going on."""
    runtime = await Runtime.open(settings)
    await runtime.start()
    try:
        yield runtime
    finally:
        await runtime.close()


@pytest.fixture
async def queue(settings: Settings) -> AsyncIterator[JobQueue]:
    """Give a queue on a fresh database."""
    async with JobQueue(settings) as opened:
        yield opened
