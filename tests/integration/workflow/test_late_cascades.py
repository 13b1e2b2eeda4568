"""Cascades that go on late: after an error, or by whoever knows an old state of their job."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from bson import ObjectId

from jobqueue.domain.attempts.states import State
from jobqueue.domain.errors import DatabaseUnavailableError
from jobqueue.domain.jobs.job import NewJob
from jobqueue.domain.workflow.batch import Member, NewBatch
from tests.support.data.factories import add, claim, document, fail, succeed

if TYPE_CHECKING:
    import pytest

    from jobqueue.domain.jobs.job import Job
    from jobqueue.services.application import Runtime


async def test_what_an_outage_has_cut_off_is_found_by_the_sweep_of_the_same_process(
    idle_runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    culprit = await add(idle_runtime, "a", attempts=1)
    fallen = await add(idle_runtime, "b", depends_on=[culprit.id], on_failure=NewJob(type="told"))
    running = await claim(idle_runtime)
    lean = idle_runtime.jobs.lean

    async def away(job_id: str) -> Job:
        if job_id == fallen.id:
            raise DatabaseUnavailableError("the database is away")
        return await lean(job_id)

    with monkeypatch.context() as patched:
        patched.setattr(idle_runtime.jobs, "lean", away)
        with contextlib.suppress(DatabaseUnavailableError):
            await fail(idle_runtime, running)
    assert (await document(idle_runtime, fallen.id))["outbox"]
    await idle_runtime.outboxes.run_once()
    assert "outbox" not in await document(idle_runtime, fallen.id)
    assert await idle_runtime.jobs.collection.count_documents({"parentId": ObjectId(fallen.id)}) == 1


async def ended(runtime: Runtime, monkeypatch: pytest.MonkeyPatch, *, how: Any = fail) -> Job:
    """End the next job; return it as it is before anybody has done what follows."""
    running = await claim(runtime)

    async def nothing(_: str) -> None:
        """Do nothing."""

    with monkeypatch.context() as patched:
        patched.setattr(runtime.outboxes, "finish", nothing)
        await how(runtime, running)
    return await runtime.jobs.lean(running.job.id)


async def test_a_late_cascade_kills_nothing_that_waits_for_the_next_run(
    idle_runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    culprit = await add(idle_runtime, "a", attempts=1)
    waiting = await add(idle_runtime, "b", depends_on=[culprit.id])
    known = await ended(idle_runtime, monkeypatch)
    await idle_runtime.manager.requeue(culprit.id)
    assert (await idle_runtime.jobs.get(waiting.id)).state is State.DELAYED
    await idle_runtime.outboxes.fire(known)
    assert (await idle_runtime.jobs.get(waiting.id)).state is State.DELAYED


async def test_a_late_cascade_releases_nothing_that_waits_for_the_next_run(
    idle_runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = await add(idle_runtime, "a")
    await add(idle_runtime, "b", depends_on=[first.id], delay=1000)
    known = await ended(idle_runtime, monkeypatch, how=succeed)
    await idle_runtime.manager.requeue(first.id)
    waiting = await add(idle_runtime, "c", depends_on=[first.id])
    await idle_runtime.outboxes.fire(known)
    assert (await idle_runtime.jobs.get(waiting.id)).state is State.DELAYED


async def test_a_late_cascade_tells_a_later_generation_of_no_failure(
    idle_runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    view, [one] = await idle_runtime.batches.create(
        NewBatch(members=[Member(job=NewJob(type="a", attempts=1))], on_failure=NewJob(type="told", queue="callbacks"))
    )
    known = await ended(idle_runtime, monkeypatch)
    await idle_runtime.outboxes.finish(one.id)
    await idle_runtime.batches.requeue(view.batch.id)
    await idle_runtime.outboxes.fire(known)
    await succeed(idle_runtime, await claim(idle_runtime))
    assert await idle_runtime.jobs.collection.count_documents({"queue": "callbacks"}) == 1


async def test_a_cascade_does_not_go_on_after_a_requeue_between_two_pages(
    idle_runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobqueue.services.outbox.dependencies._AT_ONCE", 2)
    culprit = await add(idle_runtime, "a", attempts=1)
    # A person kills these, so that the next page has others.
    first_page = [(await add(idle_runtime, "b", depends_on=[culprit.id])).id for _ in range(2)]
    waiting = [(await add(idle_runtime, "b", depends_on=[culprit.id])).id for _ in range(6)]
    known = await ended(idle_runtime, monkeypatch)
    dependencies = idle_runtime.outboxes._dependencies
    doomed, calls = dependencies._store.doomed, 0

    async def interrupted(*args: Any, **kwargs: Any) -> list[Job]:
        nonlocal calls
        calls += 1
        if calls == 2:
            # A person requeues the job between two pages of the cascade.
            await idle_runtime.manager.requeue(culprit.id)
            for one in first_page:
                await idle_runtime.manager.kill(one)
        return await doomed(*args, **kwargs)

    monkeypatch.setattr(dependencies._store, "doomed", interrupted)
    await idle_runtime.outboxes.finish(known.id)
    found = [await document(idle_runtime, one) for one in waiting]
    assert {(one["state"], len(one["killedAt"])) for one in found} == {("delayed", 1)}


async def test_a_batch_that_is_sealed_while_somebody_looks_is_looked_at_again(idle_runtime: Runtime) -> None:
    view, _ = await idle_runtime.batches.create(NewBatch(members=[Member(job=NewJob(type="a"))], sealed=False))
    await succeed(idle_runtime, await claim(idle_runtime))
    seen = await idle_runtime.outboxes._batches.store.get(view.batch.id)
    # Whoever seals it dies at once.
    await idle_runtime.batches._store.seal(view.batch.id)
    await idle_runtime.outboxes._batches.store.settled(seen)
    await idle_runtime.outboxes.run_once()
    assert (await idle_runtime.batches.get(view.batch.id)).batch.state == "finished"


async def test_a_restart_tells_of_no_failure_that_came_before_it(
    idle_runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    members = [Member(job=NewJob(type="a", attempts=1)) for _ in range(2)]
    callback = NewJob(type="told", queue="callbacks")
    view, _ = await idle_runtime.batches.create(NewBatch(members=members, on_failure=callback))
    # The process that has ended the first one dies.
    await ended(idle_runtime, monkeypatch)
    await fail(idle_runtime, await claim(idle_runtime))
    assert (await idle_runtime.batches.get(view.batch.id)).batch.state == "finished"
    await idle_runtime.batches.requeue(view.batch.id)
    for _ in range(2):
        await succeed(idle_runtime, await claim(idle_runtime))
    assert await idle_runtime.jobs.collection.count_documents({"queue": "callbacks"}) == 1


async def test_what_falls_while_its_culprit_is_requeued_waits_again(
    idle_runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    culprit = await add(idle_runtime, "a", attempts=1)
    await fail(idle_runtime, await claim(idle_runtime))
    store = idle_runtime.outboxes._dependencies._store
    known = store.known

    async def slow(job_ids: Any) -> Any:
        found = await known(job_ids)
        with monkeypatch.context() as patched:
            patched.setattr(store, "known", known)
            if (await idle_runtime.jobs.get(culprit.id)).state is State.FAILED:
                await idle_runtime.manager.requeue(culprit.id)
        return found

    monkeypatch.setattr(store, "known", slow)
    waiting = await add(idle_runtime, "b", depends_on=[culprit.id], queue="later")
    assert (await idle_runtime.jobs.get(waiting.id)).state is State.DELAYED
    await succeed(idle_runtime, await claim(idle_runtime))
    assert (await idle_runtime.jobs.get(waiting.id)).state is State.PENDING


async def test_a_batch_that_is_killed_while_it_is_restarted_leaves_nothing_to_run(
    idle_runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    view, _ = await idle_runtime.batches.create(
        NewBatch(members=[Member(job=NewJob(type="a", attempts=1)) for _ in range(6)])
    )
    for _ in range(6):
        await fail(idle_runtime, await claim(idle_runtime))
    restarts = idle_runtime.outboxes._restarts
    restart, seen = restarts._restart, []

    async def interrupted(job: Job, *others: Any) -> None:
        seen.append(job.id)
        if len(seen) == 3:
            await idle_runtime.batches.kill_all(view.batch.id)
        await restart(job, *others)

    monkeypatch.setattr(restarts, "_restart", interrupted)
    await idle_runtime.batches.requeue(view.batch.id)
    counts = (await idle_runtime.batches.get(view.batch.id)).counts
    assert (counts["killed"], counts["pending"]) == (6, 0)
