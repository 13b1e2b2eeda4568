"""Databases of their own for tests that break them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from jobqueue import JobQueue
from tests.support.faults.figures import Figures
from tests.support.faults.replica_set import ReplicaSet
from tests.support.fleet import Fleet

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

DATABASE = "faults"


@pytest.fixture(scope="session")
def spare_nodes() -> Iterator[list[ReplicaSet]]:
    """Keep replica sets that tests have left as they were, for the next tests."""
    spare: list[ReplicaSet] = []
    yield spare
    for made in spare:
        made.close()


@pytest.fixture
def one_node(spare_nodes: list[ReplicaSet]) -> Iterator[ReplicaSet]:
    """Give a replica set of one node that may be killed, with an empty database."""
    made = spare_nodes.pop() if spare_nodes else ReplicaSet().open()
    try:
        yield made
        if made.is_untouched:
            with made.client() as client:
                client.drop_database(DATABASE)
            spare_nodes.append(made)
    finally:
        if made not in spare_nodes:
            made.close()


@pytest.fixture
async def frail_queue(one_node: ReplicaSet) -> AsyncIterator[JobQueue]:
    """Give a queue on `one_node`."""
    async with JobQueue(mongo_url=one_node.url, db=DATABASE) as opened:
        yield opened


@pytest.fixture
def frail_fleet(tmp_path: Path, one_node: ReplicaSet) -> Iterator[Fleet]:
    """Give workers on `one_node`, with fifty places each."""
    (tmp_path / "journals").mkdir()
    with Fleet(tmp_path / "journals", one_node.url, DATABASE, places=50) as made:
        yield made


@pytest.fixture(scope="session")
def seed() -> int:
    """Give the seed of this run, for whatever is left to chance."""
    return int(os.environ.get("FAULTS_SEED", "1"))


@pytest.fixture
def figures(request: pytest.FixtureRequest) -> Iterator[Figures]:
    """Take figures for the report of a full run."""
    taken = Figures(request.node.name)
    yield taken
    taken.save()


def pytest_report_header() -> str:
    return f"faults: seed {os.environ.get('FAULTS_SEED', '1')}"
