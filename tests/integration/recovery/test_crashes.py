"""Jobs that lose their worker together: none is counted, and those that may be the reason run alone afterwards."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from bson import ObjectId

from jobqueue.domain.attempts.backoff import FixedBackoff
from jobqueue.domain.attempts.states import Outcome, State
from jobqueue.domain.jobs.job import NewJob
from tests.support.data.factories import (
    add,
    claim,
    document,
    fail,
    open_runtime,
    patient_reaper,
    set_clock,
    succeed,
)
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from jobqueue import JobQueue
    from jobqueue.domain.jobs.job import Job
    from jobqueue.services.application import Runtime
    from jobqueue.services.runs.attempts import ClaimedJob
    from jobqueue.settings import Settings

# Far ahead: what expires by this clock must not be deleted by the server's.
NOW = datetime(2126, 1, 1, tzinfo=UTC)
LEASE = 10


def at(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


async def claims(runtime: Runtime, count: int, *, worker: str = "worker", **fields: Any) -> list[ClaimedJob]:
    """Add jobs and claim them at the beginning of time."""
    set_clock(runtime, NOW)
    how: dict[str, Any] = {"lease": LEASE, "backoff": FixedBackoff(0)} | fields
    await runtime.producer.add_all([NewJob(type="work", **how) for _ in range(count)])
    return [await claim(runtime, worker=worker) for _ in range(count)]


async def reap(runtime: Runtime, seconds: float) -> float | None:
    set_clock(runtime, at(seconds))
    return await patient_reaper(runtime).run_once()


async def look(runtime: Runtime, claimed: list[ClaimedJob]) -> list[Job]:
    return [await runtime.jobs.get(one.job.id) for one in claimed]


def outcomes(job: Job) -> list[Outcome | None]:
    return [entry.outcome for entry in job.history]


async def sign(runtime: Runtime, seconds: float, worker: str = "worker") -> None:
    """Give a sign of life as a process does for itself."""
    signed = {"at": at(seconds), "isProcess": True}
    await runtime.database.collection("workers").update_one({"_id": worker}, {"$set": signed}, upsert=True)


async def test_jobs_that_lost_their_worker_together_are_not_counted(idle_runtime: Runtime) -> None:
    claimed = await claims(idle_runtime, 5, backoff=FixedBackoff(7))
    assert await reap(idle_runtime, LEASE) is None
    for job in await look(idle_runtime, claimed):
        assert (job.state, job.attempts_made, job.crashes, job.claim) == (State.DELAYED, 0, 1, None)
        assert outcomes(job) == [Outcome.CRASH]
        assert job.error is not None
        assert (job.error.kind, job.history[0].error) == ("crash", job.error)
        assert job.error.message == "worker worker died while this job ran beside others; the attempt does not count"
        assert job.delay_til == at(LEASE + 7)
        assert job.history[0].end_at == at(LEASE)


async def test_the_only_job_of_a_worker_that_died_is_counted(idle_runtime: Runtime) -> None:
    claimed = await claims(idle_runtime, 1)
    await claims(idle_runtime, 1, worker="another")
    await sign(idle_runtime, 1)
    await reap(idle_runtime, LEASE)
    (job,) = await look(idle_runtime, claimed)
    assert (job.state, job.attempts_made, job.crashes, outcomes(job)) == (State.PENDING, 1, None, [Outcome.HANGING])


async def test_a_job_that_hangs_in_a_living_process_is_counted(idle_runtime: Runtime) -> None:
    claimed = await claims(idle_runtime, 2)
    await sign(idle_runtime, LEASE - 1)
    set_clock(idle_runtime, at(LEASE - 1))
    await idle_runtime.work.report(claimed[1].job, claimed[1].token)
    assert await reap(idle_runtime, LEASE) == 1
    assert [job.state for job in await look(idle_runtime, claimed)] == [State.PROCESSING] * 2
    await sign(idle_runtime, LEASE + 4)
    await reap(idle_runtime, LEASE + 4)
    hung, other = await look(idle_runtime, claimed)
    assert (hung.crashes, outcomes(hung), other.state) == (None, [Outcome.HANGING], State.PROCESSING)


async def test_jobs_with_leases_of_different_lengths_all_know_of_each_other(idle_runtime: Runtime) -> None:
    first = await claims(idle_runtime, 1, lease=2)
    second = await claims(idle_runtime, 1, lease=60)
    await sign(idle_runtime, 1)
    assert await reap(idle_runtime, 12) == 1
    assert (await look(idle_runtime, first))[0].state is State.PROCESSING
    await reap(idle_runtime, 13)
    assert outcomes((await look(idle_runtime, first))[0]) == [Outcome.CRASH]
    assert (await look(idle_runtime, second))[0].state is State.PROCESSING
    await reap(idle_runtime, 60)
    assert outcomes((await look(idle_runtime, second))[0]) == [Outcome.CRASH]


async def test_a_reaper_that_dies_after_its_notes_leaves_them_to_the_next_one(idle_runtime: Runtime) -> None:
    claimed = await claims(idle_runtime, 3)
    set_clock(idle_runtime, at(LEASE))
    first, *rest = await idle_runtime.jobs.expired(1e6)
    findings = await idle_runtime.crashes.look([first])
    assert first.claim is not None
    change = await findings.verdict(first, first.claim.token)
    assert change is not None
    assert await idle_runtime.jobs.apply(first.id, first.queue, change)
    for job in rest[:1]:
        await idle_runtime.manager.kill(job.id)
    await reap(idle_runtime, LEASE)
    kinds = sorted(str(outcomes(job)[-1]) for job in await look(idle_runtime, claimed))
    assert kinds == ["crash", "crash", "kill"]


async def test_a_reaper_whose_look_is_older_than_the_notes_counts_nothing(idle_runtime: Runtime) -> None:
    one, other = await claims(idle_runtime, 2)
    set_clock(idle_runtime, at(LEASE))
    seen = {job.id: job for job in await idle_runtime.jobs.expired(1e6)}
    late = await idle_runtime.crashes.look(list(seen.values()))
    assert late._company is not None
    # As if the look had found the job without a note, and the other one gone already.
    late._company.jobs["worker"] = [known for known in late._company.jobs["worker"] if known.token == one.token]
    quick = await idle_runtime.crashes.look(list(seen.values()))
    change = await quick.verdict(seen[other.job.id], other.token)
    assert change is not None
    assert await idle_runtime.jobs.apply(other.job.id, "default", change)
    wrong = await late.verdict(seen[one.job.id], one.token)
    assert wrong is not None
    assert wrong.outcome is Outcome.HANGING
    assert await idle_runtime.jobs.apply(one.job.id, "default", wrong) is None
    await reap(idle_runtime, LEASE)
    assert [outcomes(job) for job in await look(idle_runtime, [one, other])] == [[Outcome.CRASH]] * 2


@pytest.mark.parametrize("times", range(3))
async def test_several_reapers_agree_on_all_jobs_of_a_worker_that_died(
    settings: Settings, idle_runtime: Runtime, times: int
) -> None:
    """The leases end at different moments, and each reaper sees some jobs that others have taken back already."""
    claimed = await claims(idle_runtime, 20 + times)
    set_clock(idle_runtime, at(LEASE + 5))
    async with open_runtime(settings) as other, open_runtime(settings) as third:
        crowd = (idle_runtime, other, third)
        for one in crowd:
            set_clock(one, at(LEASE + 5))
        await asyncio.gather(*(patient_reaper(one).run_once() for one in crowd))
    found = await look(idle_runtime, claimed)
    assert [(outcomes(job), job.attempts_made, job.crashes) for job in found] == [([Outcome.CRASH], 0, 1)] * len(found)


async def test_a_note_on_a_job_that_was_renewed_since_says_nothing(idle_runtime: Runtime) -> None:
    first = await claims(idle_runtime, 1, lease=2)
    second = await claims(idle_runtime, 1, lease=60)
    await sign(idle_runtime, 1)
    await reap(idle_runtime, 13)
    assert "beside" in (await document(idle_runtime, second[0].job.id))["claim"]
    await idle_runtime.work.report(second[0].job, second[0].token)
    await reap(idle_runtime, 80)
    assert outcomes((await look(idle_runtime, first))[0]) == [Outcome.CRASH]
    assert outcomes((await look(idle_runtime, second))[0]) == [Outcome.HANGING]


async def test_a_job_with_one_attempt_is_not_run_again_and_its_neighbours_are_not_counted(
    idle_runtime: Runtime,
) -> None:
    once = await claims(idle_runtime, 1, attempts=1)
    others = await claims(idle_runtime, 2)
    await reap(idle_runtime, LEASE)
    (job,) = await look(idle_runtime, once)
    assert (job.state, job.attempts_made, job.crashes, outcomes(job)) == (State.FAILED, 1, None, [Outcome.HANGING])
    assert [outcomes(one) for one in await look(idle_runtime, others)] == [[Outcome.CRASH]] * 2


async def test_an_attempt_over_its_time_on_a_process_that_died_is_a_crash_too(idle_runtime: Runtime) -> None:
    claimed = await claims(idle_runtime, 2, lease=60, timeout=20)
    await sign(idle_runtime, 1)
    await reap(idle_runtime, 20)
    assert [outcomes(job) for job in await look(idle_runtime, claimed)] == [[Outcome.CRASH]] * 2


async def lose_worker(runtime: Runtime) -> None:
    """Let all leases end together, and take the jobs back."""
    running = {"state": State.PROCESSING.value}
    await runtime.jobs.collection.update_many(running, {"$set": {"startAt": NOW, "resetAt": at(LEASE)}})
    await reap(runtime, LEASE)


async def test_two_crashes_are_not_counted_and_the_third_is(idle_runtime: Runtime) -> None:
    first, second = [await add(idle_runtime, lease=LEASE, backoff=FixedBackoff(0), attempts=2) for _ in range(2)]
    for number in range(2):
        for _ in range(2):
            await claim(idle_runtime, worker=f"worker {number}")
        await lose_worker(idle_runtime)
    crashed = [await idle_runtime.jobs.get(job.id) for job in (first, second)]
    assert [(job.crashes, job.attempts_made) for job in crashed] == [(2, 0)] * 2
    for made, state in ((1, State.PENDING), (2, State.FAILED)):
        healthy = await add(idle_runtime, lease=LEASE, backoff=FixedBackoff(3600))
        claimed = [await claim(idle_runtime, worker=f"worker {state}") for _ in range(2)]
        assert [one.job.id for one in claimed] == [first.id, healthy.id]
        await lose_worker(idle_runtime)
        job, beside = await look(idle_runtime, claimed)
        assert (job.state, job.crashes, job.attempts_made) == (state, 2, made)
        assert (outcomes(job)[-1], outcomes(beside)) == (Outcome.HANGING, [Outcome.CRASH])
    assert (await idle_runtime.jobs.get(second.id)).state is State.PENDING


async def test_a_persons_requeue_forgets_the_crashes(idle_runtime: Runtime) -> None:
    claimed = await claims(idle_runtime, 2, backoff=FixedBackoff(100))
    await reap(idle_runtime, LEASE)
    job = await idle_runtime.manager.requeue(claimed[0].job.id)
    assert (job.crashes, outcomes(job)) == (None, [Outcome.CRASH, Outcome.REQUEUE])


async def test_a_crash_opens_no_breaker_and_frees_slots(idle_runtime: Runtime) -> None:
    breaker = {"failures": 1, "cooldown": 60, "per": "queue"}
    await idle_runtime.queues.patch("default", {"breaker": breaker, "concurrency": 2})
    await claims(idle_runtime, 2)
    assert await idle_runtime.work.claim("default", None, worker="other") is None
    await reap(idle_runtime, LEASE)
    again = [await claim(idle_runtime, worker="other") for _ in range(2)]
    assert len({one.job.id for one in again}) == 2
    assert (await succeed(idle_runtime, again[0])).crashes == 1


async def test_a_job_that_another_tool_gave_an_odd_number_of_crashes_is_reaped_all_the_same(
    idle_runtime: Runtime,
) -> None:
    claimed = await claims(idle_runtime, 2)
    one = {"_id": ObjectId(claimed[0].job.id)}
    await idle_runtime.jobs.collection.update_one(one, {"$set": {"crashes": "many"}})
    await reap(idle_runtime, LEASE)
    assert [(job.crashes, outcomes(job)) for job in await look(idle_runtime, claimed)] == [(1, [Outcome.CRASH])] * 2


async def test_a_failure_after_a_crash_counts_from_where_the_attempts_were(idle_runtime: Runtime) -> None:
    claimed = await claims(idle_runtime, 2, attempts=2)
    await reap(idle_runtime, LEASE)
    again = await claim(idle_runtime, worker="other")
    assert again.job.id == claimed[0].job.id
    job = await fail(idle_runtime, again)
    assert (job.state, job.attempts_made, job.crashes) == (State.PENDING, 1, 1)


async def test_a_process_that_waits_for_its_last_jobs_gives_signs_of_life_until_they_have_ended(
    queue: JobQueue,
) -> None:
    runtime = await queue.open()
    begun, go = asyncio.Event(), asyncio.Event()

    @queue.handler("work")
    async def work(_job: Any) -> None:
        begun.set()
        await go.wait()

    async def sign() -> dict[str, Any] | None:
        await runtime.registry.run_once()
        found = await runtime.database.collection("workers").find_one({"_id": runtime.name})
        return None if found is None else {"isProcess": found.get("isProcess"), "posts": len(found["posts"])}

    async with queue.working() as dispatcher:
        await queue.add("work")
        await begun.wait()
        assert await sign() == {"isProcess": True, "posts": 1}
        stopping = asyncio.create_task(dispatcher.stop(60))
        await eventually(lambda: not dispatcher.is_running)
        assert await sign() is not None
        go.set()
        await stopping
        assert await sign() is None
