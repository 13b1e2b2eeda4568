"""Callbacks and children whose key an unfinished job has: that one stands in for them, and is named."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from bson import ObjectId

from jobqueue.api.workflow.schemas import BatchResponse
from jobqueue.domain.errors import KeyConflictError
from jobqueue.domain.jobs.job import NewJob
from jobqueue.domain.workflow.batch import Member, NewBatch
from tests.support.data.factories import add, claim, succeed

if TYPE_CHECKING:
    from jobqueue.services.application import Runtime

CALLBACK = NewJob(type="publish", queue="callbacks", key="publish")


async def finished(runtime: Runtime, **fields: Any) -> str:
    """Create a batch of one job that succeeds; return its id."""
    view, _ = await runtime.batches.create(NewBatch(members=[Member(job=NewJob(type="part"))], **fields))
    await succeed(runtime, await claim(runtime))
    return view.batch.id


async def stand_ins(runtime: Runtime, batch_id: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = BatchResponse.of(await runtime.batches.get(batch_id))["standIns"]
    return found


async def test_a_batch_names_the_job_that_has_the_key_of_its_callback(idle_runtime: Runtime) -> None:
    first = await finished(idle_runtime, on_success=CALLBACK)
    second = await finished(idle_runtime, on_complete=[NewJob(type="other", queue="callbacks"), CALLBACK])
    [holder] = [one async for one in idle_runtime.jobs.collection.find({"type": "publish"})]
    assert await stand_ins(idle_runtime, first) == []
    named = {"event": "complete", "index": 1, "generation": 0, "key": "publish", "jobId": str(holder["_id"])}
    assert await stand_ins(idle_runtime, second) == [named]
    # Whoever crashed before the callbacks were crossed off does it again, and the holder has ended since.
    await succeed(idle_runtime, await claim(idle_runtime, "callbacks"))
    batches = idle_runtime.database.collection("batches")
    await batches.update_one({"_id": ObjectId(second)}, {"$set": {"outbox": ["complete"]}})
    await idle_runtime.outboxes.run_once()
    assert await stand_ins(idle_runtime, second) == [named]
    assert await idle_runtime.jobs.collection.count_documents({"type": {"$in": ["publish", "other"]}}) == 2


async def test_the_callback_of_each_generation_has_a_stand_in_of_its_own(idle_runtime: Runtime) -> None:
    holder = await add(idle_runtime, "publish", queue="callbacks", key="publish", delay=3600)
    batch_id = await finished(idle_runtime, on_success=CALLBACK)
    await idle_runtime.batches.requeue(batch_id, callbacks=True)
    assert [(one["generation"], one["jobId"]) for one in await stand_ins(idle_runtime, batch_id)] == [
        (0, holder.id),
        (1, holder.id),
    ]


@pytest.mark.parametrize("of", ["batch", "job"])
async def test_what_has_the_key_of_a_job_that_ended_at_this_moment_is_created(
    idle_runtime: Runtime, monkeypatch: pytest.MonkeyPatch, of: str
) -> None:
    real, refusals = idle_runtime.jobs.insert, [KeyConflictError("callbacks", "publish", "")]

    async def insert(*args: Any, **options: Any) -> Any:
        if refusals:
            raise refusals.pop()
        return await real(*args, **options)

    if of == "batch":
        view, _ = await idle_runtime.batches.create(
            NewBatch(members=[Member(job=NewJob(type="part"))], on_success=CALLBACK)
        )
    else:
        await add(idle_runtime, "part", on_success=CALLBACK)
    running = await claim(idle_runtime)
    monkeypatch.setattr(idle_runtime.jobs, "insert", insert)
    await succeed(idle_runtime, running)
    assert (await claim(idle_runtime, "callbacks")).job.type == "publish"
    if of == "batch":
        assert await stand_ins(idle_runtime, view.batch.id) == []


async def test_a_job_names_the_one_that_has_the_key_of_its_child(idle_runtime: Runtime) -> None:
    holder = await add(idle_runtime, "publish", queue="callbacks", key="publish")
    parent = await add(idle_runtime, "part", on_complete=CALLBACK)
    await succeed(idle_runtime, await claim(idle_runtime))
    [line] = (await idle_runtime.jobs.whole(parent.id)).logs
    assert (line.level, "onComplete.0" in line.m, holder.id in line.m) == ("warning", True, True)


async def test_a_job_whose_key_is_taken_says_that_it_is_not_requeued_with_its_batch(idle_runtime: Runtime) -> None:
    member = Member(job=NewJob(type="part", key="part", attempts=1))
    view, added = await idle_runtime.batches.create(NewBatch(members=[member]))
    await idle_runtime.manager.kill(added[0].id)
    holder = await add(idle_runtime, "part", key="part")
    shown = BatchResponse.of(await idle_runtime.batches.requeue(view.batch.id))
    assert (shown["state"], shown["verdict"], shown["counts"]["killed"]) == ("finished", "failed", 1)
    [line] = (await idle_runtime.jobs.whole(added[0].id)).logs
    assert holder.id in line.m
