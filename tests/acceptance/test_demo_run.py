"""Runs of the demo that break off, against a real MongoDB, in this process."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from jobqueue import JobQuery, JobQueue, State
from jobqueue.demo.run import ANALYSE, FIND, Run
from jobqueue.domain.errors import InvalidInputError, NotFoundError
from jobqueue.processors.callbacks.callback import ActiveJob

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from jobqueue import Job


@contextlib.asynccontextmanager
async def process(mongo_url: str, db_name: str) -> AsyncIterator[JobQueue]:
    async with JobQueue(mongo_url=mongo_url, db=db_name) as queue:
        yield queue


async def watched(run: Run, shown: list[tuple[int, int | None, str]] | None = None) -> Job:
    def show(ended: int, total: int | None, line: str) -> None:
        if shown is not None:
            shown.append((ended, total, line))

    async with asyncio.timeout(60):
        report = await run.watch(show, asyncio.Event())
    assert report is not None
    return report


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "tree"
    root.mkdir()
    for number in range(5):
        (root / f"m{number}.py").write_text("x = 1\n")
    (root / "bad.py").write_text("x = = 1\n")
    return root


async def test_a_stage_that_broke_off_begins_again_on_resume(mongo_url: str, db_name: str, tree: Path) -> None:
    gone = tree.with_name("gone")
    move(tree, gone)
    async with process(mongo_url, db_name) as queue:
        run = Run(queue)
        await run.begin(tree)
        async with queue.working():
            broken = await watched(run)
    assert broken.state is State.KILLED
    assert broken.error is not None
    assert broken.error.message.startswith("demo.find failed: [Errno 2]")

    move(gone, tree)
    async with process(mongo_url, db_name) as queue:
        again = Run(queue, run.id)
        await again.resume()
        async with queue.working():
            report = await watched(again)
    assert report.state is State.SUCCESS
    assert report.id == broken.id
    assert report.result["totals"]["files"] == 6


async def test_finding_again_adds_nothing_twice(
    mongo_url: str, db_name: str, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with process(mongo_url, db_name) as queue, queue.working():
        run = Run(queue)
        broken: list[str] = []
        log = ActiveJob.log

        async def breaks_once(job: ActiveJob, line: str, level: str | None = None) -> None:
            await log(job, line, level)
            if line.startswith("added") and not broken:
                broken.append(line)
                raise RuntimeError("in the middle of it")

        monkeypatch.setattr(ActiveJob, "log", breaks_once)
        await run.begin(tree)
        report = await watched(run)
        (find,) = await found(queue, run, FIND)
        analyses = await found(queue, run, ANALYSE)

    assert broken
    assert (find.attempts_made, find.result["files"], find.result["added"]) == (2, 6, 0)
    assert sorted(job.data["file"] for job in analyses) == ["bad.py", *(f"m{number}.py" for number in range(5))]
    assert report.result["totals"]["files"] == 6


async def test_a_run_that_has_ended_is_shown_again_with_its_counts(mongo_url: str, db_name: str, tree: Path) -> None:
    async with process(mongo_url, db_name) as queue, queue.working():
        run = Run(queue)
        await run.begin(tree)
        report = await watched(run)
    async with process(mongo_url, db_name) as queue:
        shown: list[tuple[int, int | None, str]] = []
        again = Run(queue, run.id)
        await again.resume()
        # The end of its batch may have been noted meanwhile.
        assert replace(await watched(again, shown), outbox=()) == replace(report, outbox=())

    assert shown == [(8, 8, "1 failed, 0 retried; last: ")]


async def test_the_report_waits_for_the_analyses_and_runs_once(mongo_url: str, db_name: str, tree: Path) -> None:
    async with process(mongo_url, db_name) as queue, queue.working(concurrency=1):
        run = Run(queue)
        await run.begin(tree)
        report = await watched(run)
        analyses = await found(queue, run, ANALYSE)

    assert len(report.history) == 1
    assert report.start_at is not None
    assert all(analysis.end_at is not None and analysis.end_at <= report.start_at for analysis in analyses)


async def test_a_repaired_run_starts_again_only_what_failed(mongo_url: str, db_name: str, tmp_path: Path) -> None:
    root = tmp_path / "many"
    root.mkdir()
    for number in range(20):
        (root / f"m{number:02}.py").write_text("x = 1\n")
    async with process(mongo_url, db_name) as queue, queue.working():
        run = Run(queue)
        await run.begin(root, copy_to=tmp_path / "copy")
        fallen = await watched(run)
        assert (fallen.state, fallen.error.kind if fallen.error else None) == (State.KILLED, "dependency")
        before = {job.id: job for job in await found(queue, run, ANALYSE)}
        failed = {job_id for job_id, job in before.items() if job.state is State.FAILED}
        assert len(failed) == 2

    async with process(mongo_url, db_name) as queue, queue.working():
        again = Run(queue, run.id)
        assert await again.repair() == 2
        report = await watched(again)
        assert report.state is State.SUCCESS
        assert report.result["totals"] | {"files": 20, "analysed": 20, "failed": 0} == report.result["totals"]
        for job in await found(queue, again, ANALYSE):
            assert (job.run, len(job.history)) == ((1, 5) if job.id in failed else (0, 1))
        assert await again.delete() == 22
        assert not (tmp_path / "copy").exists()


async def test_a_run_that_was_not_broken_cannot_be_repaired(mongo_url: str, db_name: str, tree: Path) -> None:
    async with process(mongo_url, db_name) as queue:
        run = Run(queue)
        with pytest.raises(NotFoundError):
            await run.repair()
        await run.begin(tree)
        with pytest.raises(InvalidInputError, match="--break"):
            await run.repair()


async def found(queue: JobQueue, run: Run, kind: str) -> tuple[Job, ...]:
    return (await queue.list(JobQuery(queue=run.queue, type=kind, limit=200))).items


def move(source: Path, target: Path) -> None:
    source.rename(target)
