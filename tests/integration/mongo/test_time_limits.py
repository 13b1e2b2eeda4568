"""How long an attempt may run, and who ends it."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from bson import ObjectId

from jobqueue.domain.attempts.states import Outcome, State
from jobqueue.services.work.lost_runs import reaped
from tests.support.data.factories import LONG_AGO, add, claim, set_clock, succeed

if TYPE_CHECKING:
    from jobqueue.services.application import Runtime


@pytest.mark.parametrize("margin", [0, 7])
async def test_a_worker_that_ends_its_runs_itself_has_its_time_for_that(idle_runtime: Runtime, margin: float) -> None:
    set_clock(idle_runtime, LONG_AGO)
    added = await add(idle_runtime, timeout=10, lease=60, attempts=1)
    claimed = await idle_runtime.work.claim("default", None, worker="worker", margin=margin)
    assert claimed is not None
    end = LONG_AGO + timedelta(seconds=10 + margin)
    assert claimed.job.reset_at == end

    set_clock(idle_runtime, LONG_AGO + timedelta(seconds=9))
    beat = await idle_runtime.work.report(claimed.job, claimed.token)
    assert beat is not None
    assert beat.reset_at == end

    set_clock(idle_runtime, end - timedelta(milliseconds=1))
    assert await idle_runtime.jobs.expired(patience=60) == []
    set_clock(idle_runtime, end)
    (over,) = await idle_runtime.jobs.expired(patience=60)
    assert await idle_runtime.jobs.apply(over.id, over.queue, reaped(over, claimed.token))
    job = await idle_runtime.jobs.get(added.id)
    assert (job.state, job.history[-1].outcome) == (State.FAILED, Outcome.TIMEOUT)


async def test_a_job_put_there_with_another_tool_is_finished_with_after_its_children(idle_runtime: Runtime) -> None:
    bare = {"_id": ObjectId(), "queue": "default", "type": "bare", "state": "pending", "onComplete": {"type": "after"}}
    await idle_runtime.database.collection("jobs").insert_one(bare)
    await idle_runtime.adopter.run_once()
    job = await succeed(idle_runtime, await claim(idle_runtime))
    assert job.outbox == ()
    assert await idle_runtime.jobs.unfired() == []
    child = await claim(idle_runtime)
    assert (child.job.type, child.job.parent_id) == ("after", str(bare["_id"]))
