"""One server for the examples of a run; each test has a folder of its own, as a user has who copies an example."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.acceptance.cli.cli_process import Cli
from tests.acceptance.examples.place import Server

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jobqueue.store.mongo.scratch import ScratchDatabases


@pytest.fixture(scope="session")
def server(mongo_url: str, databases: ScratchDatabases, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Run ``jobqueue serve``."""
    name = databases.ready()
    settings = {"JOBQUEUE_MONGO_URL": mongo_url, "JOBQUEUE_DB": name}
    cli = Cli(tmp_path_factory.mktemp("served"), settings)
    with cli.start("serve", "--port", "0", "--webhook-allow", "127.0.0.0/8") as service:
        yield Server(service.ready().removeprefix("listening on "), settings)
    databases.drop(name)
