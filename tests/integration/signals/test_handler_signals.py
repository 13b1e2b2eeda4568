"""Signals in Python handlers."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from jobqueue import ActiveJob, BlockingJob, Job, JobQueue, SignalTimeoutError, State
from jobqueue.domain.attempts.states import FINAL
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable


@dataclass
class Decision:
    by: str
    ok: bool


@pytest.fixture
async def working(queue: JobQueue) -> AsyncIterator[Callable[[], Any]]:
    async with contextlib.AsyncExitStack() as stack:

        async def start() -> None:
            await stack.enter_async_context(queue.working(concurrency=5))

        yield start


async def ended(queue: JobQueue, job: Job) -> Job:
    async def look() -> Job | None:
        present = await queue.get(job.id)
        return present if present.state in FINAL else None

    found = await eventually(look, within=60)
    assert found is not None
    return found


async def waits(queue: JobQueue, job: Job, *signals: str) -> Job:
    async def look() -> Job | None:
        present = await queue.get(job.id)
        is_waiting = present.wait is not None and present.wait.signals == signals
        return present if present.state is State.DELAYED and is_waiting else None

    found = await eventually(look, within=60)
    assert found is not None
    return found


async def test_an_async_handler_gets_the_value_in_its_type(queue: JobQueue, working: Any) -> None:
    starts: list[int] = []

    @queue.handler("order")
    async def order(job: ActiveJob) -> Any:
        starts.append(job.attempt)
        decision = await job.signal("approved", into=Decision)
        assert isinstance(decision, Decision)
        plain = await job.signal("approved")
        return [decision.by, plain]

    await working()
    job = await queue.add("order", attempts=1)
    waiting = await waits(queue, job, "approved")
    assert (waiting.delay_til, waiting.claim, waiting.attempts_made) == (None, None, 0)
    assert await queue.signal(job.id, "approved", {"by": "ann", "ok": True}, signal_id="1")
    assert not await queue.signal(job.id, "approved", {"by": "bob", "ok": True}, signal_id="1")
    await waits(queue, job, "approved")
    await queue.signal(job.id, "approved", 7)
    done = await ended(queue, job)
    assert (done.state, done.result) == (State.SUCCESS, ["ann", 7]), done.error
    assert [step.name for step in done.steps or ()] == ["approved", "approved#2"]
    assert starts == [1, 1, 1]


async def test_a_plain_handler_waits_without_a_thread(queue: JobQueue, working: Any) -> None:
    @queue.handler("order")
    def order(job: BlockingJob) -> Any:
        return [job.signal("approved"), job.signal("early"), dict(job.steps)]

    job = await queue.add("order", attempts=1)
    await queue.signal(job.id, "early", {"n": 1})
    await working()
    await waits(queue, job, "approved")
    await queue.signal(job.id, "approved", "yes")
    done = await ended(queue, job)
    assert done.result == ["yes", {"n": 1}, {"approved": "yes", "early": {"n": 1}}], done.error


@pytest.mark.parametrize("is_async", [True, False])
async def test_a_handler_learns_that_no_signal_came_in_time(queue: JobQueue, working: Any, *, is_async: bool) -> None:
    if is_async:

        @queue.handler("order")
        async def in_loop(job: ActiveJob) -> Any:
            with pytest.raises(SignalTimeoutError):
                await job.signal("approved", timeout=0.2)
            with pytest.raises(SignalTimeoutError):
                await job.signal("now", timeout=0)
            return dict(job.steps)
    else:

        @queue.handler("order")
        def in_thread(job: BlockingJob) -> Any:
            with pytest.raises(SignalTimeoutError):
                job.signal("approved", timeout=0.2)
            with pytest.raises(SignalTimeoutError):
                job.signal("now", timeout=0)
            return dict(job.steps)

    await working()
    done = await ended(queue, await queue.add("order", attempts=1))
    assert done.state is State.SUCCESS, done.error
    assert {name: result["error"]["kind"] for name, result in done.result.items()} == {
        "approved": "timeout",
        "now": "timeout",
    }


async def test_a_timeout_that_nobody_catches_fails_and_a_requeue_waits_anew(queue: JobQueue, working: Any) -> None:
    @queue.handler("order")
    async def order(job: ActiveJob) -> Any:
        await job.step("fetch", int)
        return await job.signal("approved", timeout=0.2)

    await working()
    failed = await ended(queue, job := await queue.add("order", attempts=1))
    assert failed.error is not None
    assert (failed.error.kind, failed.error.step) == ("SignalTimeoutError", "approved")
    await queue.signal((await queue.requeue(job.id)).id, "approved", 5)
    done = await ended(queue, job)
    assert done.result == 5, done.error
    assert done.history[-1].steps is None


async def test_the_first_of_two_waits_wakes_the_job(queue: JobQueue, working: Any) -> None:
    @queue.handler("order")
    async def order(job: ActiveJob) -> Any:
        async def rest() -> str:
            await job.sleep("rest", 3600)
            return "slept"

        tasks = [asyncio.ensure_future(rest()), asyncio.ensure_future(job.signal("approved"))]
        done, others = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for other in others:
            other.cancel()
        return [task.result() for task in done]

    await working()
    job = await queue.add("order", attempts=1)
    waiting = await waits(queue, job, "approved")
    assert waiting.delay_til is not None
    await queue.signal(job.id, "approved", "yes")
    assert (await ended(queue, job)).result == ["yes"]


@pytest.mark.parametrize(("wrong", "word"), [({"name": "undo:x"}, "undo"), ({"name": "a", "timeout": -1}, "timeout")])
async def test_a_wait_that_cannot_be_fails_with_the_reason(
    queue: JobQueue, working: Any, wrong: dict[str, Any], word: str
) -> None:
    @queue.handler("order")
    async def order(job: ActiveJob) -> Any:
        return await job.signal(**wrong)

    await working()
    failed = await ended(queue, await queue.add("order", attempts=1))
    assert failed.error is not None
    assert (failed.error.kind, word in failed.error.message) == ("step", True)


async def test_a_value_of_another_type_fails_and_names_the_signal(queue: JobQueue, working: Any) -> None:
    @queue.handler("order")
    async def order(job: ActiveJob) -> Any:
        return await job.signal("approved", into=Decision)

    job = await queue.add("order", attempts=1)
    await queue.signal(job.id, "approved", "yes")
    await working()
    failed = await ended(queue, job)
    assert failed.error is not None
    assert (failed.error.kind, failed.error.step) == ("step", "approved")


async def test_a_handler_makes_a_link_to_its_question(queue: JobQueue, working: Any) -> None:
    @queue.handler("order")
    async def order(job: ActiveJob) -> Any:
        return await job.step("mail", str, await job.signal_url("approved", title="Ship it?", by="ann"))

    await working()
    done = await ended(queue, await queue.add("order", attempts=1))
    runtime = await queue.open()
    read = await runtime.links.read(done.result.rpartition("/")[2])
    assert read is not None
    assert (read.job_id, read.question, read.signal, read.title, read.by) == (
        done.id,
        "approved",
        "approved",
        "Ship it?",
        "ann",
    )
