"""Deleted jobs leave nothing of their steps behind."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from bson import ObjectId

from jobqueue.domain.attempts.states import State
from jobqueue.domain.errors import NotFoundError
from jobqueue.domain.jobs.job import NewJob
from jobqueue.domain.work.verdict import Success
from jobqueue.store.mongo.clock import SERVER_NOW
from tests.support.data.factories import add, claim, claimed_job, document, succeed

if TYPE_CHECKING:
    from jobqueue.domain.jobs.job import Job
    from jobqueue.services.application import Runtime
    from jobqueue.services.runs.attempts import ClaimedJob

LARGE = "x" * 40_000
DAY = 86_400


async def with_steps(runtime: Runtime, claimed: ClaimedJob) -> Job:
    """Finish a job that keeps results outside of its document, in two runs."""
    await runtime.work.steps.record(claimed.job, claimed.token, "small", 1)
    await runtime.work.steps.record(claimed.job, claimed.token, "large", LARGE)
    await succeed(runtime, claimed)
    await runtime.manager.requeue(claimed.job.id)
    again = await claim(runtime)
    assert again.results == {}
    await runtime.work.steps.record(again.job, again.token, "large", LARGE)
    job = await succeed(runtime, again)
    assert await runtime.jobs.steps.collection.count_documents({"jobId": ObjectId(job.id)}) == 3
    return job


async def count(runtime: Runtime) -> int:
    return int(await runtime.jobs.steps.collection.count_documents({}))


async def test_a_job_that_is_deleted(idle_runtime: Runtime) -> None:
    job = await with_steps(idle_runtime, await claimed_job(idle_runtime))
    await idle_runtime.manager.delete(job.id)
    assert await count(idle_runtime) == 0


async def test_jobs_whose_time_is_over_and_tombstones(idle_runtime: Runtime) -> None:
    parent = await claimed_job(idle_runtime, on_success=NewJob(type="child"))
    await succeed(idle_runtime, parent)
    child = await with_steps(idle_runtime, await claim(idle_runtime))
    idle_runtime.database.clock.present = (child.end_at or child.insert_at) + timedelta(seconds=DAY + 1)
    assert await idle_runtime.pruning.prune("default", State.SUCCESS, DAY, 100) == (2, 2)
    idle_runtime.database.clock.present = SERVER_NOW
    assert await count(idle_runtime) == 0
    stone = await document(idle_runtime, child.id)
    assert "state" not in stone
    assert "steps" not in str(stone)


async def test_a_job_that_is_deleted_when_it_succeeds(idle_runtime: Runtime) -> None:
    claimed = await claimed_job(idle_runtime, on_success_delete=True)
    await idle_runtime.work.steps.record(claimed.job, claimed.token, "large", LARGE)
    await idle_runtime.work.settle(claimed.job, claimed.token, Success())
    await idle_runtime.outboxes.run_once()
    with pytest.raises(NotFoundError):
        await idle_runtime.jobs.get(claimed.job.id)
    assert await count(idle_runtime) == 0


async def test_a_job_that_is_deleted_while_it_is_requeued(idle_runtime: Runtime) -> None:
    job = await with_steps(idle_runtime, await claimed_job(idle_runtime))
    seen = await idle_runtime.jobs.get(job.id)
    await idle_runtime.manager.delete(job.id)
    await idle_runtime.jobs.steps.collection.insert_one({"jobId": ObjectId(job.id), "run": 1, "forgotten": []})
    with pytest.raises(NotFoundError):
        await idle_runtime.requeues.requeue(seen, {})
    assert await count(idle_runtime) == 0


async def test_a_job_that_is_deleted_while_a_large_signal_comes(idle_runtime: Runtime) -> None:
    job = await add(idle_runtime)
    await idle_runtime.manager.delete(job.id)
    with pytest.raises(NotFoundError):
        await idle_runtime.jobs.signals.send(
            job, "approved", LARGE, size=len(LARGE), signal_id=None, by="ann", question=None
        )
    assert await count(idle_runtime) == 0


async def test_the_family_of_a_job_comes_without_results_of_steps(idle_runtime: Runtime) -> None:
    parent = await claimed_job(idle_runtime, on_success=NewJob(type="child"))
    await idle_runtime.work.steps.record(parent.job, parent.token, "small", "a result")
    await succeed(idle_runtime, parent)
    child = await claim(idle_runtime)
    await idle_runtime.work.steps.record(child.job, child.token, "small", "a result")
    family = await idle_runtime.manager.family(child.job.id)
    (ancestor,) = family.ancestors
    assert "a result" not in str(ancestor)
    family = await idle_runtime.manager.family(parent.job.id)
    (below,) = family.tree.children
    assert "a result" not in str(below)
