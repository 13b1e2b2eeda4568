"""The same calls by all ways to reach a queue: on the database, and over HTTP with and without an event loop."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, cast

import pytest
from aiohttp.test_utils import TestServer

from jobqueue import (
    AsyncClient,
    Client,
    InvalidInputError,
    JobFailedError,
    JobQueue,
    KeyConflictError,
    Member,
    NewBatch,
    NewJob,
    NotFoundError,
    State,
    SteppedBackoff,
    SyncJobQueue,
    WrongStateError,
)
from jobqueue.api.app import make_app
from jobqueue.domain.errors import UnfinishedJobsError
from jobqueue.domain.jobs import json_form
from tests.support.data.factories import claim, fail, succeed
from tests.support.http.in_threads import InThreads

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from jobqueue import Producer
    from jobqueue.services.application import Runtime
    from jobqueue.settings import Settings

WAYS = ("JobQueue", "SyncJobQueue", "AsyncClient", "Client")
MOMENT = datetime(2040, 1, 2, 3, 4, 5, 678_000, tzinfo=UTC)
NOBODY = "0" * 24


@pytest.fixture(params=WAYS)
async def producer(request: pytest.FixtureRequest, runtime: Runtime, settings: Settings) -> AsyncIterator[Producer]:
    """Give one of the ways."""
    if request.param == "JobQueue":
        async with JobQueue(settings) as queue:
            yield queue
        return
    if request.param == "SyncJobQueue":
        with SyncJobQueue(settings) as sync:
            yield cast("Producer", InThreads(sync))
        return
    async with TestServer(make_app(runtime)) as server:
        url = str(server.make_url(""))
        if request.param == "AsyncClient":
            async with AsyncClient(url) as client:
                yield client
            return
        with Client(url) as blocking:
            yield cast("Producer", InThreads(blocking))


async def test_a_job_is_stored_and_returned_as_it_was_added(producer: Producer, runtime: Runtime) -> None:
    parent = await producer.add("first")
    added = await producer.add(
        "thumbnail",
        {"src": "a.png", "sizes": [1, 2.5, None, {"größe": True}]},
        queue="media",
        meta={"user_id": 42},
        priority=5,
        attempts=7,
        backoff=[10, 60],
        delay_til=MOMENT,
        lease=5,
        timeout=9,
        key="a",
        depends_on=[parent.id],
        on_success_delete=True,
        on_failure=[{"type": "tell", "delay_til": MOMENT}, NewJob(type="more", on_success=NewJob(type="inner"))],
    )
    stored = await runtime.jobs.get(added.id)
    assert (added.state, added.backoff) == (State.DELAYED, SteppedBackoff((10, 60)))
    assert added.on_failure == stored.on_failure
    shown = await producer.get(added.id)
    for job in (added, shown):
        assert json_form.job(job) == json_form.job(stored)


async def test_a_job_with_a_past_is_returned_with_it(producer: Producer, runtime: Runtime) -> None:
    added = await producer.add("a", attempts=1)
    claimed = await claim(runtime)
    await runtime.work.report(claimed.job, claimed.token, progress=40, lines=[("half way", "info")])
    await runtime.work.steps.record(claimed.job, claimed.token, "fetch", {"rows": 3})
    await fail(runtime, claimed)
    job, stored = await producer.get(added.id), await runtime.jobs.whole(added.id)
    assert (job.state, job.progress, job.logs[0].m) == (State.FAILED, 40, "half way")
    assert json_form.job(replace(job, history=())) == json_form.job(replace(stored, history=()))
    assert [entry.outcome for entry in job.history] == [entry.outcome for entry in stored.history]


async def test_all_jobs_are_added_or_none(producer: Producer, runtime: Runtime) -> None:
    taken = await producer.add("a", key="k")
    jobs = await producer.add_all([NewJob(type="b", data={"n": n}) for n in range(3)])
    assert [(job.type, job.data["n"]) for job in jobs] == [("b", 0), ("b", 1), ("b", 2)]
    with pytest.raises(KeyConflictError) as refused:
        await producer.add_all([NewJob(type="c"), NewJob(type="c", key="k")])
    assert refused.value.job_id == taken.id
    with pytest.raises(InvalidInputError) as empty:
        await producer.add_all([])
    assert list(empty.value.problems) == ["jobs"]
    assert await runtime.jobs.collection.count_documents({"state": {"$exists": True}}) == 4


async def test_a_taken_key_names_its_job(producer: Producer) -> None:
    first = await producer.add("a", queue="q", key="k")
    with pytest.raises(KeyConflictError) as refused:
        await producer.add("b", queue="q", key="k")
    assert (refused.value.job_id, refused.value.queue, refused.value.key) == (first.id, "q", "k")
    assert first.id in str(refused.value)


async def test_a_batch_is_a_graph_of_its_jobs(producer: Producer) -> None:
    outside = await producer.add("outside")
    members = [
        Member(job=NewJob(type="a"), ref="first"),
        Member(job=NewJob(type="b", depends_on=[outside.id]), ref="then", after=["first"]),
    ]
    view, added = await producer.add_batch(
        NewBatch(members=members, meta={"user_id": 1}, on_success=NewJob(type="end"))
    )
    assert (view.total, view.batch.state, view.batch.sealed, view.verdict) == (2, "open", True, None)
    assert (view.batch.meta, view.batch.on_success) == ({"user_id": 1}, NewJob(type="end"))
    assert [one.ref for one in added] == ["first", "then"]
    then = await producer.get(added[1].id)
    assert set(then.depends_on) == {outside.id, added[0].id}
    with pytest.raises(InvalidInputError) as refused:
        await producer.add_batch(NewBatch(members=[Member(job=NewJob(type="a"), after=["nobody"])]))
    assert list(refused.value.problems) == ["jobs.0.dependsOn.0"]


async def test_a_listing_has_all_jobs_that_its_filter_finds(producer: Producer) -> None:
    added = await producer.add_all([NewJob(type="a", queue="q", meta={"n": n % 2, "who": "ann"}) for n in range(5)])
    await producer.add("b", queue="q", meta={"n": 0, "who": "ann"})
    await producer.kill(added[0].id)

    async def ids(**conditions: Any) -> list[str]:
        return [job.id async for job in producer.jobs(**conditions)]

    assert await ids(queue="q", type="a", oldest_first=True, limit=2) == [job.id for job in added]
    assert await ids(type="a", state="killed") == [added[0].id]
    assert sorted(await ids(type="a", meta={"n": 1, "who": "ann"})) == sorted(job.id for job in added[1::2])
    assert len(await ids(state=[State.PENDING, State.KILLED])) == 6
    assert await ids(inserted_after=MOMENT) == []
    for wrong, path in (({"state": "odd"}, "state"), ({"quue": "q"}, "quue"), ({"limit": 0}, "limit")):
        with pytest.raises(InvalidInputError) as refused:
            await ids(**wrong)
        assert list(refused.value.problems) == [path]


async def test_jobs_are_killed_and_started_anew(producer: Producer, runtime: Runtime) -> None:
    job = await producer.add("a", attempts=1)
    assert (await producer.kill(job.id, "no longer needed")).state is State.KILLED
    with pytest.raises(WrongStateError) as refused:
        await producer.kill(job.id)
    assert (refused.value.job_id, refused.value.state) == (job.id, "killed")
    again = await producer.requeue(job.id, data={"n": 2}, priority=3, backoff=5)
    assert (again.state, again.data, again.priority, again.attempts_made) == (State.PENDING, {"n": 2}, 3, 0)
    with pytest.raises(WrongStateError):
        await producer.requeue(job.id)
    with pytest.raises(InvalidInputError):
        await producer.requeue(job.id, attempts=0)
    await fail(runtime, await claim(runtime))
    stepped = await producer.requeue(job.id, from_step=None)
    assert [str(entry.outcome) for entry in stepped.history] == ["kill", "requeue", "fail", "requeue"][
        -len(stepped.history) :
    ]


async def test_waiting_ends_with_the_job_or_its_time(producer: Producer, runtime: Runtime) -> None:
    job = await producer.add("a")
    with pytest.raises(TimeoutError, match=r"has not ended within 0\.05 seconds; it is pending"):
        await producer.wait(job.id, timeout=0.05)
    await succeed(runtime, await claim(runtime), {"n": 1})
    ended = await producer.wait(job.id, timeout=100)
    assert (ended.state, ended.result) == (State.SUCCESS, {"n": 1})


async def test_a_signal_is_sent_once_for_its_id(producer: Producer) -> None:
    job = await producer.add("a")
    assert await producer.signal(job.id, "approved", {"by": "ann"}, signal_id="click-7")
    assert not await producer.signal(job.id, "approved", {"by": "ann"}, signal_id="click-7")
    assert await producer.signal(job.id, "approved")
    signals = (await producer.get(job.id)).signals or ()
    assert [(one.name, one.value) for one in signals] == [("approved", {"by": "ann"}), ("approved", None)]
    with pytest.raises(InvalidInputError):
        await producer.signal(job.id, "")
    await producer.kill(job.id)
    with pytest.raises(WrongStateError):
        await producer.signal(job.id, "approved")


async def test_mistakes_have_the_same_errors(producer: Producer) -> None:
    for call in (producer.get(NOBODY), producer.kill(NOBODY), producer.requeue(NOBODY), producer.wait(NOBODY, 1)):
        with pytest.raises(NotFoundError) as unknown:
            await call
        assert (unknown.value.kind, unknown.value.name) == ("job", NOBODY)
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"attempts": 0}, "attempts"),
        ({"prioritty": 1}, "prioritty"),
        ({"delay_til": datetime(2040, 1, 1)}, "delayTil"),  # noqa: DTZ001 - the mistake
        ({"depends_on": [NOBODY]}, "dependsOn"),
    ]
    for fields, path in wrong:
        with pytest.raises(InvalidInputError) as refused:
            await producer.add("a", **fields)
        assert [one.partition(".")[0] for one in refused.value.problems] == [path]
    with pytest.raises(InvalidInputError) as no_id:
        await producer.get("x")
    assert list(no_id.value.problems) == ["id"]


async def test_a_task_adds_its_jobs_by_each_way(producer: Producer, runtime: Runtime) -> None:
    tasks = JobQueue()

    @tasks.task(queue="media", attempts=1)
    def double(n: int) -> int:
        return 2 * n

    if isinstance(producer, InThreads):
        blocking = double.using(producer.client)
        ref = await producer.run(blocking.add, 4)
        await succeed(runtime, await claim(runtime, "media"), 8)
        assert await producer.run(ref.result, 100) == 8
        more = await producer.run(blocking.add_all, [blocking.new(n) for n in range(2)])
        assert len({one.id for one in more}) == 2
        return
    mine = double.using(producer)
    added = await mine.options(priority=3).add(4)
    job = await added.job()
    assert (job.type, job.queue, job.data, job.attempts, job.priority) == ("double", "media", {"n": 4}, 1, 3)
    await fail(runtime, await claim(runtime, "media"))
    with pytest.raises(JobFailedError) as failed:
        await added.result(100)
    assert (failed.value.kind, failed.value.message) == ("Boom", "it broke")


async def test_schedules_batches_and_queues_are_managed_by_each_way(producer: Any, runtime: Runtime) -> None:
    await producer.configure("media", concurrency=3)
    await runtime.configs.refresh()
    assert runtime.configs.of("media").concurrency == 3
    for name in ("b", "a"):
        await producer.put_schedule(name, NewJob(type="tick", queue="media"), every=3600)
    await producer.pause_schedule("a")
    assert len((await producer.preview_schedule("a", every=60))["starts"]) == 10
    made = await producer.run_schedule("a")
    assert (made.type, made.schedule) == ("tick", "a")
    assert [_name(each) for each in [one async for one in producer.schedules()]] == ["a", "b"]
    assert (await runtime.schedules.get("a")).next_at is None
    await producer.delete_schedule("b")
    assert [_name(each) for each in [one async for one in producer.schedules()]] == ["a"]

    await producer.add("asks", queue="media", key="k")
    assert await producer.signal_by_key("media", "k", "approved", 1, signal_id="s")
    assert not await producer.signal_by_key("media", "k", "approved", 1, signal_id="s")
    with pytest.raises(NotFoundError):
        await producer.signal_by_key("media", "other", "approved")

    first, _ = await producer.add_batch(NewBatch(members=[Member(job=NewJob(type="part"))]))
    second, _ = await producer.add_batch(NewBatch(members=[Member(job=NewJob(type="part"))]))
    with pytest.raises(TimeoutError, match="has not finished"):
        await producer.wait_batch(first.batch.id, timeout=0.01)
    assert await producer.kill_batch(first.batch.id, "no more") == 1
    assert (await producer.wait_batch(first.batch.id, timeout=30)).batch.state == "finished"
    assert [view.batch.id async for view in producer.batches()] == [second.batch.id, first.batch.id]
    assert [view.batch.id async for view in producer.batches("finished")] == [first.batch.id]
    assert [view.batch.id async for view in producer.batches(type="part", failed=True)] == [first.batch.id]
    assert [view async for view in producer.batches(meta={"user_id": 42})] == []
    with pytest.raises(UnfinishedJobsError):
        await producer.delete_queue("media")
    await producer.delete_queue("media", force=True)
    assert (await producer.get(made.id)).state is State.KILLED


def _name(schedule: Any) -> str:
    return str(schedule["name"] if isinstance(schedule, dict) else schedule.name)
