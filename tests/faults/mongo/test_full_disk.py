"""No room is left for the files of the database: by a limit on their size, which fails writes as a full disk does."""

from __future__ import annotations

import os
import resource
from typing import TYPE_CHECKING

import pytest
from aiohttp.test_utils import TestClient, TestServer

from jobqueue.api.app import make_app
from jobqueue.domain.attempts.states import State
from jobqueue.domain.errors import DatabaseUnavailableError
from jobqueue.store.mongo.database import translated
from tests.support.faults.replica_set import ReplicaSet
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jobqueue import JobQueue
    from tests.support.faults.figures import Figures

FILLER = 1 << 20


@pytest.fixture
def one_node() -> Iterator[ReplicaSet]:
    with ReplicaSet() as made:
        node = made.nodes[0]
        node.kill()
        # Python ignores the signal that comes with such an error; a program that it starts may, too.
        node.start(restore_signals=False)
        made.wait_primary()
        yield made


async def fill(queue: JobQueue, acknowledged: list[str]) -> None:
    """Add jobs, use up room, and have all of it written to where it lasts."""
    database = (await queue.open()).database
    for number in range(1000):
        acknowledged.append((await queue.add("step", {"n": number})).id)
        with translated():
            await database.collection("filler").insert_one({"bytes": os.urandom(FILLER)})
            await database.command("fsync")


@pytest.mark.full
async def test_a_full_disk_loses_nothing_that_was_acknowledged_and_is_told(
    one_node: ReplicaSet, frail_queue: JobQueue, figures: Figures
) -> None:
    runtime = await frail_queue.open()
    async with TestClient(TestServer(make_app(runtime))) as client:
        assert (await client.get("/readyz")).status == 200
        node = one_node.nodes[0]
        largest = max(path.stat().st_size for path in node.files())
        resource.prlimit(node.pid, resource.RLIMIT_FSIZE, (largest, largest))
        acknowledged: list[str] = []
        with pytest.raises(DatabaseUnavailableError):
            await fill(frail_queue, acknowledged)
        figures.fault("disk full")
        assert len(acknowledged) > 1
        assert (await client.get("/readyz")).status == 503
        answer = await client.post("/v1/jobs", json={"type": "step"})
        assert (answer.status, answer.content_type) == (503, "application/problem+json")
        await eventually(lambda: not node.is_running)

        # Room was made, and somebody has started it again.
        node.start()
        one_node.wait_primary()

        async def is_ready() -> bool:
            return (await client.get("/readyz")).status == 200

        await eventually(is_ready, within=60)
        states = {(await frail_queue.get(job_id)).state for job_id in acknowledged}
        assert states == {State.PENDING}
        assert (await client.post("/v1/jobs", json={"type": "step"})).status == 201
