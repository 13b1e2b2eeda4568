"""The fixture for tests of users runs jobs as workers do, with a clock that moves over all waits."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from jobqueue import (
    ActiveJob,
    BlockingJob,
    Die,
    InvalidInputError,
    JobQueue,
    Member,
    NewBatch,
    NewJob,
    Retry,
    SignalTimeoutError,
    State,
    SyncJobQueue,
)
from jobqueue.domain.schedules import schedule as schedules
from jobqueue.testing import EndlessDrainError, UnexpectedEndError
from jobqueue.testing import drain as drains

if TYPE_CHECKING:
    from jobqueue.testing import QueueForTests

HOUR = 3600


def _new_job(fields: dict[str, Any], _path: str) -> NewJob:
    return NewJob(**fields)


async def test_children_delays_and_backoffs_run_in_one_drain_and_the_clock_moves_over_them(
    jobqueue_test: QueueForTests,
) -> None:
    times: list[datetime] = []

    @jobqueue_test.handler("flaky")
    async def flaky(job: ActiveJob) -> int:
        times.append(await jobqueue_test.now())
        if job.attempt < 3:
            raise ValueError(job.attempt)
        return job.attempt

    @jobqueue_test.handler("report")
    def report(job: BlockingJob) -> str:
        parent = job.parent()
        assert parent is not None
        return f"attempt {parent.result}"

    await jobqueue_test.add("flaky", delay=60, attempts=3, backoff=[600, HOUR], on_success={"type": "report"})
    before = await jobqueue_test.now()
    first, child = await jobqueue_test.drain()

    assert (first.state, first.result, child.result) == (State.SUCCESS, 3, "attempt 3")
    waits = [(later - earlier).total_seconds() for earlier, later in zip([before, *times], times, strict=False)]
    assert waits == [pytest.approx(60, abs=30), pytest.approx(600, abs=30), pytest.approx(HOUR, abs=30)]
    assert [attempt.outcome for attempt in first.history] == ["fail", "fail", "success"]
    ends = [attempt.end_at for attempt in first.history if attempt.end_at]
    assert times[0] <= ends[0] < times[1] <= ends[1] < times[2] <= ends[2] <= child.insert_at
    assert first.end_at == ends[2]


async def test_a_job_that_ends_badly_stops_the_drain_with_all_that_is_known_of_it(jobqueue_test: QueueForTests) -> None:
    error = ValueError("no such card")

    @jobqueue_test.handler("charge", queue="money")
    async def charge(_: ActiveJob) -> None:
        raise error

    @jobqueue_test.handler("refuse")
    def refuse(_: BlockingJob) -> None:
        raise Die("closed")

    job = await jobqueue_test.add("charge", queue="money", attempts=2, backoff=60)
    with pytest.raises(UnexpectedEndError) as raised:
        await jobqueue_test.drain()
    assert raised.value.__cause__ is error
    text = str(raised.value)
    assert text.startswith(
        f"job {job.id} (charge of queue money) failed in attempt 2 of 2: ValueError: no such card\n\nTraceback"
    )
    assert "in charge" in text
    assert "jobqueue/testing" not in text
    await jobqueue_test.add("refuse")
    with pytest.raises(UnexpectedEndError, match=r"was killed in attempt 1 of 3: die: closed"):
        await jobqueue_test.drain()
    await jobqueue_test.add("refuse", on_failure={"type": "refuse"}, attempts=1)
    assert [job.state for job in await jobqueue_test.drain(raises=False)] == [State.KILLED, State.KILLED]


async def test_sleeps_signals_and_awaited_children_are_drained(jobqueue_test: QueueForTests) -> None:
    @jobqueue_test.handler("order")
    async def order(job: ActiveJob) -> Any:
        await job.sleep("cooling-off", 24 * HOUR)
        sizes = await job.map("sizes", "size", [{"n": 1}, {"n": 2}])
        try:
            return sizes, await job.signal("approved", timeout=7 * 24 * HOUR)
        except SignalTimeoutError:
            return sizes, "too late"

    @jobqueue_test.handler("size")
    def size(job: BlockingJob) -> int:
        job.sleep("a moment", 60)
        return int(job.data["n"]) * 10

    late, early = await jobqueue_test.add("order"), await jobqueue_test.add("order")
    await jobqueue_test.signal(early, "approved", "yes")
    ended = {job.id: job for job in await jobqueue_test.drain()}
    assert ended[early.id].result == [[10, 20], "yes"]
    assert ended[late.id].result == [[10, 20], "too late"]
    lasted = ended[late.id].end_at - late.insert_at  # type: ignore[operator]  # it has ended
    assert timedelta(days=8) < lasted < timedelta(days=8, minutes=10)


async def test_a_drain_of_what_is_due_and_a_drain_until_a_moment_stop_in_time(jobqueue_test: QueueForTests) -> None:
    @jobqueue_test.handler("work")
    def work(_: BlockingJob) -> None: ...

    for delay in (None, HOUR, 2 * HOUR):
        await jobqueue_test.add("work", delay=delay)
    before = await jobqueue_test.now()
    assert len(await jobqueue_test.drain(due_only=True)) == 1
    assert await jobqueue_test.now() < before + timedelta(minutes=5)
    assert len(await jobqueue_test.drain(timedelta(hours=1, minutes=30))) == 1
    assert await jobqueue_test.now() >= before + timedelta(minutes=90)
    assert len(await jobqueue_test.drain()) == 1
    for wrong in ("soon", datetime(2030, 1, 1), datetime(2101, 1, 1, tzinfo=UTC)):  # noqa: DTZ001 - refused
        with pytest.raises((InvalidInputError, ValueError)):
            await jobqueue_test.drain(wrong)


async def test_schedules_of_the_code_make_their_jobs_until_the_end_of_a_drain(jobqueue_test: QueueForTests) -> None:
    app, sync_app = JobQueue(), SyncJobQueue()
    times: list[str] = []

    @app.cron("30 2 * * *", timezone="Europe/Berlin", data={"name": "nightly"})
    @app.task()
    async def report(job: ActiveJob, name: str) -> None:
        assert job.job.schedule == "report"
        times.append(name)

    @sync_app.cron(every=86_400)
    @sync_app.handler("tidy")
    def tidy(job: BlockingJob) -> None:
        times.append(job.type)

    jobqueue_test.use(app, sync_app)
    await jobqueue_test.drain()
    assert times == []
    await jobqueue_test.drain(until=timedelta(days=3, seconds=1))
    assert (times.count("nightly"), times.count("tidy")) == (3, 3)


async def test_schedules_make_their_jobs_until_the_end_of_a_drain(jobqueue_test: QueueForTests) -> None:
    ticks: list[datetime] = []

    @jobqueue_test.handler("nightly")
    async def nightly(job: ActiveJob) -> None:
        assert job.job.scheduled_at is not None
        ticks.append(job.job.scheduled_at)

    runtime = await jobqueue_test.open()
    await runtime.schedules.put(schedules.read("nightly", {"cron": "0 3 * * *", "job": {"type": "nightly"}}, _new_job))
    assert await jobqueue_test.drain() == []
    await jobqueue_test.drain(until=timedelta(days=3))
    assert len(ticks) == 3
    assert all(tick.hour == 3 for tick in ticks)
    assert ticks[2] - ticks[0] == timedelta(days=2)


async def test_dependents_and_batches_live_in_the_time_of_the_test(jobqueue_test: QueueForTests) -> None:
    @jobqueue_test.handler("part")
    def part(_: BlockingJob) -> None: ...

    first = Member(job=NewJob(type="part", delay=2 * HOUR), ref="first")
    second = Member(job=NewJob(type="part", delay=HOUR), ref="second", after=("first",))
    view, _ = await jobqueue_test.add_batch(NewBatch(members=(first, second), on_success=NewJob(type="part")))
    one, two, callback = await jobqueue_test.drain()
    batch = (await jobqueue_test.batch(view.batch.id)).batch
    assert None not in {one.end_at, two.end_at, batch.end_at}
    assert one.end_at <= two.history[0].ready_at <= two.end_at <= batch.end_at <= callback.insert_at  # type: ignore[operator]  # as asserted
    assert callback.insert_at - view.batch.insert_at > timedelta(hours=2)


async def test_rates_breakers_and_slots_of_dead_workers_are_waited_for(jobqueue_test: QueueForTests) -> None:
    starts: list[datetime] = []

    @jobqueue_test.handler("call", queue="api")
    async def call(job: ActiveJob) -> None:
        starts.append(await jobqueue_test.now())
        if job.data.get("down") and job.attempt == 1:
            raise ConnectionError("down")

    runtime = await jobqueue_test.open()
    await runtime.queues.put("api", {"rate": {"limit": 2, "per": 60}, "concurrency": 1, "limitBy": "meta.user_id"})
    for user in (1, 1, 1, 1, 1, 2):
        await jobqueue_test.add("call", queue="api", meta={"user_id": user})
    await jobqueue_test.drain()
    assert len(starts) == 6
    assert timedelta(seconds=115) < starts[-1] - starts[0] < timedelta(seconds=180)

    await runtime.queues.put("api", {"breaker": {"failures": 2, "cooldown": 600}, "concurrency": 1})
    for _ in range(3):
        await jobqueue_test.add("call", {"down": True}, queue="api", backoff=5)
    assert await runtime.work.claim("api", None, worker="a worker that dies") is not None
    starts.clear()
    ended = await jobqueue_test.drain(raises=False)
    assert [job.state for job in ended] == [State.SUCCESS] * 3
    assert any(attempt.error and attempt.error.kind == "hanging" for job in ended for attempt in job.history)
    assert any(later - earlier > timedelta(seconds=590) for earlier, later in itertools.pairwise(starts))


async def test_a_worker_that_dies_after_a_step_leaves_the_step_and_nothing_else(jobqueue_test: QueueForTests) -> None:
    runs: list[str] = []

    @jobqueue_test.handler("async")
    async def in_loop(job: ActiveJob) -> str:
        await job.step("charge", runs.append, "async")
        return "sent"

    @jobqueue_test.handler("plain")
    def in_thread(job: BlockingJob) -> str:
        job.step("charge", lambda: runs.append("plain"))
        return "sent"

    for kind in ("async", "plain"):
        job = await jobqueue_test.add(kind, attempts=3)
        await jobqueue_test.crash_after_step(job, "charge")
        crashed = await jobqueue_test.get(job.id)
        assert crashed.state is State.PROCESSING
        assert await jobqueue_test.drain(due_only=True) == []
        [ended] = await jobqueue_test.drain()
        assert [attempt.outcome for attempt in ended.history] == ["hanging", "success"]
        assert ended.result == "sent"
    assert runs == ["async", "plain"]
    with pytest.raises(AssertionError, match="has finished the step 'charge' already"):
        await jobqueue_test.crash_after_step(ended, "charge")
    other = await jobqueue_test.add("plain")
    with pytest.raises(AssertionError, match=r"is success and has not finished the step 'chrage', but 'charge'"):
        await jobqueue_test.crash_after_step(other, "chrage")


def test_the_time_of_a_test_goes_on_over_the_event_loops_of_a_plain_function(jobqueue_test: QueueForTests) -> None:
    before = jobqueue_test.run(jobqueue_test.now())
    jobqueue_test.run(jobqueue_test.drain(timedelta(days=1)))
    jobqueue_test.run(jobqueue_test.drain(timedelta(days=1)))
    assert jobqueue_test.run(jobqueue_test.now()) - before >= timedelta(days=2)


def test_a_queue_of_plain_code_adds_to_the_database_and_in_the_time_of_the_test(jobqueue_test: QueueForTests) -> None:
    app = SyncJobQueue(mongo_url="mongodb://nowhere.invalid")

    @app.task()
    def shrink(src: str) -> str:
        return f"{src} shrunk"

    jobqueue_test.use(app)
    jobqueue_test.run(jobqueue_test.drain(timedelta(days=1)))
    added = app.add("shrink", {"src": "a.png"}, delay=HOUR)
    assert added.insert_at > datetime.now(UTC) + timedelta(hours=23)
    [ended] = jobqueue_test.run(jobqueue_test.drain())
    assert (ended.id, app.get(added.id).result) == (added.id, "a.png shrunk")
    jobqueue_test.finish()
    app.close()


async def test_a_job_that_adds_the_next_one_for_ever_ends_the_drain(
    jobqueue_test: QueueForTests, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drains, "MOST_STARTS", 5)

    @jobqueue_test.handler("again")
    async def again(_: ActiveJob) -> None:
        await jobqueue_test.add("again", delay=HOUR)

    @jobqueue_test.handler("later", queue="other")
    def later(job: BlockingJob) -> None:
        if job.attempt == 1:
            raise Retry("later", delay=60)

    await jobqueue_test.add("again")
    with pytest.raises(EndlessDrainError, match=r"has started 5 jobs, the last of type 'again'.*until=…"):
        await jobqueue_test.drain()
    assert len(await jobqueue_test.drain(timedelta(minutes=150))) == 3


async def test_a_failed_expectation_tells_what_was_added_instead(jobqueue_test: QueueForTests) -> None:
    with pytest.raises(AssertionError, match=r"^no job of type 'mail' was added\nno job was added at all$"):
        jobqueue_test.assert_added("mail")
    first = await jobqueue_test.add("mail", {"to": "bob@x", "n": 1}, meta={"user_id": 1})
    second = await jobqueue_test.add("mail", {"to": "ann@x"}, queue="slow", meta={"user_id": 2})
    await jobqueue_test.add("sms")

    assert jobqueue_test.assert_added("mail", count=2).id == second.id
    assert jobqueue_test.assert_added("mail", {"n": 1}, to="bob@x", meta={"user_id": 1}, queue="default").id == first.id
    assert [job.id for job in jobqueue_test.added("mail", queue="slow")] == [second.id]
    jobqueue_test.assert_not_added("mail", n=True)
    with pytest.raises(AssertionError) as raised:
        jobqueue_test.assert_added("mail", to="ann@x", n=1, meta={"user_id": 1})
    assert str(raised.value).splitlines() == [
        "no job of type 'mail' with data.to = 'ann@x', data.n = 1, meta.user_id = 1 was added",
        "added of type 'mail':",
        f"  {first.id}: data.to is 'bob@x'",
        f"  {second.id}: data.n is missing; meta.user_id is 2",
        "added of other types: 1 'sms' of queue 'default'",
    ]
    with pytest.raises(AssertionError, match=r"^2 jobs of type 'mail', not 1, were added"):
        jobqueue_test.assert_added("mail", count=1)
    with pytest.raises(AssertionError, match=rf"^1 job of type 'sms' was added: {jobqueue_test.added('sms')[0].id}$"):
        jobqueue_test.assert_not_added("sms")


async def test_used_queues_add_to_the_database_of_the_test_and_their_handlers_run(jobqueue_test: QueueForTests) -> None:
    app, other = JobQueue(mongo_url="mongodb://nowhere.invalid"), JobQueue(mongo_url="mongodb://nowhere.invalid")

    @app.task()
    def shrink(src: str) -> str:
        return f"{src} shrunk"

    @other.task()
    async def charge() -> str:
        return "charged"

    @jobqueue_test.handler("charge")
    def pretend(_: BlockingJob) -> str:
        return "not charged"

    jobqueue_test.use(app, other)
    opened = await jobqueue_test.open()
    async with app:
        ref = await shrink.add("a.png")
    assert await jobqueue_test.open() is opened
    paid = await charge.add()
    assert len(await jobqueue_test.drain()) == 2
    assert (await ref.result(), await paid.result()) == ("a.png shrunk", "not charged")
    jobqueue_test.assert_added(shrink, src="a.png")
    jobqueue_test.finish()
    assert app._other is None
