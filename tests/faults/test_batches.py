"""Children, batches and graphs of jobs with four processes that die at any write, and are killed besides."""

from __future__ import annotations

import random
from collections import Counter
from typing import TYPE_CHECKING, Any

from jobqueue import JobQueue, Member, NewBatch, NewJob
from jobqueue.domain.backoff import Fixed
from jobqueue.domain.state import FINAL, UNFINISHED
from tests.support.mortals import mortals
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.mortals import Mortals

PROGRAM = "tests.support.crashing_worker"
WORKERS = 4
BATCHES = 30
JOBS = 20


async def work_off(workers: Mortals, is_done: Callable[[], Any]) -> None:
    """Wait until all is done, while workers die and are replaced."""

    async def look() -> bool:
        workers.look_after()
        return bool(await is_done())

    await eventually(look, within=150, every=0.1)


async def unfinished(queue: JobQueue) -> int:
    runtime = await queue.open()
    states = {"$in": [state.value for state in UNFINISHED]}
    left = await runtime.jobs.collection.count_documents({"state": states})
    due = await runtime.jobs.collection.count_documents({"outbox": {"$exists": True}})
    batches = await runtime.database.collection("batches").count_documents(
        {"$or": [{"state": "open"}, {"outbox": {"$exists": True}}]}
    )
    return int(left + due + batches)


async def documents(queue: JobQueue, search: dict[str, Any]) -> list[dict[str, Any]]:
    collection = (await queue.open()).jobs.collection
    return [one async for one in collection.find(search, {"logs": 0, "data": 0})]


async def test_children_and_callbacks_of_batches_exist_exactly_once_whatever_dies(
    queue: JobQueue, mongo_url: str, db_name: str
) -> None:
    common: dict[str, Any] = {"lease": 1, "attempts": 50, "backoff": Fixed(0)}
    child = NewJob(type="after", **common)
    members = [Member(job=NewJob(type="step", on_complete=child, **common)) for _ in range(JOBS)]
    made = [
        (await queue.add_batch(NewBatch(members=tuple(members), on_complete=child, on_success=(child, child))))[0]
        for _ in range(BATCHES)
    ]
    with mortals(mongo_url, db_name, program=PROGRAM, count=WORKERS, seed=11, share=0.003) as workers:

        async def is_done() -> bool:
            return await unfinished(queue) == 0

        await work_off(workers, is_done)
    assert workers.deaths["crashed"] > 3
    assert workers.deaths["killed"] > 1
    parents = await documents(queue, {"type": "step"})
    children = Counter(str(one["parentId"]) for one in await documents(queue, {"parentId": {"$ne": None}}))
    assert children == Counter({str(one["_id"]): 1 for one in parents})
    assert len(parents) == BATCHES * JOBS
    assert {one["state"] for one in parents} == {"success"}
    calls = Counter(
        (str(one["callbackOf"]["batchId"]), one["callbackOf"]["event"])
        for one in await documents(queue, {"callbackOf": {"$exists": True}})
    )
    wanted = {(one.batch.id, "complete"): 1 for one in made} | {(one.batch.id, "success"): 2 for one in made}
    assert calls == Counter(wanted)


async def test_random_graphs_run_in_order_also_when_jobs_fail_are_requeued_and_processes_die(
    queue: JobQueue, mongo_url: str, db_name: str
) -> None:
    rng = random.Random(23)  # noqa: S311 - no secret
    graphs = [random_graph(rng) for _ in range(8)]
    after = NewJob(type="after", lease=1, attempts=50, backoff=Fixed(0))
    made = [await queue.add_batch(NewBatch(members=graph, on_success=after)) for graph in graphs]
    batches = [view.batch.id for view, _ in made]
    with mortals(mongo_url, db_name, program=PROGRAM, count=WORKERS, seed=77, share=0.003) as workers:

        async def is_done() -> bool:
            return await unfinished(queue) == 0

        await work_off(workers, is_done)
        broken = [one for one in batches if (await queue.batch(one)).counts["success"] != len(graphs[0])]
        assert broken
        for one in broken:
            await queue.requeue_batch(one)
        await work_off(workers, is_done)
    for one in batches:
        view = await queue.batch(one)
        assert (view.batch.state, view.counts["success"]) == ("finished", len(graphs[0]))
    jobs = {one["_id"]: one for one in await documents(queue, {"type": "step"})}
    for job in jobs.values():
        assert job["state"] in {state.value for state in FINAL}
        assert all(jobs[other]["endAt"] <= job["startAt"] for other in job["dependsOn"])
    succeeded = Counter(str(one["callbackOf"]["batchId"]) for one in await documents(queue, {"type": "after"}))
    assert succeeded == Counter(batches)


def random_graph(rng: random.Random) -> tuple[Member, ...]:
    """Return jobs of which each depends on some before it; a few fail until they are requeued."""

    def job() -> NewJob:
        fails = rng.random() < 0.1
        return NewJob(type="step", data={"fails": fails}, lease=1, attempts=3 if fails else 50, backoff=Fixed(0))

    return tuple(
        Member(job=job(), ref=f"n{place}", after=tuple(f"n{n}" for n in range(place) if rng.random() < 2 / (place + 1)))
        for place in range(40)
    )
