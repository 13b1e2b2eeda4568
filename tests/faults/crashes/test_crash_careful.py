"""A careful operation whose process dies at any write: the next one goes on, and no job has a second turn."""

from __future__ import annotations

import contextlib
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from bson import ObjectId

from jobqueue.domain.bulk.operation import Action, NewOperation, Stage
from jobqueue.domain.bulk.rules import Results, Rules
from jobqueue.domain.insight.audit import Actor
from jobqueue.store.insight.audit_outbox import AuditOutbox
from jobqueue.store.mongo.clock import EPOCH
from tests.support.crashes.crash_everywhere import Crash, Mortal, process, reaping
from tests.support.crashes.crash_recovery import clear, work_off
from tests.support.data.factories import ERROR, add, claim, fail

if TYPE_CHECKING:
    from jobqueue.services.application import Runtime
    from jobqueue.settings import Settings
    from tests.support.faults.figures import Figures

MOST = 80
KINDS = ("good", "bad", "good")
RULES = Rules.of({"trial": 1, "then": True, "pace": 2, "stop_after": 1})
BY = Actor(name="ann", via="test")
TURNS = 5


@pytest.mark.parametrize("phase", ["after", pytest.param("before", marks=pytest.mark.full)])
async def test_a_careful_operation_goes_on_after_a_crash_at_any_write(
    idle_runtime: Runtime, settings: Settings, phase: str, figures: Figures
) -> None:
    with reaping() as reaper:
        for nth in range(1, MOST):
            await clear(idle_runtime)
            for kind in KINDS:
                await add(idle_runtime, kind, attempts=1)
                await fail(idle_runtime, await claim(idle_runtime), ERROR)
            mortal = Mortal(nth=nth, after=phase == "after")
            async with process(settings, mortal) as dying:
                with reaper.watching(mortal), contextlib.suppress(Crash):
                    await operate(dying, idle_runtime)
                await go_on(idle_runtime, begins=not await idle_runtime.operations.store.page())
            await check(idle_runtime, str(mortal.at))
            if mortal.at is None:
                break
            figures.fault("process crashed just before or after a certain write")
    assert 15 < nth < MOST


async def operate(dying: Runtime, others: Runtime) -> None:
    """Begin and carry out an operation, whose jobs others run."""
    await begin(dying)
    for _ in range(TURNS):
        await turn(dying, others)


async def begin(runtime: Runtime) -> None:
    await runtime.operations.create(NewOperation(action=Action.REQUEUE, by=BY, all=True, rules=RULES))


async def turn(runtime: Runtime, others: Runtime) -> None:
    """Look at the operation once, and run the jobs that wait."""
    free = {"$set": {"lease.until": EPOCH}}
    await others.operations.store.collection.update_many({"state": Stage.RUNNING.value}, free)
    await runtime.operations.carry_on()
    await work_off(others, {"bad"})


async def go_on(runtime: Runtime, *, begins: bool) -> None:
    if begins:
        await begin(runtime)
    for _ in range(TURNS):
        await turn(runtime, runtime)
    (operation,) = await runtime.operations.store.page()
    if operation.stage is Stage.STOPPED:
        await runtime.operations.resume(operation.id, {}, BY)
    for _ in range(2):
        await turn(runtime, runtime)
    await AuditOutbox(runtime.database).run_once()


async def check(runtime: Runtime, at: str) -> None:
    (ended,) = await runtime.operations.store.page()
    assert (ended.stage, ended.done, ended.skipped, ended.failed) == (Stage.FINISHED, len(KINDS), 0, 0), at
    assert ended.results == Results(succeeded=2, failed=1), at
    requeues = [
        sum(entry.get("operation") == ObjectId(ended.id) for entry in job["history"])
        async for job in runtime.jobs.collection.find({})
    ]
    assert requeues == [1] * len(KINDS), at
    entries = runtime.database.collection("audit").find({"target.name": ended.id})
    noted = Counter([entry["action"] async for entry in entries])
    assert noted == {"requeue": 1, "stop": 1, "resume": 1}, at
