"""What retention keeps because others need it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jobqueue import Member, NewBatch, NewJob
from jobqueue.domain.attempts.states import State
from tests.support.data.factories import add, claim, claimed_job, fail, succeed

if TYPE_CHECKING:
    from jobqueue.services.application import Runtime


def step(ref: str, *after: str, **fields: Any) -> Member:
    return Member(job=NewJob(type=ref, **fields), ref=ref, after=after)


async def create(runtime: Runtime, *members: Member, **fields: Any) -> str:
    """Create a batch; return its id."""
    view, _ = await runtime.batches.create(NewBatch(members=members, **fields))
    return view.batch.id


async def prune(runtime: Runtime) -> int:
    """Delete all ended jobs that may be deleted at all; return how many."""
    found = [await runtime.pruning.prune("default", state, -60, 500) for state in (State.SUCCESS, State.FAILED)]
    return sum(gone for gone, _ in found)


async def test_jobs_of_a_batch_are_kept_until_it_has_finished(idle_runtime: Runtime) -> None:
    batch_id = await create(
        idle_runtime,
        step("fine"),
        step("bad", attempts=1),
        step("slow"),
        step("join", "fine", "slow"),
        on_success=NewJob(type="told"),
    )
    claims = {one.job.type: one for one in [await claim(idle_runtime) for _ in range(3)]}
    await succeed(idle_runtime, claims["fine"], "result")
    await fail(idle_runtime, claims["bad"])
    assert await prune(idle_runtime) == 0
    await succeed(idle_runtime, claims["slow"])
    join = await claim(idle_runtime)
    assert [one["result"] for one in join.job.parents or ()] == ["result", None]
    await succeed(idle_runtime, join)
    assert await idle_runtime.work.claim("default", None, worker="w") is None
    assert (await idle_runtime.batches.get(batch_id)).batch.state == "finished"
    # The repair of the failed job would bring onSuccess, which reads the others.
    assert await prune(idle_runtime) == 1
    assert await prune(idle_runtime) == 3


async def test_what_others_wait_for_is_kept(idle_runtime: Runtime) -> None:
    bad = await fail(idle_runtime, await claimed_job(idle_runtime, "bad", attempts=1))
    waiting = await add(idle_runtime, "waiting", depends_on=[bad.id], dependency_policy="hold")
    other = await succeed(idle_runtime, await claimed_job(idle_runtime, "other"))
    assert await prune(idle_runtime) == 1
    assert await idle_runtime.jobs.find(other.id) is None
    await idle_runtime.manager.requeue(bad.id)
    await succeed(idle_runtime, await claim(idle_runtime))
    assert (await idle_runtime.jobs.get(waiting.id)).state is State.PENDING


async def test_what_is_kept_does_not_keep_the_rest(idle_runtime: Runtime) -> None:
    await create(idle_runtime, *(step(f"n{place}") for place in range(5)), step("open", delay=3600))
    for _ in range(5):
        await succeed(idle_runtime, await claim(idle_runtime))
    single = await succeed(idle_runtime, await claimed_job(idle_runtime, "single"))
    gone, _ = await idle_runtime.pruning.prune("default", State.SUCCESS, -60, 2)
    assert gone == 1
    assert await idle_runtime.jobs.find(single.id) is None
