"""Steps that never run twice: a mark before they run, and a person who ends a doubt."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import TYPE_CHECKING, Any

import pytest

from jobqueue import ActiveJob, BlockingJob, Job, JobQueue, NotDone, State
from jobqueue.domain.attempts.states import FINAL
from tests.support.data.factories import end_lease, patient_reaper
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

Calls = list[str]
WAYS = pytest.mark.parametrize("way", ["in_loop", "in_thread"])


@pytest.fixture
def calls() -> Calls:
    return []


@pytest.fixture
async def working(queue: JobQueue) -> AsyncIterator[Callable[[], Any]]:
    async with contextlib.AsyncExitStack() as stack:

        async def start() -> None:
            await stack.enter_async_context(queue.working(concurrency=5))

        yield start


def handle(queue: JobQueue, way: str, function: Callable[[], Any], **how: Any) -> None:
    """Register a handler with one step that must not run twice."""
    if way == "in_loop":

        @queue.handler("order")
        async def in_loop(job: ActiveJob) -> Any:
            return await job.step("charge", function, once=True, **how)
    else:

        @queue.handler("order")
        def in_thread(job: BlockingJob) -> Any:
            return job.step("charge", function, once=True, **how)


async def became(queue: JobQueue, job: Job, *, doubt: bool = False) -> Job:
    async def look() -> Job | None:
        present = await queue.get(job.id)
        is_in_doubt = present.wait is not None and present.wait.doubt == "charge"
        return present if (is_in_doubt if doubt else present.state in FINAL) else None

    found = await eventually(look, within=60)
    assert found is not None
    return found


@WAYS
async def test_a_step_that_ends_well_runs_once(queue: JobQueue, calls: Calls, working: Any, way: str) -> None:
    def charge() -> str:
        calls.append("charge")
        return "paid"

    handle(queue, way, charge)
    await working()
    done = await became(queue, await queue.add("order", attempts=1))
    assert (done.result, calls) == ("paid", ["charge"]), done.error
    assert done.steps is not None
    assert done.steps[0].once is None


@WAYS
@pytest.mark.parametrize("happened", [True, False])
async def test_an_exception_leaves_a_doubt_that_a_person_ends(
    queue: JobQueue, calls: Calls, working: Any, way: str, *, happened: bool
) -> None:
    def charge() -> str:
        calls.append("charge")
        if len(calls) == 1:
            raise OSError("the line broke")
        return "paid again"

    handle(queue, way, charge, attempts=5, backoff=0)
    await working()
    job = await queue.add("order", attempts=2, backoff=0)
    parked = await became(queue, job, doubt=True)
    assert (parked.state, parked.delay_til, parked.claim, calls) == (State.DELAYED, None, None, ["charge"])
    assert [entry.outcome for entry in parked.history] == ["fail", "suspend"]
    runtime = await queue.open()
    (reason, *_) = (await runtime.explainer.why(job.id)).reasons
    assert (reason.kind, reason.message) == ("doubt", "in doubt: did charge happen? A person has to say")
    await runtime.doubts.decide(job.id, "charge", happened=happened, result="by hand" if happened else None)
    done = await became(queue, job)
    assert (done.state, done.result) == (State.SUCCESS, "by hand" if happened else "paid again"), done.error
    assert len(calls) == (1 if happened else 2)


@WAYS
async def test_a_step_that_has_not_happened_says_so(queue: JobQueue, calls: Calls, working: Any, way: str) -> None:
    def charge() -> str:
        calls.append("charge")
        if len(calls) < 4:
            raise NotDone("the bank was closed")
        return "paid"

    handle(queue, way, charge, attempts=2, backoff=0)
    await working()
    done = await became(queue, await queue.add("order", attempts=2, backoff=0))
    assert (done.result, len(calls)) == ("paid", 4), done.error
    assert [entry.outcome for entry in done.history] == ["fail", "success"]
    assert done.history[0].error is not None
    assert (done.history[0].error.kind, done.history[0].error.step) == ("NotDone", "charge")


async def test_a_handler_that_catches_the_exception_does_not_run_the_step_again(
    queue: JobQueue, calls: Calls, working: Any
) -> None:
    @queue.handler("order")
    async def order(job: ActiveJob) -> Any:
        def charge() -> None:
            calls.append("charge")
            raise OSError

        for _ in range(3):
            with contextlib.suppress(OSError):
                return await job.step("charge", charge, once=True)
        return "never"

    await working()
    await became(queue, await queue.add("order", attempts=1), doubt=True)
    assert calls == ["charge"]


async def test_a_requeue_keeps_a_doubt_unless_it_names_the_step(queue: JobQueue, calls: Calls, working: Any) -> None:
    def charge() -> str:
        calls.append("charge")
        if len(calls) == 1:
            raise OSError
        return "paid"

    handle(queue, "in_loop", charge)
    await working()
    job = await queue.add("order", attempts=1)
    assert (await became(queue, job)).state is State.FAILED
    await queue.requeue(job.id)
    await became(queue, job, doubt=True)
    assert calls == ["charge"]
    await queue.requeue(job.id, from_step="charge")
    assert (await became(queue, job)).result == "paid"


@WAYS
async def test_a_late_result_under_the_mark_ends_the_doubt(queue: JobQueue, working: Any, way: str) -> None:
    """A thread outlives its lease; the next start parks the job, and the result wakes it."""
    began, go_on = threading.Event(), threading.Event()
    starts: list[int] = []

    def charge() -> str:
        starts.append(1)
        began.set()
        assert go_on.wait(60)
        return "paid"

    handle(queue, way, charge)
    await working()
    job = await queue.add("order", attempts=3, backoff=0)
    await asyncio.to_thread(began.wait, 60)
    runtime = await queue.open()

    async def is_taken_away() -> bool:
        present = await queue.get(job.id)
        if present.state is State.PROCESSING and len(present.history) == 1:
            await end_lease(runtime, present)
            await patient_reaper(runtime).run_once()
        return (await queue.get(job.id)).wait is not None

    await eventually(is_taken_away, within=60)
    assert len(starts) == 1
    go_on.set()
    done = await became(queue, job)
    assert (done.state, done.result, len(starts)) == (State.SUCCESS, "paid", 1), done.error
