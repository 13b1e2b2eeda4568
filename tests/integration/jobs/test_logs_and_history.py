"""Logs and histories at the edges of the document, and documents that are as full as they may be."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import bson
import pytest
from bson import ObjectId

from jobqueue.domain.attempts.attempt import LONGEST_MESSAGE, LONGEST_TRACE, JobError
from jobqueue.domain.attempts.states import Outcome, State
from jobqueue.domain.errors import StaleTokenError, TooLargeError
from jobqueue.domain.jobs.job import INLINE_LOGS, LONGEST_LINE, NewJob
from jobqueue.domain.search.query import JobQuery
from jobqueue.domain.values.payload import MOST_DATA, MOST_RESULT, check
from jobqueue.store.jobs.jobs import FULL_BYTES, MOST_CHILDREN
from jobqueue.store.work.claims import MOST_HISTORY
from tests.support.data.factories import add, claim, claimed_job, document, fail, retry_now, succeed

if TYPE_CHECKING:
    from jobqueue.domain.jobs.job import Job
    from jobqueue.services.application import Runtime

FOUR_BYTES = "\U0001f600"
FULL_ERROR = JobError(kind="Boom", message=FOUR_BYTES * LONGEST_MESSAGE, trace=FOUR_BYTES * LONGEST_TRACE)
DOCUMENT_LIMIT = 16 * 1024 * 1024
RUNS = 2 * MOST_HISTORY + 10
"""Enough to move entries out of the document more than once."""


def text_of(size: int) -> str:
    """Return a text that takes exactly ``size`` bytes as a value, most of its characters four each."""
    inside = size - check("", "text")
    return FOUR_BYTES * (inside // 4) + "x" * (inside % 4)


async def size_of(runtime: Runtime, job: Job) -> int:
    return len(bson.encode(await document(runtime, job.id)))


async def write(runtime: Runtime, claimed: Any, *lines: str) -> None:
    assert await runtime.work.report(claimed.job, claimed.token, lines=[(line, None) for line in lines])


@pytest.mark.parametrize("before", [0, 1, 150, 199, 200, 201])
async def test_one_report_of_300_lines_is_whole_wherever_the_document_ends(idle_runtime: Runtime, before: int) -> None:
    claimed = await claimed_job(idle_runtime)
    wanted = [f"line {number}" for number in range(before + 300)]
    if before:
        await write(idle_runtime, claimed, *wanted[:before])
    await write(idle_runtime, claimed, *wanted[before:])
    found = await idle_runtime.logs.lines(claimed.job.id)
    assert [(number, line.m) for number, line in found] == list(enumerate(wanted))
    assert {line.attempt for _, line in found} == {1}
    times = [line.t for _, line in found]
    assert times == sorted(times)
    assert len((await idle_runtime.jobs.get(claimed.job.id)).logs) == INLINE_LOGS


async def test_the_parts_of_a_long_line_stay_together_across_the_edge_of_the_document(idle_runtime: Runtime) -> None:
    claimed = await claimed_job(idle_runtime)
    line = "a" + FOUR_BYTES * (20 * 1024 // 4)
    await write(idle_runtime, claimed, *("before" for _ in range(INLINE_LOGS - 1)))
    await write(idle_runtime, claimed, line)
    await write(idle_runtime, claimed, "after")
    parts = [one.m for _, one in await idle_runtime.logs.lines(claimed.job.id, after=INLINE_LOGS - 1)]
    assert ("".join(parts[:-1]), parts[-1]) == (line, "after")
    assert [len(part.encode()) for part in parts[:-1]] == [LONGEST_LINE - 3, LONGEST_LINE, 4 * 1024 + 4]
    outside = idle_runtime.database.collection("logs").find({"jobId": ObjectId(claimed.job.id)}).sort("seq", 1)
    assert [one["seq"] async for one in outside] == [INLINE_LOGS, INLINE_LOGS + 1, INLINE_LOGS + 2]


async def test_what_a_worker_of_many_runs_ago_reports_is_kept_with_its_run(idle_runtime: Runtime) -> None:
    await add(idle_runtime, attempts=1)
    claims = []
    for _ in range(RUNS):
        claims.append(await claim(idle_runtime))
        await retry_now(idle_runtime, claims[-1])
        assert len((await document(idle_runtime, claims[0].job.id))["history"]) <= MOST_HISTORY + 1
    with pytest.raises(StaleTokenError):
        await succeed(idle_runtime, claims[0], "very late")
    job = await idle_runtime.jobs.whole(claims[0].job.id)
    assert (job.state, job.attempts_made) == (State.PENDING, 0)
    assert [entry.token for entry in job.history] == [one.token for one in claims]
    assert {(entry.attempt, entry.outcome) for entry in job.history} == {(1, Outcome.RETRY)}
    assert [entry.late and entry.late["result"] for entry in job.history] == ["very late", *[None] * (RUNS - 1)]
    starts = [entry.start_at for entry in job.history if entry.start_at]
    assert starts == sorted(starts)
    assert len(starts) == RUNS


@pytest.mark.parametrize("value", ["", "é", {}, [], {"a": ""}, 5, 2**40, -1.5, True, None])
def test_no_value_takes_more_of_a_document_than_is_measured(value: object) -> None:
    many = [value] * 20_000
    assert len(bson.encode({"result": many})) <= check(many, "result") + len("result") + check("", "")
    assert len(bson.encode({"result": value})) <= check(value, "result") + len("result") + check("", "")


async def test_a_result_of_exactly_its_limit_is_kept_and_one_byte_more_is_refused(idle_runtime: Runtime) -> None:
    kept = await succeed(idle_runtime, await claimed_job(idle_runtime), text_of(MOST_RESULT))
    assert (kept.state, kept.result) == (State.SUCCESS, text_of(MOST_RESULT))
    claimed = await claimed_job(idle_runtime, attempts=1)
    with pytest.raises(TooLargeError, match=r"^result takes 4,194,305 bytes; the limit is 4,194,304$"):
        await succeed(idle_runtime, claimed, text_of(MOST_RESULT + 1))
    job = await fail(idle_runtime, claimed)
    assert (job.state, job.result) == (State.FAILED, None)


async def full_job(runtime: Runtime, **fields: Any) -> Job:
    """Return a job whose document is as full as services can make it, with `MOST_HISTORY` failed starts."""
    name = "text"
    data = {name: text_of(MOST_DATA - check({name: ""}, "data") + check("", "") - check({}, "meta"))}
    added = await add(runtime, data=data, attempts=10_000, backoff=0, **fields)
    for number in range(MOST_HISTORY):
        claimed = await claim(runtime)
        # Lines come last: until then the server writes a smaller document each time.
        if number == MOST_HISTORY - 1:
            await write(runtime, claimed, *(FOUR_BYTES * (LONGEST_LINE // 4) for _ in range(INLINE_LOGS)))
        await runtime.work.report(claimed.job, claimed.token)
        await fail(runtime, claimed, FULL_ERROR)
    return await runtime.jobs.get(added.id)


async def test_a_job_with_every_part_at_its_limit_can_be_claimed_and_finished(idle_runtime: Runtime) -> None:
    child = {"type": "child", "queue": "children", "data": {"text": "x" * (MOST_DATA - 100)}}
    job = await full_job(idle_runtime, on_success=child)
    assert len(job.history) == MOST_HISTORY
    assert job.error is not None
    assert LONGEST_MESSAGE - 4 < len(job.error.message.encode()) <= LONGEST_MESSAGE
    done = await succeed(idle_runtime, await claim(idle_runtime), text_of(MOST_RESULT))
    assert (done.state, done.result) == (State.SUCCESS, text_of(MOST_RESULT))
    assert await size_of(idle_runtime, done) > FULL_BYTES
    for run in range(1, 4):
        assert (await idle_runtime.manager.requeue(job.id)).run == run
        claimed = await claim(idle_runtime)
        await write(idle_runtime, claimed, f"run {run}")
        done = await succeed(idle_runtime, claimed, text_of(MOST_RESULT))
        assert (done.state, done.run) == (State.SUCCESS, run)
        assert await size_of(idle_runtime, done) < DOCUMENT_LIMIT
    whole = await idle_runtime.jobs.whole(job.id)
    outcomes = [entry.outcome for entry in whole.history]
    assert outcomes == [Outcome.FAIL] * MOST_HISTORY + [Outcome.SUCCESS, *(Outcome.REQUEUE, Outcome.SUCCESS) * 3]
    assert all(entry.error == FULL_ERROR for entry in whole.history[:MOST_HISTORY])
    assert [entry.was for entry in whole.history if entry.was] == [{"result": text_of(MOST_RESULT)}] * 3
    children = await idle_runtime.listing.page(JobQuery(queue="children"))
    assert [len(one.data["text"]) for one in children.items] == [MOST_DATA - 100] * 4


async def test_a_full_job_that_fails_can_be_claimed_again_and_killed(idle_runtime: Runtime) -> None:
    job = await full_job(idle_runtime)
    claimed = await claim(idle_runtime)
    await idle_runtime.manager.kill(job.id)
    with pytest.raises(StaleTokenError):
        await succeed(idle_runtime, claimed, text_of(MOST_RESULT))
    killed = await idle_runtime.jobs.get(job.id)
    assert killed.state is State.KILLED
    assert killed.history[-1].late is not None


async def test_old_results_are_moved_out_of_the_document_before_it_is_too_large(idle_runtime: Runtime) -> None:
    results = [f"{run}" + "x" * (MOST_RESULT - 100) for run in range(6)]
    job = await succeed(idle_runtime, await claimed_job(idle_runtime), results[0])
    for result in results[1:]:
        await idle_runtime.manager.requeue(job.id)
        job = await succeed(idle_runtime, await claim(idle_runtime), result)
        assert job.result == result
        assert await size_of(idle_runtime, job) < FULL_BYTES + MOST_RESULT
    whole = await idle_runtime.jobs.whole(job.id)
    assert [entry.was["result"] for entry in whole.history if entry.was] == results[:-1]
    assert [entry.outcome for entry in whole.history] == [Outcome.SUCCESS, *(Outcome.REQUEUE, Outcome.SUCCESS) * 5]


@pytest.mark.parametrize("slot", ["on_complete", "on_success", "on_failure"])
async def test_children_that_leave_a_job_no_room_are_refused(idle_runtime: Runtime, slot: str) -> None:
    children = [NewJob(type="child", data={"text": "x" * (MOST_CHILDREN // 8)}) for _ in range(8)]
    direct: dict[str, Any] = {slot: children}
    nested: dict[str, Any] = {slot: NewJob(type="child", on_success=tuple(children))}
    name = "on" + slot.removeprefix("on_").capitalize()
    said = rf"^{name} takes 1,[\d,]+ bytes; the limit is 1,114,112$"
    for too_many in (direct, nested):
        with pytest.raises(TooLargeError, match=said):
            await add(idle_runtime, **too_many)
        with pytest.raises(TooLargeError, match=said):
            await idle_runtime.producer.add_all([NewJob(type="fine"), NewJob(type="work", **too_many)])
    assert await idle_runtime.jobs.collection.count_documents({}) == 0
    direct[slot] = children[1:]
    assert (await add(idle_runtime, **direct)).state is State.PENDING


async def test_long_names_in_meta_take_no_room_twice_and_are_found_all_the_same(idle_runtime: Runtime) -> None:
    path = "k" * 100_000
    job = await add(idle_runtime, meta={path: list(range(99))})
    assert await size_of(idle_runtime, job) < 2 * len(path)
    short = "k" * 300
    wanted = await add(idle_runtime, meta={short: 42})
    await add(idle_runtime, meta={"other": None})
    for text, found in (("42", [wanted.id]), ("43", []), ("null", [])):
        page = await idle_runtime.listing.page(JobQuery(meta=((short, text),)))
        assert [one.id for one in page.items] == found
