"""Workflows in Python on a real database: started, waited for, and read in their types."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from jobqueue import InvalidInputError, JobFailedError, JobQuery, NewJob, Workflow, chain

if TYPE_CHECKING:
    from jobqueue import ActiveJob, BlockingJob, JobQueue

LONG = 60


@dataclass
class Album:
    title: str
    pictures: list[str]


class Tasks:
    """An album whose pictures are known only when the first job has run."""

    def __init__(self, queue: JobQueue) -> None:
        self.runs: list[str] = []
        self.fetch = queue.task("fetch")(self._fetch)
        self.shrink = queue.task("shrink", aliases=["thumb"])(self._shrink)
        self.spread = queue.task("spread", attempts=2, backoff=0)(self._spread)
        self.report = queue.task("report")(self._report)

    async def _fetch(self, title: str) -> Album:
        return Album(title, ["a.png", "bb.png", "ccc.png"])

    def _shrink(self, src: str) -> int:
        if src == "bad.png":
            raise ValueError(src)
        return len(src)

    async def _spread(self, job: ActiveJob) -> None:
        album = await job.result_of(self.fetch)
        items: list[Any] = [self.shrink.new(album.pictures[0]), *({"src": src} for src in album.pictures[1:])]
        await job.fan_out(self.shrink, items[: 1 + job.attempt], ref="picture", join="report")
        assert job.attempt == 2
        await job.fan_out(self.shrink, items, ref="picture", join="report")

    def _report(self, job: BlockingJob) -> str:
        with pytest.raises(LookupError, match="4 dependencies of the job has the type 'shrink'"):
            job.result_of(self.shrink)
        album = job.result_of(self.fetch)
        return f"{album.title}: {sum(job.all_results_of(self.shrink))}"


async def test_a_workflow_is_started_and_read_in_its_types(queue: JobQueue) -> None:
    tasks = Tasks(queue)
    flow = Workflow("album", meta={"user_id": 42})
    fetched = flow.add(tasks.fetch.new("Summer"))
    spread = flow.add(tasks.spread.new(), after=fetched)
    cover = flow.add(tasks.shrink.new("cover.png"))
    report = flow.add(tasks.report.new(), after=[fetched, spread, cover], ref="report")
    batch = await queue.start(flow)
    assert (sum(batch.counts.values()), sorted(batch.jobs)) == (4, ["fetch", "report", "shrink", "spread"])
    async with queue.working():
        view = await batch.wait(LONG)
    assert (view.batch.meta, view.verdict) == ({"workflow": "album", "user_id": 42}, "success")
    assert batch.counts["success"] == 7
    assert await batch.result(report) == f"Summer: {len('a.png' + 'bb.png' + 'ccc.png' + 'cover.png')}"
    assert await batch.result(fetched) == Album("Summer", ["a.png", "bb.png", "ccc.png"])
    assert [width async for width in batch.results(tasks.shrink)] == [9, 5, 6, 7]
    assert [album.title async for album in batch.results(tasks.fetch)] == ["Summer"]
    assert len([result async for result in batch.results()]) == 7
    assert [result async for result in batch.results("report")] == [await batch.ref(report).result()]


async def test_failures_and_strangers_are_told(queue: JobQueue) -> None:
    tasks = Tasks(queue)
    flow = chain(tasks.shrink.options(attempts=1).new("bad.png"), tasks.report.new())
    batch = await queue.start(flow)
    bad, report = flow.members
    with pytest.raises(TimeoutError):
        await batch.wait(0.2)
    async with queue.working():
        assert (await batch.wait(LONG)).verdict == "failed"
    with pytest.raises(JobFailedError, match=r"bad\.png"):
        await batch.result(bad)
    with pytest.raises(JobFailedError):
        await batch.result(report)
    stranger = Workflow().add(tasks.shrink.new("a.png"), ref="stranger")
    with pytest.raises(InvalidInputError, match="'stranger' is no member"):
        batch.ref(stranger)


async def test_a_fan_out_takes_types_and_refuses_mistakes(queue: JobQueue) -> None:
    mistakes: list[str] = []

    @queue.handler("first", queue="media")
    async def first(job: ActiveJob) -> None:
        for items, options in (([{}], {"prioritty": 3}), ([7], {})):
            try:
                await job.fan_out("part", items, **options)  # type: ignore[arg-type]
            except (InvalidInputError, TypeError) as error:
                mistakes.append(str(error))
        await job.fan_out("part", [{"n": n} for n in range(1_001)], meta={"of": "it"})

    batch = await queue.start(chain(NewJob(type="first", queue="media")))
    async with queue.working():
        await queue.wait(batch.jobs["first"], LONG)
    assert [message.split(":")[0] for message in mistakes] == ["prioritty", "data"]
    parts = await queue.list(JobQuery(batch_id=batch.id, type="part", oldest_first=True, limit=2))
    assert [(job.queue, job.ref, job.data, job.meta) for job in parts.items] == [
        ("media", "part-1", {"n": 0}, {"of": "it"}),
        ("media", "part-2", {"n": 1}, {"of": "it"}),
    ]
    assert (await batch.view()).total == 1_002
