"""The order in which jobs are claimed, and what a claim does."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING

from jobqueue.domain.attempts.states import State
from jobqueue.domain.jobs.job import NewJob
from tests.support.data.factories import add, claim, claimed_job, open_runtime, succeed
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from datetime import datetime

    from jobqueue.services.application import Runtime
    from jobqueue.settings import Settings


async def claimed_names(runtime: Runtime, count: int) -> list[str]:
    return [str((await claim(runtime)).job.data["name"]) for _ in range(count)]


async def test_higher_priority_comes_first_and_equal_ones_come_in_the_order_of_adding(idle_runtime: Runtime) -> None:
    for name, priority in (("a", 0), ("b", 5), ("c", -3), ("d", 5), ("e", 0), ("f", 1_000_000_000)):
        await add(idle_runtime, data={"name": name}, priority=priority)
    assert await claimed_names(idle_runtime, 6) == ["f", "b", "d", "a", "e", "c"]


async def test_the_order_of_adding_holds_over_processes(settings: Settings, idle_runtime: Runtime) -> None:
    async with open_runtime(settings) as other:
        for number in range(30):
            one, next_one = (idle_runtime, other)[:: 1 - 2 * (number % 2)]
            added = await add(one, data={"name": str(number)})

            async def knows(which: Runtime = next_one, moment: datetime = added.insert_at) -> bool:
                return await which.database.clock.now() > moment

            # Two processes know the server's time to a few milliseconds only.
            await eventually(knows, every=0.001)
    assert await claimed_names(idle_runtime, 30) == [str(number) for number in range(30)]


async def test_jobs_added_in_bulk_come_in_their_order(idle_runtime: Runtime) -> None:
    await idle_runtime.producer.add_all([NewJob(type="work", data={"name": str(number)}) for number in range(50)])
    assert await claimed_names(idle_runtime, 50) == [str(number) for number in range(50)]


async def test_jobs_added_one_after_another_by_one_process_come_in_their_order(idle_runtime: Runtime) -> None:
    for number in range(50):
        await add(idle_runtime, data={"name": str(number)})
    assert await claimed_names(idle_runtime, 50) == [str(number) for number in range(50)]


async def test_jobs_added_at_once_in_one_process_come_in_the_order_of_the_calls(idle_runtime: Runtime) -> None:
    await asyncio.gather(*(add(idle_runtime, data={"name": str(number)}) for number in range(50)))
    assert await claimed_names(idle_runtime, 50) == [str(number) for number in range(50)]


async def test_a_claim_sets_token_lease_attempt_and_history(idle_runtime: Runtime) -> None:
    claimed = await claimed_job(idle_runtime, lease=45)
    stored = await idle_runtime.jobs.get(claimed.job.id)
    assert stored.state is State.PROCESSING
    assert stored.claim is not None
    assert (stored.claim.token, stored.claim.worker) == (claimed.token, "worker")
    assert stored.attempts_made == 1
    assert stored.start_at is not None
    assert stored.reset_at == stored.start_at + timedelta(seconds=45)
    (entry,) = stored.history
    assert (entry.attempt, entry.token, entry.worker) == (1, claimed.token, "worker")
    assert (entry.start_at, entry.end_at, entry.outcome, entry.error) == (stored.start_at, None, None, None)


async def test_a_lease_ends_with_the_time_of_the_attempt(idle_runtime: Runtime) -> None:
    claimed = await claimed_job(idle_runtime, lease=45, timeout=10)
    stored = await idle_runtime.jobs.get(claimed.job.id)
    assert stored.start_at is not None
    limit = stored.start_at + timedelta(seconds=10)
    assert stored.reset_at == limit
    beat = await idle_runtime.work.report(claimed.job, claimed.token)
    assert beat is not None
    assert beat.reset_at == limit


async def test_a_worker_may_ask_for_a_lease_of_its_own_which_heartbeats_keep(idle_runtime: Runtime) -> None:
    await add(idle_runtime, lease=45)
    claimed = await idle_runtime.work.claim("default", None, worker="w", lease=600)
    assert claimed is not None
    assert claimed.job.start_at is not None
    assert claimed.job.reset_at == claimed.job.start_at + timedelta(seconds=600)
    beat = await idle_runtime.work.report(claimed.job, claimed.token)
    assert beat is not None
    assert beat.reset_at >= claimed.job.reset_at


async def test_only_the_wanted_types_are_claimed(idle_runtime: Runtime) -> None:
    for kind in ("a", "b", "c"):
        await add(idle_runtime, kind)
    work = idle_runtime.work
    two = [await work.claim("default", ("c", "b"), worker="w") for _ in range(3)]
    assert [one and one.job.type for one in two] == ["b", "c", None]
    assert await work.claim("default", (), worker="w") is None
    assert await work.claim("default", None, worker="w", excluded=("a",)) is None
    rest = await work.claim("default", None, worker="w", excluded=("b",))
    assert rest is not None
    assert rest.job.type == "a"


async def test_priority_decides_among_several_types(idle_runtime: Runtime) -> None:
    for kind, priority in (("a", 1), ("b", 3), ("c", 9), ("a", 2), ("b", 0)):
        await add(idle_runtime, kind, priority=priority)
    claimed = [await idle_runtime.work.claim("default", ("a", "b"), worker="w") for _ in range(4)]
    assert [one.job.priority for one in claimed if one] == [3, 2, 1, 0]


async def test_a_worker_name_or_type_that_looks_like_an_expression_is_only_text(idle_runtime: Runtime) -> None:
    await add(idle_runtime, data={"name": "$$NOW"}, meta={"x": "$state"})
    claimed = await claim(idle_runtime, worker="$$ROOT")
    stored = await idle_runtime.jobs.get(claimed.job.id)
    assert stored.claim is not None
    assert stored.claim.worker == stored.history[0].worker == "$$ROOT"
    await idle_runtime.work.report(claimed.job, claimed.token, lines=[("$state", None)], progress=3)
    stored = await succeed(idle_runtime, claimed, {"value": "$state"})
    assert stored.logs[0].m == "$state"
    assert stored.result == {"value": "$state"}


async def test_a_job_is_claimed_once_however_many_ask(settings: Settings, idle_runtime: Runtime) -> None:
    await idle_runtime.producer.add_all([NewJob(type="work") for _ in range(40)])
    async with open_runtime(settings) as other:
        found = await asyncio.gather(
            *((idle_runtime, other)[number % 2].work.claim("default", None, worker="w") for number in range(100))
        )
    ids = [one.job.id for one in found if one]
    assert len(ids) == len(set(ids)) == 40


async def test_a_paused_queue_claims_nothing_in_any_process_and_resumes(
    settings: Settings, idle_runtime: Runtime
) -> None:
    await add(idle_runtime, queue="q")
    async with open_runtime(settings, started=True) as other:
        await idle_runtime.queues.set_paused("q", paused=True)
        assert await idle_runtime.work.claim("q", None, worker="w") is None
        await eventually(lambda: other.configs.of("q").paused, within=15)
        assert await other.work.claim("q", None, worker="w") is None
        await idle_runtime.queues.set_paused("q", paused=False)
        await eventually(lambda: not other.configs.of("q").paused, within=15)
        assert await other.work.claim("q", None, worker="w") is not None


async def test_one_paused_queue_does_not_pause_another(idle_runtime: Runtime) -> None:
    await idle_runtime.queues.set_paused("q", paused=True)
    await add(idle_runtime, queue="other")
    assert (await claim(idle_runtime, "other")).job.queue == "other"
