"""Notes that a requeue writes into its job, carried out late, twice, or by somebody who knows an old state of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bson import ObjectId

from jobqueue.api.workflow.schemas import BatchResponse
from jobqueue.domain.attempts.states import State
from jobqueue.domain.jobs.job import NewJob
from jobqueue.domain.jobs.transitions import REOPEN, REVIVE
from jobqueue.domain.workflow.batch import Member, NewBatch
from tests.support.data.factories import add, claim, document, fail, succeed

if TYPE_CHECKING:
    from jobqueue.services.application import Runtime

CALLBACKS: dict[str, Any] = {f"on_{event}": NewJob(type=event, queue="callbacks") for event in ("complete", "success")}


async def failed(runtime: Runtime, count: int) -> tuple[str, list[str]]:
    """Create a batch whose jobs have all failed; return the ids of it and of its jobs."""
    members = [Member(job=NewJob(type="a", attempts=1)) for _ in range(count)]
    view, added = await runtime.batches.create(NewBatch(members=members, **CALLBACKS))
    for _ in range(count):
        await fail(runtime, await claim(runtime))
    return view.batch.id, [one.id for one in added]


async def requeue_and_die(runtime: Runtime, job_id: str) -> None:
    await runtime.requeues.requeue(await runtime.jobs.get(job_id), {})


async def end_and_die(runtime: Runtime) -> str:
    """Let a job succeed, and nobody do what follows from that; return its id."""
    running = await claim(runtime)
    finish, runtime.outboxes.finish = runtime.outboxes.finish, nothing  # type: ignore[assignment,method-assign]
    await succeed(runtime, running)
    runtime.outboxes.finish = finish  # type: ignore[method-assign]
    return running.job.id


async def nothing(_: str) -> None:
    """Do nothing."""


async def look(runtime: Runtime, batch_id: str) -> tuple[str, int, str | None, int]:
    shown = BatchResponse.of(await runtime.batches.get(batch_id))
    calls = await runtime.jobs.collection.count_documents({"callbackOf.batchId": ObjectId(batch_id)})
    return shown["state"], shown["generation"], shown["verdict"], calls


async def test_a_job_that_ends_before_its_batch_was_told_of_its_requeue_tells_it(idle_runtime: Runtime) -> None:
    batch_id, [job_id] = await failed(idle_runtime, 1)
    await requeue_and_die(idle_runtime, job_id)
    assert (await document(idle_runtime, job_id))["outbox"] == [REOPEN]
    await succeed(idle_runtime, await claim(idle_runtime))
    assert await look(idle_runtime, batch_id) == ("finished", 1, "success", 3)


async def test_a_batch_does_not_finish_before_it_is_told_of_each_requeue(idle_runtime: Runtime) -> None:
    batch_id, [first, second] = await failed(idle_runtime, 2)
    await requeue_and_die(idle_runtime, first)
    await end_and_die(idle_runtime)
    await idle_runtime.manager.requeue(second)
    await succeed(idle_runtime, await claim(idle_runtime))
    assert await look(idle_runtime, batch_id) == ("open", 1, "failed", 1)
    await idle_runtime.outboxes.run_once()
    assert await look(idle_runtime, batch_id) == ("finished", 1, "success", 3)


async def test_a_note_that_was_carried_out_by_somebody_else_opens_no_further_generation(idle_runtime: Runtime) -> None:
    batch_id, [job_id] = await failed(idle_runtime, 1)
    await requeue_and_die(idle_runtime, job_id)
    known = await idle_runtime.jobs.get(job_id)
    await succeed(idle_runtime, await claim(idle_runtime))
    await idle_runtime.outboxes.fire(known)
    assert await look(idle_runtime, batch_id) == ("finished", 1, "success", 3)


async def test_callbacks_of_a_generation_are_created_before_the_next_one_begins(idle_runtime: Runtime) -> None:
    batch_id, [job_id] = await failed(idle_runtime, 1)
    batches = idle_runtime.database.collection("batches")
    await idle_runtime.jobs.collection.delete_many({"queue": "callbacks"})
    await batches.update_one({"_id": ObjectId(batch_id)}, {"$set": {"outbox": ["complete"]}})
    await idle_runtime.manager.requeue(job_id)
    calls = [one["callbackOf"] async for one in idle_runtime.jobs.collection.find({"queue": "callbacks"})]
    assert [(one["event"], one["generation"]) for one in calls] == [("complete", 0)]
    assert (await look(idle_runtime, batch_id))[:2] == ("open", 1)


async def test_whoever_knows_a_job_as_it_was_before_it_was_revived_does_not_kill_it(idle_runtime: Runtime) -> None:
    culprit = await add(idle_runtime, "a", attempts=1)
    waiting = await add(idle_runtime, "b", depends_on=[culprit.id])
    known, ended = await idle_runtime.jobs.get(waiting.id), await fail(idle_runtime, await claim(idle_runtime))
    await idle_runtime.manager.requeue(culprit.id)
    assert (await idle_runtime.jobs.get(waiting.id)).state is State.DELAYED
    # As whoever was slow with what follows from the failure.
    dependencies = idle_runtime.outboxes._dependencies
    await dependencies._kill(known, f"job {culprit.id} (a) has {ended.state}")
    assert (await idle_runtime.jobs.get(waiting.id)).state is State.DELAYED


async def test_what_fell_is_revived_by_whoever_comes_after_a_crash(idle_runtime: Runtime) -> None:
    culprit = await add(idle_runtime, "a", attempts=1)
    waiting = await add(idle_runtime, "b", depends_on=[culprit.id], on_failure=NewJob(type="told"))
    await fail(idle_runtime, await claim(idle_runtime))
    await requeue_and_die(idle_runtime, culprit.id)
    assert (await document(idle_runtime, culprit.id))["outbox"] == [REVIVE]
    await idle_runtime.outboxes.run_once()
    assert (await idle_runtime.jobs.get(waiting.id)).state is State.DELAYED
    assert await idle_runtime.jobs.collection.count_documents({"type": "told"}) == 1
    assert not await idle_runtime.jobs.collection.count_documents({"outbox": {"$exists": True}})


async def test_what_fell_is_not_revived_where_its_key_is_taken(idle_runtime: Runtime) -> None:
    culprit = await add(idle_runtime, "a", attempts=1)
    waiting = await add(idle_runtime, "b", depends_on=[culprit.id], key="k")
    await fail(idle_runtime, await claim(idle_runtime))
    await add(idle_runtime, "other", key="k", delay=3600)
    await idle_runtime.manager.requeue(culprit.id)
    assert (await idle_runtime.jobs.get(waiting.id)).state is State.KILLED


async def test_what_fell_because_of_a_job_that_was_deleted_stays_where_it_is(idle_runtime: Runtime) -> None:
    first, second = [await add(idle_runtime, kind, attempts=1) for kind in "ab"]
    waiting = await add(idle_runtime, "c", depends_on=[first.id, second.id])
    await fail(idle_runtime, await claim(idle_runtime))
    await fail(idle_runtime, await claim(idle_runtime))
    await idle_runtime.manager.delete(first.id)
    await idle_runtime.manager.requeue(second.id)
    assert (await idle_runtime.jobs.get(waiting.id)).state is State.KILLED


async def test_a_queue_that_is_deleted_keeps_the_notes_of_its_jobs(idle_runtime: Runtime) -> None:
    batch_id, [job_id] = await failed(idle_runtime, 1)
    await requeue_and_die(idle_runtime, job_id)
    await idle_runtime.queues.delete("default", force=True)
    assert await look(idle_runtime, batch_id) == ("finished", 1, "failed", 1)
