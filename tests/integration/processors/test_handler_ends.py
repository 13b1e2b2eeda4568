"""However a handler ends, its start has one recorded outcome, and none runs uncounted for ever."""

from __future__ import annotations

import asyncio
import contextvars
import os
import threading
from typing import TYPE_CHECKING, Any

import pytest

from jobqueue import Die, JobCancelledError, JobQueue, Retry
from jobqueue.domain.attempts.states import FINAL, Outcome, State
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from jobqueue.domain.jobs.job import Job

SHIFT: contextvars.ContextVar[int] = contextvars.ContextVar("shift", default=0)


async def ended(queue: JobQueue, job: Job) -> Job:
    async def has_ended() -> bool:
        return (await queue.get(job.id)).state in FINAL

    await eventually(has_ended)
    return await queue.get(job.id)


async def run(queue: JobQueue, function: Callable[[Any], Any], **fields: Any) -> Job:
    """Run a function as the handler of one job; return what became of that."""
    queue.handler("work")(function)
    async with queue.working():
        return await ended(queue, await queue.add("work", **fields))


def failed(job: Job) -> tuple[str, str]:
    """Return kind and message of the error of a job that has failed at its only start."""
    assert (job.state, job.attempts_made) == (State.FAILED, 1)
    assert [entry.outcome for entry in job.history] == [Outcome.FAIL]
    assert job.error is not None
    assert job.error.trace is not None
    return job.error.kind, job.error.message


def raises(error: BaseException) -> Callable[[Any], Any]:
    def work(_: Any) -> None:
        raise error

    return work


def raises_async(error: BaseException) -> Callable[[Any], Any]:
    async def work(_: Any) -> None:
        raise error

    return work


def raises_in_group(error: BaseException) -> Callable[[Any], Any]:
    async def part() -> None:
        raise error

    async def work(_: Any) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(part())

    return work


BOTH = pytest.mark.parametrize("raising", [raises, raises_async])


@BOTH
async def test_a_cancellation_of_the_handlers_own_making_is_a_failed_attempt(
    queue: JobQueue, raising: Callable[[BaseException], Callable[[Any], Any]]
) -> None:
    job = await run(queue, raising(JobCancelledError("the order was withdrawn")), attempts=1)
    assert failed(job) == ("JobCancelledError", "the order was withdrawn")


async def test_a_handler_whose_task_something_cancels_has_failed(queue: JobQueue) -> None:
    async def work(_: Any) -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await asyncio.Event().wait()

    kind, message = failed(await run(queue, work, attempts=1))
    assert (kind, message) == (
        "CancelledError",
        "the handler or an operation that it awaited was cancelled, but not by the queue",
    )


@pytest.mark.parametrize("waits", [True, False])
async def test_a_handler_that_survives_its_own_cancellation_succeeds(queue: JobQueue, *, waits: bool) -> None:
    async def work(_: Any) -> str:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        if waits:
            with pytest.raises(asyncio.CancelledError):
                await asyncio.Event().wait()
        return "done"

    job = await run(queue, work, attempts=1)
    assert (job.state, job.result) == (State.SUCCESS, "done")


async def test_a_run_whose_task_others_cancel_has_failed(queue: JobQueue) -> None:
    async def work(job: Any) -> None:
        own = asyncio.current_task()
        for task in asyncio.all_tasks():
            if task.get_name() == f"job-{job.id}" and task is not own:
                task.cancel()
        await asyncio.Event().wait()

    queue.handler("work")(work)
    async with queue.working():
        job = await ended(queue, await queue.add("work", attempts=1))
    assert [entry.outcome for entry in job.history] == [Outcome.FAIL]
    assert job.error is not None
    assert job.error.kind == "cancelled"


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(3), GeneratorExit(), BaseException("odd")], ids=repr)
@BOTH
async def test_an_interrupt_is_the_failure_of_its_job(
    queue: JobQueue, raising: Callable[[BaseException], Callable[[Any], Any]], error: BaseException
) -> None:
    job = await run(queue, raising(error), attempts=1)
    assert failed(job) == (type(error).__name__, str(error) or type(error).__name__)


class Selfish(Exception):  # noqa: N818 - it raises itself
    def __str__(self) -> str:
        raise Selfish


@BOTH
async def test_an_exception_whose_text_raises_is_recorded(
    queue: JobQueue, raising: Callable[[BaseException], Callable[[Any], Any]]
) -> None:
    assert failed(await run(queue, raising(Selfish()), attempts=1)) == (
        "Selfish",
        "Selfish, whose __str__ raised Selfish",
    )


async def test_die_and_retry_are_heard_from_within_a_task_group(queue: JobQueue) -> None:
    job = await run(queue, raises_in_group(Die(ValueError("bad account"))), attempts=5)
    assert (job.state, [entry.outcome for entry in job.history]) == (State.KILLED, [Outcome.DIE])
    assert job.error is not None
    assert job.error.message == "bad account"


async def test_a_retry_from_within_a_task_group_is_not_counted(queue: JobQueue) -> None:
    runs: list[int] = []
    retrying = raises_in_group(Retry(ValueError("busy"), delay=0.01))

    async def work(job: Any) -> str:
        runs.append(job.attempt)
        if len(runs) < 3:
            await retrying(job)
        return "done"

    job = await run(queue, work, attempts=1)
    assert (job.result, runs) == ("done", [1, 1, 1])


async def test_a_thread_that_cannot_be_started_is_a_failed_attempt(
    queue: JobQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = threading.Thread.start

    def refuse(thread: threading.Thread) -> None:
        if thread.name.startswith("job-"):
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse)
    job = await run(queue, lambda _: "done", attempts=1)
    assert (job.state, [entry.outcome for entry in job.history]) == (State.FAILED, [Outcome.FAIL])
    assert job.error is not None
    assert (job.error.kind, job.error.message) == ("RuntimeError", "can't start new thread")


@pytest.fixture
async def stopped(queue: JobQueue) -> AsyncIterator[Callable[[Callable[[Any], Any]], Any]]:
    """Give a function that begins a handler, and gives its job back while that runs."""

    async def stop(function: Callable[[Any], Any]) -> Job:
        begun = threading.Event()

        @queue.handler("work")
        async def work(job: Any) -> Any:
            begun.set()
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                return function(job)

        async with queue.working() as dispatcher:
            job = await queue.add("work", attempts=1)
            await eventually(begun.is_set)
            await dispatcher.stop(grace=0)
        return await queue.get(job.id)

    return stop  # type: ignore[return-value]


@pytest.mark.parametrize("error", [asyncio.CancelledError(), JobCancelledError(), RuntimeError("aborted")], ids=repr)
async def test_an_error_that_comes_of_a_shutdown_does_not_count(stopped: Any, error: BaseException) -> None:
    job = await stopped(raises(error))
    assert (job.state, job.attempts_made) == (State.PENDING, 0)
    assert [entry.outcome for entry in job.history] == [Outcome.RELEASE]


async def test_a_result_that_comes_during_a_shutdown_counts(stopped: Any) -> None:
    job = await stopped(lambda _: "saved")
    assert (job.state, job.result) == (State.SUCCESS, "saved")


async def test_what_a_killed_job_raises_changes_nothing(queue: JobQueue) -> None:
    begun = asyncio.Event()

    @queue.handler("work")
    async def work(_: Any) -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise JobCancelledError("of my own") from None

    async with queue.working():
        job = await queue.add("work", lease=3600)
        await begun.wait()
        await queue.kill(job.id, "enough")
    job = await queue.get(job.id)
    assert (job.state, [entry.outcome for entry in job.history]) == (State.KILLED, [Outcome.KILL])
    assert job.error is not None
    assert job.error.message == "enough"


def undressed(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Wrap a function by a plain one."""

    def inner(job: Any) -> Any:
        SHIFT.set(3)
        job.log("from the wrapper")
        return function(job)

    return inner


async def test_an_async_function_in_a_plain_wrapper_runs_with_all_its_calls(queue: JobQueue) -> None:
    loop_thread = threading.get_ident()

    @undressed
    async def work(job: Any) -> list[Any]:
        await job.log("from the function")
        await job.progress(40)
        return [threading.get_ident() == loop_thread, SHIFT.get(), len(await job.children()), await job.parent()]

    job = await run(queue, work, attempts=1)
    assert (job.state, job.result) == (State.SUCCESS, [True, 3, 0, None])
    assert [line.m for line in job.logs] == ["from the wrapper", "from the function"]


async def test_an_async_function_in_a_plain_wrapper_is_stopped_by_a_kill(queue: JobQueue) -> None:
    begun, stopped = asyncio.Event(), asyncio.Event()

    @queue.handler("work")
    @undressed
    async def work(_: Any) -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            stopped.set()

    async with queue.working():
        job = await queue.add("work", lease=3600)
        await begun.wait()
        await queue.kill(job.id)
        await stopped.wait()
    assert (await queue.get(job.id)).state is State.KILLED


async def test_an_awaitable_that_an_async_function_returns_is_awaited(queue: JobQueue) -> None:
    async def inner() -> str:
        return "done"

    async def work(_: Any) -> Any:
        return asyncio.create_task(inner())

    assert (await run(queue, work, attempts=1)).result == "done"


async def test_a_generator_that_a_wrapper_returns_is_a_clear_failure(queue: JobQueue) -> None:
    def numbers() -> Any:
        yield 1

    kind, message = failed(await run(queue, lambda _: numbers(), attempts=1))
    assert kind == "TypeError"
    assert message == "the handler returned a generator, whose body does not run: return its values as a list"


FORKS = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
"""Later Pythons warn of forks beside threads."""


def exit_code(child: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@FORKS
async def test_a_forked_child_cannot_use_the_job_and_ends_with_the_handler(queue: JobQueue) -> None:
    reader, writer = os.pipe()

    def work(job: Any) -> list[Any]:
        if child := os.fork():
            return [job.id, exit_code(child)]
        try:
            job.log("from the child")
        except RuntimeError as error:
            os.write(writer, str(error).encode())
        raise SystemExit(7)

    @queue.handler("async")
    async def work_async(job: Any) -> list[Any]:
        if child := os.fork():
            return [job.id, exit_code(child)]
        try:
            await job.log("from the child")
        except RuntimeError as error:
            os.write(writer, str(error).encode())
            raise
        return []

    plain = await run(queue, work, attempts=1)
    assert plain.result == [plain.id, 7]
    async with queue.working():
        awaited = await ended(queue, await queue.add("async", attempts=1))
    assert awaited.result == [awaited.id, 1]
    told = os.read(reader, 10_000).decode()
    for job in (plain, awaited):
        assert f"job {job.id} can only be used in its worker (pid {os.getpid()}), not in a fork" in told
        assert (len(job.history), job.logs) == (1, ())
    os.close(reader)
    os.close(writer)


@FORKS
async def test_a_forked_child_that_returns_from_the_handler_ends(queue: JobQueue) -> None:
    def work(_: Any) -> int:
        child = os.fork()
        return exit_code(child) if child else 5

    job = await run(queue, work, attempts=1)
    assert (job.result, len(job.history)) == (0, 1)


@FORKS
async def test_a_forked_child_does_not_go_on_with_the_event_loop_of_its_worker(queue: JobQueue) -> None:
    async def work(_: Any) -> int:
        child = os.fork()
        if child == 0:
            while True:  # noqa: ASYNC110 - the child must not go on
                await asyncio.sleep(0)
        return exit_code(child)

    job = await run(queue, work, attempts=1)
    assert (job.result, len(job.history)) == (1, 1)
