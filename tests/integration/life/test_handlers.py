"""Handlers: what they return and raise decides, and nothing they do to their process harms their job."""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from jobqueue import Die, JobQueue, Retry
from jobqueue.domain.attempts.states import FINAL, Outcome, State
from jobqueue.domain.errors import InvalidInputError, JobCancelledError
from jobqueue.domain.jobs.job import NewJob
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Callable

    from jobqueue.domain.jobs.job import Job
    from jobqueue.settings import Settings


async def ended(queue: JobQueue, job: Job, *, within: float = 20) -> Job:
    """Return a job when nothing more happens to it."""

    async def has_ended() -> bool:
        seen = await queue.get(job.id)
        return seen.state in FINAL and not seen.outbox

    await eventually(has_ended, within=within)
    return await queue.get(job.id)


async def run(queue: JobQueue, function: Callable[[Any], Any], **fields: Any) -> Job:
    """Run a function as the handler of one job; return what became of that."""
    queue.handler("work")(function)
    async with queue.working():
        return await ended(queue, await queue.add("work", **fields))


async def test_what_an_async_handler_returns_is_the_result(queue: JobQueue) -> None:
    async def work(job: Any) -> Any:
        await job.log("begun", level="info")
        await job.progress(40)
        return {"id": job.id, "type": job.type, "queue": job.queue, "attempt": job.attempt, "n": job.data["n"] + 1}

    job = await run(queue, work, data={"n": 1})
    assert job.state is State.SUCCESS
    assert job.result == {"id": job.id, "type": "work", "queue": "default", "attempt": 1, "n": 2}
    assert [(line.m, line.level) for line in job.logs] == [("begun", "info")]


async def test_the_history_names_the_version_of_the_program(settings: Settings) -> None:
    async with JobQueue(replace(settings, version="2.4.1")) as queue:
        job = await run(queue, lambda _job: None)
    assert [entry.version for entry in job.history] == ["2.4.1"]


async def test_a_plain_handler_runs_in_a_thread_with_the_same_calls(queue: JobQueue) -> None:
    loop_thread = threading.get_ident()

    def work(job: Any) -> Any:
        job.log("begun")
        job.progress(40)
        return [threading.get_ident() != loop_thread, job.meta["user_id"], job.cancelled]

    job = await run(queue, work, meta={"user_id": 42})
    assert (job.state, job.result, [line.m for line in job.logs]) == (State.SUCCESS, [True, 42, False], ["begun"])


class Worker:
    """A handler that is an object."""

    async def __call__(self, job: Any) -> str:
        return f"hello {job.data['name']}"


async def test_an_object_can_be_a_handler(queue: JobQueue) -> None:
    assert (await run(queue, Worker(), data={"name": "you"})).result == "hello you"


def raise_it(error: BaseException) -> Callable[[Any], Any]:
    def work(_: Any) -> None:
        raise error

    return work


def raise_it_async(error: BaseException) -> Callable[[Any], Any]:
    async def work(_: Any) -> None:
        raise error

    return work


BOTH = pytest.mark.parametrize("raising", [raise_it, raise_it_async])


@BOTH
async def test_an_exception_is_a_failed_attempt_with_its_traceback(
    queue: JobQueue, raising: Callable[[BaseException], Callable[[Any], Any]]
) -> None:
    job = await run(queue, raising(LookupError("no such thing")), attempts=1)
    assert (job.state, job.attempts_made) == (State.FAILED, 1)
    assert [entry.outcome for entry in job.history] == [Outcome.FAIL]
    assert job.error is not None
    assert (job.error.kind, job.error.message) == ("LookupError", "no such thing")
    assert job.error.trace is not None
    assert job.error.trace.splitlines()[1].strip().startswith(f'File "{__file__}"')
    assert "callback.py" not in job.error.trace


@BOTH
@pytest.mark.parametrize("error", [SystemExit(3), StopIteration(5), KeyError(), asyncio.CancelledError()])
async def test_odd_exceptions_are_failed_attempts_too(
    queue: JobQueue, raising: Callable[[BaseException], Callable[[Any], Any]], error: BaseException
) -> None:
    job = await run(queue, raising(error), attempts=1)
    assert (job.state, job.attempts_made, job.history[0].outcome) == (State.FAILED, 1, Outcome.FAIL)
    assert job.error is not None
    assert job.error.message


@BOTH
async def test_die_ends_the_job_at_once(
    queue: JobQueue, raising: Callable[[BaseException], Callable[[Any], Any]]
) -> None:
    job = await run(queue, raising(Die("no source")), attempts=5)
    assert (job.state, job.attempts_made, job.history[0].outcome) == (State.KILLED, 1, Outcome.DIE)
    assert job.error is not None
    assert (job.error.kind, job.error.message) == ("die", "no source")


async def test_retry_runs_the_job_again_uncounted(queue: JobQueue) -> None:
    runs: list[int] = []

    async def work(job: Any) -> str:
        runs.append(job.attempt)
        if len(runs) < 3:
            raise Retry("not yet", delay=0.05 if len(runs) == 1 else None)
        return "done"

    job = await run(queue, work, attempts=1)
    assert (job.state, job.result, job.attempts_made, runs) == (State.SUCCESS, "done", 1, [1, 1, 1])
    assert [entry.outcome for entry in job.history] == [Outcome.RETRY, Outcome.RETRY, Outcome.SUCCESS]
    for entry, following in itertools.pairwise(job.history):
        assert entry.end_at is not None
        assert following.start_at is not None
        assert following.start_at - entry.end_at >= timedelta(seconds=1)


@pytest.mark.parametrize("result", [object(), {1, 2}, {"a": b"bytes"}, {(1, 2): 3}])
async def test_a_result_that_is_no_data_is_a_failed_attempt_that_says_so(queue: JobQueue, result: Any) -> None:
    async def work(_: Any) -> Any:
        return result

    job = await run(queue, work, attempts=1)
    assert job.state is State.FAILED
    assert job.error is not None
    assert job.error.kind == "invalid-result"
    assert job.error.message.startswith("the result cannot be stored: result")


async def test_a_job_that_takes_too_long_is_stopped_and_counts_as_timed_out(queue: JobQueue) -> None:
    stopped = asyncio.Event()

    async def work(_: Any) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            stopped.set()

    job = await run(queue, work, attempts=1, timeout=0.2)
    assert stopped.is_set()
    assert (job.state, job.history[0].outcome) == (State.FAILED, Outcome.TIMEOUT)
    assert job.error is not None
    assert job.error.kind == "timeout"


async def test_a_killed_job_is_stopped_by_its_worker_though_its_heartbeat_is_not_due(queue: JobQueue) -> None:
    begun, stopped = asyncio.Event(), asyncio.Event()

    @queue.handler("work")
    async def work(_: Any) -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            stopped.set()
            raise

    async with queue.working():
        job = await queue.add("work", lease=3600)
        await begun.wait()
        await queue.kill(job.id, "enough")
        async with asyncio.timeout(10):
            await stopped.wait()
    job = await queue.get(job.id)
    assert (job.state, job.attempts_made, job.history[0].outcome) == (State.KILLED, 1, Outcome.KILL)
    assert job.error is not None
    assert job.error.message == "enough"
    assert job.history[0].late is None


async def test_a_plain_handler_of_a_killed_job_is_told_by_its_next_call(queue: JobQueue) -> None:
    begun, told = threading.Event(), threading.Event()

    @queue.handler("work")
    def work(job: Any) -> None:
        begun.set()
        while not job.cancelled:
            time.sleep(0.01)
        try:
            job.log("still here?")
        except JobCancelledError:
            told.set()
            raise

    async with queue.working():
        job = await queue.add("work")
        await eventually(begun.is_set)
        await queue.kill(job.id)
        await eventually(told.is_set)
    job = await queue.get(job.id)
    assert (job.state, job.logs) == (State.KILLED, ())


async def test_a_handler_that_blocks_the_whole_process_keeps_its_lease(queue: JobQueue) -> None:
    async def work(_: Any) -> str:
        time.sleep(2)  # noqa: ASYNC251 - what is tested
        return "done"

    job = await run(queue, work, lease=0.8)
    assert (job.state, job.result, job.attempts_made, len(job.history)) == (State.SUCCESS, "done", 1, 1)


async def test_jobs_that_run_when_the_worker_stops_are_finished_or_given_back_uncounted(queue: JobQueue) -> None:
    begun = asyncio.Event()
    endless = asyncio.Event()

    @queue.handler("quick")
    async def quick(_: Any) -> str:
        begun.set()
        await asyncio.sleep(0.2)
        return "done"

    @queue.handler("endless")
    async def wait(_: Any) -> None:
        endless.set()
        await asyncio.Event().wait()

    async with queue.working() as dispatcher:
        jobs = [await queue.add(kind) for kind in ("quick", "endless")]
        await asyncio.gather(begun.wait(), endless.wait())
        assert await dispatcher.stop(grace=6) == 1
    first, second = [await queue.get(job.id) for job in jobs]
    assert (first.state, first.result) == (State.SUCCESS, "done")
    assert (second.state, second.attempts_made) == (State.PENDING, 0)
    assert [entry.outcome for entry in second.history] == [Outcome.RELEASE]


async def test_no_more_jobs_run_at_a_time_than_are_allowed(queue: JobQueue) -> None:
    active: dict[str, int] = {"a": 0, "b": 0, "all": 0}
    most = dict(active)

    def handle(kind: str) -> Callable[[Any], Any]:
        async def work(_: Any) -> None:
            for name in (kind, "all"):
                active[name] += 1
                most[name] = max(most[name], active[name])
            await asyncio.sleep(0.3)
            for name in (kind, "all"):
                active[name] -= 1

        return work

    queue.handler("a", concurrency=2)(handle("a"))
    queue.handler("b")(handle("b"))
    jobs = await queue.add_all([NewJob(type="ab"[number % 2]) for number in range(60)])
    async with queue.working(concurrency=5):
        for job in jobs:
            await ended(queue, job)
    assert (most["a"], most["all"]) == (2, 5)
    assert 3 <= most["b"] <= 5


async def test_a_handler_sees_its_parent_and_the_children_of_earlier_runs(queue: JobQueue) -> None:
    seen: list[Any] = []

    @queue.handler("parent")
    async def parent(job: Any) -> int:
        seen.append([child.result for child in await job.children()])
        return 7

    @queue.handler("child")
    def child(job: Any) -> int:
        return int(job.parent().result) + 1

    async with queue.working():
        job = await ended(queue, await queue.add("parent", on_success=NewJob(type="child")))
        (born,) = (await queue.family(job.id)).tree.children
        assert (await ended(queue, born.job)).result == 8
        await queue.requeue(job.id)
        await ended(queue, job)
    assert seen == [[], [8]]


async def test_two_handlers_of_one_type_and_wrong_ones_are_refused(queue: JobQueue) -> None:
    queue.handler("work")(raise_it(ValueError()))
    queue.handler("work", queue="other")(raise_it(ValueError()))
    with pytest.raises(InvalidInputError, match="has a handler already"):
        queue.handler("work")(raise_it(ValueError()))
    with pytest.raises(InvalidInputError, match="concurrency"):
        queue.handler("new", concurrency=0)
    with pytest.raises(InvalidInputError, match="queue"):
        queue.handler("new", queue="a b")
