"""Jobs in memory, for unit tests of handlers without a server."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from jobqueue import ActiveJob, BlockingJob


async def ship(job: ActiveJob) -> Any:
    await job.sleep("cooling-off", 3600)
    parcel = await job.step("pack", str.upper, str(job.data["item"]))
    sizes = await job.map("sizes", "size", [{}])
    await job.log("packed")
    await job.progress(50)
    return parcel, sizes, job.results["pay"], await job.signal("approved"), job.attempt, job.meta, job.type


def ship_in_thread(job: BlockingJob) -> Any:
    job.sleep("cooling-off", 3600)
    parcel = job.step("pack", str.upper, str(job.data["item"]))
    paused = job.step("pause", asyncio.sleep, 0.001)
    job.log("packed")
    job.progress(50)
    return parcel, paused, job.results["pay"], job.signal("approved"), job.attempt


async def test_an_async_handler_runs_with_the_past_that_a_test_gives_its_job() -> None:
    job = ActiveJob.fake(
        {"item": "book"},
        steps={"sizes": [3]},
        results={"pay": "card"},
        signals={"approved": True},
        attempt=2,
        meta={"user_id": 42},
        type="ship",
    )
    assert await ship(job) == ("BOOK", [3], "card", True, 2, {"user_id": 42}, "ship")
    assert dict(job.steps) == {"sizes": [3], "cooling-off": None, "pack": "BOOK", "approved": True}
    with pytest.raises(RuntimeError, match="the signal 'refused' needs a job of a queue; this job exists only in mem"):
        await job.signal("refused")
    with pytest.raises(RuntimeError, match="the call 'other' needs a job of a queue"):
        await job.call("other", "other")


def test_a_plain_handler_runs_in_a_test_without_an_event_loop() -> None:
    job = BlockingJob.fake({"item": "book"}, results={"pay": "card"}, signals={"approved": "yes"})
    assert ship_in_thread(job) == ("BOOK", None, "card", "yes", 1)
    again = BlockingJob.fake({"item": "book"}, steps={"pack": "known"}, results={"pay": 1}, signals={"approved": 1})
    assert ship_in_thread(again)[0] == "known"


async def test_a_plain_handler_runs_in_a_test_with_an_event_loop() -> None:
    job = BlockingJob.fake({"item": "book"}, results={"pay": "card"}, signals={"approved": "yes"})
    assert ship_in_thread(job) == ("BOOK", None, "card", "yes", 1)
