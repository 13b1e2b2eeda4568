"""A process that dies at any write while it erases a person, or kills expired jobs; the next one sees to the rest."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import pytest

from jobqueue.domain.alerts.alert import ALERT_QUEUE
from jobqueue.domain.attempts.states import State
from jobqueue.domain.bulk.operation import Stage
from jobqueue.domain.jobs.job import NewJob
from jobqueue.domain.steps.step import Wait
from jobqueue.domain.work.calls import NewCall
from jobqueue.domain.work.verdict import Success, Suspension
from jobqueue.domain.workflow.batch import Member, NewBatch
from jobqueue.store.bulk.operation_statements import FREE
from tests.support.crashes.crash_everywhere import Crash, Mortal, process, reaping
from tests.support.crashes.crash_recovery import clear, counts, recover, violations
from tests.support.crashes.crash_scenes import CALLBACKS, job, member
from tests.support.data.factories import LONG_AGO, claim
from tests.support.data.planted import BY, META, OTHER, erasure, left_in, plant, settle

if TYPE_CHECKING:
    from jobqueue.services.application import Runtime
    from jobqueue.settings import Settings
    from tests.support.faults.figures import Figures

MOST = 60
"""Writes that nothing here comes near to."""
PHASES = ["after", pytest.param("before", marks=pytest.mark.full)]


async def one_job(runtime: Runtime) -> str:
    """Plant a child of somebody else's job with lines, a large step, a key and changes; return its id."""
    for name in ("steps", "limits", "incidents"):
        await runtime.database.collection(name).delete_many({})
    new = NewJob(type="parent", queue="parent", meta=OTHER)
    await runtime.producer.add(new)
    parent = await claim(runtime, "parent")
    child = NewJob(type="child", queue="child", meta=META, key=plant("key"), on_failure=NewJob(type="k", data=META))
    called = await runtime.work.steps.call(parent.job, parent.token, "child", NewCall(jobs=(child,)))
    await settle(runtime, parent, Suspension(wait=Wait(names=("child",), jobs=called.unfinished)))
    claimed = await claim(runtime, "child")
    await runtime.work.report(claimed.job, claimed.token, lines=[(plant("line"), None)] * 201)
    await runtime.work.steps.record(claimed.job, claimed.token, "large", plant("large step", 2_000))
    await settle(runtime, claimed, Success(result=plant("result", 2_000)))
    await runtime.jobs.history.spill(claimed.job.id, keep=0, state=State.SUCCESS)
    await runtime.manager.patch(claimed.job.id, {"data": {"a": plant("edit")}}, by=BY)
    await runtime.outboxes.run_once()
    await settle(runtime, await claim(runtime, "parent"), Success())
    await told_of(runtime, claimed.job.id)
    return claimed.job.id


async def told_of(runtime: Runtime, job_id: str) -> None:
    """Plant what an alert has told of a job: a thing that goes on, a message that was sent, and one that waits."""
    thing = {"kind": "doubt", "key": f"{job_id}/{plant('step')}", "message": plant("told")}
    await runtime.database.collection("incidents").insert_one({"_id": job_id, **thing})
    data = {"kind": "doubt", "thing": thing["key"], "message": thing["message"], "alert": "ops"}
    for _ in range(2):
        await runtime.producer.add(NewJob(type="alert", queue=ALERT_QUEUE, data=data))
    await settle(runtime, await claim(runtime, ALERT_QUEUE), Success())


async def go_on(runtime: Runtime) -> None:
    """Carry out the operation that a dead process has left."""
    await runtime.database.collection("operations").update_many({"state": "running"}, {"$set": {"lease.until": FREE}})
    while await runtime.operations.carry_on():
        pass


@pytest.mark.timeout(300)
@pytest.mark.parametrize("phase", PHASES)
async def test_whoever_dies_while_it_erases_leaves_no_byte_and_counts_each_job_once(
    idle_runtime: Runtime, settings: Settings, phase: str, figures: Figures
) -> None:
    for nth in range(1, MOST):
        await clear(idle_runtime)
        job_id = await one_job(idle_runtime)
        mortal = Mortal(nth=nth, after=phase == "after")
        with reaping() as reaper:
            async with process(settings, mortal) as dying:
                with reaper.watching(mortal), contextlib.suppress(Crash):
                    made = await dying.operations.create(erasure())
                    while await dying.operations.carry_on(made.id):
                        pass
        await go_on(idle_runtime)
        operations = await idle_runtime.operations.store.page()
        if operations:
            [operation] = operations
            assert await left_in(idle_runtime) == {}, mortal.at
            assert (operation.stage, operation.done, operation.failed) == (Stage.FINISHED, 1, 0), mortal.at
            assert operation.receipt is not None
            told = {name: operation.receipt[name] for name in ("jobs", "logs", "attempts", "steps", "audit")}
            # With the message of an alert that was sent.
            assert told == {"jobs": 2, "logs": 201, "attempts": 2, "steps": 1, "audit": 1}, mortal.at
            erased = await idle_runtime.jobs.get(job_id)
            assert (erased.state, erased.data, erased.erased is not None) == (State.SUCCESS, {}, True)
        if mortal.at is None:
            break
        figures.fault("process crashed just before or after a certain write")
    assert 10 < nth < MOST


@pytest.mark.full
@pytest.mark.timeout(300)
@pytest.mark.parametrize("phase", ["after", "before"])
async def test_whoever_dies_while_jobs_expire_leaves_nothing_undone_or_done_twice(
    idle_runtime: Runtime, settings: Settings, phase: str, figures: Figures
) -> None:
    late: dict[str, Any] = {"start_before": LONG_AGO, "on_failure": job("kid")}
    for nth in range(1, MOST):
        await clear(idle_runtime)
        members: list[Member] = [member("a", **late), member("b", "a"), member("c")]
        await idle_runtime.batches.create(NewBatch(members=members, **CALLBACKS))
        mortal = Mortal(nth=nth, after=phase == "after")
        with reaping() as reaper:
            async with process(settings, mortal) as dying:
                with reaper.watching(mortal), contextlib.suppress(Crash):
                    await dying.expiry.run_once()
        await recover(idle_runtime)
        assert await violations(idle_runtime) == [], mortal.at
        ended = {"a": 1, "b": 1, "c": 1, "kid": 1, "complete": 1, "failure": 1}
        assert await counts(idle_runtime) == ended, mortal.at
        if mortal.at is None:
            break
        figures.fault("process crashed just before or after a certain write")
    assert 1 < nth < MOST
