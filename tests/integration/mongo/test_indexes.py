"""Indexes are as declared, whatever there was before."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import bson
import pytest

from jobqueue.domain.attempts.states import State
from jobqueue.domain.errors import DatabaseUnavailableError, UnsuitableDatabaseError
from jobqueue.store import indexes
from jobqueue.store.indexes import DECLARED
from jobqueue.store.mongo.database import Database
from tests.support.data.factories import add

if TYPE_CHECKING:
    from jobqueue.services.application import Runtime

pytestmark = pytest.mark.own_indexes


def changed_like(database: Database, name: str) -> Any:
    """Return the collection that an index is of."""
    return database.collection(next(index.collection for index in DECLARED if index.name == name))


async def names(database: Database, collection: str) -> set[str]:
    return {one["name"] async for one in database.collection(collection).list_indexes()}


async def test_there_are_the_declared_indexes_and_no_others(idle_runtime: Runtime) -> None:
    database = idle_runtime.database
    for collection in ("jobs", "logs", "attempts", "idempotency"):
        declared = {index.name for index in DECLARED if index.collection == collection}
        assert await names(database, collection) == declared | {"_id_"}
    assert await indexes.differences(database) == []


async def test_ensuring_again_changes_nothing(idle_runtime: Runtime) -> None:
    # Encoded: a NaN in a filter would not equal itself.
    before = [bson.encode(one) async for one in idle_runtime.jobs.collection.list_indexes()]
    assert await indexes.ensure(idle_runtime.database) == []
    assert [bson.encode(one) async for one in idle_runtime.jobs.collection.list_indexes()] == before


async def test_many_processes_may_start_on_a_fresh_database_at_once(mongo_url: str, db_name: str) -> None:
    opened = await asyncio.gather(*(Database.connect(mongo_url, db_name, prepare=indexes.ensure) for _ in range(6)))
    assert await indexes.differences(opened[0]) == []
    for database in opened:
        await database.close()


@pytest.mark.parametrize(
    ("name", "keys", "options"),
    [
        ("due", [("delayTil", -1)], {}),
        ("claim", [("queue", 1), ("priority", -1), ("insertAt", 1), ("_id", 1)], {}),
        ("key", [("queue", 1), ("key", 1)], {"partialFilterExpression": {"key": {"$exists": True}}}),
        ("newest", [("insertAt", -1), ("_id", -1)], {"partialFilterExpression": {"state": "failed"}}),
        ("newestOfType", [("type", 1), ("insertAt", -1), ("_id", -1)], {"sparse": True}),
        ("line", [("jobId", 1), ("seq", 1)], {}),
        ("expiry", [("at", 1)], {"expireAfterSeconds": 60}),
    ],
)
async def test_an_index_with_another_definition_is_told_and_replaced(
    idle_runtime: Runtime, name: str, keys: list[tuple[str, int]], options: dict[str, Any]
) -> None:
    database = idle_runtime.database
    collection = changed_like(database, name)
    await collection.drop_index(name)
    assert await indexes.differences(database) == [f"index {name} of {collection.name} is missing"]
    await collection.create_index(keys, name=name, **options)
    assert await indexes.differences(database) == [f"index {name} of {collection.name} is not as declared"]
    assert await indexes.ensure(database) == [name]
    assert await indexes.differences(database) == []


@pytest.mark.parametrize("name", ["newest", "claim", "line", "expiry"])
async def test_a_declared_index_under_another_name_is_replaced(idle_runtime: Runtime, name: str) -> None:
    database = idle_runtime.database
    index = next(one for one in DECLARED if one.name == name)
    collection = changed_like(database, name)
    await collection.drop_index(name)
    await collection.create_index(list(index.keys), name="mine", **index.options)
    assert await indexes.ensure(database) == [name]
    assert await indexes.differences(database) == []
    assert "mine" not in await names(database, index.collection)


async def test_indexes_of_somebody_else_stay(idle_runtime: Runtime) -> None:
    await idle_runtime.jobs.collection.create_index([("data.order", 1)], name="theirs")
    assert await indexes.ensure(idle_runtime.database) == []
    assert "theirs" in await names(idle_runtime.database, "jobs")
    assert await indexes.differences(idle_runtime.database) == []


async def test_processes_that_replace_an_index_at_once_do_not_trip_over_each_other(
    mongo_url: str, db_name: str, idle_runtime: Runtime
) -> None:
    jobs = idle_runtime.jobs.collection
    for name in ("due", "outbox", "newest"):
        await jobs.drop_index(name)
        await jobs.create_index([(f"old.{name}", 1)], name=name)
    opened = await asyncio.gather(*(Database.connect(mongo_url, db_name, prepare=indexes.ensure) for _ in range(4)))
    assert await indexes.differences(idle_runtime.database) == []
    for database in opened:
        await database.close()


async def test_duplicates_from_a_time_without_the_unique_index_are_told_with_the_fix(idle_runtime: Runtime) -> None:
    jobs = idle_runtime.jobs.collection
    await jobs.drop_index("key")
    first, second = await add(idle_runtime, key="twice"), await add(idle_runtime, key="twice")
    with pytest.raises(UnsuitableDatabaseError, match="unique index key of jobs") as caught:
        await indexes.ensure(idle_runtime.database)
    assert "twice" in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
    await idle_runtime.manager.kill(second.id)
    await indexes.ensure(idle_runtime.database)
    assert await indexes.differences(idle_runtime.database) == []
    assert (await idle_runtime.jobs.get(first.id)).state is State.PENDING


async def test_a_server_that_is_not_there_is_told_within_the_time_the_url_sets() -> None:
    # The driver alone would wait for 30 seconds.
    async with asyncio.timeout(25):
        with pytest.raises(DatabaseUnavailableError, match="cannot be reached"):
            await Database.connect("mongodb://127.0.0.1:1/?serverSelectionTimeoutMS=300", "test_none")


@pytest.mark.parametrize("url", ["mongodb://", "http://localhost", "mongodb://localhost:99999"])
async def test_a_url_that_cannot_be_used_is_told_in_one_line(url: str) -> None:
    with pytest.raises((UnsuitableDatabaseError, DatabaseUnavailableError)) as caught:
        await Database.connect(url, "test_none")
    assert len(str(caught.value).splitlines()) == 1
