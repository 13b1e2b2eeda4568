"""Jobs that ask to run again, uncounted: none comes back at once, and none does so for ever."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import bson
import pytest
from bson import ObjectId

from jobqueue import Retry
from jobqueue.domain.attempts.states import Outcome, State
from jobqueue.domain.errors import StaleTokenError
from jobqueue.domain.jobs.job import NewJob
from jobqueue.domain.work.failure import FailureQuery
from jobqueue.domain.work.verdict import RunAgain
from tests.support.data.factories import ERROR, add, claim, document, retry, set_clock
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from jobqueue import Job, JobQueue
    from jobqueue.services.application import Runtime
    from jobqueue.services.runs.attempts import ClaimedJob

START: Final = datetime(2100, 1, 1, tzinfo=UTC)
MOST: Final = 5


class Loop:
    """A job that goes round, by a clock that stands still in between."""

    def __init__(self, runtime: Runtime, job: Job) -> None:
        self.runtime = runtime
        self.job = job
        self.now = 0.0
        set_clock(runtime, START)

    async def begin(self, after: float = 1) -> ClaimedJob:
        """Let time pass, and begin the next run."""
        self.now += after
        set_clock(self.runtime, START + timedelta(seconds=self.now))
        await self.runtime.jobs.promote_due()
        self.runtime.claims.unsettle(None)
        return await claim(self.runtime)

    async def turn(self, after: float = 1, delay: float | None = None) -> Job:
        """Let time pass, and run the job once more."""
        self.job = await retry(self.runtime, await self.begin(after), delay)
        return self.job


@pytest.fixture
async def loop(idle_runtime: Runtime) -> Loop:
    """Give a job of a queue that lets jobs go back `MOST` times in a row."""
    await idle_runtime.queues.patch("default", {"maxRetries": MOST})
    return Loop(idle_runtime, await add(idle_runtime, attempts=3, on_failure=NewJob(type="child")))


@pytest.mark.parametrize(("delay", "seconds"), [(None, 1), (0, 1), (0.2, 1), (1, 1), (30, 30)])
async def test_a_retry_comes_back_after_a_second_at_the_earliest(
    loop: Loop, delay: float | None, seconds: float
) -> None:
    job = await loop.turn(delay=delay)
    assert (job.state, job.attempts_made, job.error) == (State.DELAYED, 0, ERROR)
    assert job.delay_til == START + timedelta(seconds=1 + seconds)
    set_clock(loop.runtime, START + timedelta(seconds=seconds + 0.999))
    assert await loop.runtime.jobs.promote_due() == 0
    set_clock(loop.runtime, START + timedelta(seconds=seconds + 1))
    assert await loop.runtime.jobs.promote_due() == 1


async def test_a_job_that_goes_back_again_and_again_fails_as_endless(loop: Loop) -> None:
    for _ in range(MOST):
        assert (await loop.turn(after=9.5)).state is State.DELAYED
    job = await loop.turn(after=9.5)
    assert (job.state, job.attempts_made, job.attempts) == (State.FAILED, 1, 3)
    assert job.error is not None
    assert job.error.kind == "endless"
    assert job.error.message == (
        "retried 6 times in a row, uncounted, each time within 10 s of the last; the last reason was: it broke"
    )
    assert [one.outcome for one in job.history] == [*[Outcome.RETRY] * MOST, Outcome.FAIL]
    assert job.end_at is not None
    assert "children" in job.outbox or await loop.runtime.jobs.collection.count_documents({"type": "child"}) == 1
    (group,), _ = await loop.runtime.failures.page(FailureQuery())
    assert group.count == 1
    assert group.sample.error is not None
    assert group.sample.error.kind == "endless"


async def test_the_last_retry_that_is_allowed_may_be_reported_again_in_the_next_run(loop: Loop) -> None:
    for _ in range(MOST - 1):
        await loop.turn()
    last = await loop.begin()
    await retry(loop.runtime, last)
    await loop.begin()
    before = await document(loop.runtime, loop.job.id)
    again = RunAgain(delay=None, error=ERROR)
    await loop.runtime.work.settle(await loop.runtime.jobs.lean(loop.job.id), last.token, again)
    assert await document(loop.runtime, loop.job.id) == before


async def test_the_retry_that_ends_a_job_may_be_reported_again_after_a_requeue(loop: Loop) -> None:
    for _ in range(MOST):
        await loop.turn()
    last = await loop.begin()
    assert (await retry(loop.runtime, last)).state is State.FAILED
    await loop.runtime.manager.requeue(loop.job.id)
    before = await document(loop.runtime, loop.job.id)
    again = RunAgain(delay=None, error=ERROR)
    await loop.runtime.work.settle(await loop.runtime.jobs.lean(loop.job.id), last.token, again)
    assert await document(loop.runtime, loop.job.id) == before


async def test_a_job_that_polls_for_a_day_is_no_loop(loop: Loop) -> None:
    for _ in range(4 * MOST):
        assert (await loop.turn(after=60, delay=60)).state is State.DELAYED
    assert loop.job.retries is not None
    assert loop.job.retries.count == 1


async def test_the_count_begins_anew_after_a_pause(loop: Loop) -> None:
    for _ in range(3):
        for _ in range(MOST):
            assert (await loop.turn()).state is State.DELAYED
        assert (await loop.turn(after=10.5)).state is State.DELAYED
        loop.now += 10.5
    for _ in range(MOST):
        await loop.turn()
    assert (await loop.turn()).state is State.FAILED


async def test_jobs_that_are_given_back_are_not_counted(loop: Loop) -> None:
    for _ in range(4 * MOST):
        claimed = await loop.begin()
        await loop.runtime.work.release(claimed.job, claimed.token)
    job = await loop.turn()
    assert job.state is State.DELAYED
    assert job.retries is not None
    assert job.retries.count == 1


async def test_a_requeue_by_a_person_counts_from_nothing(loop: Loop) -> None:
    for _ in range(MOST):
        await loop.turn()
    await loop.runtime.manager.requeue(loop.job.id)
    assert "retries" not in await document(loop.runtime, loop.job.id)
    for _ in range(MOST):
        assert (await loop.turn()).state is State.DELAYED
    assert (await loop.turn()).state is State.FAILED


async def test_the_same_report_twice_is_counted_once(loop: Loop) -> None:
    for number in range(1, MOST + 2):
        claimed = await loop.begin()
        verdict = RunAgain(error=ERROR)
        await loop.runtime.work.settle(claimed.job, claimed.token, verdict)
        before = await document(loop.runtime, claimed.job.id)
        for job in (claimed.job, await loop.runtime.jobs.lean(claimed.job.id)):
            await loop.runtime.work.settle(job, claimed.token, verdict)
        assert await document(loop.runtime, claimed.job.id) == before
        assert before["retries"]["count"] == min(number, MOST)
        assert before["state"] == ("delayed" if number <= MOST else "failed")


async def test_a_stale_worker_counts_nothing(loop: Loop) -> None:
    claimed = await loop.begin()
    await loop.runtime.work.release(claimed.job, claimed.token)
    with pytest.raises(StaleTokenError):
        await loop.runtime.work.settle(claimed.job, claimed.token, RunAgain(error=ERROR))
    assert "retries" not in await document(loop.runtime, claimed.job.id)


async def test_a_limit_that_is_lowered_holds_for_the_next_retry(loop: Loop) -> None:
    for _ in range(3):
        await loop.turn()
    await loop.runtime.queues.patch("default", {"maxRetries": 2})
    assert (await loop.turn()).state is State.FAILED


@pytest.mark.parametrize("spoilt", [5, "many", {"count": 3}, {"at": START}, {"count": "x", "at": "y"}, [], None])
async def test_a_count_that_another_tool_has_spoilt_begins_anew(loop: Loop, spoilt: Any) -> None:
    job_id = ObjectId(loop.job.id)
    await loop.runtime.jobs.collection.update_one({"_id": job_id}, {"$set": {"retries": spoilt}})
    job = await loop.turn()
    assert (job.state, job.retries and job.retries.count) == (State.DELAYED, 1)


async def test_many_retries_stay_cheap(idle_runtime: Runtime) -> None:
    loop = Loop(idle_runtime, await add(idle_runtime, data={"text": "x" * 1000}))
    for _ in range(230):
        await loop.turn()
    kept = await document(idle_runtime, loop.job.id)
    assert len(kept["history"]) <= 101
    assert len(bson.encode(kept)) < 100_000
    job = await idle_runtime.jobs.whole(loop.job.id)
    assert [one.outcome for one in job.history] == [Outcome.RETRY] * 230
    assert kept["retries"]["count"] == 230


async def test_a_handler_that_always_asks_for_another_run_is_stopped(queue: JobQueue) -> None:
    runs: list[int] = []

    @queue.handler("poll-the-bank")
    async def poll(job: Any) -> None:
        runs.append(job.attempt)
        raise Retry("not ready yet")

    await (await queue.open()).queues.patch("default", {"maxRetries": 2})
    async with queue.working():
        job = await queue.add("poll-the-bank", attempts=3)

        async def has_ended() -> bool:
            return (await queue.get(job.id)).end_at is not None

        await eventually(has_ended)
    job = await queue.get(job.id)
    assert (job.state, runs) == (State.FAILED, [1, 1, 1])
    assert job.error is not None
    assert job.error.kind == "endless"
    gaps = [later.start_at - one.end_at for one, later in zip(job.history, job.history[1:], strict=False)]  # type: ignore[operator]
    assert min(gaps) >= timedelta(seconds=1)


async def test_why_tells_how_often_a_job_has_come_back(loop: Loop) -> None:
    await loop.turn()
    await loop.turn()
    due = next(one for one in (await loop.runtime.explainer.why(loop.job.id)).reasons if one.kind == "due")
    assert due.message.endswith("retried 2 times in a row, uncounted")
    assert due.details["retries"] == {"count": 2, "most": MOST}
