"""Jobs that run alone: a worker has one of them at a time, and all other jobs go on beside it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from bson import ObjectId

from jobqueue.api.work.long_poll import ClaimRequest, LongPoll
from jobqueue.domain.attempts.states import Outcome, State
from jobqueue.domain.jobs.job import NewJob
from jobqueue.services.limits.limiter import HeldBack
from jobqueue.store.work.workers import Registration
from tests.support.data.factories import add, claim, fail, open_runtime, succeed
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from jobqueue import JobQueue
    from jobqueue.domain.jobs.job import Job
    from jobqueue.services.application import Runtime
    from jobqueue.services.runs.attempts import ClaimedJob
    from jobqueue.settings import Settings


async def suspects(runtime: Runtime, count: int, **fields: Any) -> list[Job]:
    """Add jobs that have crashed with others twice."""
    jobs = await runtime.producer.add_all([NewJob(**{"type": "work"} | fields) for _ in range(count)])
    ids = [ObjectId(job.id) for job in jobs]
    await runtime.jobs.collection.update_many({"_id": {"$in": ids}}, {"$set": {"crashes": 2}})
    return jobs


async def attempt(runtime: Runtime, worker: str = "worker", queue: str = "default") -> ClaimedJob | HeldBack | None:
    return await runtime.work.attempt(queue, None, worker=worker)


async def processing(runtime: Runtime) -> list[dict[str, Any]]:
    found = runtime.jobs.collection.find({"state": "processing"}, {"claim": 1, "slots": 1, "crashes": 1})
    return [one async for one in found]


async def test_a_worker_gets_one_suspect_at_a_time_and_healthy_jobs_beside_it(idle_runtime: Runtime) -> None:
    first, second = await suspects(idle_runtime, 2)
    healthy = [await add(idle_runtime) for _ in range(2)]
    found = [await claim(idle_runtime) for _ in range(3)]
    assert [one.job.id for one in found] == [first.id, *(job.id for job in healthy)]
    assert isinstance(await attempt(idle_runtime), HeldBack)
    assert (await claim(idle_runtime, worker="another")).job.id == second.id


@pytest.mark.parametrize("end", [succeed, fail])
async def test_the_next_suspect_comes_as_soon_as_the_one_that_runs_has_ended(idle_runtime: Runtime, end: Any) -> None:
    jobs = await suspects(idle_runtime, 3, backoff=60)
    for job in jobs:
        claimed = await claim(idle_runtime)
        assert claimed.job.id == job.id
        assert isinstance(await attempt(idle_runtime), HeldBack)
        await end(idle_runtime, claimed)
    assert await attempt(idle_runtime) is None


async def test_claims_of_a_worker_at_the_same_moment_get_one_suspect(settings: Settings, idle_runtime: Runtime) -> None:
    await suspects(idle_runtime, 30)
    async with open_runtime(settings) as other:
        crowd = [attempt(one) for one in (idle_runtime, other) for _ in range(8)]
        found = await asyncio.gather(*crowd)
    assert sum(one is not None and not isinstance(one, HeldBack) for one in found) == 1
    assert len(await processing(idle_runtime)) == 1


@pytest.mark.parametrize("workers", [["worker"] * 2, ["one", "two"]])
async def test_a_worker_gets_one_suspect_over_all_queues(idle_runtime: Runtime, workers: list[str]) -> None:
    for queue in ("a", "b"):
        await suspects(idle_runtime, 5, queue=queue)
    pairs = [(worker, queue) for worker in workers for queue in ("a", "b") for _ in range(3)]
    found = await asyncio.gather(*(attempt(idle_runtime, worker, queue) for worker, queue in pairs))
    mine = [one.job.claim.worker for one in found if one and not isinstance(one, HeldBack) and one.job.claim]
    assert sorted(mine) == sorted(set(workers))
    assert len(await processing(idle_runtime)) == len(mine)
    given_back = await idle_runtime.jobs.collection.count_documents({"history.outcome": Outcome.RELEASE.value})
    assert await idle_runtime.jobs.collection.count_documents({"attemptsMade": 1}) == len(mine)
    assert given_back <= len(pairs)


async def test_two_processes_that_answer_one_polling_worker_give_it_one_suspect(
    settings: Settings, idle_runtime: Runtime
) -> None:
    for queue in ("a", "b"):
        await suspects(idle_runtime, 3, queue=queue)
    async with open_runtime(settings) as other:
        await asyncio.gather(attempt(idle_runtime, queue="a"), attempt(other, queue="b"))
    assert len(await processing(idle_runtime)) <= 1


async def test_a_second_suspect_of_a_queue_is_not_even_claimed_by_a_process_that_knows_nothing_of_the_first(
    settings: Settings, idle_runtime: Runtime
) -> None:
    _, second = await suspects(idle_runtime, 2)
    await claim(idle_runtime)
    async with open_runtime(settings) as other:
        assert isinstance(await attempt(other), HeldBack)
    assert (await idle_runtime.jobs.get(second.id)).history == ()


async def test_a_suspect_that_is_taken_back_by_another_process_lets_the_next_one_start(
    settings: Settings, idle_runtime: Runtime
) -> None:
    first, second = await suspects(idle_runtime, 2)
    claimed = await claim(idle_runtime)
    assert claimed.job.id == first.id
    assert isinstance(await attempt(idle_runtime), HeldBack)
    async with open_runtime(settings) as other:
        await other.manager.kill(first.id)

    async def next_one() -> str | None:
        found = await attempt(idle_runtime)
        return None if found is None or isinstance(found, HeldBack) else found.job.id

    assert await eventually(next_one) == second.id


@pytest.mark.parametrize(
    "limits",
    [
        {"concurrency": 4},
        {"rate": {"limit": 100, "per": 60}},
        {"concurrency": 2, "limitBy": "meta.user"},
        {"breaker": {"failures": 5, "cooldown": 60, "per": "type"}},
    ],
)
async def test_limits_hold_beside_suspects_as_they_do_otherwise(idle_runtime: Runtime, limits: dict[str, Any]) -> None:
    await idle_runtime.queues.patch("default", limits)
    first, _ = await suspects(idle_runtime, 2, meta={"user": "x"})
    healthy = await add(idle_runtime, meta={"user": "x"})
    found = [await claim(idle_runtime) for _ in range(2)]
    assert [one.job.id for one in found] == [first.id, healthy.id]
    assert isinstance(await attempt(idle_runtime), HeldBack)
    grants = await idle_runtime.database.collection("limits").find_one({"grants": {"$exists": True}})
    assert len((grants or {}).get("grants", "..")) == 2


async def test_a_suspect_takes_the_place_of_its_worker_and_a_healthy_job_does_not(idle_runtime: Runtime) -> None:
    await suspects(idle_runtime, 1)
    await add(idle_runtime)
    for _ in range(2):
        await claim(idle_runtime)
    slots = {one.get("crashes"): one.get("slots") for one in await processing(idle_runtime)}
    assert slots == {2: ["alone:worker"], None: None}


async def test_why_names_the_workers_that_have_another_suspect(idle_runtime: Runtime) -> None:
    workers = idle_runtime.explainer._workers
    await workers.sign({name: [Registration(queue="default", types=None)] for name in ("one", "two")})
    await suspects(idle_runtime, 2)
    waiting = (await suspects(idle_runtime, 1))[0]
    await claim(idle_runtime, worker="one")
    assert "alone" not in [one.kind for one in (await idle_runtime.explainer.why(waiting.id)).reasons]
    await claim(idle_runtime, worker="two")
    (reason,) = (await idle_runtime.explainer.why(waiting.id)).reasons
    assert (reason.kind, reason.details) == ("alone", {"crashes": 2, "workers": ["one", "two"]})


async def test_a_worker_with_places_runs_suspects_one_after_the_other_beside_healthy_jobs(queue: JobQueue) -> None:
    runtime = await queue.open()
    alone = most = 0
    release = asyncio.Event()

    @queue.handler("work")
    async def work(_job: Any) -> None:
        nonlocal alone, most
        alone += 1
        most = max(most, alone)
        await asyncio.sleep(0.01)
        alone -= 1

    @queue.handler("work", queue="other")
    async def elsewhere(job: Any) -> None:
        await work(job)

    @queue.handler("healthy")
    async def healthy(_job: Any) -> None:
        await release.wait()

    jobs = [*await suspects(runtime, 8), *await suspects(runtime, 8, queue="other")]
    beside = [await add(runtime, "healthy") for _ in range(3)]
    async with queue.working(concurrency=8):

        async def is_done() -> bool:
            ended = await runtime.jobs.collection.count_documents({"state": State.SUCCESS.value})
            return ended == len(jobs)

        await eventually(is_done, within=60)
        running = {one["_id"] for one in await processing(runtime)}
        assert running == {ObjectId(job.id) for job in beside}
        release.set()
    assert most == 1


async def test_a_request_of_a_worker_that_has_a_suspect_does_not_stand_in_the_way_of_other_workers(
    idle_runtime: Runtime,
) -> None:
    (first,) = await suspects(idle_runtime, 1)
    second = await add(idle_runtime, delay=3600)
    await idle_runtime.jobs.collection.update_one({"_id": ObjectId(second.id)}, {"$set": {"crashes": 2}})
    assert (await claim(idle_runtime, worker="one")).job.id == first.id
    desk = LongPoll(idle_runtime)

    def stand(worker: str) -> asyncio.Task[ClaimedJob | None]:
        wanted = ClaimRequest(queue="default", types=None, worker=worker, lease=None, wait=60)
        return asyncio.create_task(desk.claim(wanted, lambda: False))

    line = [stand(worker) for worker in ("one", "one", "two")]

    def all_have_looked() -> bool:
        places = [place for waiting in desk._lines.values() for place in waiting]
        return len(places) == len(line) and not any(place.is_set() for place in places)

    await eventually(all_have_looked)
    await idle_runtime.manager.patch(second.id, {"delay_til": None})
    done, waiting = await asyncio.wait(line, timeout=20, return_when=asyncio.FIRST_COMPLETED)
    desk.close()
    await asyncio.gather(*waiting)
    (found,) = [one.result() for one in done]
    assert found is not None
    assert found.job.claim is not None
    assert (found.job.id, found.job.claim.worker) == (second.id, "two")
