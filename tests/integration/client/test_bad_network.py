"""Clients behind a proxy that cuts, delays, repeats and refuses requests: no job twice, none lost."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import pytest

from jobqueue import (
    AsyncClient,
    Client,
    Member,
    NewBatch,
    NewJob,
    NotFoundError,
    ServerUnreachableError,
    State,
    WrongStateError,
)
from jobqueue.domain.attempts.states import Outcome
from tests.support.data.factories import claim, fail
from tests.support.http.bad_proxy import FAULTS, BadProxy
from tests.support.http.in_threads import in_thread

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from jobqueue import ActiveJob, Job
    from jobqueue.services.application import Runtime

JOBS: Final = 60
TOGETHER: Final = 10
BATCHES: Final = 10
RUNS: Final = 20
LONG: Final = 300
TO_CHANGES: Final = tuple(fault for fault in FAULTS if fault != "repeat")
"""A proxy that repeats a change without an ``Idempotency-Key`` gets the refusal of the second one."""


@pytest.fixture
async def proxy(server: str) -> AsyncIterator[BadProxy]:
    async with BadProxy(server) as started:
        yield started


@pytest.fixture
async def far(proxy: BadProxy) -> AsyncIterator[AsyncClient]:
    """Give a client behind the proxy."""
    async with AsyncClient(proxy.url, timeout=LONG) as client:
        yield client


async def count(runtime: Runtime) -> int:
    return int(await runtime.jobs.collection.count_documents({"state": {"$exists": True}}))


async def test_no_job_is_added_twice_and_none_is_lost(runtime: Runtime, proxy: BadProxy, far: AsyncClient) -> None:
    proxy.share = 0.5
    blocking = Client(proxy.url, timeout=LONG)

    async def add(n: int) -> list[str]:
        if n % 2:
            return [(await far.add("a", {"n": n})).id]
        return [(await in_thread(blocking.add, "a", {"n": n})).id]

    async def add_all(n: int) -> list[str]:
        return [job.id for job in await far.add_all([NewJob(type="b", data={"n": n})] * 5)]

    async def add_batch(n: int) -> list[str]:
        members = [Member(job=NewJob(type="c", data={"n": n}), ref=f"r{place}") for place in range(3)]
        view, added = await far.add_batch(NewBatch(members=members, sealed=False))
        more = await far.add_to_batch(view.batch.id, [Member(job=NewJob(type="d"))])
        return [one.id for one in (*added, *more)]

    calls = [*map(add, range(JOBS)), *map(add_all, range(TOGETHER)), *map(add_batch, range(BATCHES))]
    ids = [job_id for added in await asyncio.gather(*calls) for job_id in added]
    await in_thread(blocking.close)
    proxy.share = 0
    expected = JOBS + 5 * TOGETHER + 4 * BATCHES
    assert len(set(ids)) == len(ids) == expected
    assert await count(runtime) == expected
    assert await runtime.database.collection("batches").count_documents({}) == BATCHES
    assert {job.id async for job in far.jobs()} == set(ids)
    assert set(proxy.done) == set(FAULTS)


async def test_a_worker_loses_no_attempt_and_doubles_no_line(
    runtime: Runtime, proxy: BadProxy, far: AsyncClient
) -> None:
    ids = [(await far.add("a", {"n": n})).id for n in range(RUNS)]
    worker = far.worker("default", concurrency=4, poll=0.5)

    @worker.handler("a")
    async def run(job: ActiveJob) -> int:
        for line in range(3):
            await job.log(f"line {line}")
        return int(job.data["n"])

    proxy.share, proxy.faults = 0.4, FAULTS
    async with worker.working():
        jobs = [await in_runtime(runtime, job_id) for job_id in ids]
        proxy.share = 0
    assert [job.result for job in jobs] == [*range(RUNS)]
    assert [[entry.outcome for entry in job.history] for job in jobs] == [[Outcome.SUCCESS]] * RUNS
    assert [[line.m for line in job.logs] for job in jobs] == [["line 0", "line 1", "line 2"]] * RUNS
    assert proxy.done["cut after"] > RUNS / 10


async def in_runtime(runtime: Runtime, job_id: str) -> Job:
    return await runtime.waiting.ended(job_id, LONG)


@pytest.mark.parametrize("fault", TO_CHANGES)
async def test_a_change_is_made_once(runtime: Runtime, proxy: BadProxy, far: AsyncClient, fault: str) -> None:
    job = await far.add("a", attempts=1)
    await fail(runtime, await claim(runtime))
    # The fault meets the change itself; a requeue reads the job first.
    proxy.plan = [None, fault]
    assert (await far.requeue(job.id)).state is State.PENDING
    proxy.plan = [fault]
    assert await far.signal(job.id, "approved", 1)
    proxy.plan = [fault]
    assert (await far.kill(job.id)).state is State.KILLED
    present = await far.get(job.id)
    assert [entry.outcome for entry in present.history].count(Outcome.REQUEUE) == 1
    assert [one.value for one in present.signals or ()] == [1]
    proxy.plan = [fault]
    await far.delete(job.id)
    assert proxy.plan == []
    with pytest.raises(NotFoundError):
        await far.get(job.id)


async def test_a_requeue_that_was_carried_out_is_not_repeated_after_the_job_has_failed_again(
    runtime: Runtime, proxy: BadProxy, far: AsyncClient
) -> None:
    job = await far.add("a", attempts=1)
    await fail(runtime, await claim(runtime))
    proxy.plan = [None, "cut after"]
    forward = proxy._forward

    async def fail_meanwhile(*arguments: object) -> object:
        replied = await forward(*arguments)  # type: ignore[arg-type]
        if proxy.requests[-1][1].endswith("/requeue") and len(proxy.requests) == 3:
            await fail(runtime, await claim(runtime))
        return replied

    proxy._forward = fail_meanwhile  # type: ignore[method-assign, assignment]
    again = await far.requeue(job.id)
    assert (again.state, [entry.outcome for entry in again.history].count(Outcome.REQUEUE)) == (State.FAILED, 1)


async def test_a_call_that_must_not_be_repeated_is_not(proxy: BadProxy, far: AsyncClient) -> None:
    view, _ = await far.add_batch(NewBatch(members=[Member(job=NewJob(type="a"))]))
    before = len(proxy.requests)
    for call in (lambda: far.requeue_batch(view.batch.id), lambda: far.requeue_many({"type": "a"})):
        proxy.plan = ["cut after"]
        with pytest.raises(ServerUnreachableError, match="no answer"):
            await call()
    assert len(proxy.requests) == before + 2
    # A refusal before anything was done is another thing.
    proxy.plan = ["429"]
    assert (await far.requeue_batch(view.batch.id)).batch.id == view.batch.id


async def test_the_killed_jobs_of_a_batch_are_counted_after_a_lost_reply(proxy: BadProxy, far: AsyncClient) -> None:
    for size in (2, 101):
        view, _ = await far.add_batch(NewBatch(members=[Member(job=NewJob(type="a"))] * size))
        proxy.plan = ["cut after"]
        assert await far.kill_batch(view.batch.id) == size
    assert proxy.plan == []


async def test_a_refusal_that_does_not_pass_is_not_repeated(proxy: BadProxy, far: AsyncClient) -> None:
    job = await far.add("a")
    before = len(proxy.requests)
    await far.kill(job.id)
    with pytest.raises(WrongStateError):
        await far.kill(job.id)
    assert len(proxy.requests) == before + 2


async def test_a_server_that_is_not_there_is_named(proxy: BadProxy) -> None:
    async with AsyncClient("http://127.0.0.1:9", timeout=0.3) as nobody:
        with pytest.raises(ServerUnreachableError, match=r"127\.0\.0\.1:9/v1/jobs: no answer"):
            await nobody.add("a")
    async with AsyncClient(proxy.url, timeout=0.3) as impatient:
        proxy.share, proxy.faults = 1.0, ("cut after",)
        with pytest.raises(ServerUnreachableError, match="no answer"):
            await impatient.add("a")
