"""A careful repair: a trial, then a pace, an end by itself after failures, and the way on after a stop."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from bson import ObjectId

from jobqueue.domain.attempts.states import State
from jobqueue.domain.bulk.operation import Action, Stage
from jobqueue.domain.bulk.rules import Results, Rules, Why
from jobqueue.domain.errors import ConflictError, InvalidInputError
from jobqueue.store.mongo.clock import EPOCH
from tests.integration.bulk.test_operations import ANN, insert_failed, new, requeues, states
from tests.support.data.factories import claim, fail, job_in, open_runtime, succeed
from tests.support.mongo.driver_commands import SentCommands

if TYPE_CHECKING:
    from jobqueue.domain.bulk.operation import Operation
    from jobqueue.services.application import Runtime
    from jobqueue.settings import Settings

ALL = {"state": {"$in": ["failed", "delayed"]}}
GOES_ON = {"trial": 1, "then": True, "pace": 3, "stop_after": 2}


async def begin(runtime: Runtime, rules: dict[str, Any], **fields: Any) -> str:
    made = await runtime.operations.create(new(filter=ALL, rules=Rules.of(rules), **fields))
    return made.id


async def look(runtime: Runtime, operation_id: str) -> Operation:
    """Carry an operation on as far as it goes, at once after a pause, and return it."""
    await runtime.operations.store.collection.update_many({"state": "running"}, {"$set": {"lease.until": EPOCH}})
    while await runtime.operations.carry_on(operation_id):
        pass
    return await runtime.operations.store.get(operation_id)


async def work(runtime: Runtime, *, bad: int = 0) -> int:
    """Run all jobs that wait, of which the first ones fail; return their number."""
    done = 0
    while claimed := await runtime.work.claim("default", None, worker="w"):
        done += 1
        await (fail(runtime, claimed) if done <= bad else succeed(runtime, claimed))
    return done


async def test_a_trial_is_followed_by_a_pace_and_the_rule_stops_it(idle_runtime: Runtime) -> None:
    await insert_failed(idle_runtime, 12, attempts=1)
    operation_id = await begin(idle_runtime, GOES_ON)
    trial = await look(idle_runtime, operation_id)
    assert (trial.done, trial.is_trial, trial.results) == (1, True, Results(unfinished=1))
    assert (await look(idle_runtime, operation_id)).done == 1
    assert await work(idle_runtime) == 1
    paced = await look(idle_runtime, operation_id)
    assert (paced.done, paced.is_trial, paced.results) == (4, False, Results(unfinished=3, succeeded=1))
    assert await work(idle_runtime, bad=1) == 3
    assert (await look(idle_runtime, operation_id)).done == 7
    await work(idle_runtime, bad=1)
    stopped = await look(idle_runtime, operation_id)
    assert (stopped.stage, stopped.done, stopped.results) == (Stage.STOPPED, 7, Results(succeeded=5, failed=2))
    assert stopped.stopped is not None
    assert (stopped.stopped.why, stopped.stopped.message) == (
        Why.FAILURES,
        "2 jobs failed again of the 7 that it requeued: it stops after 2",
    )
    again = {str(job["_id"]) async for job in idle_runtime.jobs.collection.find({"state": "failed", "run": 1})}
    assert {job["id"] for job in stopped.failed_again} == again
    # The rest follows, without those that have failed again.
    with pytest.raises(InvalidInputError):
        await idle_runtime.operations.resume(operation_id, {"pace": 0}, ANN)
    await idle_runtime.operations.resume(operation_id, {"pace": None}, ANN)
    with pytest.raises(ConflictError):
        await idle_runtime.operations.resume(operation_id, {}, ANN)
    assert (await look(idle_runtime, operation_id)).done == 12
    await work(idle_runtime, bad=1)
    ended = await look(idle_runtime, operation_id)
    assert (ended.stage, ended.stopped, ended.results) == (Stage.FINISHED, None, Results(succeeded=9, failed=3))
    assert await requeues(idle_runtime, ended) == [1] * 12
    audit = idle_runtime.database.collection("audit").find({"target.name": operation_id}, sort=[("_id", 1)])
    noted = [(entry["action"], entry["by"]["name"], entry["after"]) async for entry in audit]
    assert [entry[:2] for entry in noted] == [("requeue", "ann"), ("stop", "operation of ann"), ("resume", "ann")]
    assert (noted[0][2]["pace"], noted[1][2]["why"], noted[2][2]) == (
        3,
        "failures",
        {"trial": 1, "then": True, "stopAfter": 2},
    )


@pytest.mark.parametrize(
    ("rules", "bad", "why"),
    [({"trial": 2}, 0, Why.TRIAL), ({"trial": 2, "then": True}, 1, Why.FAILED_TRIAL)],
)
async def test_after_a_trial_it_waits_for_a_decision(
    idle_runtime: Runtime, rules: dict[str, Any], bad: int, why: Why
) -> None:
    await insert_failed(idle_runtime, 5, attempts=1)
    operation_id = await begin(idle_runtime, rules)
    assert (await look(idle_runtime, operation_id)).done == 2
    await work(idle_runtime, bad=bad)
    stopped = await look(idle_runtime, operation_id)
    assert stopped.stopped is not None
    assert (stopped.stage, stopped.stopped.why, stopped.done) == (Stage.STOPPED, why, 2)
    await idle_runtime.operations.resume(operation_id, {}, ANN)
    await look(idle_runtime, operation_id)
    assert await work(idle_runtime) == 3
    assert (await look(idle_runtime, operation_id)).stage is Stage.FINISHED


async def test_jobs_that_others_change_are_not_waited_for(idle_runtime: Runtime) -> None:
    await insert_failed(idle_runtime, 4, attempts=1)
    operation_id = await begin(idle_runtime, {"pace": 4, "stop_after": 2})
    await look(idle_runtime, operation_id)
    claimed = await claim(idle_runtime)
    await fail(idle_runtime, claimed)
    # A person was faster than the look: the job has failed again all the same.
    await idle_runtime.manager.requeue(claimed.job.id)
    others = idle_runtime.jobs.collection.find({"_id": {"$ne": ObjectId(claimed.job.id)}}, {"_id": 1})
    deleted, killed, requeued = [str(job["_id"]) async for job in others]
    await idle_runtime.manager.delete(deleted)
    await idle_runtime.manager.kill(killed)
    seen = await look(idle_runtime, operation_id)
    assert (seen.stage, seen.results) == (Stage.STOPPED, Results(unfinished=1, failed=2, unknown=1))
    assert {job["id"] for job in seen.failed_again} == {claimed.job.id, killed}
    await idle_runtime.operations.resume(operation_id, {}, ANN)
    await idle_runtime.manager.kill(requeued)
    await idle_runtime.manager.requeue(requeued)
    ended = await look(idle_runtime, operation_id)
    assert (ended.stage, ended.results) == (Stage.FINISHED, Results(failed=2, unknown=2))


async def test_a_stop_leaves_the_rest_for_a_way_on(idle_runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    await insert_failed(idle_runtime, 30, attempts=1)
    made = await idle_runtime.operations.create(new(filter=ALL))
    choose = idle_runtime.operations.store.choose

    async def and_stop(*arguments: Any) -> Operation | None:
        chosen = await choose(*arguments)
        await idle_runtime.operations.store.stop(made.id, ANN)
        return chosen

    # The holder sees the stop when it takes up what it has chosen.
    monkeypatch.setattr(idle_runtime.operations.store, "choose", and_stop)
    monkeypatch.setattr(idle_runtime.operations, "_change", lambda *_, **__: asyncio.sleep(0))
    await idle_runtime.operations.carry_on(made.id)
    monkeypatch.undo()
    stopped = await look(idle_runtime, made.id)
    assert (stopped.stage, stopped.done, stopped.chosen) == (Stage.STOPPED, 0, ())
    assert stopped.stopped is not None
    assert stopped.stopped.message == "stopped by ann"
    # The pace holds for those that were left alone, too.
    await idle_runtime.operations.resume(made.id, {"pace": 4}, ANN)
    paced = await look(idle_runtime, made.id)
    assert (paced.done, len(paced.left)) == (4, 26)
    await idle_runtime.operations.store.stop(made.id, ANN)
    await idle_runtime.operations.resume(made.id, {"pace": None}, ANN)
    ended = await look(idle_runtime, made.id)
    assert (ended.stage, ended.done) == (Stage.FINISHED, 30)
    assert await requeues(idle_runtime, ended) == [1] * 30


async def test_an_operation_that_waits_is_held_by_nobody_and_costs_little(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands = SentCommands(monkeypatch)
    async with open_runtime(settings) as runtime:
        await insert_failed(runtime, 4, attempts=1)
        operation_id = await begin(runtime, {"pace": 2})
        await look(runtime, operation_id)
        collection = runtime.operations.store.collection
        stored = await collection.find_one({"_id": ObjectId(operation_id)})
        assert stored is not None
        assert stored["lease"]["token"] is None
        assert not await runtime.operations.carry_on()
        long_ago = stored["newsAt"] - timedelta(seconds=60)
        await collection.update_one({}, {"$set": {"lease.until": EPOCH, "newsAt": long_ago}})
        commands.sent.clear()
        assert await runtime.operations.run_once() == 0
        assert commands.sent == ["findAndModify operations", "find jobs", "update operations"]
        # The next look comes five seconds later.
        wait = await runtime.operations.run_once()
        assert wait is not None
        assert 4 < wait <= 5
        # A person may stop it meanwhile.
        await runtime.operations.store.stop(operation_id, ANN)
        assert await states(runtime) == {"pending": 2, "failed": 2}


async def test_rules_are_for_requeues(idle_runtime: Runtime) -> None:
    with pytest.raises(InvalidInputError) as refused:
        await idle_runtime.operations.create(
            new(Action.KILL, all=True, rules=Rules.of({"trial": 1, "pace": "5/m"}), data_patch={})
        )
    assert set(refused.value.problems) == {"trial", "pace", "dataPatch"}


async def test_data_is_merged_as_it_is_when_its_job_has_its_turn(
    idle_runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = await job_in(idle_runtime, State.FAILED, data={"a": {"b": 1, "c": 2}, "d": 3})
    made = await idle_runtime.operations.create(new(all=True, data_patch={"a": {"b": None, "e": [1]}}))
    read = idle_runtime.operations.store.job_of
    edited = iter([True])

    async def and_edit(*arguments: Any) -> Any:
        found = await read(*arguments)
        if next(edited, False):
            await idle_runtime.manager.patch(job.id, {"data": {"a": {"b": 1, "c": 5}, "d": 3}})
        return found

    monkeypatch.setattr(idle_runtime.operations.store, "job_of", and_edit)
    assert (await look(idle_runtime, made.id)).done == 1
    changed = await idle_runtime.jobs.get(job.id)
    assert changed.data == {"a": {"c": 5, "e": [1]}, "d": 3}
    assert changed.history[-1].was == {"data": {"a": {"b": 1, "c": 5}, "d": 3}}
