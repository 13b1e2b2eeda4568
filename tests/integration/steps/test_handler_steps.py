"""Steps of Python handlers."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from jobqueue import ActiveJob, BlockingJob, Job, JobQueue, State
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

Calls = list[str]


@dataclass
class Size:
    width: int
    height: int


@pytest.fixture
def calls() -> Calls:
    return []


@pytest.fixture
async def working(queue: JobQueue) -> AsyncIterator[Callable[[], Any]]:
    """Give a function that starts a worker on the handlers of the queue."""
    async with contextlib.AsyncExitStack() as stack:

        async def start() -> None:
            await stack.enter_async_context(queue.working(concurrency=5))

        yield start


async def ended(queue: JobQueue, job: Job) -> Job:
    async def look() -> Job | None:
        present = await queue.get(job.id)
        return present if present.state in {State.SUCCESS, State.FAILED, State.KILLED} else None

    found = await eventually(look, within=60)
    assert found is not None
    return found


async def test_a_job_goes_on_at_the_step_that_failed(queue: JobQueue, calls: Calls, working: Any) -> None:
    @queue.handler("order")
    async def order(job: ActiveJob) -> list[Any]:
        async def fetch(source: str) -> dict[str, Any]:
            calls.append(f"fetch {source}")
            return {"rows": (1, 2)}

        def store(rows: Any) -> int:
            calls.append("store")
            if job.attempt == 1:
                raise OSError("disk full")
            return len(rows)

        fetched = await job.step("fetch", fetch, "a.csv")
        count = await job.step("store", store, fetched["rows"])
        return [fetched, count, dict(job.steps)]

    await working()
    job = await ended(queue, await queue.add("order", attempts=2, backoff=0))
    assert calls == ["fetch a.csv", "store", "store"]
    assert job.result == [{"rows": [1, 2]}, 2, {"fetch": {"rows": [1, 2]}, "store": 2}]
    assert [entry.outcome for entry in job.history] == ["fail", "success"]
    assert [entry.steps for entry in job.history] == [("fetch",), ("store",)]
    assert job.history[0].error is not None
    assert (job.history[0].error.kind, job.history[0].error.step) == ("OSError", "store")
    assert job.steps is not None
    assert [(step.name, step.kind, step.attempt, step.tries) for step in job.steps] == [
        ("fetch", "step", 1, 1),
        ("store", "step", 2, 1),
    ]


async def test_a_sleep_holds_neither_slot_nor_lease(queue: JobQueue, calls: Calls, working: Any) -> None:
    await (await queue.open()).queues.put("default", {"concurrency": 1})

    @queue.handler("nap")
    async def nap(job: ActiveJob) -> int:
        await job.step("before", calls.append, "before")
        await job.sleep("rest", 2)
        calls.append("after")
        return job.attempt

    @queue.handler("quick")
    async def quick(_job: ActiveJob) -> None:
        calls.append("quick")

    job = await queue.add("nap")
    await working()

    async def is_suspended() -> bool:
        return (await queue.get(job.id)).state is State.DELAYED

    await eventually(is_suspended)
    asleep = await queue.get(job.id)
    assert asleep.wait is not None
    assert (asleep.wait.names, asleep.wait.until, asleep.claim, asleep.slots) == (("rest",), asleep.delay_til, None, ())
    assert asleep.attempts_made == 0
    await ended(queue, await queue.add("quick"))
    done = await ended(queue, job)
    assert calls == ["before", "quick", "after"]
    assert [entry.outcome for entry in done.history] == ["suspend", "success"]
    assert done.result == 1
    assert done.wait is None
    assert done.steps is not None
    rest = done.steps[1]
    assert (rest.kind, rest.end_at, rest.until) == ("sleep", rest.until, rest.until)
    assert rest.start_at is not None
    assert rest.until is not None
    assert rest.until - rest.start_at == timedelta(seconds=2)


async def test_plain_handlers_have_the_same_steps(queue: JobQueue, calls: Calls, working: Any) -> None:
    @queue.handler("plain")
    def plain(job: BlockingJob) -> list[Any]:
        def measure() -> Size:
            calls.append("measure")
            return Size(3, 4)

        size = job.step("measure", measure)
        job.sleep("rest", 1)
        again = job.step("measure twice", measure)
        return [size.width, again.height, list(job.steps)]

    await working()
    job = await ended(queue, await queue.add("plain"))
    assert job.error is None
    assert job.result == [3, 4, ["measure", "rest", "measure twice"]]
    assert calls == ["measure", "measure"]
    assert [entry.outcome for entry in job.history] == ["suspend", "success"]


async def test_a_failed_step_is_tried_again_without_a_slot(queue: JobQueue, calls: Calls, working: Any) -> None:
    @queue.handler("try")
    async def handler(job: ActiveJob) -> str:
        async def fetch() -> str:
            calls.append("fetch")
            if len(calls) < 3:
                raise TimeoutError("no answer")
            return "page"

        return await job.step("fetch", fetch, attempts=5, backoff=[0, 1])

    await working()
    job = await ended(queue, await queue.add("try", attempts=1))
    assert job.result == "page"
    assert len(calls) == 3
    assert [entry.outcome for entry in job.history] == ["suspend", "success"]
    assert job.attempts_made == 1
    assert job.steps is not None
    assert job.steps[0].tries == 3


async def test_steps_of_a_gather_run_once_each(queue: JobQueue, calls: Calls, working: Any) -> None:
    @queue.handler("many")
    async def many(job: ActiveJob) -> list[int]:
        async def square(number: int) -> int:
            calls.append(str(number))
            await asyncio.sleep(0)
            return number * number

        found = await asyncio.gather(*(job.step(f"n{n}", square, n) for n in range(50)), job.sleep("rest", 1))
        if job.attempt == 1:
            raise OSError("again")
        return [number for number in found if number is not None]

    await working()
    job = await ended(queue, await queue.add("many", attempts=2, backoff=0))
    assert job.result == [n * n for n in range(50)]
    assert sorted(calls, key=int) == [str(n) for n in range(50)]
    assert [entry.outcome for entry in job.history] == ["suspend", "fail", "success"]


@pytest.mark.parametrize(
    ("name", "result", "message"),
    [
        ("a", {1, 2}, "is of type set"),
        ("", 1, "1 to 100 printable characters"),
        ("undo:a", 1, "must not begin with undo:"),
        ("a", "x" * 4_200_000, "4,194,304"),
    ],
)
async def test_a_step_that_cannot_be_kept_fails_the_attempt(
    queue: JobQueue, working: Any, name: str, result: Any, message: str
) -> None:
    @queue.handler("bad")
    async def bad(job: ActiveJob) -> None:
        await job.step(name, lambda: result)

    await working()
    job = await ended(queue, await queue.add("bad", attempts=1))
    assert job.error is not None
    assert job.error.kind == "step"
    assert message in job.error.message


async def test_a_renamed_step_keeps_its_result_and_a_removed_one_is_named(queue: JobQueue, working: Any) -> None:
    @queue.handler("change")
    async def change(job: ActiveJob) -> int:
        if job.attempt == 1:
            await job.step("old", lambda: 1)
            await job.step("gone", lambda: 2)
            raise OSError("again")
        return await job.step("new", lambda: 3, was="old")

    await working()
    job = await ended(queue, await queue.add("change", attempts=2, backoff=0))
    assert job.result == 1
    assert [line.m for line in job.logs] == ["finished steps were not used (renamed or removed?): 'gone'"]


async def test_a_step_that_is_repeated_after_a_failure_keeps_its_name(
    queue: JobQueue, calls: Calls, working: Any
) -> None:
    @queue.handler("repeat")
    async def repeat(job: ActiveJob) -> list[str]:
        def fetch() -> None:
            calls.append("fetch")
            if len(calls) < 3:
                raise OSError("no answer")

        while "fetch" not in job.steps:
            with contextlib.suppress(OSError):
                await job.step("fetch", fetch)
        if job.attempt == 1:
            raise OSError("again")
        return list(job.steps)

    await working()
    job = await ended(queue, await queue.add("repeat", attempts=2, backoff=0))
    assert (job.result, len(calls)) == (["fetch"], 3)


async def test_large_results_are_kept_outside_of_the_document(queue: JobQueue, working: Any) -> None:
    @queue.handler("large")
    async def large(job: ActiveJob) -> list[int]:
        texts = [await job.step("text", "x".__mul__, n * 10_000) for n in range(1, 4)]
        if job.attempt == 1:
            raise OSError("again")
        return [len(text) for text in texts]

    await working()
    job = await ended(queue, await queue.add("large", attempts=2, backoff=0))
    assert job.result == [10_000, 20_000, 30_000]
    assert job.steps is not None
    assert [(step.name, step.stored) for step in job.steps] == [("text", None), ("text#2", True), ("text#3", True)]
    kept = (await queue.open()).database.collection("steps")
    assert await kept.count_documents({}) == 2
    await (await queue.open()).manager.delete(job.id)
    assert await kept.count_documents({}) == 0
