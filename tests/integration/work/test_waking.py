"""What a worker does when something happens to its jobs elsewhere, or its handlers misbehave."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from pymongo import MongoClient

from jobqueue import JobQueue
from jobqueue.domain.attempts.states import FINAL, Outcome, State
from jobqueue.domain.errors import JobCancelledError
from tests.support.data.factories import add, claim, open_runtime, succeed
from tests.support.waiting import eventually, has_nothing_to_do

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from jobqueue.domain.jobs.job import Job
    from jobqueue.services.application import Runtime
    from jobqueue.settings import Settings

NEVER = 60.0
"""A poll interval that no test lives to see the end of."""
SOON = 15.0


@contextlib.asynccontextmanager
async def deaf_queue(settings: Settings, *, poll_interval: float = NEVER) -> AsyncIterator[JobQueue]:
    """Give a queue whose process hears of nothing that another one does."""
    async with JobQueue(replace(settings, poll_interval=poll_interval)) as queue:
        runtime = await queue.open()
        await runtime.start()
        await eventually(runtime.changes.open.is_set)
        await runtime.changes.stop()
        yield queue


async def state_of(runtime: Runtime, job: Job) -> State:
    return (await runtime.jobs.get(job.id)).state


async def in_state(runtime: Runtime, job: Job, *states: State) -> Job:
    """Return a job when it is in one of these states and nothing is left to do for it."""

    async def look() -> Job | None:
        seen = await runtime.jobs.get(job.id)
        return seen if seen.state in states and not seen.outbox else None

    found = await eventually(look, within=SOON)
    assert found is not None
    return found


async def test_without_events_each_job_is_begun_within_a_poll_interval(
    settings: Settings, idle_runtime: Runtime
) -> None:
    async with deaf_queue(settings, poll_interval=0.3) as queue:

        @queue.handler("work")
        async def work(_: Any) -> None:
            return

        async with queue.working() as dispatcher:
            for _ in range(3):
                await eventually(lambda: dispatcher._demands and has_nothing_to_do(dispatcher), every=0.001)
                job = await in_state(idle_runtime, await add(idle_runtime), State.SUCCESS)
                assert job.start_at is not None
                # Two polls, by their longest spread, and some time for a machine that does other things too.
                assert (job.start_at - job.insert_at).total_seconds() < 2 * 0.36 + 10


@contextlib.contextmanager
def process_that_reaps(settings: Settings) -> Iterator[None]:
    """Let a loop in a thread of its own do the maintenance: nothing that blocks this loop stops it."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    end = asyncio.run_coroutine_threadsafe(_make_event(), loop).result()
    ready = threading.Event()

    async def maintain() -> None:
        async with open_runtime(settings, started=True):
            ready.set()
            await end.wait()

    done = asyncio.run_coroutine_threadsafe(maintain(), loop)
    try:
        assert ready.wait(SOON)
        yield
    finally:
        loop.call_soon_threadsafe(end.set)
        done.result(SOON)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _make_event() -> asyncio.Event:
    return asyncio.Event()


async def test_a_handler_that_blocks_its_process_keeps_its_job_while_another_process_reaps(
    settings: Settings, queue: JobQueue, idle_runtime: Runtime
) -> None:
    blocked: list[float] = []

    @queue.handler("work")
    async def work(_: Any) -> str:
        began = time.monotonic()
        # Until the other process has reaped: otherwise there was nobody who would have taken the job away.
        with MongoClient[dict[str, Any]](settings.mongo_url) as client:
            jobs = client[settings.db]["jobs"]
            while time.monotonic() - began < SOON and not (
                time.monotonic() - began >= 3 and jobs.find_one({"queue": "abandoned", "state": State.PENDING.value})
            ):
                time.sleep(0.05)  # noqa: ASYNC251 - what is tested
        blocked.append(time.monotonic() - began)
        return "done"

    await add(idle_runtime, queue="abandoned", lease=1, backoff=0)
    abandoned = await claim(idle_runtime, "abandoned")
    with process_that_reaps(replace(settings, reap_interval=0.1)):
        async with queue.working():
            added = await queue.add("work", lease=1, attempts=1)
            await eventually(lambda: blocked, within=2 * SOON)
            job = await in_state(idle_runtime, added, *FINAL)
        (reaped,) = (await in_state(idle_runtime, abandoned.job, State.PENDING)).history
    assert blocked[0] >= 3
    assert (job.state, job.result, job.attempts_made) == (State.SUCCESS, "done", 1)
    assert [entry.outcome for entry in job.history] == [Outcome.SUCCESS]
    assert reaped.outcome is Outcome.HANGING
    assert reaped.end_at is not None
    assert job.end_at is not None
    assert reaped.end_at < job.end_at


async def test_a_plain_handler_learns_by_its_own_log_call_that_its_job_was_killed(
    settings: Settings, idle_runtime: Runtime
) -> None:
    begun, killed, told = threading.Event(), threading.Event(), threading.Event()
    async with deaf_queue(settings) as queue:

        @queue.handler("work")
        def work(job: Any) -> None:
            job.log("before")
            begun.set()
            killed.wait(SOON)
            try:
                job.log("after")
            except JobCancelledError:
                told.set()
                raise

        @queue.handler("next")
        async def work_on(_: Any) -> str:
            return "done"

        async with queue.working():
            job = await queue.add("work", lease=3600)
            await eventually(begun.is_set)
            await idle_runtime.manager.kill(job.id)
            killed.set()
            await eventually(told.is_set)
            assert (await in_state(idle_runtime, await queue.add("next"), State.SUCCESS)).result == "done"
    job = await idle_runtime.jobs.get(job.id)
    assert (job.state, job.attempts_made, [line.m for line in job.logs]) == (State.KILLED, 1, ["before"])
    assert [(entry.outcome, entry.late) for entry in job.history] == [(Outcome.KILL, None)]


def _fail_deep_inside() -> None:
    passwords = {"me": "hunter" + "2"}
    try:
        passwords["you"]
    except KeyError as error:
        raise ValueError("no such user") from error


async def fail_async(_: Any) -> None:
    _fail_deep_inside()


def fail_plainly(_: Any) -> None:
    _fail_deep_inside()


@pytest.mark.parametrize("function", [fail_async, fail_plainly])
async def test_a_traceback_shows_the_code_of_the_handler_alone_and_no_values(
    queue: JobQueue, idle_runtime: Runtime, function: Callable[[Any], Any]
) -> None:
    queue.handler("work")(function)
    async with queue.working():
        job = await in_state(idle_runtime, await queue.add("work", attempts=1), State.FAILED)
    assert job.error is not None
    assert (job.error.kind, job.error.message) == ("ValueError", "no such user")
    trace = job.error.trace or ""
    files = {line.split('"')[1] for line in trace.splitlines() if line.startswith('  File "')}
    assert files == {__file__}
    first = trace.index(f"in {function.__name__}")
    assert trace.index("KeyError: 'you'") < trace.index("direct cause") < first < trace.index("raise ValueError")
    assert "hunter2" not in trace
    assert job.history[0].error == job.error


@pytest.mark.parametrize("is_async", [True, False])
async def test_a_handler_that_exits_ends_its_own_job_alone(
    queue: JobQueue, idle_runtime: Runtime, *, is_async: bool
) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()

    @queue.handler("steady")
    async def steady(_: Any) -> str:
        begun.set()
        await go_on.wait()
        return "done"

    def leave(_: Any) -> None:
        raise SystemExit(3)

    async def leave_async(_: Any) -> None:
        raise SystemExit(3)

    queue.handler("leaving")(leave_async if is_async else leave)
    async with queue.working():
        beside = await queue.add("steady")
        await begun.wait()
        left = await in_state(idle_runtime, await queue.add("leaving", attempts=1), State.FAILED)
        go_on.set()
        after = await queue.add("steady")
        for job in (beside, after):
            seen = await in_state(idle_runtime, job, *FINAL)
            assert (seen.state, seen.result, len(seen.history)) == (State.SUCCESS, "done", 1)
    assert left.error is not None
    assert (left.error.kind, left.error.message, left.attempts_made) == ("SystemExit", "3", 1)


async def test_what_a_plain_handler_returns_after_its_time_is_over_does_not_count(
    queue: JobQueue, idle_runtime: Runtime
) -> None:
    over, returned = threading.Event(), threading.Event()

    @queue.handler("work")
    def work(job: Any) -> str:
        over.wait(SOON)
        assert job.cancelled
        returned.set()
        return "too late"

    async with queue.working():
        job = await queue.add("work", attempts=2, backoff=600, timeout=0.2)
        seen = await in_state(idle_runtime, job, State.DELAYED)
        over.set()
        await eventually(returned.is_set)
    assert (seen.attempts_made, seen.history[0].outcome) == (1, Outcome.TIMEOUT)
    assert seen.error is not None
    assert seen.error.kind == "timeout"
    after = await idle_runtime.jobs.get(job.id)
    assert (after.state, after.result, after.history) == (State.DELAYED, None, seen.history)


@pytest.mark.parametrize("kind", ["async", "plain"])
async def test_a_worker_that_is_stopped_without_grace_gives_its_job_back_uncounted(
    queue: JobQueue, idle_runtime: Runtime, kind: str
) -> None:
    begun, let_go = threading.Event(), threading.Event()

    @queue.handler("async")
    async def wait(_: Any) -> None:
        begun.set()
        await asyncio.Event().wait()

    @queue.handler("plain")
    def block(_: Any) -> str:
        begun.set()
        let_go.wait(SOON)
        return "from the stopped worker"

    try:
        async with queue.working() as dispatcher:
            job = await queue.add(kind, attempts=1)
            await eventually(begun.is_set)
            assert await dispatcher.stop(0) == 1
            seen = await idle_runtime.jobs.get(job.id)
            assert (seen.state, seen.attempts_made, seen.claim, seen.reset_at) == (State.PENDING, 0, None, None)
            # A claim that was under way may have found it once more, and gave it back as well.
            assert {(entry.attempt, entry.outcome) for entry in seen.history} == {(1, Outcome.RELEASE)}
            again = await claim(idle_runtime)
            assert (again.job.id, again.job.attempts_made) == (job.id, 1)
    finally:
        let_go.set()
    done = await succeed(idle_runtime, again, "from the next worker")
    assert (done.result, done.attempts_made) == ("from the next worker", 1)


async def test_of_a_paused_queue_what_runs_goes_on_and_nothing_is_begun(
    settings: Settings, idle_runtime: Runtime
) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()
    async with JobQueue(replace(settings, poll_interval=0.05)) as queue:

        @queue.handler("work")
        @queue.handler("work", queue="other")
        async def work(_: Any) -> None:
            begun.set()
            await go_on.wait()

        async with queue.working():
            running = await add(idle_runtime)
            await begun.wait()
            await idle_runtime.queues.set_paused("default", paused=True)
            runtime = await queue.open()
            await eventually(lambda: runtime.configs.of("default").paused)
            waiting = await add(idle_runtime, priority=9)
            go_on.set()
            await in_state(idle_runtime, running, State.SUCCESS)
            for _ in range(10):
                await in_state(idle_runtime, await add(idle_runtime, queue="other"), State.SUCCESS)
            assert await state_of(idle_runtime, waiting) is State.PENDING
            await idle_runtime.queues.set_paused("default", paused=False)
            seen = await in_state(idle_runtime, waiting, State.SUCCESS)
    assert (seen.attempts_made, len(seen.history)) == (1, 1)
