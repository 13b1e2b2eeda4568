"""A document somebody has spoilt with another tool, or a job that cannot be ended, holds up no other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from bson import ObjectId

from jobqueue.domain.attempts.states import State
from jobqueue.domain.jobs.job import NewJob
from jobqueue.domain.search.query import JobQuery
from tests.support.data.factories import LONG_AGO, add, claim, claimed_job, end_lease, patient_reaper, succeed

if TYPE_CHECKING:
    from jobqueue.domain.jobs.job import Job
    from jobqueue.domain.jobs.transitions import Transition
    from jobqueue.services.application import Runtime
    from jobqueue.store.jobs.transitions import AppliedTransition

ODD = [
    {"history": "none"},
    {"history": [1, {"outcome": "unheard of"}]},
    {"claim": {"worker": "w"}},
    {"claim": "me"},
    {"logs": 7},
    {"startAt": "yesterday", "timeout": 5},
    {"attempts": "many", "backoff": {}},
    {"lease": "long"},
    {"onFailure": [{"type": 1}]},
    {"error": "no"},
]


@pytest.mark.parametrize("odd", ODD, ids=str)
async def test_a_spoilt_running_job_keeps_no_other_from_being_reaped_or_listed(
    idle_runtime: Runtime, odd: dict[str, Any]
) -> None:
    spoilt = await claimed_job(idle_runtime)
    hanging = await claimed_job(idle_runtime, backoff=0)
    for claimed in (spoilt, hanging):
        await end_lease(idle_runtime, claimed.job)
    changes = {"resetAt": LONG_AGO, **odd}
    await idle_runtime.jobs.collection.update_one({"_id": ObjectId(spoilt.job.id)}, {"$set": changes})
    await patient_reaper(idle_runtime).run_once()
    assert (await idle_runtime.jobs.get(hanging.job.id)).state is State.PENDING
    assert {job.id for job in (await idle_runtime.listing.page(JobQuery())).items} == {spoilt.job.id, hanging.job.id}
    assert (await claim(idle_runtime)).job.id in {spoilt.job.id, hanging.job.id}


@pytest.mark.parametrize("odd", [{"outbox": "children"}, {"onSuccess": 5}, {"run": "first"}, {"endAt": "now"}], ids=str)
async def test_a_spoilt_ended_job_keeps_no_other_from_being_finished(
    idle_runtime: Runtime, odd: dict[str, Any]
) -> None:
    child = NewJob(type="child", queue="other")
    jobs = [await succeed(idle_runtime, await claimed_job(idle_runtime, on_success=child)) for _ in "ab"]
    await idle_runtime.jobs.collection.delete_many({"queue": "other"})
    for job, changes in zip(jobs, (odd, {}), strict=True):
        update = {"$set": {"outbox": ["children"], **changes}}
        await idle_runtime.jobs.collection.update_one({"_id": ObjectId(job.id)}, update)
    await idle_runtime.outboxes.run_once()
    assert len((await idle_runtime.manager.family(jobs[1].id)).tree.children) == 1


async def test_a_job_that_cannot_be_reaped_keeps_no_other_from_it(
    idle_runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = await claimed_job(idle_runtime, backoff=0), await claimed_job(idle_runtime, backoff=0)
    for claimed in (first, second):
        await end_lease(idle_runtime, claimed.job)
    apply = idle_runtime.jobs.apply

    async def broken(job_id: str, queue: str, transition: Transition) -> AppliedTransition | None:
        if job_id == first.job.id:
            raise ValueError("no")
        return await apply(job_id, queue, transition)

    monkeypatch.setattr(idle_runtime.jobs, "apply", broken)
    await patient_reaper(idle_runtime).run_once()
    assert (await idle_runtime.jobs.get(first.job.id)).state is State.PROCESSING
    assert (await idle_runtime.jobs.get(second.job.id)).state is State.PENDING


async def test_a_job_that_cannot_be_finished_keeps_no_other_from_it(
    idle_runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    fire = idle_runtime.outboxes.fire
    first, second = [await claimed_job(idle_runtime, on_success=NewJob(type="child")) for _ in "ab"]

    async def broken(job: Job) -> list[str]:
        if job.id == first.job.id:
            raise ValueError("no")
        return await fire(job)

    async def nothing(_job: Job) -> list[str]:
        return []

    monkeypatch.setattr(idle_runtime.outboxes, "fire", nothing)
    for claimed in (first, second):
        await succeed(idle_runtime, claimed)
    monkeypatch.setattr(idle_runtime.outboxes, "fire", broken)
    await idle_runtime.outboxes.run_once()
    assert (await idle_runtime.jobs.get(first.job.id)).outbox == ("children",)
    assert (await idle_runtime.jobs.get(second.job.id)).outbox == ()


@pytest.mark.parametrize(
    "odd",
    [
        {"history": 5, "attemptsMade": "none", "run": []},
        {"lease": "long", "timeout": "none", "backoff": "soon"},
        {"priority": "high"},
        {"insertAt": "now", "priority": None},
        {"insertAt": None},
        {"logs": 3, "logCount": "many"},
    ],
    ids=str,
)
async def test_a_spoilt_waiting_job_keeps_no_other_from_being_claimed(
    idle_runtime: Runtime, odd: dict[str, Any]
) -> None:
    spoilt = await add(idle_runtime)
    others = [await add(idle_runtime) for _ in range(2)]
    await idle_runtime.jobs.collection.update_one({"_id": ObjectId(spoilt.id)}, {"$set": odd})
    claimed = [await claim(idle_runtime)]
    others.append(await add(idle_runtime))
    claimed += [await claim(idle_runtime) for _ in range(2)]
    assert {one.job.id for one in claimed} == {job.id for job in others}
    await idle_runtime.adopter.run_once()
    assert (await idle_runtime.jobs.get(spoilt.id)).state is State.FAILED
    assert (await add(idle_runtime, priority=3)).id == (await claim(idle_runtime)).job.id
    for one in claimed:
        await idle_runtime.work.report(one.job, one.token, lines=[("line", None)])
        assert (await succeed(idle_runtime, one)).state is State.SUCCESS
