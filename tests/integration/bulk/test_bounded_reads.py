"""Many jobs with large results: what is read of them at once is bounded, and no result is missing without a word."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import pytest
from bson import ObjectId

from jobqueue.domain.errors import ResultUnavailableError
from jobqueue.domain.jobs import json_form
from jobqueue.domain.jobs.job import NewJob
from jobqueue.domain.jobs.late import LateJob
from jobqueue.processors.callbacks.callback import ActiveJob, BlockingJob
from jobqueue.services.runs.reporter import JobReporter
from jobqueue.services.workflow.idempotency import KeyedRequest
from tests.support.data.factories import add, claimed_job

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from jobqueue.domain.jobs.job import Job
    from jobqueue.services.application import Runtime

LARGE = 3 * 1024 * 1024
LIMIT = 8 * 1024 * 1024
REST = 1024 * 1024


class Read:
    """The bytes that the server has sent of jobs."""

    sent = 0


@contextlib.asynccontextmanager
async def reading(runtime: Runtime) -> AsyncIterator[Read]:
    """Let the server measure what is read of jobs within the block."""
    raw, read = runtime.database.raw, Read()
    await raw.command("profile", 2)
    try:
        yield read
    finally:
        await raw.command("profile", 0)
        async for one in raw["system.profile"].find(
            {"ns": f"{raw.name}.jobs", "op": {"$in": ["query", "getmore", "command"]}}
        ):
            read.sent += one.get("responseLength", 0)
        await raw["system.profile"].drop()


async def give_results(runtime: Runtime, jobs: Sequence[str], size: int) -> None:
    for number, job_id in enumerate(jobs):
        changed = {"state": "success", "result": {"n": number, "text": "x" * size}}
        await runtime.jobs.collection.update_one({"_id": ObjectId(job_id)}, {"$set": changed})


async def born(runtime: Runtime, parent: Job, sizes: Sequence[int]) -> list[str]:
    made = []
    for number, size in enumerate(sizes):
        child = await runtime.jobs.insert(NewJob(type="child", priority=0, attempts=1, lease=60), parent_id=parent.id)
        await give_results(runtime, [child.id], size)
        changed = {"$set": {"result.n": number, "history": [{"operation": None}]}}
        await runtime.jobs.collection.update_one({"_id": ObjectId(child.id)}, changed)
        made.append(child.id)
    return made


def _reporter(runtime: Runtime, job: Job) -> JobReporter:
    """Return a reporter to which nothing is reported."""
    return JobReporter(runtime.work, job, "no claim", lambda _: None)


def result(child: Job) -> int | None:
    """Return the number in the result of a child, or ``None`` for a late result, which says how to load it."""
    if not isinstance(child, LateJob):
        number: int = child.result["n"]
        return number
    with pytest.raises(ResultUnavailableError, match=f"await job.child_result\\('{child.id}'\\)"):
        _ = child.result
    return None


async def test_children_come_with_their_results_up_to_8_mebibytes(idle_runtime: Runtime) -> None:
    parent = (await claimed_job(idle_runtime)).job
    ids = await born(idle_runtime, parent, [10, LARGE, LARGE, LARGE, 20, LARGE, 1000])
    async with reading(idle_runtime) as read:
        children = await idle_runtime.relatives(parent).children()
    assert read.sent < LIMIT + REST
    assert [child.id for child in children] == ids
    assert [result(child) for child in children] == [0, 1, 2, None, 4, None, 6]
    assert {type(child) for child in children if result(child) is None} == {LateJob}
    assert "child" in repr(children[3])
    active = ActiveJob(parent, _reporter(idle_runtime, parent), idle_runtime.relatives(parent))
    assert (await active.child_result(ids[3]))["n"] == 3
    with pytest.raises(ResultUnavailableError, match="no child"):
        await active.child_result(parent.id)


async def test_a_late_result_is_loaded_where_the_reader_may_wait(idle_runtime: Runtime) -> None:
    parent = (await claimed_job(idle_runtime)).job
    await born(idle_runtime, parent, [LARGE] * 4)
    loaded: list[str] = []

    def load(job_id: str) -> dict[str, int]:
        loaded.append(job_id)
        return {"n": 7}

    children = await idle_runtime.relatives(parent).children(load)
    assert [child.result["n"] for child in children] == [0, 1, 7, 7]
    assert loaded == [child.id for child in children[2:]]


async def test_a_plain_handler_reads_all_results_of_its_children(runtime: Runtime) -> None:
    parent = await add(runtime, "parent")
    await born(runtime, parent, [LARGE] * 4)
    read: list[list[Any]] = []

    def handle(job: Any) -> None:
        read.append([child.result["n"] for child in job.children()])

    loop = asyncio.get_running_loop()
    blocking = BlockingJob(parent, _reporter(runtime, parent), runtime.relatives(parent), loop)
    await asyncio.to_thread(handle, blocking)
    assert read == [[0, 1, 2, 3]]


async def test_a_repeated_request_for_many_jobs_reads_no_large_results(idle_runtime: Runtime) -> None:
    once = KeyedRequest(key="k", digest="d")
    new = [NewJob(type="work") for _ in range(5)]
    made, fresh = await idle_runtime.idempotency.add_all(once, new)
    assert fresh
    await give_results(idle_runtime, [made[0].id], 1000)
    await give_results(idle_runtime, [job.id for job in made[1:]], LARGE)
    async with reading(idle_runtime) as read:
        again, fresh = await idle_runtime.idempotency.add_all(once, new)
    assert [job.id for job in again] == [job.id for job in made]
    assert (fresh, {job.state.value for job in again}) == (False, {"success"})
    assert read.sent < REST
    shown = [json_form.job(job) for job in again]
    assert [len(set(one) & {"result", "logs", "history"}) for one in shown] == [3, 0, 0, 0, 0]
    assert len(shown[0]["result"]["text"]) == 1000


async def test_a_family_reads_no_results(idle_runtime: Runtime) -> None:
    job = await add(idle_runtime)
    line = [job.id]
    for _ in range(5):
        job = await idle_runtime.jobs.insert(NewJob(type="child", priority=0, attempts=1, lease=60), parent_id=job.id)
        line.append(job.id)
    await give_results(idle_runtime, line[:-1], LARGE)
    async with reading(idle_runtime) as read:
        family = await idle_runtime.manager.family(job.id)
    assert [one.id for one in family.ancestors] == line[:-1]
    assert read.sent < REST
