"""The start of an attempt that waited for its job, and what is measured from it."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from bson import ObjectId

from jobqueue.domain.attempts.states import Outcome
from jobqueue.services.work.lost_runs import ran_out, reaped
from tests.support.data.factories import add, claim, succeed

if TYPE_CHECKING:
    from jobqueue.services.application import Runtime


async def test_a_time_limit_is_of_an_attempt_that_began_a_moment_later(idle_runtime: Runtime) -> None:
    job = await add(idle_runtime, timeout=10, lease=60)
    ready = await idle_runtime.jobs.clock.ask() + timedelta(seconds=3)
    await idle_runtime.jobs.collection.update_one({"_id": ObjectId(job.id)}, {"$set": {"readyAt": ready}})
    claimed = await claim(idle_runtime)
    assert (claimed.job.start_at, claimed.job.reset_at) == (ready, ready + timedelta(seconds=10))
    assert ran_out(claimed.job)
    assert reaped(claimed.job, claimed.token).outcome is Outcome.TIMEOUT


async def test_a_date_of_another_clock_is_no_start(idle_runtime: Runtime) -> None:
    ahead = await idle_runtime.jobs.clock.ask() + timedelta(seconds=4)
    job = await add(idle_runtime)
    await idle_runtime.jobs.collection.update_one({"_id": ObjectId(job.id)}, {"$set": {"insertAt": ahead}})
    ended = await succeed(idle_runtime, await claim(idle_runtime))
    assert ended.start_at is not None
    assert ended.end_at is not None
    assert ended.start_at <= ended.end_at
