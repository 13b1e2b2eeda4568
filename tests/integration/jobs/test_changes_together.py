"""Changes of several jobs that are written in one round trip: each is told truly what became of it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from motor.motor_asyncio import AsyncIOMotorCollection
from pymongo import UpdateMany
from pymongo.errors import AutoReconnect

from jobqueue.domain.attempts.attempt import JobError
from jobqueue.domain.attempts.states import Outcome, State
from jobqueue.domain.jobs import transitions
from jobqueue.domain.jobs.job import NewJob
from jobqueue.services.work.lost_runs import reaped
from tests.support.data.factories import add, claim, claimed_job, end_lease, fail, patient_reaper

if TYPE_CHECKING:
    from jobqueue.services.application import Runtime
    from jobqueue.services.runs.attempts import ClaimedJob
    from jobqueue.store.jobs.transitions import AppliedTransition

WHY = JobError(kind="killed", message="by me")


async def test_kills_together_are_told_though_a_worker_takes_a_job_of_them_meanwhile(idle_runtime: Runtime) -> None:
    jobs = [await add(idle_runtime, priority=9 if number == 5 else 0) for number in range(10)]
    await claim(idle_runtime)
    kills = [idle_runtime.jobs.apply(one.id, one.queue, transitions.kill(one, WHY)) for one in jobs]
    found = await asyncio.gather(*kills)
    applied = [one and (one.outbox, one.is_new) for one in found]
    assert applied == [None if number == 5 else ((), True) for number in range(10)]


async def test_a_person_who_kills_many_at_once_hears_of_each_kill(
    idle_runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = [
        await add(idle_runtime, priority=9 if number == 5 else 0, on_failure=NewJob(type="c")) for number in range(10)
    ]
    real: Any = idle_runtime.jobs.get
    all_read = asyncio.Event()
    taken: list[str] = []

    async def get(job_id: str) -> Any:
        job = await real(job_id)
        if len(taken) < len(jobs):
            taken.append(job_id)
            if len(taken) == len(jobs):
                await claim(idle_runtime)
                all_read.set()
            await all_read.wait()
        return job

    monkeypatch.setattr(idle_runtime.jobs, "get", get)
    killed = await asyncio.gather(*(idle_runtime.manager.kill(one.id, "by me") for one in jobs))
    assert {(one.state, one.error.message if one.error else "") for one in killed} == {(State.KILLED, "by me")}
    # What follows was done at once, too, and not left to the sweep.
    assert all(one.outbox == () for one in killed)
    assert await idle_runtime.jobs.collection.count_documents({"type": "c"}) == len(jobs)


async def test_leases_that_end_together_are_told_though_a_worker_renews_one_of_them(idle_runtime: Runtime) -> None:
    running = [await claimed_job(idle_runtime) for _ in range(8)]
    for one in running:
        await end_lease(idle_runtime, one.job)
    seen = [await idle_runtime.jobs.get(one.job.id) for one in running]
    await idle_runtime.work.report(running[4].job, running[4].token)
    ends = [
        idle_runtime.jobs.apply(one.id, one.queue, reaped(one, running[number].token))
        for number, one in enumerate(seen)
    ]
    found = await asyncio.gather(*ends)
    assert [one is not None for one in found] == [number != 4 for number in range(8)]
    # Those whose lease somebody else has ended are told so as well.
    assert (
        await asyncio.gather(*(idle_runtime.jobs.apply(one.id, one.queue, reaped(one, "x")) for one in seen))
        == [None] * 8
    )
    await patient_reaper(idle_runtime).run_once()
    assert (await idle_runtime.jobs.get(running[4].job.id)).state is State.PROCESSING


async def test_ends_together_are_new_and_their_repeats_are_not(idle_runtime: Runtime) -> None:
    running = [await claimed_job(idle_runtime, attempts=1) for _ in range(8)]
    first = running.pop()
    await fail(idle_runtime, first)

    async def end(one: Any) -> AppliedTransition | None:
        change = transitions.fail(one.job, one.token, WHY, chance=0)
        return await idle_runtime.jobs.apply(one.job.id, one.job.queue, change)

    found = await asyncio.gather(*(end(one) for one in [running[0], first, *running[1:]]))
    assert [one is not None and one.is_new for one in found] == [True, False, *[True] * 6]
    again = await asyncio.gather(*(end(one) for one in running))
    assert [one is not None and one.is_new for one in again] == [False] * 7


async def ends(runtime: Runtime, running: list[ClaimedJob], results: list[Any]) -> list[AppliedTransition | None]:
    """Record successes at the same moment, after an end that goes out alone."""
    first = await claimed_job(runtime)
    calls = [(first, "alone"), *zip(running, results, strict=True)]
    changes = [(one, transitions.succeed(one.job, one.token, result)) for one, result in calls]
    found = await asyncio.gather(*(runtime.jobs.apply(one.job.id, one.job.queue, change) for one, change in changes))
    return found[1:]


async def test_equal_successes_share_one_update_and_each_keeps_its_own_entry(
    idle_runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = [await claimed_job(idle_runtime) for _ in range(6)]
    written: list[type] = []
    real: Any = AsyncIOMotorCollection.bulk_write

    async def bulk_write(self: Any, writes: Any, **options: Any) -> Any:
        written.extend(map(type, writes))
        return await real(self, writes, **options)

    monkeypatch.setattr(AsyncIOMotorCollection, "bulk_write", bulk_write)
    assert all(await ends(idle_runtime, running, ["same"] * 6))
    assert written == [UpdateMany]
    for one in running:
        job = await idle_runtime.jobs.get(one.job.id)
        assert (job.state, job.result, job.claim) == (State.SUCCESS, "same", None)
        assert [(entry.token, entry.outcome) for entry in job.history] == [(one.token, Outcome.SUCCESS)]
        assert job.history[0].end_at is not None


async def test_results_that_python_takes_for_equal_are_kept_apart(idle_runtime: Runtime) -> None:
    results = [1, True, 1.0, None, {"a": 1, "b": 2}, {"b": 2, "a": 1}]
    running = [await claimed_job(idle_runtime) for _ in results]
    assert all(await ends(idle_runtime, running, results))
    stored = [(await idle_runtime.jobs.get(one.job.id)).result for one in running]
    assert list(map(repr, stored)) == list(map(repr, results))


async def test_a_lost_claim_among_equal_successes_is_refused_alone(idle_runtime: Runtime) -> None:
    running = [await claimed_job(idle_runtime) for _ in range(5)]
    await idle_runtime.work.release(running[2].job, running[2].token)
    again = await claim(idle_runtime)
    assert again is not None
    assert again.job.id == running[2].job.id
    found = await ends(idle_runtime, running, [None] * 5)
    assert [one is not None for one in found] == [True, True, False, True, True]
    job = await idle_runtime.jobs.get(again.job.id)
    assert (job.state, job.claim and job.claim.token) == (State.PROCESSING, again.token)


async def test_a_job_that_others_depend_on_is_not_ended_like_the_rest(idle_runtime: Runtime) -> None:
    running = [await claimed_job(idle_runtime) for _ in range(4)]
    await idle_runtime.producer.add(NewJob(type="t", depends_on=[running[1].job.id]))
    found = await ends(idle_runtime, running, [None] * 4)
    assert [one and one.outbox for one in found] == [(), ("dependents",), (), ()]


@pytest.mark.parametrize("is_written", [True, False])
async def test_a_lost_reply_to_equal_successes_loses_and_doubles_none(
    idle_runtime: Runtime, monkeypatch: pytest.MonkeyPatch, *, is_written: bool
) -> None:
    running = [await claimed_job(idle_runtime) for _ in range(6)]
    real: Any = AsyncIOMotorCollection.bulk_write
    lost: list[int] = []

    async def bulk_write(self: Any, writes: Any, **options: Any) -> Any:
        if any(isinstance(one, UpdateMany) for one in writes):
            if is_written:
                await real(self, writes, **options)
            lost.append(len(writes))
            raise AutoReconnect("connection closed")
        return await real(self, writes, **options)

    monkeypatch.setattr(AsyncIOMotorCollection, "bulk_write", bulk_write)
    found = await ends(idle_runtime, running, [None] * 6)
    assert (lost, [one and one.is_new for one in found]) == ([1], [True] * 6)
    for one in running:
        job = await idle_runtime.jobs.get(one.job.id)
        assert (job.state, len(job.history)) == (State.SUCCESS, 1)
