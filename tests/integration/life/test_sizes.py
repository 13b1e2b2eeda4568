"""Large results, long histories and full documents: nothing is lost, and a job can always still be ended."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from bson import BSON, ObjectId

from jobqueue.domain.attempts.attempt import LONGEST_TRACE, JobError
from jobqueue.domain.attempts.states import Outcome, State
from jobqueue.domain.errors import InvalidInputError, TooLargeError
from jobqueue.domain.jobs.job import LONGEST_LINE
from jobqueue.domain.values.payload import MOST_DATA, MOST_RESULT
from jobqueue.store.work.claims import MOST_HISTORY
from tests.support.data.factories import (
    add,
    claim,
    claimed_job,
    document,
    end_lease,
    fail,
    patient_reaper,
    retry_now,
    succeed,
)

if TYPE_CHECKING:
    from jobqueue.services.application import Runtime

LARGEST_RESULT = "x" * (MOST_RESULT - 100)
LARGEST_DATA = "x" * (MOST_DATA - 100)
LARGEST_ERROR = JobError(kind="Boom", message="m" * 20_000, trace="t" * 40_000)
LIMIT = 16 * 1024 * 1024
STARTS = 2 * MOST_HISTORY + 10
"""Enough to move entries out of the document more than once."""


async def size(runtime: Runtime, job_id: str) -> int:
    return len(BSON.encode(await document(runtime, job_id)))


async def test_a_result_of_4_mib_is_kept(idle_runtime: Runtime) -> None:
    claimed = await claimed_job(idle_runtime)
    job = await succeed(idle_runtime, claimed, {"text": LARGEST_RESULT[:-100]})
    assert (job.state, job.result) == (State.SUCCESS, {"text": LARGEST_RESULT[:-100]})


@pytest.mark.parametrize("result", ["x" * (MOST_RESULT + 1), ["é" * (MOST_RESULT // 2)], {"k" * MOST_RESULT: 1}])
async def test_a_larger_result_is_refused_and_the_job_can_still_be_ended(idle_runtime: Runtime, result: Any) -> None:
    claimed = await claimed_job(idle_runtime)
    with pytest.raises(TooLargeError, match=r"result takes [\d,]+ bytes; the limit is 4,194,304"):
        await succeed(idle_runtime, claimed, result)
    assert (await idle_runtime.jobs.get(claimed.job.id)).state is State.PROCESSING
    assert (await succeed(idle_runtime, claimed, {"instead": 1})).result == {"instead": 1}


@pytest.mark.parametrize("result", [float("nan"), 2**63, {"$set": 1}, {"a": {"b\0": 1}}, "\ud800", {1, 2}])
async def test_a_result_that_cannot_be_kept_is_refused_and_the_job_can_still_be_ended(
    idle_runtime: Runtime, result: Any
) -> None:
    claimed = await claimed_job(idle_runtime)
    with pytest.raises(InvalidInputError, match="result"):
        await succeed(idle_runtime, claimed, result)
    assert (await fail(idle_runtime, claimed)).state is State.DELAYED


async def test_data_and_meta_of_1_mib_are_kept_and_more_is_refused(idle_runtime: Runtime) -> None:
    job = await add(idle_runtime, data={"text": LARGEST_DATA[:-100]})
    assert (await claim(idle_runtime)).job.data == {"text": LARGEST_DATA[:-100]}
    assert (await idle_runtime.jobs.get(job.id)).data == job.data
    with pytest.raises(TooLargeError, match="data takes 1,"):
        await add(idle_runtime, data={"text": "x" * MOST_DATA})
    with pytest.raises(TooLargeError, match="data and meta takes 1,"):
        await add(idle_runtime, data={"text": "x" * (MOST_DATA // 2)}, meta={"text": "x" * (MOST_DATA // 2)})


async def test_the_history_of_many_starts_is_whole_and_in_order_and_the_document_stays_small(
    idle_runtime: Runtime,
) -> None:
    job = await add(idle_runtime, data={"n": 1})
    for number in range(STARTS):
        claimed = await claim(idle_runtime, worker=f"w{number}")
        assert claimed.job.attempts_made == 1
        await retry_now(idle_runtime, claimed)
    await succeed(idle_runtime, await claim(idle_runtime, worker="last"))
    whole = await idle_runtime.jobs.whole(job.id)
    assert [entry.worker for entry in whole.history] == [*(f"w{number}" for number in range(STARTS)), "last"]
    assert [entry.outcome for entry in whole.history] == [Outcome.RETRY] * STARTS + [Outcome.SUCCESS]
    assert all(entry.start_at and entry.end_at for entry in whole.history)
    assert all(entry.error for entry in whole.history[:-1])
    assert len((await idle_runtime.jobs.get(job.id)).history) <= MOST_HISTORY + 1
    assert whole.attempts_made == 1


async def test_a_late_report_on_an_attempt_of_long_ago_is_kept_with_it(idle_runtime: Runtime) -> None:
    first = await claimed_job(idle_runtime)
    await idle_runtime.work.release(first.job, first.token)
    for _ in range(MOST_HISTORY + 5):
        await retry_now(idle_runtime, await claim(idle_runtime))
    assert first.token not in {entry.token for entry in (await idle_runtime.jobs.get(first.job.id)).history}
    for _ in range(2):
        await idle_runtime.jobs.history.keep_late(first.job.id, first.token, {"outcome": "success", "result": 7})
    entry = (await idle_runtime.jobs.whole(first.job.id)).history[0]
    assert entry.token == first.token
    assert entry.late is not None
    assert (entry.late["outcome"], entry.late["result"]) == ("success", 7)


async def test_spilling_at_the_same_time_loses_and_doubles_nothing(idle_runtime: Runtime) -> None:
    job = await add(idle_runtime)
    for _ in range(60):
        await retry_now(idle_runtime, await claim(idle_runtime))
    tokens = [entry.token for entry in (await idle_runtime.jobs.get(job.id)).history]
    spill = idle_runtime.jobs.history.spill
    await asyncio.gather(*(spill(job.id, keep=keep, state=State.PENDING) for keep in (50, 20, 35, 20, 0, 50)))
    await spill(job.id, keep=5, state=State.PENDING)
    await spill(job.id, keep=5, state=State.PROCESSING)
    assert [entry.token for entry in (await idle_runtime.jobs.whole(job.id)).history] == tokens
    assert len((await idle_runtime.jobs.get(job.id)).history) <= 5


async def test_a_late_report_that_comes_while_its_entry_is_moved_is_not_lost(
    idle_runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = await add(idle_runtime)
    for _ in range(10):
        await retry_now(idle_runtime, await claim(idle_runtime))
    first = (await idle_runtime.jobs.get(job.id)).history[0]
    history = idle_runtime.jobs.history
    move: Any = history._attempts.bulk_write

    async def late(*args: Any) -> None:
        await move(*args)
        await history.keep_late(job.id, str(first.token), {"outcome": "success"})

    monkeypatch.setattr(history._attempts, "bulk_write", late)
    await history.spill(job.id, keep=2, state=State.PENDING)
    monkeypatch.undo()
    for _ in range(2):
        found = (await idle_runtime.jobs.whole(job.id)).history
        assert found[0].token == first.token
        assert len(found) == 10
        assert found[0].late is not None
        await history.spill(job.id, keep=2, state=State.PENDING)
    assert len((await idle_runtime.jobs.get(job.id)).history) == 2


async def test_a_deleted_job_takes_its_spilled_history_along(idle_runtime: Runtime) -> None:
    job = await add(idle_runtime)
    for _ in range(MOST_HISTORY + 5):
        await retry_now(idle_runtime, await claim(idle_runtime))
    attempts = idle_runtime.database.collection("attempts")
    assert await attempts.count_documents({"jobId": ObjectId(job.id)}) > 0
    await idle_runtime.manager.delete(job.id)
    assert await attempts.count_documents({}) == 0


async def test_a_job_that_is_full_in_every_field_can_still_be_ended_and_requeued(idle_runtime: Runtime) -> None:
    await add(idle_runtime, data={"text": LARGEST_DATA[:-200]}, attempts=10_000, backoff=0)
    for _ in range(MOST_HISTORY + 20):
        claimed = await claim(idle_runtime)
        await fail(idle_runtime, claimed, LARGEST_ERROR)
    claimed = await claim(idle_runtime)
    await idle_runtime.work.report(claimed.job, claimed.token, lines=[("y" * LONGEST_LINE, None)] * 210)
    job = await succeed(idle_runtime, claimed, LARGEST_RESULT)
    assert (job.state, job.result) == (State.SUCCESS, LARGEST_RESULT)
    for run in range(1, 6):
        before = job
        data = {"text": f"{run}" + LARGEST_DATA[:-200]}
        await idle_runtime.manager.requeue(job.id, {"data": data})
        claimed = await claim(idle_runtime)
        assert claimed.job.data == data
        job = await succeed(idle_runtime, claimed, f"{run}{LARGEST_RESULT[1:]}")
        assert (job.state, job.run, job.result) == (State.SUCCESS, run, f"{run}{LARGEST_RESULT[1:]}")
        assert await size(idle_runtime, job.id) < LIMIT
        was = [entry.was for entry in (await idle_runtime.jobs.whole(job.id)).history if entry.was]
        assert len(was) == run
        assert was[-1] == {"data": before.data, "result": before.result}
    whole = await idle_runtime.jobs.whole(job.id)
    assert len(whole.history) == MOST_HISTORY + 20 + 1 + 2 * 5
    assert (await idle_runtime.manager.requeue(job.id)).state is State.PENDING
    assert (await idle_runtime.manager.kill(job.id)).state is State.KILLED


async def test_a_full_job_that_hangs_is_taken_back(idle_runtime: Runtime) -> None:
    claimed = await claimed_job(idle_runtime, data={"text": LARGEST_DATA[:-200]}, attempts=1)
    await idle_runtime.work.report(claimed.job, claimed.token, lines=[("y" * LONGEST_LINE, None)] * 200)
    await end_lease(idle_runtime, claimed.job)
    await patient_reaper(idle_runtime).run_once()
    assert (await idle_runtime.jobs.get(claimed.job.id)).state is State.FAILED


async def test_long_messages_and_traces_are_kept_within_bounds(idle_runtime: Runtime) -> None:
    job = await fail(idle_runtime, await claimed_job(idle_runtime), LARGEST_ERROR)
    assert job.error is not None
    assert job.error.trace is not None
    assert len(job.error.trace) <= LONGEST_TRACE
    assert job.error.trace.endswith("… (cut short)")
    assert job.history[0].error == job.error
