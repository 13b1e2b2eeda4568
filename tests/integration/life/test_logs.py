"""Log lines: all of them, in order, wherever they are kept."""

from __future__ import annotations

import asyncio
import itertools
from typing import TYPE_CHECKING

import pytest

from jobqueue.domain.errors import InvalidInputError, JobCancelledError, NotFoundError
from jobqueue.domain.jobs.job import INLINE_LOGS, LONGEST_LINE
from jobqueue.services.runs.reporter import JobReporter
from tests.support.data.factories import add, claim, claimed_job, document, fail, succeed

if TYPE_CHECKING:
    from jobqueue.domain.attempts.attempt import LogLine
    from jobqueue.domain.jobs.job import Job
    from jobqueue.services.application import Runtime
    from jobqueue.services.runs.attempts import ClaimedJob


async def write(runtime: Runtime, claimed: ClaimedJob, *lines: str, level: str | None = None) -> None:
    assert await runtime.work.report(claimed.job, claimed.token, lines=[(line, level) for line in lines])


async def lines(runtime: Runtime, job: Job) -> list[tuple[int, LogLine]]:
    return await runtime.logs.lines(job.id)


async def texts(runtime: Runtime, job: Job) -> list[str]:
    return [line.m for _, line in await lines(runtime, job)]


def numbered(count: int) -> list[str]:
    return [f"line {number}" for number in range(count)]


@pytest.mark.parametrize("step", [1, 7, 450])
async def test_450_lines_are_kept_in_order_200_of_them_in_the_document(idle_runtime: Runtime, step: int) -> None:
    claimed = await claimed_job(idle_runtime)
    wanted = numbered(450)
    for start in range(0, 450, step):
        await write(idle_runtime, claimed, *wanted[start : start + step])
    assert [(number, line.m) for number, line in await lines(idle_runtime, claimed.job)] == list(enumerate(wanted))
    stored = await idle_runtime.jobs.get(claimed.job.id)
    assert [line.m for line in stored.logs] == wanted[:INLINE_LOGS]
    assert stored.log_count == 450
    assert await idle_runtime.database.collection("logs").count_documents({}) == 250


async def test_the_document_does_not_grow_with_what_is_kept_outside(idle_runtime: Runtime) -> None:
    claimed = await claimed_job(idle_runtime)
    await write(idle_runtime, claimed, *numbered(INLINE_LOGS))
    before = await document(idle_runtime, claimed.job.id)
    for _ in range(10):
        await write(idle_runtime, claimed, *numbered(500))
    after = await document(idle_runtime, claimed.job.id)
    assert after["logs"] == before["logs"]
    assert after["logCount"] == 5200
    assert len(await idle_runtime.logs.lines(claimed.job.id, after=4800, limit=1000)) == 400


@pytest.mark.parametrize("limit", [1, 60, 199, 200, 201])
async def test_pages_of_any_size_make_the_whole(idle_runtime: Runtime, limit: int) -> None:
    claimed = await claimed_job(idle_runtime)
    await write(idle_runtime, claimed, *numbered(420))
    found: list[str] = []
    after = 0 if limit > 1 else 190
    for _ in itertools.count():
        page = await idle_runtime.logs.lines(claimed.job.id, after=after, limit=limit)
        assert len(page) <= limit
        if not page or (limit == 1 and len(found) == 20):
            break
        found += [line.m for _, line in page]
        after = page[-1][0] + 1
    assert found == (numbered(420) if limit > 1 else numbered(210)[190:])


async def test_a_line_has_its_time_its_level_and_its_attempt(idle_runtime: Runtime) -> None:
    await add(idle_runtime, backoff=0)
    first = await claim(idle_runtime)
    await write(idle_runtime, first, "one", level="warning")
    await fail(idle_runtime, first)
    second = await claim(idle_runtime)
    await write(idle_runtime, second, "two")
    await write(idle_runtime, second, *numbered(INLINE_LOGS), level="debug")
    found = [line for _, line in await lines(idle_runtime, second.job)]
    assert [(line.m, line.level, line.attempt) for line in (found[0], found[1], found[-1])] == [
        ("one", "warning", 1),
        ("two", None, 2),
        ("line 199", "debug", 2),
    ]
    assert second.job.start_at is not None
    assert first.job.start_at is not None
    assert first.job.start_at <= found[0].t <= second.job.start_at <= found[1].t <= found[-1].t


@pytest.mark.parametrize("text", ["x", "é", "€", "\U0001f600"])
async def test_a_line_that_is_too_long_is_kept_as_several(idle_runtime: Runtime, text: str) -> None:
    claimed = await claimed_job(idle_runtime)
    whole = text * (LONGEST_LINE * 5 // 2 // len(text.encode()))
    await write(idle_runtime, claimed, "before", whole, "after")
    first, *parts, last = await texts(idle_runtime, claimed.job)
    assert (first, "".join(parts), last) == ("before", whole, "after")
    assert len(parts) == 3
    assert all(len(part.encode()) <= LONGEST_LINE for part in parts)


async def test_a_line_may_hold_any_text(idle_runtime: Runtime) -> None:
    claimed = await claimed_job(idle_runtime)
    odd = ["", " ", "a\nb", "\0", "$set", "$$NOW", "{}", "\ud800", "ä\u2028\U0001f600"]
    await write(idle_runtime, claimed, *odd)
    assert await texts(idle_runtime, claimed.job) == [*odd[:7], "?", odd[8]]


async def test_lines_that_are_written_at_once_are_all_kept_and_each_writers_in_its_order(
    idle_runtime: Runtime,
) -> None:
    claimed = await claimed_job(idle_runtime)
    reporter = JobReporter(idle_runtime.work, claimed.job, claimed.token, lambda _: None)

    async def write_some(writer: int) -> None:
        for number in range(30):
            await reporter.log(f"{writer} {number}")

    await asyncio.gather(*(write_some(writer) for writer in range(12)))
    found = await texts(idle_runtime, claimed.job)
    assert len(found) == len(set(found)) == 360
    for writer in range(12):
        own = [int(text.split()[1]) for text in found if text.split()[0] == str(writer)]
        assert own == list(range(30))


async def test_whoever_reports_on_a_job_that_was_killed_is_told_so(idle_runtime: Runtime) -> None:
    claimed = await claimed_job(idle_runtime)
    told: list[str] = []
    reporter = JobReporter(idle_runtime.work, claimed.job, claimed.token, told.append)
    await reporter.log("before")
    await idle_runtime.manager.kill(claimed.job.id)
    with pytest.raises(JobCancelledError):
        await reporter.log("after")
    with pytest.raises(JobCancelledError):
        await reporter.progress(50)
    assert told == ["the claim is not held any more"] * 2
    assert await texts(idle_runtime, claimed.job) == ["before"]


async def test_lines_stay_when_the_job_ends_and_go_on_in_the_next_run(idle_runtime: Runtime) -> None:
    claimed = await claimed_job(idle_runtime)
    await write(idle_runtime, claimed, *numbered(210))
    job = await succeed(idle_runtime, claimed)
    await idle_runtime.manager.requeue(job.id)
    again = await claim(idle_runtime)
    await write(idle_runtime, again, "next run")
    assert await texts(idle_runtime, job) == [*numbered(210), "next run"]


@pytest.mark.parametrize("progress", [-0.1, 100.1, 1e300])
async def test_a_progress_outside_its_bounds_is_refused_over_the_wire(idle_runtime: Runtime, progress: float) -> None:
    claimed = await claimed_job(idle_runtime)
    with pytest.raises(InvalidInputError, match="from 0 to 100"):
        await idle_runtime.work.report(claimed.job, claimed.token, progress=progress)


async def test_progress_and_lines_are_seen_while_the_job_runs(idle_runtime: Runtime) -> None:
    claimed = await claimed_job(idle_runtime)
    for progress in (0, 12.5, 100, 40):
        await idle_runtime.work.report(claimed.job, claimed.token, progress=progress, lines=[(str(progress), None)])
        seen = await idle_runtime.jobs.whole(claimed.job.id)
        assert (seen.progress, seen.logs[-1].m) == (progress, str(progress))


async def test_the_logs_of_a_job_that_is_not_there_are_not_found(idle_runtime: Runtime) -> None:
    with pytest.raises(NotFoundError):
        await idle_runtime.logs.lines("0" * 24)
