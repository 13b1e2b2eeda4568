"""Operations whose processes are killed with kill -9, one after the other."""

from __future__ import annotations

import asyncio
import random
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from bson import ObjectId

from jobqueue.domain.bulk.operation import Action, NewOperation, Stage
from jobqueue.domain.insight.audit import Actor
from tests.support.data.factories import fail, finished_documents
from tests.support.unmeasured import environment
from tests.support.waiting import eventually
from tests.support.zygote.process import ModuleProcess

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from jobqueue.services.application import Runtime

ROOT = Path(__file__).parents[3]
JOBS = 250
KILLS = 3
ANN = Actor(name="ann", via="http")
Process = ModuleProcess


@pytest.fixture
def start(mongo_url: str, db_name: str) -> Iterator[Callable[[], Process]]:
    """Start a process that carries operations on; all are stopped at the end."""
    started: list[Process] = []

    def one() -> Process:
        words = ("tests.support.workers.operation_worker", mongo_url, db_name)
        process = ModuleProcess(*words, cwd=ROOT, env=environment(), stdout=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        return process

    yield one
    for process in started:
        process.terminate()
    for process in started:
        process.wait(30)
        if process.stdout is not None:
            process.stdout.close()


async def insert_failed(runtime: Runtime) -> None:
    made = [one | {"state": "failed", "key": None, "attempts": 1} for one in finished_documents(JOBS)]
    await runtime.jobs.collection.insert_many(made)


async def fail_all(runtime: Runtime) -> None:
    """Run whatever is requeued, and let it fail again."""
    while True:
        while claimed := await runtime.work.claim("default", None, worker="w"):
            await fail(runtime, claimed)
        await asyncio.sleep(0.01)


async def test_each_job_is_requeued_once_whoever_is_killed(idle_runtime: Runtime, start: Callable[[], Process]) -> None:
    rng = random.Random(7)  # noqa: S311 - no secret
    await insert_failed(idle_runtime)
    # What has failed or is delayed again could be requeued, but for having been so by this operation.
    wanted = {"state": {"$in": ["failed", "delayed"]}}
    made = await idle_runtime.operations.create(NewOperation(action=Action.REQUEUE, by=ANN, filter=wanted))
    alive = start()
    marked = {"history.operation": ObjectId(made.id)}
    failing = asyncio.create_task(fail_all(idle_runtime))

    async def requeued(count: int) -> bool:
        return bool(await idle_runtime.jobs.collection.count_documents(marked) >= count)

    for kill in range(KILLS):
        count = (kill + 1) * JOBS // (KILLS + 2) + rng.randrange(10)
        await eventually(lambda count=count: requeued(count), every=0)  # type: ignore[misc]
        alive.kill()
        alive.wait(10)
        assert (await idle_runtime.operations.store.get(made.id)).stage is Stage.RUNNING
        alive = start()

    async def has_ended() -> bool:
        ended = (await idle_runtime.operations.store.get(made.id)).stage is not Stage.RUNNING
        return ended and not await idle_runtime.jobs.collection.count_documents({"state": {"$ne": "failed"}})

    await eventually(has_ended)
    failing.cancel()
    await asyncio.gather(failing, return_exceptions=True)
    ended = await idle_runtime.operations.store.get(made.id)
    assert (ended.stage, ended.done, ended.skipped, ended.failed) == (Stage.FINISHED, JOBS, 0, 0)
    entries = [[entry["outcome"] for entry in one["history"]] async for one in idle_runtime.jobs.collection.find({})]
    assert entries == [["requeue", "fail"]] * JOBS


async def test_each_job_is_killed_and_counted_once_whoever_is_killed(
    idle_runtime: Runtime, start: Callable[[], Process]
) -> None:
    await insert_failed(idle_runtime)
    await idle_runtime.jobs.collection.update_many({}, {"$set": {"state": "pending", "endAt": None}})
    made = await idle_runtime.operations.create(NewOperation(action=Action.KILL, by=ANN, all=True))
    mark = {"inOperations": ObjectId(made.id)}

    async def requeue_all() -> None:
        """Start all jobs anew, as a person may, when they are killed and perhaps not counted yet."""
        while True:
            async for one in idle_runtime.jobs.collection.find({"state": "killed"}, {"_id": 1}).limit(20):
                await idle_runtime.manager.requeue(str(one["_id"]))
            await asyncio.sleep(0.01)

    async def killed(count: int) -> bool:
        return bool(await idle_runtime.jobs.collection.count_documents(mark) >= count)

    requeuing = asyncio.create_task(requeue_all())
    alive = start()
    for kill in range(KILLS):
        await eventually(lambda count=(kill + 1) * JOBS // (KILLS + 2): killed(count), every=0)  # type: ignore[misc]
        alive.kill()
        alive.wait(10)
        alive = start()

    async def has_ended() -> bool:
        ended = (await idle_runtime.operations.store.get(made.id)).stage is not Stage.RUNNING
        return ended and not await idle_runtime.jobs.collection.count_documents({"state": "killed"})

    await eventually(has_ended)
    requeuing.cancel()
    await asyncio.gather(requeuing, return_exceptions=True)
    ended = await idle_runtime.operations.store.get(made.id)
    assert (ended.stage, ended.done, ended.skipped, ended.failed) == (Stage.FINISHED, JOBS, 0, 0)
    outcomes = [[entry["outcome"] for entry in one["history"]] async for one in idle_runtime.jobs.collection.find({})]
    assert outcomes == [["requeue"]] * JOBS


async def test_each_job_is_deleted_and_counted_once_whoever_is_killed(
    idle_runtime: Runtime, start: Callable[[], Process]
) -> None:
    await insert_failed(idle_runtime)
    made = await idle_runtime.operations.create(NewOperation(action=Action.DELETE, by=ANN, all=True))
    workers = [start() for _ in range(2)]

    async def left(count: int) -> bool:
        return bool(await idle_runtime.jobs.collection.count_documents({"state": "failed"}) <= count)

    await eventually(lambda: left(JOBS * 2 // 3), every=0)
    workers[0].kill()
    await eventually(lambda: left(JOBS // 3), every=0)
    workers[1].kill()
    start()

    async def has_ended() -> bool:
        return (await idle_runtime.operations.store.get(made.id)).stage is not Stage.RUNNING

    await eventually(has_ended)
    ended = await idle_runtime.operations.store.get(made.id)
    assert (ended.stage, ended.done, ended.skipped, ended.failed) == (Stage.FINISHED, JOBS, 0, 0)
