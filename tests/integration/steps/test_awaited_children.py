"""Awaited children and people: kills, deletions, requeues, retention, explanations; and what an end costs."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import pytest
from bson import ObjectId

from jobqueue.domain.attempts.states import State
from jobqueue.domain.jobs.job import NewJob
from jobqueue.domain.steps.step import Wait
from jobqueue.domain.work.calls import NewCall
from jobqueue.domain.work.verdict import Suspension
from jobqueue.services.jobs.retention import Pruner
from jobqueue.store.steps import call_statements
from tests.support.data.factories import LONG_AGO, add, claim, claimed_job, fail, succeed
from tests.support.data.scale import sized
from tests.support.mongo.plans import explain

if TYPE_CHECKING:
    from jobqueue.domain.jobs.job import Job
    from jobqueue.domain.steps.step import Step
    from jobqueue.services.application import Runtime
    from jobqueue.services.runs.attempts import ClaimedJob

PARENTS = sized(30, 100)


def children(count: int, **fields: Any) -> tuple[NewJob, ...]:
    return tuple(NewJob(type="child", queue="children", **{"attempts": 1} | fields) for _ in range(count))


async def suspended(runtime: Runtime, count: int = 2, failures: str = "raise", **fields: Any) -> Job:
    """Return a parent that waits for children."""
    parent = await claimed_job(runtime, "parent", queue="parents")
    return await ask(runtime, parent, count, failures, **fields)


async def ask(runtime: Runtime, parent: ClaimedJob, count: int, failures: str = "raise", **fields: Any) -> Job:
    """Ask for children and wait for them; return the parent as it is then."""
    new = NewCall(jobs=children(count, **fields), failures=failures)
    called = await runtime.work.steps.call(parent.job, parent.token, "many", new)
    wait = Wait(names=("many",), jobs=called.unfinished)
    await runtime.work.settle(parent.job, parent.token, Suspension(wait=wait))
    return await runtime.jobs.get(parent.job.id)


async def step_of(runtime: Runtime, job: Job) -> Step:
    steps = (await runtime.jobs.get(job.id)).steps
    assert steps
    return steps[0]


async def test_a_parent_holds_no_slot_and_no_lease_while_it_waits(idle_runtime: Runtime) -> None:
    job = await suspended(idle_runtime)
    assert (job.state, job.claim, job.reset_at, job.slots, job.delay_til) == (State.DELAYED, None, None, (), None)
    assert job.wait == Wait(names=("many",), jobs=2)


async def test_the_last_end_wakes_the_parent_with_the_results(idle_runtime: Runtime) -> None:
    job = await suspended(idle_runtime)
    await succeed(idle_runtime, await claim(idle_runtime, "children"), "a")
    assert (await idle_runtime.jobs.get(job.id)).state is State.DELAYED
    await succeed(idle_runtime, await claim(idle_runtime, "children"), "b")
    woken = await idle_runtime.jobs.get(job.id)
    assert (woken.state, woken.wait) == (State.PENDING, None)
    assert (await step_of(idle_runtime, job)).result == ["a", "b"]


async def test_a_killed_child_counts_as_failed(idle_runtime: Runtime) -> None:
    job = await suspended(idle_runtime, 1)
    running = await claim(idle_runtime, "children")
    await idle_runtime.manager.kill(running.job.id)
    step = await step_of(idle_runtime, job)
    assert (await idle_runtime.jobs.get(job.id)).state is State.PENDING
    assert step.error is not None
    assert step.error.message == f"map many: child {running.job.id} was killed: killed: killed by a person"


@pytest.mark.parametrize("failures", ["raise", "hold"])
async def test_a_deleted_child_counts_as_failed(idle_runtime: Runtime, failures: str) -> None:
    job = await suspended(idle_runtime, 1, failures)
    failed = await fail(idle_runtime, await claim(idle_runtime, "children"))
    if failures == "raise":
        # The parent has the failure already.
        assert (await idle_runtime.jobs.get(job.id)).state is State.PENDING
        return
    assert (await idle_runtime.jobs.get(job.id)).state is State.DELAYED
    await idle_runtime.manager.delete(failed.id)
    step = await step_of(idle_runtime, job)
    assert step.call is not None
    assert step.call.failure is not None
    assert (step.call.failure.id, step.call.failure.state, step.call.failure.kind) == (failed.id, "deleted", "deleted")
    assert (await idle_runtime.jobs.get(job.id)).state is State.PENDING


async def test_the_deletion_of_an_unfinished_child_wakes_the_parent(idle_runtime: Runtime) -> None:
    job = await suspended(idle_runtime, 1, attempts=1)
    waiting = await idle_runtime.jobs.collection.distinct("_id", {"parentId": ObjectId(job.id)})
    await idle_runtime.manager.delete(str(waiting[0]))
    assert (await idle_runtime.jobs.get(job.id)).state is State.PENDING


async def test_a_child_that_another_tool_has_deleted_is_found(idle_runtime: Runtime) -> None:
    job = await suspended(idle_runtime, 2, "return")
    await succeed(idle_runtime, await claim(idle_runtime, "children"), "a")
    await idle_runtime.jobs.collection.delete_one({"parentId": ObjectId(job.id), "state": "pending"})
    assert (await idle_runtime.jobs.get(job.id)).state is State.DELAYED
    await idle_runtime.outboxes.awaiting.run_once()
    result = (await step_of(idle_runtime, job)).result
    assert (result[0], result[1]["childFailed"]["state"]) == ("a", "deleted")


async def test_children_are_not_created_again_once_they_all_exist(idle_runtime: Runtime) -> None:
    parent = await claimed_job(idle_runtime, "parent", queue="parents")
    new = NewCall(jobs=children(2), failures="return")
    await idle_runtime.work.steps.call(parent.job, parent.token, "many", new)
    # As long after a deletion as its tombstone is gone too.
    await idle_runtime.jobs.collection.delete_many({"parentId": ObjectId(parent.job.id)})
    called = await idle_runtime.work.steps.call(parent.job, parent.token, "many", new)
    assert called.unfinished == 0
    assert await idle_runtime.jobs.collection.count_documents({"queue": "children"}) == 0


async def test_a_killed_parent_leaves_its_children_and_takes_their_results_after_a_requeue(
    idle_runtime: Runtime,
) -> None:
    job = await suspended(idle_runtime)
    await idle_runtime.manager.kill(job.id)
    await succeed(idle_runtime, await claim(idle_runtime, "children"), "a")
    failed = await fail(idle_runtime, await claim(idle_runtime, "children"))
    assert (await idle_runtime.jobs.get(job.id)).state is State.KILLED

    await idle_runtime.manager.requeue(job.id)
    await ask(idle_runtime, await claim(idle_runtime, "parents"), 2)
    again = await claim(idle_runtime, "children")
    assert again.job.id == failed.id
    await succeed(idle_runtime, again, "b")
    assert (await step_of(idle_runtime, job)).result == ["a", "b"]
    assert await idle_runtime.jobs.collection.count_documents({"parentId": ObjectId(job.id)}) == 2


async def test_a_requeue_from_the_step_begins_with_new_children(idle_runtime: Runtime) -> None:
    job = await suspended(idle_runtime, 1)
    await succeed(idle_runtime, await claim(idle_runtime, "children"), "a")
    await succeed(idle_runtime, await claim(idle_runtime, "parents"))
    await idle_runtime.manager.requeue(job.id, from_step="many")
    await ask(idle_runtime, await claim(idle_runtime, "parents"), 1)
    await succeed(idle_runtime, await claim(idle_runtime, "children"), "b")
    assert (await step_of(idle_runtime, job)).result == ["b"]
    assert await idle_runtime.jobs.collection.count_documents({"parentId": ObjectId(job.id)}) == 2


async def prune(runtime: Runtime) -> None:
    ended = {"queue": "children", "endAt": {"$type": "date"}}
    await runtime.jobs.collection.update_many(ended, {"$set": {"endAt": LONG_AGO}})
    await Pruner(runtime.configs, runtime.pruning).run_once()


async def test_retention_keeps_children_until_their_parent_has_read_them(idle_runtime: Runtime) -> None:
    await idle_runtime.queues.put("children", {"retention": {"success": 1, "failed": 1}})
    job = await suspended(idle_runtime, 2, "hold")
    await succeed(idle_runtime, await claim(idle_runtime, "children"), "a")
    failed = await fail(idle_runtime, await claim(idle_runtime, "children"))
    await prune(idle_runtime)
    assert await idle_runtime.jobs.collection.count_documents({"parentId": ObjectId(job.id)}) == 2
    why = await idle_runtime.explainer.why(failed.id)
    assert [reader["id"] for reason in why.reasons for reader in reason.details.get("jobs", ())] == [job.id]

    await idle_runtime.manager.requeue(failed.id)
    await succeed(idle_runtime, await claim(idle_runtime, "children"), "b")
    assert (await step_of(idle_runtime, job)).result == ["a", "b"]
    await prune(idle_runtime)
    assert await idle_runtime.jobs.collection.count_documents({"parentId": ObjectId(job.id)}) == 0


async def test_children_to_delete_on_success_are_read_first(idle_runtime: Runtime) -> None:
    job = await suspended(idle_runtime, 2, on_success_delete=True)
    first = await succeed_and_look(idle_runtime, "a")
    assert first is not None
    await succeed_and_look(idle_runtime, "b")
    assert (await step_of(idle_runtime, job)).result == ["a", "b"]
    kept = await idle_runtime.jobs.readers.page(None, 10)
    for child, still in await idle_runtime.jobs.readers.read(kept):
        await idle_runtime.jobs.delete_read(child, still)
    assert await idle_runtime.jobs.collection.count_documents({"parentId": ObjectId(job.id)}) == 0


async def succeed_and_look(runtime: Runtime, result: Any) -> Job | None:
    claimed = await claim(runtime, "children")
    with contextlib.suppress(Exception):
        await succeed(runtime, claimed, result)
    return await runtime.jobs.find(claimed.job.id)


async def test_why_counts_the_children_that_a_parent_waits_for(idle_runtime: Runtime) -> None:
    job = await suspended(idle_runtime, 10, "hold")
    for _ in range(6):
        await succeed(idle_runtime, await claim(idle_runtime, "children"))
    await fail(idle_runtime, await claim(idle_runtime, "children"))
    why = await idle_runtime.explainer.why(job.id)
    reason = next(reason for reason in why.reasons if reason.kind == "children")
    assert reason.message == "waits for 4 of 10 children of map many; 1 of them has failed and waits for its requeue"
    assert reason.details == {"steps": [{"name": "many", "jobIds": 10, "unfinished": 4, "failed": 1}]}


async def test_the_end_of_a_child_costs_the_same_among_any_number_of_children(idle_runtime: Runtime) -> None:
    job = await suspended(idle_runtime, 5_000)
    assert await idle_runtime.jobs.collection.count_documents({"parentId": ObjectId(job.id)}) == 5_000
    step = await step_of(idle_runtime, job)
    assert step.call is not None
    jobs = idle_runtime.jobs.collection
    look = {"find": "jobs", "filter": call_statements.open_children(step.call), "limit": 1, "projection": {"_id": 1}}
    look["hint"] = call_statements.INDEX
    await explain(idle_runtime.database, look, keys=4)
    await jobs.update_many({"parentId": ObjectId(job.id)}, {"$set": {"state": "success"}})
    await explain(idle_runtime.database, look, keys=4)
    # The document of the parent has a number, no list of children.
    stored = await jobs.find_one({"_id": ObjectId(job.id)}, {"steps": 1, "wait": 1})
    assert len(str(stored)) < 1_000


async def test_parents_and_children_of_one_queue_with_one_slot_all_end(runtime: Runtime) -> None:
    await runtime.queues.put("default", {"concurrency": 1})
    parents = [await add(runtime, "parent") for _ in range(PARENTS)]

    async def work() -> None:
        while await runtime.jobs.collection.count_documents({"type": "parent", "state": {"$ne": "success"}}):
            claimed = await runtime.work.claim("default", None, worker="worker")
            if claimed is None:
                await asyncio.sleep(0)
                continue
            assert await runtime.jobs.collection.count_documents({"state": "processing"}) == 1
            if claimed.job.type == "parent" and not claimed.results:
                new = NewCall(jobs=(NewJob(type="child"),), single=True)
                await runtime.work.steps.call(claimed.job, claimed.token, "one", new)
                wait = Wait(names=("one",), jobs=1)
                await runtime.work.settle(claimed.job, claimed.token, Suspension(wait=wait))
            else:
                await succeed(runtime, claimed, "done")

    async with asyncio.timeout(300):
        await work()
    assert {(await runtime.jobs.get(parent.id)).result for parent in parents} == {"done"}
    assert await runtime.jobs.collection.count_documents({"type": "child", "state": "success"}) == PARENTS
