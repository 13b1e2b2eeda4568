"""Awaited children of Python handlers."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import pytest

from jobqueue import ActiveJob, BlockingJob, ChildFailedError, Job, JobQuery, JobQueue, Retry, State
from jobqueue.domain.attempts.states import Outcome
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable


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


def children_of(queue: JobQueue) -> None:
    """Add handlers for children: one doubles a number, another fails for odd numbers."""

    @queue.handler("double")
    async def double(job: ActiveJob) -> int:
        return 2 * int(job.data["n"])

    @queue.handler("even")
    async def even(job: ActiveJob) -> int:
        if job.data["n"] % 2:
            raise ValueError(f"{job.data['n']} is odd")
        return int(job.data["n"])


async def test_a_call_returns_the_result_of_its_child_and_a_map_those_of_all(queue: JobQueue, working: Any) -> None:
    children_of(queue)

    @queue.handler("parent")
    async def parent(job: ActiveJob) -> Any:
        one = await job.call("one", "double", {"n": 4})
        many = await job.map("many", "double", [{"n": n} for n in range(20)])
        return [one, many, dict(job.steps)]

    await working()
    job = await ended(queue, await queue.add("parent"))
    many = [2 * n for n in range(20)]
    assert (job.state, job.result) == (State.SUCCESS, [8, many, {"one": 8, "many": many}])
    assert [(entry.outcome, entry.attempt) for entry in job.history] == [("suspend", 1), ("suspend", 1), ("success", 1)]
    assert job.steps is not None
    assert [(step.name, step.kind, step.job_ids) for step in job.steps] == [("one", "call", 1), ("many", "map", 20)]
    born = await queue.list(JobQuery(parent_id=job.id, limit=100))
    assert (len(born.items), {child.state for child in born.items}) == (21, {State.SUCCESS})


async def test_a_plain_handler_awaits_children_too(queue: JobQueue, working: Any) -> None:
    children_of(queue)

    @queue.handler("parent")
    def parent(job: BlockingJob) -> Any:
        one = job.call("one", "double", {"n": 4})
        many = job.map("many", "double", [{"n": n} for n in range(3)])
        return [one, many, list(job.each_result_of("many"))]

    await working()
    job = await ended(queue, await queue.add("parent"))
    assert job.result == [8, [0, 2, 4], [0, 2, 4]]


async def test_calls_side_by_side_are_awaited_together(queue: JobQueue, working: Any) -> None:
    children_of(queue)

    @queue.handler("parent")
    async def parent(job: ActiveJob) -> Any:
        return await asyncio.gather(*(job.call(f"n {n}", "double", {"n": n}) for n in range(5)))

    await working()
    job = await ended(queue, await queue.add("parent"))
    assert job.result == [0, 2, 4, 6, 8]


async def test_calls_one_after_the_other_are_no_circle(queue: JobQueue, working: Any) -> None:
    children_of(queue)
    await (await queue.open()).queues.put("parents", {"maxRetries": 1})

    @queue.handler("parent", queue="parents")
    async def parent(job: ActiveJob) -> Any:
        return [await job.call(f"n {n}", "double", {"n": n}) for n in range(6)]

    await working()
    job = await ended(queue, await queue.add("parent", queue="parents"))
    assert (job.state, job.result) == (State.SUCCESS, [0, 2, 4, 6, 8, 10])


async def test_large_results_are_read_one_by_one(queue: JobQueue, working: Any) -> None:
    @queue.handler("large")
    async def large(job: ActiveJob) -> str:
        return str(job.data["n"]) * 3_000_000

    @queue.handler("parent")
    async def parent(job: ActiveJob) -> Any:
        results = await job.map("many", "large", [{"n": n} for n in range(4)])
        one_by_one = [result[0] async for result in job.results_of("many")]
        return [len(results), results[3][0], one_by_one, "many" in job.steps]

    await working()
    job = await ended(queue, await queue.add("parent"))
    assert job.result == [4, "3", ["0", "1", "2", "3"], True]
    assert job.steps is not None
    assert job.steps[0].is_paged


async def test_a_wrong_child_fails_the_attempt_with_the_name_of_the_field(queue: JobQueue, working: Any) -> None:
    @queue.handler("parent")
    async def parent(job: ActiveJob) -> Any:
        return await job.map("many", "child", [{}], **job.data)

    await working()
    jobs = [await ended(queue, await queue.add("parent", {name: 0}, attempts=1)) for name in ("colour", "attempts")]
    errors = [job.error for job in jobs if job.error is not None]
    assert [error.kind for error in errors] == ["step", "step"]
    assert [error.message for error in errors] == [
        "children of step 'many': colour: not a known field",
        "children of step 'many': attempts: must be from 1 to 10000",
    ]


async def test_a_call_and_a_sleep_wait_for_whichever_ends_first(queue: JobQueue, working: Any) -> None:
    children_of(queue)

    @queue.handler("parent")
    async def parent(job: ActiveJob) -> Any:
        call = asyncio.ensure_future(job.call("one", "double", {"n": 1}))
        limit = asyncio.ensure_future(job.sleep("limit", 3600))
        try:
            done, _ = await asyncio.wait({call, limit}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            limit.cancel()
            call.cancel()
        return [call in done, limit in done, job.steps["one"]]

    await working()
    job = await ended(queue, await queue.add("parent"))
    assert job.result == [True, False, 2]
    assert [entry.outcome for entry in job.history] == ["suspend", "success"]


async def test_a_map_of_nothing_is_an_empty_list(queue: JobQueue, working: Any) -> None:
    @queue.handler("parent")
    async def parent(job: ActiveJob) -> Any:
        return await job.map("none", "double", [])

    await working()
    job = await ended(queue, await queue.add("parent"))
    assert job.result == []


async def test_a_failed_child_raises_an_error_with_its_id_and_its_reason(queue: JobQueue, working: Any) -> None:
    children_of(queue)
    caught: list[ChildFailedError] = []

    @queue.handler("parent")
    async def parent(job: ActiveJob) -> Any:
        try:
            await job.map("many", "even", [{"n": n} for n in (2, 3, 5)], attempts=1)
        except ChildFailedError as error:
            caught.append(error)
            raise

    await working()
    job = await ended(queue, await queue.add("parent", attempts=1))
    assert [(error.state, error.error.kind, error.error.message) for error in caught] == [
        ("failed", "ValueError", "3 is odd")
    ]
    failed = await queue.get(caught[0].job_id)
    assert (failed.type, failed.data["n"], failed.parent_id) == ("even", 3, job.id)
    assert job.error is not None
    assert (job.error.kind, job.error.step) == ("child", "many")
    message = f"map many: child {failed.id} has failed: ValueError: 3 is odd (2 of 3 have failed)"
    assert job.error.message == message


async def test_a_caught_failure_stays_for_the_rest_of_the_attempt(queue: JobQueue, working: Any) -> None:
    children_of(queue)

    @queue.handler("parent")
    async def parent(job: ActiveJob) -> Any:
        try:
            await job.call("one", "even", {"n": 1}, attempts=1)
        except ChildFailedError as error:
            return [error.error.message, await job.call("other", "double", {"n": 1})]

    await working()
    job = await ended(queue, await queue.add("parent"))
    assert job.result == ["1 is odd", 2]
    born = await queue.list(JobQuery(parent_id=job.id))
    assert sorted(len(child.history) for child in born.items) == [1, 1]


async def test_failures_are_returned_in_their_places(queue: JobQueue, working: Any) -> None:
    children_of(queue)

    @queue.handler("parent")
    async def parent(job: ActiveJob) -> Any:
        many = await job.map("many", "even", [{"n": n} for n in (2, 3)], failures="return", attempts=1)
        one = await job.call("one", "even", {"n": 5}, failures="return", attempts=1)
        assert isinstance(many[1], ChildFailedError)
        return [many[0], many[1].error.message, one.error.message]

    await working()
    job = await ended(queue, await queue.add("parent"))
    assert job.result == [2, "3 is odd", "5 is odd"]


async def test_the_next_attempt_requeues_the_child_that_failed_and_takes_the_others(
    queue: JobQueue, working: Any
) -> None:
    runs: list[int] = []

    @queue.handler("flaky")
    async def flaky(job: ActiveJob) -> int:
        runs.append(job.data["n"])
        if job.data["n"] == 1 and runs.count(1) == 1:
            raise ValueError("not yet")
        return int(job.data["n"])

    @queue.handler("parent")
    async def parent(job: ActiveJob) -> Any:
        return await job.map("many", "flaky", [{"n": n} for n in range(3)], attempts=1)

    await working()
    job = await ended(queue, await queue.add("parent", attempts=2, backoff=0))
    assert (job.state, job.result) == (State.SUCCESS, [0, 1, 2])
    assert sorted(runs) == [0, 1, 1, 2]
    assert [entry.outcome for entry in job.history] == ["suspend", "fail", "suspend", "success"]
    assert len((await queue.list(JobQuery(parent_id=job.id))).items) == 3


async def test_a_handler_that_asks_for_a_retry_has_failed_children_run_again(queue: JobQueue, working: Any) -> None:
    @queue.handler("flaky")
    async def flaky(job: ActiveJob) -> str:
        if all(entry.outcome != "requeue" for entry in job.job.history):
            raise ValueError("not yet")
        return "now"

    @queue.handler("parent")
    async def parent(job: ActiveJob) -> Any:
        try:
            return await job.call("one", "flaky", attempts=1)
        except ChildFailedError as error:
            raise Retry(error, delay=1) from error

    await working()
    job = await ended(queue, await queue.add("parent", attempts=1))
    assert (job.state, job.result) == (State.SUCCESS, "now")
    assert [entry.outcome for entry in job.history] == ["suspend", "retry", "suspend", "success"]


async def test_a_step_that_has_become_a_call_in_the_code_is_one(queue: JobQueue, working: Any) -> None:
    children_of(queue)

    @queue.handler("parent")
    async def parent(job: ActiveJob) -> Any:
        if job.attempt == 1:
            await job.step("one", lambda: 1 / 0, attempts=2)
        return await job.call("one", "double", {"n": 1})

    await working()
    job = await ended(queue, await queue.add("parent", attempts=2, backoff=0))
    assert (job.state, job.result) == (State.SUCCESS, 2)


async def test_a_held_parent_waits_until_a_person_requeues_the_child(queue: JobQueue, working: Any) -> None:
    broken = [True]

    @queue.handler("flaky")
    async def flaky(job: ActiveJob) -> str:
        if broken:
            raise ValueError(f"down for {job.id}")
        return "up"

    @queue.handler("parent")
    async def parent(job: ActiveJob) -> Any:
        return await job.call("one", "flaky", failures="hold", attempts=1)

    await working()
    added = await queue.add("parent")

    async def failed() -> Job | None:
        born = await queue.list(JobQuery(parent_id=added.id, states=(State.FAILED,)))
        return born.items[0] if born.items else None

    child = await eventually(failed, within=60)
    assert child is not None

    async def waits() -> bool:
        return (await queue.get(added.id)).state is State.DELAYED

    # Its child may fail while the parent is still about to wait.
    await eventually(waits, within=60)
    broken.clear()
    await queue.requeue(child.id)
    job = await ended(queue, added)
    assert (job.state, job.result) == (State.SUCCESS, "up")
    # The failure of the child has not woken it.
    assert [entry.outcome for entry in job.history] == [Outcome.SUSPEND, Outcome.SUCCESS]
