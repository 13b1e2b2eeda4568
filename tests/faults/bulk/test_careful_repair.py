"""The repair of the night: a trial, then a pace, then the stop rule, with processes killed by kill -9 meanwhile."""

from __future__ import annotations

import asyncio
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from bson import ObjectId

from jobqueue.domain.bulk.operation import Action, NewOperation, Stage
from jobqueue.domain.bulk.rules import Rules, Why
from jobqueue.domain.insight.audit import Actor
from jobqueue.store.mongo.clock import EPOCH
from tests.support.data.factories import fail, finished_documents, succeed
from tests.support.unmeasured import environment
from tests.support.waiting import eventually
from tests.support.zygote.process import ModuleProcess

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from jobqueue.domain.bulk.operation import Operation
    from jobqueue.services.application import Runtime

JOBS = 24
BAD = 3
ANN = Actor(name="ann", via="http")


@pytest.fixture
def start(mongo_url: str, db_name: str) -> Iterator[Callable[[], ModuleProcess]]:
    """Start a process that carries operations on; all are killed at the end."""
    started: list[ModuleProcess] = []

    def one() -> ModuleProcess:
        words = ("tests.support.workers.operation_worker", mongo_url, db_name)
        root = Path(__file__).parents[3]
        process = ModuleProcess(*words, cwd=root, env=environment(), stdout=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        return process

    yield one
    for process in started:
        process.kill()
    for process in started:
        process.wait(30)
        if process.stdout is not None:
            process.stdout.close()


async def test_a_trial_a_pace_and_a_stop_rule_survive_killed_processes(
    idle_runtime: Runtime, start: Callable[[], ModuleProcess]
) -> None:
    documents = [one | {"state": "failed", "key": None, "attempts": 1} for one in finished_documents(JOBS)]
    await idle_runtime.jobs.collection.insert_many(documents)
    rules = Rules.of({"trial": 2, "then": True, "pace": 4, "stop_after": BAD})
    made = await idle_runtime.operations.create(NewOperation(action=Action.REQUEUE, by=ANN, all=True, rules=rules))
    most, ran = 0, 0

    async def keep_working() -> None:
        """Run jobs one by one; the last ones before the end of the first half fail."""
        nonlocal most, ran
        while True:
            most = max(most, await idle_runtime.jobs.collection.count_documents({"state": {"$ne": "failed"}, **OPEN}))
            if claimed := await idle_runtime.work.claim("default", None, worker="w"):
                ran += 1
                is_bad = JOBS // 2 - BAD <= ran < JOBS // 2
                await (fail(idle_runtime, claimed) if is_bad else succeed(idle_runtime, claimed))
            else:
                await asyncio.sleep(0.02)

    async def operation() -> Operation:
        return await idle_runtime.operations.store.get(made.id)

    async def reached(count: int) -> bool:
        return (await operation()).done >= count

    async def killed(process: ModuleProcess) -> None:
        process.kill()
        process.wait(10)
        # If it held the operation, its lease is over.
        await idle_runtime.operations.store.collection.update_many(
            {"state": "running"}, {"$set": {"lease.until": EPOCH}}
        )

    working = asyncio.create_task(keep_working())
    alive = start()
    for count in (1, JOBS // 4):
        await eventually(lambda count=count: reached(count), every=0)  # type: ignore[misc]
        await killed(alive)
        alive = start()

    async def has_ended() -> bool:
        return (await operation()).stage is not Stage.RUNNING

    await eventually(has_ended)
    stopped = await operation()
    assert stopped.stopped is not None
    assert (stopped.stage, stopped.stopped.why, stopped.counts.failed) == (Stage.STOPPED, Why.FAILURES, BAD)
    assert stopped.done < JOBS
    await idle_runtime.operations.resume(made.id, {"pace": 8}, ANN)
    await killed(alive)
    start()
    await eventually(has_ended)
    working.cancel()
    await asyncio.gather(working, return_exceptions=True)
    ended = await operation()
    assert (ended.stage, ended.done, ended.skipped, ended.failed) == (Stage.FINISHED, JOBS, 0, 0)
    assert (ended.counts.succeeded, ended.counts.failed, ended.counts.unknown) == (JOBS - BAD, BAD, 0)
    note = ObjectId(made.id)
    cursor = idle_runtime.jobs.collection.find({})
    assert [sum(entry.get("operation") == note for entry in one["history"]) async for one in cursor] == [1] * JOBS
    # Never more at once than the pace.
    assert 1 <= most <= 8


OPEN = {"endAt": None}
