"""The pytest plugin, which pytest finds by its entry point; it loads the queue at the first use of a fixture."""

from __future__ import annotations

import functools
import inspect
from typing import TYPE_CHECKING, Any, Final

import pytest

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from jobqueue.store.mongo.scratch import ScratchDatabases
    from jobqueue.testing.queue import QueueForTests

_QUEUE: Final = pytest.StashKey["QueueForTests"]()


@pytest.fixture(scope="session")
def jobqueue_mongo_url() -> Iterator[str]:
    """Give the URL of the MongoDB of the tests: JOBQUEUE_TEST_MONGODB_URI, or a mongod that is started once."""
    from jobqueue.testing import mongod  # noqa: PLC0415 - loads the driver, which most projects do not need

    with mongod.server() as url:
        yield url


@pytest.fixture(scope="session")
def _jobqueue_databases(jobqueue_mongo_url: str) -> Iterator[ScratchDatabases]:
    from jobqueue.testing import mongod  # noqa: PLC0415 - as above

    with mongod.databases(jobqueue_mongo_url) as databases:
        yield databases


@pytest.fixture
def jobqueue_test(
    request: pytest.FixtureRequest, jobqueue_mongo_url: str, _jobqueue_databases: ScratchDatabases
) -> Iterator[QueueForTests]:
    """Give a queue on a database of its own, whose jobs run by ``await jobqueue_test.drain()``."""
    from jobqueue.testing import mongod  # noqa: PLC0415 - as above
    from jobqueue.testing.queue import QueueForTests  # noqa: PLC0415 - as above

    name = _jobqueue_databases.ready()
    queue = QueueForTests(mongod.settings(jobqueue_mongo_url, name), functools.partial(_jobqueue_databases.jobs, name))
    request.node.stash[_QUEUE] = queue
    yield queue
    queue.finish()
    _jobqueue_databases.put_back(name)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, Any, Any]:
    """Close the queue at the end of an async test, in its event loop, whatever plugin runs that."""
    queue, test = item.stash.get(_QUEUE, None), getattr(item, "obj", None)
    if queue is None or not isinstance(item, pytest.Function) or not inspect.iscoroutinefunction(test):
        return (yield)

    @functools.wraps(test)
    async def closing(*args: Any, **kwargs: Any) -> Any:
        try:
            return await test(*args, **kwargs)
        finally:
            await queue.close()

    item.obj = closing
    try:
        return (yield)
    finally:
        item.obj = test
