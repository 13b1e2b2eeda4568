"""Erasure of a person: no byte is left, states, times and counts stay, and what is unfinished is named."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from jobqueue.domain.attempts.states import State
from jobqueue.domain.bulk.operation import Action, NewOperation, Stage
from jobqueue.domain.errors import ConflictError
from jobqueue.domain.jobs.job import NewJob
from jobqueue.domain.schedules.cron import Every
from jobqueue.domain.schedules.schedule import Schedule
from tests.support.data.factories import add, claim, succeed
from tests.support.data.planted import (
    BY,
    MARK,
    META,
    OTHER,
    PERSON,
    document,
    erase,
    erasure,
    everything,
    left_in,
    long_one,
    plant,
)

if TYPE_CHECKING:
    from jobqueue.services.application import Runtime

PLACES = {"jobs", "logs", "attempts", "steps", "audit", "operations", "batches", "idempotency", "aside", "limits"}


async def test_no_byte_of_a_person_is_left_in_any_collection(idle_runtime: Runtime) -> None:
    long_id, parent_id, batch_id = await everything(idle_runtime)
    bystander = await add(idle_runtime, meta=OTHER, data={"stays": True})
    await succeed(idle_runtime, await claim(idle_runtime), {"n": 1})
    before = await document(idle_runtime, bystander.id)
    assert set(await left_in(idle_runtime)) == PLACES
    jobs = await idle_runtime.jobs.collection.count_documents({"meta.user_id": PERSON})
    states = sorted([one["state"] async for one in idle_runtime.jobs.collection.find({}, {"state": 1})])

    ended = await erase(idle_runtime)

    assert await left_in(idle_runtime) == {}
    assert (ended.stage, ended.done, ended.failed, ended.matched) == (Stage.FINISHED, jobs, 0, jobs)
    assert sorted([one["state"] async for one in idle_runtime.jobs.collection.find({}, {"state": 1})]) == states
    assert await document(idle_runtime, bystander.id) == before
    assert ended.receipt is not None
    assert ended.receipt["left"] == {
        "jobs": {"count": 0, "ids": []},
        "batches": [],
        "schedules": [],
        "tokens": [],
        "parents": [],
    }
    counts = {name: ended.receipt[name] for name in ("jobs", "logs", "signals", "batches", "operations", "setAside")}
    assert counts == {"jobs": jobs, "logs": 250, "signals": 1, "batches": 1, "operations": 2, "setAside": 1}
    assert ended.receipt["steps"] == 2
    assert ended.receipt["idempotency"] == 2
    assert ended.new.filter == {"meta.user_id": "erased"}

    long_one = await idle_runtime.jobs.whole(long_id)
    assert (long_one.state, long_one.attempts_made, len(long_one.history)) == (State.SUCCESS, 1, 4)
    assert [entry.outcome for entry in long_one.history] == ["fail", "success", "requeue", "success"]
    assert all(entry.end_at for entry in long_one.history)
    assert long_one.erased is not None
    assert (long_one.erased["logs"], long_one.erased["operation"]) == (250, ended.id)
    parent = await idle_runtime.jobs.get(parent_id)
    assert (parent.result, parent.meta, parent.erased) == ("of nobody", OTHER, None)
    assert [step.error and step.error.kind for step in parent.steps or ()] == ["erased", "erased"]
    assert (await idle_runtime.batches.get(batch_id)).batch.meta == {}


async def test_an_erased_job_cannot_be_requeued_or_changed(idle_runtime: Runtime) -> None:
    job_id = await long_one(idle_runtime)
    await erase(idle_runtime)
    for call in (
        idle_runtime.manager.requeue(job_id),
        idle_runtime.manager.patch(job_id, {"data": {}}),
    ):
        with pytest.raises(ConflictError, match=r"was erased on 20.*nothing of its contents is left"):
            await call
    requeue = NewOperation(action=Action.REQUEUE, by=BY, filter={"state": "success"})
    assert (await idle_runtime.operations.preview(requeue))[0] == 0
    stale = await idle_runtime.jobs.get(job_id)
    with pytest.raises(ConflictError):
        await idle_runtime.requeues.requeue(stale, {})
    assert (await idle_runtime.jobs.get(job_id)).state is State.SUCCESS
    again = await erase(idle_runtime)
    assert (again.matched, again.done) == (0, 0)


async def test_what_is_unfinished_is_named_and_stays(idle_runtime: Runtime) -> None:
    waiting = await add(idle_runtime, queue="later", meta=META, data={"a": MARK})
    source = await add(idle_runtime, meta=META)
    reader = await add(idle_runtime, depends_on=[source.id, waiting.id])
    await succeed(idle_runtime, await claim(idle_runtime), plant("result"))
    job = NewJob(type="tick", meta=META)
    await idle_runtime.schedules.put(Schedule(name="nightly", job=job, recurrence=Every(seconds=86_400)))
    matched, is_exact, _ = await idle_runtime.operations.preview(erasure())
    assert (matched, is_exact) == (1, True)
    ended = await erase(idle_runtime)
    assert ended.receipt is not None
    left = ended.receipt["left"]
    assert left["jobs"] == {"count": 1, "ids": [waiting.id]}
    assert left["schedules"] == ["nightly"]
    assert [failure["id"] for failure in ended.failures] == [source.id]
    assert reader.id in ended.failures[0]["reason"]
    assert (await idle_runtime.jobs.get(source.id)).result == plant("result")
    assert (await idle_runtime.jobs.get(waiting.id)).data == {"a": MARK}
    assert set(await left_in(idle_runtime)) == {"jobs", "schedules", "audit"}


async def test_a_stopped_erasure_keeps_no_value_either(idle_runtime: Runtime) -> None:
    made = await idle_runtime.operations.create(erasure())
    assert made.shown_filter == {"meta.user_id": "erased"}
    assert set(await left_in(idle_runtime)) == {"operations"}
    await idle_runtime.operations.store.stop(made.id, BY)
    assert await left_in(idle_runtime) == {}
