"""`doctor` on a database whose change stream does not work."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from jobqueue.cli.checks.doctor_checks import examine

if TYPE_CHECKING:
    from tests.support.faults.replica_set import ReplicaSet


async def test_doctor_notices_a_change_stream_that_does_not_work(one_node: ReplicaSet) -> None:
    flags = {"mongo_url": one_node.url, "db": "faults"}
    with one_node.fail_point(
        "failCommand", "alwaysOn", failCommands=["aggregate"], errorCode=13, appName="jobqueue-changes"
    ):
        broken = await asyncio.to_thread(examine, flags)
    found = {finding.check: finding for finding in broken}

    assert found["change stream"].verdict == "FAIL"
    assert "changeStream" in found["change stream"].detail
    assert found["majority write"].verdict == "ok"
    well = await asyncio.to_thread(examine, flags)
    assert {finding.check: finding.verdict for finding in well}["change stream"] == "ok"
