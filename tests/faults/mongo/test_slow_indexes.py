"""Indexes of a long history take longer to build than any other call may."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from jobqueue.services.application import Runtime
from jobqueue.settings import Settings
from jobqueue.store import indexes
from tests.faults.conftest import DATABASE
from tests.support.data.factories import finished_documents
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from tests.support.faults.replica_set import ReplicaSet

LIMIT_MS = 500


async def test_a_process_waits_for_indexes_however_long_they_take(one_node: ReplicaSet) -> None:
    with one_node.client() as client:
        client[DATABASE].jobs.insert_many(finished_documents(10))
        url = f"{one_node.url}&timeoutMS={LIMIT_MS}&serverSelectionTimeoutMS={LIMIT_MS}"
        settings = Settings.load({"mongo_url": url, "db": DATABASE}, environ={})

        async def is_slow() -> bool:
            # Longer than a call may take, and than a process looks for its server.
            found = client.admin.command("currentOp", {"command.createIndexes": "jobs"})["inprog"]
            return any(operation.get("microsecs_running", 0) > 8_000 * LIMIT_MS for operation in found)

        with one_node.fail_point("hangAfterStartingIndexBuild", "alwaysOn"):
            opening = asyncio.create_task(Runtime.open(settings))
            await asyncio.wait({opening, asyncio.create_task(eventually(is_slow))}, return_when="FIRST_COMPLETED")
            assert not opening.done()
    runtime = await opening
    try:
        assert await indexes.differences(runtime.database) == []
    finally:
        await runtime.close()
