"""Runs of the demo that break off, against a real MongoDB, in this process."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Self

import pytest

from jobqueue import JobQuery, JobQueue, State
from jobqueue.demo.run import Order, Run
from jobqueue.demo.stages import ANALYSE, FIND, REPORT, queue_name

from .cli_process import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from jobqueue import Job
    from jobqueue.demo.tally import Snapshot


class Silent:
    """Shows nothing, and keeps what it was shown."""

    def __init__(self) -> None:
        self.seen: list[Snapshot] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def show(self, now: Snapshot) -> None:
        self.seen.append(now)

    def say(self, line: str) -> None:
        raise AssertionError(line)


@contextlib.asynccontextmanager
async def process(mongo_url: str, db_name: str) -> AsyncIterator[JobQueue]:
    async with JobQueue(mongo_url=mongo_url, db=db_name) as queue:
        yield queue


async def watched(run: Run, display: Silent | None = None) -> Job:
    async with asyncio.timeout(60):
        report = await run.watch(display or Silent(), asyncio.Event())
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
        await run.begin(Order(root=tree))
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
    assert report.id != broken.id
    assert report.result["totals"]["files"] == 6


async def test_finding_again_adds_nothing_twice(mongo_url: str, db_name: str, tree: Path) -> None:
    async with process(mongo_url, db_name) as queue, queue.working():
        run = Run(queue)
        await run.begin(Order(root=tree))
        first = await watched(run)
        (tree / "new.py").write_text("x = 1\n")
        assert first.parent_id is not None
        find = await queue.requeue(first.parent_id)
        reports = await eventually(
            lambda: found(queue, run, REPORT), lambda seen: len(seen) == 2 and seen[0].state is State.SUCCESS
        )
        find = await queue.get(find.id)
        analyses = await found(queue, run, ANALYSE)

    assert (find.type, find.result["files"], find.result["added"]) == (FIND, 7, 1)
    assert sorted(job.data["file"] for job in analyses) == [
        "bad.py",
        *(f"m{number}.py" for number in range(5)),
        "new.py",
    ]
    assert reports[0].result["totals"]["files"] == 7


async def test_a_run_that_has_ended_is_shown_again_with_its_counts(mongo_url: str, db_name: str, tree: Path) -> None:
    async with process(mongo_url, db_name) as queue, queue.working():
        run = Run(queue)
        await run.begin(Order(root=tree))
        report = await watched(run)
    async with process(mongo_url, db_name) as queue:
        display = Silent()
        again = Run(queue, run.id)
        await again.resume()
        assert await watched(again, display) == report

    assert (display.seen[-1].total, display.seen[-1].done, display.seen[-1].failed) == (6, 5, 1)


async def test_analyses_that_were_added_by_a_slow_twin_are_not_added_twice(
    mongo_url: str, db_name: str, tree: Path
) -> None:
    async with process(mongo_url, db_name) as queue:
        run = Run(queue)
        stages = run._stages
        await stages._add(tree, ["m0.py", "m1.py"])
        await stages._add(tree, ["m1.py", "m2.py"])
        await stages._add(tree, ["m1.py", "m2.py"])
        analyses = await found(queue, run, ANALYSE)

    assert sorted(job.data["file"] for job in analyses) == ["m0.py", "m1.py", "m2.py"]


async def test_the_report_waits_for_the_analyses_and_says_how_far_it_is(
    mongo_url: str, db_name: str, tree: Path
) -> None:
    async with process(mongo_url, db_name) as queue, queue.working(concurrency=1):
        run = Run(queue)
        await run.begin(Order(root=tree))
        report = await watched(run)

    waits = [one.error.message for one in report.history if one.error is not None]
    assert waits
    assert all(" of 6 analysed" in message for message in waits)
    assert report.attempts_made == 1


async def found(queue: JobQueue, run: Run, kind: str) -> tuple[Job, ...]:
    return (await queue.list(JobQuery(queue=queue_name(run.id), type=kind, limit=200))).items


def move(source: Path, target: Path) -> None:
    source.rename(target)
