"""The server and the databases of tests."""

from __future__ import annotations

import asyncio
import os
import threading
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from jobqueue.settings import Settings
from jobqueue.store import indexes
from jobqueue.store.embedded.lifecycle import EmbeddedMongo
from jobqueue.store.mongo.database import Database
from jobqueue.store.mongo.scratch import ScratchDatabases
from jobqueue.testing.directory import data_directory

if TYPE_CHECKING:
    from collections.abc import Iterator

URI: Final = "JOBQUEUE_TEST_MONGODB_URI"
"""The environment variable with the URL of a replica set for tests."""


@contextmanager
def server() -> Iterator[str]:
    """Yield the URL of a replica set: that of `URI`, or of a mongod that is started for this run."""
    if given := os.environ.get(URI):
        yield given
        return
    with data_directory() as directory:
        embedded = EmbeddedMongo.acquire(directory)
        try:
            yield embedded.url
        finally:
            embedded.release()


@contextmanager
def databases(url: str, *, resting: int = 0) -> Iterator[ScratchDatabases]:
    """Yield the databases of a server, which are dropped in the end; ``resting`` as in `ScratchDatabases`."""
    made = ScratchDatabases(url, partial(_prepare, url), resting=resting)
    try:
        yield made
    finally:
        made.close()


def settings(url: str, name: str) -> Settings:
    """Return the settings of a test, which no environment changes."""
    return Settings.load({"mongo_url": url, "db": name}, environ={}, cwd=Path("/"))


def _prepare(url: str, name: str) -> None:
    """Create a database with its indexes; in a thread, as the caller may run in an event loop."""
    errors: list[BaseException] = []

    async def prepare() -> None:
        database = await Database.connect(url, name, prepare=indexes.ensure)
        await database.close()

    def body() -> None:
        try:
            asyncio.run(prepare())
        except BaseException as error:  # noqa: BLE001 - raised again by the caller
            errors.append(error)

    thread = threading.Thread(target=body, name="prepare-database")
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
