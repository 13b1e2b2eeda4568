"""Adding jobs: keys, bulk, transactions of the caller's own, and the defaults of the queue."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from motor.motor_asyncio import AsyncIOMotorClient

from jobqueue.domain.attempts.states import State
from jobqueue.domain.errors import InvalidInputError, KeyConflictError
from jobqueue.domain.jobs.job import Job, NewJob
from tests.support.data.factories import add, claim, die, fail, job_in, open_runtime, succeed
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from motor.motor_asyncio import AsyncIOMotorClientSession

    from jobqueue import JobQueue
    from jobqueue.services.application import Runtime
    from jobqueue.settings import Settings

FINALS = [State.SUCCESS, State.FAILED, State.KILLED]


async def count(runtime: Runtime) -> int:
    return int(await runtime.jobs.collection.count_documents({}))


@pytest.fixture
async def motor(mongo_url: str) -> AsyncIterator[AsyncIOMotorClient[Any]]:
    """Give a driver client of the caller's own."""
    client: AsyncIOMotorClient[Any] = AsyncIOMotorClient(mongo_url)
    yield client
    client.close()


async def test_what_is_added_is_what_is_stored(idle_runtime: Runtime) -> None:
    data = {
        "text": "ä\U0001f600\0",
        "a.b": {"": [1, 2.5, True, None, 2**63 - 1]},
        "when": datetime(2026, 1, 2, tzinfo=UTC),
    }
    added = await add(
        idle_runtime,
        queue="q",
        data=data,
        meta={"user_id": 42},
        priority=-5,
        attempts=7,
        backoff=[1, 2],
        delay=60,
        lease=9,
        timeout=99,
        key="k",
        on_success_delete=True,
        on_complete=NewJob(type="child", data={"n": 1}),
        on_failure=[NewJob(type="child"), NewJob(type="child", on_success=NewJob(type="grandchild"))],
    )
    job = await idle_runtime.jobs.get(added.id)
    assert job == added
    assert (job.data, job.meta, job.priority, job.attempts) == (data, {"user_id": 42}, -5, 7)
    assert (job.backoff.wire(), job.delay, job.lease, job.timeout, job.key) == ([1, 2], 60, 9, 99, "k")
    assert (job.state, job.attempts_made, job.history, job.logs, job.run) == (State.DELAYED, 0, (), (), 0)
    assert job.delay_til == job.insert_at + timedelta(seconds=60)
    assert job.on_success_delete
    assert isinstance(job.on_complete, NewJob)
    assert isinstance(job.on_failure, tuple)
    assert [child.on_success and child.on_success for child in job.on_failure] == [None, NewJob(type="grandchild")]


async def test_the_time_of_adding_is_the_servers(idle_runtime: Runtime) -> None:
    job = await add(idle_runtime)
    hello = await idle_runtime.database.command("hello")
    assert abs((job.insert_at - hello["localTime"].replace(tzinfo=UTC)).total_seconds()) < 1


async def test_a_job_due_in_the_past_is_pending_at_once(idle_runtime: Runtime) -> None:
    past, future = datetime(2020, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)
    assert (await add(idle_runtime, delay_til=past)).state is State.PENDING
    assert (await add(idle_runtime, delay_til=future)).state is State.DELAYED
    assert (await add(idle_runtime, delay=0)).state is State.PENDING


async def test_the_defaults_of_the_queue_fill_what_is_left_open(idle_runtime: Runtime) -> None:
    defaults = {"attempts": 9, "backoff": 77, "lease": 5, "timeout": 50, "priority": 3, "onSuccessDelete": True}
    await idle_runtime.queues.put("q", defaults)
    job = await add(idle_runtime, queue="q")
    assert (job.attempts, job.backoff.wire(), job.lease, job.timeout) == (9, 77, 5, 50)
    assert (job.priority, job.on_success_delete) == (3, True)
    own = await add(
        idle_runtime, queue="q", attempts=1, backoff=0, lease=1, timeout=2, priority=0, on_success_delete=False
    )
    assert (own.attempts, own.backoff.wire(), own.lease, own.timeout) == (1, 0, 1, 2)
    assert (own.priority, own.on_success_delete) == (0, False)
    (in_bulk,) = await idle_runtime.producer.add_all([NewJob(type="work", queue="q")])
    assert (in_bulk.attempts, in_bulk.priority) == (9, 3)
    plain = await add(idle_runtime)
    assert (plain.attempts, plain.lease, plain.timeout, plain.priority) == (3, 60, None, 0)


async def test_changed_defaults_hold_in_another_process_within_a_second(
    settings: Settings, idle_runtime: Runtime
) -> None:
    async with open_runtime(settings) as other:
        await idle_runtime.queues.put("q", {"attempts": 9})

        async def changed() -> bool:
            return (await add(other, queue="q")).attempts == 9

        await eventually(changed, within=15, every=0.05)


async def test_the_defaults_of_a_childs_own_queue_apply_to_it(idle_runtime: Runtime) -> None:
    await idle_runtime.queues.put("q", {"attempts": 9})
    await add(idle_runtime, on_success=NewJob(type="child", queue="q"))
    await succeed(idle_runtime, await claim(idle_runtime))
    assert (await claim(idle_runtime, "q")).job.attempts == 9


@pytest.mark.parametrize("state", [State.PENDING, State.PROCESSING, State.DELAYED])
async def test_an_unfinished_job_holds_its_key(idle_runtime: Runtime, state: State) -> None:
    holder = await job_in(idle_runtime, state, key="k")
    with pytest.raises(KeyConflictError, match="is unfinished and has the key 'k'") as caught:
        await add(idle_runtime, key="k")
    assert (caught.value.job_id, caught.value.queue, caught.value.key) == (holder.id, "default", "k")
    assert (await add(idle_runtime, queue="other", key="k")).key == "k"
    assert (await add(idle_runtime, key="K")).key == "K"
    assert await count(idle_runtime) == 3


@pytest.mark.parametrize("state", FINALS)
async def test_a_finished_job_frees_its_key(idle_runtime: Runtime, state: State) -> None:
    await job_in(idle_runtime, state, key="k")
    assert (await add(idle_runtime, key="k")).state is State.PENDING


async def test_the_key_is_held_over_failures_and_freed_by_the_last(idle_runtime: Runtime) -> None:
    await add(idle_runtime, key="k", attempts=2, backoff=0)
    await fail(idle_runtime, await claim(idle_runtime))
    with pytest.raises(KeyConflictError):
        await add(idle_runtime, key="k")
    await fail(idle_runtime, await claim(idle_runtime))
    await add(idle_runtime, key="k")
    await die(idle_runtime, await claim(idle_runtime))
    await add(idle_runtime, key="k")


async def test_of_forty_jobs_with_one_key_added_at_once_there_is_one(settings: Settings, idle_runtime: Runtime) -> None:
    async with open_runtime(settings) as other:
        added = await asyncio.gather(
            *(add((idle_runtime, other)[number % 2], key="k") for number in range(40)), return_exceptions=True
        )
    made = [one for one in added if isinstance(one, Job)]
    refused = [one for one in added if isinstance(one, KeyConflictError)]
    assert (len(made), len(refused)) == (1, 39)
    assert {one.job_id for one in refused} == {made[0].id}
    assert await count(idle_runtime) == 1


async def test_one_refused_key_does_not_touch_the_jobs_added_at_the_same_time(idle_runtime: Runtime) -> None:
    await add(idle_runtime, key="k")
    added = await asyncio.gather(
        *(add(idle_runtime, key="k" if number % 5 == 0 else None) for number in range(40)), return_exceptions=True
    )
    assert [isinstance(one, KeyConflictError) for one in added] == [number % 5 == 0 for number in range(40)]
    assert await count(idle_runtime) == 33


async def test_the_same_id_twice_is_one_job(idle_runtime: Runtime) -> None:
    first = await add(idle_runtime, data={"n": 1})
    again = await idle_runtime.producer.add(NewJob(type="work", data={"n": 2}), job_id=first.id)
    assert (again.id, again.data) == (first.id, {"n": 1})
    assert await count(idle_runtime) == 1


async def test_of_a_bulk_with_one_taken_key_nothing_is_added(idle_runtime: Runtime) -> None:
    holder = await add(idle_runtime, key="k")
    jobs = [NewJob(type="work", key="k" if number == 7 else f"k{number}") for number in range(10)]
    with pytest.raises(KeyConflictError) as caught:
        await idle_runtime.producer.add_all(jobs)
    assert caught.value.job_id == holder.id
    assert await count(idle_runtime) == 1


async def test_a_bulk_with_one_key_twice_is_refused(idle_runtime: Runtime) -> None:
    with pytest.raises(InvalidInputError, match=r"jobs\.2\.key"):
        await idle_runtime.producer.add_all([NewJob(type="work", key=key) for key in ("a", "b", "a")])
    twice = [NewJob(type="work", queue=queue, key="a") for queue in ("p", "q")]
    assert len(await idle_runtime.producer.add_all(twice)) == 2


@pytest.mark.parametrize("number", [0, 1001])
async def test_a_bulk_takes_one_to_a_thousand_jobs(idle_runtime: Runtime, number: int) -> None:
    with pytest.raises(InvalidInputError, match="1 to 1,000"):
        await idle_runtime.producer.add_all([NewJob(type="work")] * number)
    assert await count(idle_runtime) == 0


async def test_a_bulk_of_a_thousand_is_added_in_order(idle_runtime: Runtime) -> None:
    jobs = await idle_runtime.producer.add_all([NewJob(type="work", data={"n": number}) for number in range(1000)])
    assert [job.data["n"] for job in jobs] == list(range(1000))
    assert sorted((job.insert_at, job.id) for job in jobs) == [(job.insert_at, job.id) for job in jobs]
    assert await count(idle_runtime) == 1000


async def test_bulks_that_race_for_a_key_add_all_or_none_each(idle_runtime: Runtime) -> None:
    bulks = [[NewJob(type="work", key=f"{number}-{step}") for step in range(5)] for number in range(6)]
    rivals = [[*bulk, NewJob(type="work", key="k")] for bulk in bulks]
    outcomes = await asyncio.gather(*(idle_runtime.producer.add_all(one) for one in rivals), return_exceptions=True)
    assert sum(isinstance(one, list) for one in outcomes) == 1
    assert [type(one) for one in outcomes if not isinstance(one, list)] == [KeyConflictError] * 5
    assert await count(idle_runtime) == 6


async def test_a_job_added_in_the_callers_transaction_exists_exactly_if_that_commits(
    queue: JobQueue, motor: AsyncIOMotorClient[Any]
) -> None:
    runtime = await queue.open()
    orders = motor[runtime.settings.db]["orders"]
    async with await motor.start_session() as session, session.start_transaction():
        await orders.insert_one({"_id": 1}, session=session)
        kept = await queue.add("ship", {"order": 1}, session=session)
        assert await count(runtime) == 0
    assert (await queue.get(kept.id)).data == {"order": 1}
    async with await motor.start_session() as session:
        session.start_transaction()
        await orders.insert_one({"_id": 2}, session=session)
        await queue.add("ship", {"order": 2}, session=session)
        await session.abort_transaction()
    assert await orders.count_documents({}) == 1
    assert await count(runtime) == 1


async def test_a_job_may_depend_on_jobs_inside_and_outside_of_the_callers_transaction(
    queue: JobQueue, motor: AsyncIOMotorClient[Any]
) -> None:
    outside = await queue.add("before")
    async with await motor.start_session() as session, session.start_transaction():
        inside = await queue.add("first", session=session)
        last = await queue.add("last", depends_on=[inside.id, outside.id], session=session)
        with pytest.raises(InvalidInputError, match=r"dependsOn\.1"):
            await queue.add("lost", depends_on=[inside.id, "0" * 24], session=session)
    runtime = await queue.open()
    assert (await queue.get(last.id)).state is State.DELAYED
    for _ in range(2):
        await succeed(runtime, await claim(runtime))
    await runtime.outboxes.run_once()
    assert (await queue.get(last.id)).state is State.PENDING


async def test_a_taken_key_in_the_callers_transaction_is_told_and_rolls_everything_back(
    queue: JobQueue, motor: AsyncIOMotorClient[Any]
) -> None:
    holder = await queue.add("ship", key="k")
    runtime = await queue.open()
    orders = motor[runtime.settings.db]["orders"]

    async def order(session: AsyncIOMotorClientSession) -> None:
        await orders.insert_one({"_id": 1}, session=session)
        await queue.add("ship", key="k", session=session)

    async with await motor.start_session() as session:
        with pytest.raises(KeyConflictError) as caught:
            await session.with_transaction(order)
    assert caught.value.job_id == holder.id
    assert await orders.count_documents({}) == 0
    assert await count(runtime) == 1
