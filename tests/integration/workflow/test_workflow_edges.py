"""Jobs that depend on others where something else happens to them meanwhile."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from bson import ObjectId

from jobqueue import Member, NewBatch, NewJob
from jobqueue.domain.attempts.states import State
from jobqueue.domain.errors import InvalidInputError, StaleTokenError
from jobqueue.domain.work.verdict import Success
from jobqueue.store.mongo.database import new_id
from tests.support.data.factories import add, claim, claimed_job, document, fail, open_runtime, succeed

if TYPE_CHECKING:
    from jobqueue.services.application import Runtime
    from jobqueue.settings import Settings


def step(ref: str, *after: str, **fields: object) -> Member:
    return Member(job=NewJob(type=ref, **fields), ref=ref, after=after)  # type: ignore[arg-type]


async def create(runtime: Runtime, *members: Member, **fields: object) -> dict[str, str]:
    """Create a batch; return its id and those of its jobs by their refs."""
    view, added = await runtime.batches.create(NewBatch(members=members, **fields))  # type: ignore[arg-type]
    return {"batch": view.batch.id} | {one.ref: one.id for one in added if one.ref}


async def state_of(runtime: Runtime, job_id: str) -> State:
    return (await runtime.jobs.get(job_id)).state


async def test_a_new_date_does_not_start_a_job_that_waits_for_others(idle_runtime: Runtime) -> None:
    first = await claimed_job(idle_runtime, "first")
    waiting = await add(idle_runtime, "second", depends_on=[first.job.id], delay=3600)
    await idle_runtime.manager.patch(waiting.id, {"delay_til": None})
    assert await state_of(idle_runtime, waiting.id) is State.DELAYED
    await idle_runtime.jobs.promote_due()
    assert await idle_runtime.work.claim("default", None, worker="w") is None
    await succeed(idle_runtime, first)
    assert await state_of(idle_runtime, waiting.id) is State.PENDING


async def test_a_job_that_fell_before_anybody_looked_at_what_it_waits_for_asks_for_nothing(
    idle_runtime: Runtime,
) -> None:
    first = await claimed_job(idle_runtime, "first", attempts=1)
    waiting = await add(idle_runtime, "second", depends_on=[first.job.id])
    # Whoever added it has crashed before looking.
    await idle_runtime.jobs.collection.update_one({"_id": ObjectId(waiting.id)}, {"$set": {"outbox": ["check"]}})
    await fail(idle_runtime, first)
    assert await state_of(idle_runtime, waiting.id) is State.KILLED
    await idle_runtime.outboxes.run_once()
    assert "outbox" not in await document(idle_runtime, waiting.id)
    assert (await idle_runtime.manager.requeue(waiting.id)).state is State.PENDING


async def test_a_callback_may_depend_on_other_jobs(idle_runtime: Runtime) -> None:
    done = await succeed(idle_runtime, await claimed_job(idle_runtime, "done"))
    slow = await claimed_job(idle_runtime, "slow")
    await create(
        idle_runtime,
        step("a"),
        on_complete=[NewJob(type="soon", depends_on=[done.id]), NewJob(type="later", depends_on=[slow.job.id])],
    )
    await succeed(idle_runtime, await claim(idle_runtime))
    assert (await claim(idle_runtime)).job.type == "soon"
    await succeed(idle_runtime, slow)
    assert (await claim(idle_runtime)).job.type == "later"


@pytest.mark.parametrize("after", ["join", "behind"])
async def test_a_new_job_cannot_wait_for_what_it_blocks(idle_runtime: Runtime, after: str) -> None:
    ids = await create(idle_runtime, step("split"), step("join", "split"), step("behind", "join"))
    running = await claim(idle_runtime)
    members = [
        step("x", after),
        Member(job=NewJob(type="y"), ref="y", after=("x",), blocks=(ids["join"],)),
    ]
    with pytest.raises(InvalidInputError, match=r"jobs\.1\.blocks"):
        await idle_runtime.batches.add(ids["batch"], members, token=running.token)
    assert (await idle_runtime.batches.get(ids["batch"])).counts["delayed"] == 2
    await idle_runtime.batches.add(
        ids["batch"],
        [Member(job=NewJob(type="y"), after=("split",), blocks=(ids["join"],)), step("z", "join")],
        token=running.token,
    )


async def test_adding_the_same_jobs_twice_adds_them_once(idle_runtime: Runtime) -> None:
    ids = await create(idle_runtime, step("a"), sealed=False)
    first = new_id()
    one = await idle_runtime.batches.add(ids["batch"], [step("b")], first=first)
    assert await idle_runtime.batches.add(ids["batch"], [step("b")], first=first) == one
    assert (await idle_runtime.batches.get(ids["batch"])).counts["pending"] == 2


async def test_a_requeue_does_not_wait_for_what_has_succeeded_and_was_deleted(idle_runtime: Runtime) -> None:
    ids = await create(
        idle_runtime,
        step("gone", on_success_delete=True),
        step("broken", "gone", attempts=1),
        step("fallen", "gone", "broken"),
        on_success=NewJob(type="told"),
    )
    await succeed_gone(idle_runtime, ids["gone"])
    await fail(idle_runtime, await claim(idle_runtime))
    assert await state_of(idle_runtime, ids["fallen"]) is State.KILLED
    await idle_runtime.batches.requeue(ids["batch"])
    for ref in ("broken", "fallen"):
        claimed = await claim(idle_runtime)
        assert claimed.job.id == ids[ref]
        await succeed(idle_runtime, claimed)
    assert (await claim(idle_runtime)).job.type == "told"


async def succeed_gone(runtime: Runtime, job_id: str) -> None:
    """Let the next job succeed, and delete it as a person may, whoever still has to read its result."""
    claimed = await claim(runtime)
    assert claimed.job.id == job_id
    await runtime.work.settle(claimed.job, claimed.token, Success(result=1))
    if await runtime.jobs.find(job_id) is not None:
        await runtime.manager.delete(job_id)
    assert await runtime.jobs.find(job_id) is None


async def test_a_requeue_does_not_run_what_has_waited_for_a_job_that_failed_and_was_deleted(
    idle_runtime: Runtime,
) -> None:
    ids = await create(idle_runtime, step("a", attempts=1), step("b", "a"), step("c", attempts=1))
    await fail(idle_runtime, await claim(idle_runtime))
    await idle_runtime.manager.delete(ids["a"])
    await fail(idle_runtime, await claim(idle_runtime))
    await idle_runtime.batches.requeue(ids["batch"])
    assert await state_of(idle_runtime, ids["b"]) is State.KILLED
    assert await state_of(idle_runtime, ids["c"]) is State.PENDING


async def test_a_failed_job_that_is_deleted_keeps_nobody_waiting(idle_runtime: Runtime) -> None:
    ids = await create(idle_runtime, step("a", attempts=1), step("b", "a", dependency_policy="hold"))
    await fail(idle_runtime, await claim(idle_runtime))
    assert await state_of(idle_runtime, ids["b"]) is State.DELAYED
    await idle_runtime.manager.delete(ids["a"])
    assert await state_of(idle_runtime, ids["b"]) is State.KILLED
    assert (await idle_runtime.batches.get(ids["batch"])).batch.state == "finished"


async def test_whoever_loses_its_claim_while_it_adds_jobs_adds_none(
    idle_runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = await create(idle_runtime, step("split"), step("other"))
    running = await claim(idle_runtime)
    refs = idle_runtime.batches._store.refs

    async def lose_the_claim(*words: Any) -> Any:
        lost = {"$set": {"claim.token": "another"}}
        await idle_runtime.jobs.collection.update_one({"_id": ObjectId(running.job.id)}, lost)
        return await refs(*words)

    monkeypatch.setattr(idle_runtime.batches._store, "refs", lose_the_claim)
    with pytest.raises(StaleTokenError):
        await idle_runtime.batches.add(ids["batch"], [step("part")], token=running.token)
    assert (await idle_runtime.batches.get(ids["batch"])).counts["pending"] == 1


async def test_of_two_jobs_with_the_same_ref_at_the_same_moment_one_is_added(
    settings: Settings, idle_runtime: Runtime
) -> None:
    ids = await create(idle_runtime, step("a"), sealed=False)

    async def add_one(runtime: Runtime, ref: str) -> str:
        [added] = await runtime.batches.add(ids["batch"], [step(ref)])
        return added.id

    async with open_runtime(settings) as other:
        for place in range(10):
            both = (add_one(one, f"part{place}") for one in (idle_runtime, other))
            assert len(set(await asyncio.gather(*both))) == 1
    assert await idle_runtime.jobs.collection.count_documents({"batchId": {"$exists": True, "$ne": None}}) == 11
