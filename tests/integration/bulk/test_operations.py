"""What is done to many jobs at once: to those that are meant, once each, whoever carries it on."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from bson import ObjectId

from jobqueue.domain.access.access import Scope
from jobqueue.domain.attempts.fingerprint import fingerprint
from jobqueue.domain.attempts.states import State
from jobqueue.domain.bulk.operation import Action, NewOperation, Operation, Stage
from jobqueue.domain.errors import ConflictError, DatabaseUnavailableError, InvalidInputError, NotFoundError
from jobqueue.domain.insight.audit import Actor
from jobqueue.services.bulk import operations
from jobqueue.services.jobs.job_changes import requeue_changes
from jobqueue.store.bulk import operation_statements, selection
from jobqueue.store.bulk import operations as store
from tests.support.data.factories import ERROR, add, claim, fail, finished_documents, job_in, open_runtime
from tests.support.mongo.plans import explain
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from jobqueue.domain.jobs.job import Job
    from jobqueue.services.application import Runtime
    from jobqueue.settings import Settings

ANN = Actor(name="ann", via="http", address="10.0.0.1")


def new(action: Action = Action.REQUEUE, *, by: Actor = ANN, **fields: Any) -> NewOperation:
    return NewOperation(action=action, by=by, **fields)


async def carry_out(runtime: Runtime, wanted: NewOperation) -> Operation:
    """Begin an operation and carry it on until it has ended."""
    made = await runtime.operations.create(wanted)
    while await runtime.operations.carry_on(made.id):
        pass
    return await runtime.operations.store.get(made.id)


async def insert_failed(runtime: Runtime, count: int, **fields: Any) -> None:
    made = [one | {"state": "failed", "key": None} | fields for one in finished_documents(count)]
    await runtime.jobs.collection.insert_many(made)


async def states(runtime: Runtime) -> dict[str, int]:
    there = {"$match": {"state": {"$exists": True}}}
    cursor = runtime.jobs.collection.aggregate([there, {"$group": {"_id": "$state", "n": {"$sum": 1}}}])
    return {one["_id"]: one["n"] async for one in cursor}


async def requeues(runtime: Runtime, operation: Operation) -> list[int]:
    """Return for each job how often it was requeued by an operation."""
    return [
        sum(entry.get("operation") == ObjectId(operation.id) for entry in one["history"])
        async for one in runtime.jobs.collection.find({})
    ]


async def test_jobs_are_requeued_as_a_person_would_and_it_is_written_who_did_it(idle_runtime: Runtime) -> None:
    jobs = [await job_in(idle_runtime, State.FAILED, queue="media", priority=number) for number in range(3)]
    other = await job_in(idle_runtime, State.FAILED, queue="other")
    changes = requeue_changes({"attempts": 9, "data": {"n": 1}})
    ended = await carry_out(idle_runtime, new(filter={"queue": "media"}, changes=changes))
    assert (ended.stage, ended.matched, ended.is_exact) == (Stage.FINISHED, 3, True)
    assert (ended.done, ended.skipped, ended.failed, ended.error) == (3, 0, 0, None)
    assert ended.by == {"name": "ann", "via": "http", "from": "10.0.0.1"}
    assert ended.end_at is not None
    for before in jobs:
        job = await idle_runtime.jobs.get(before.id)
        assert (job.state, job.attempts, job.data, job.attempts_made) == (State.PENDING, 9, {"n": 1}, 0)
        assert (job.history[-1].outcome, job.history[-1].operation) == ("requeue", ended.id)
        assert job.history[-1].was == {"attempts": 1, "data": {}}
    assert (await idle_runtime.jobs.get(other.id)).state is State.FAILED
    assert (await claim(idle_runtime, "media")).job.id == jobs[2].id
    (entry,) = [one async for one in idle_runtime.database.collection("audit").find({"target.kind": "operation"})]
    assert (entry["action"], entry["target"]["name"], entry["by"]["name"]) == ("requeue", ended.id, "ann")
    assert entry["after"]["filter"] == '{"queue": "media"}'


async def test_without_a_state_only_what_went_wrong_is_requeued(idle_runtime: Runtime) -> None:
    for state in State:
        await job_in(idle_runtime, state, queue=state.value)
    assert (await carry_out(idle_runtime, new(all=True))).done == 2
    assert (await states(idle_runtime))["success"] == 1
    told = await carry_out(idle_runtime, new(filter={"state": {"$in": ["success", "delayed", "processing"]}}))
    assert told.done == 2
    assert await states(idle_runtime) == {"pending": 5, "processing": 1}


async def test_unfinished_jobs_are_killed_and_others_deleted(idle_runtime: Runtime) -> None:
    for state in State:
        await job_in(idle_runtime, state, queue=state.value)
    killed = await carry_out(idle_runtime, new(Action.KILL, all=True, reason="we move"))
    assert (killed.done, killed.matched) == (3, 3)
    assert await states(idle_runtime) == {"killed": 4, "success": 1, "failed": 1}
    job = await idle_runtime.jobs.collection.find_one({"queue": "pending"})
    assert job is not None
    assert job["error"]["message"] == "we move"
    deleted = await carry_out(idle_runtime, new(Action.DELETE, filter={"state": "killed"}))
    assert deleted.done == 4
    assert await states(idle_runtime) == {"success": 1, "failed": 1}


async def test_jobs_of_one_moment_and_many_pages_have_their_turn_once(
    idle_runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(operations, "_AT_ONCE", 7)
    await insert_failed(idle_runtime, 20)
    moment = (await idle_runtime.database.clock.now()) - timedelta(hours=1)
    await insert_failed(idle_runtime, 30, insertAt=moment)
    ended = await carry_out(idle_runtime, new(all=True))
    assert (ended.done, ended.skipped) == (50, 0)
    assert await requeues(idle_runtime, ended) == [1] * 50


async def test_a_filter_that_no_index_serves_is_gone_through_in_parts(
    idle_runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "WINDOW", 40)
    monkeypatch.setattr(store, "SELECT_SECONDS", 1e-6)
    monkeypatch.setattr(store, "COUNT_SECONDS", 1e-6)
    await insert_failed(idle_runtime, 250)
    moment = (await idle_runtime.database.clock.now()) - timedelta(hours=1)
    await insert_failed(idle_runtime, 100, insertAt=moment)
    ended = await carry_out(idle_runtime, new(filter={"type": {"$in": ["type3", "type9"]}}))
    assert (ended.done, ended.matched, ended.is_exact) == (70, None, False)
    assert set(await requeues(idle_runtime, ended)) == {0, 1}


async def test_what_fails_again_or_comes_later_is_left_alone(
    idle_runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(operations, "_AT_ONCE", 2)
    for _ in range(6):
        await job_in(idle_runtime, State.FAILED)
    made = await idle_runtime.operations.create(new(filter={"state": {"$in": ["failed", "delayed"]}}))
    count = idle_runtime.operations.store.count_off

    async def and_fail(*arguments: Any) -> Operation | None:
        while claimed := await idle_runtime.work.claim("default", None, worker="w"):
            await fail(idle_runtime, claimed)
        return await count(*arguments)

    monkeypatch.setattr(idle_runtime.operations.store, "count_off", and_fail)
    await job_in(idle_runtime, State.FAILED)
    while await idle_runtime.operations.carry_on(made.id):
        pass
    ended = await idle_runtime.operations.store.get(made.id)
    assert (ended.done, ended.skipped) == (6, 0)
    assert sorted(await requeues(idle_runtime, ended)) == [0, 1, 1, 1, 1, 1, 1]
    assert await states(idle_runtime) == {"failed": 7}


async def test_what_has_ended_just_before_is_meant_also_by_a_clock_that_is_behind(idle_runtime: Runtime) -> None:
    await idle_runtime.database.clock.now()
    known = idle_runtime.database.clock._known
    assert known is not None
    idle_runtime.database.clock._known = replace(known, told=known.told - timedelta(milliseconds=500))
    await job_in(idle_runtime, State.FAILED)
    asked = new(Action.REQUEUE, filter={"state": "failed"})
    assert (await idle_runtime.operations.preview(asked))[0] == 1
    made = await idle_runtime.operations.create(asked)
    while await idle_runtime.operations.carry_on(made.id):
        pass
    assert (await idle_runtime.operations.store.get(made.id)).done == 1


@pytest.mark.parametrize("action", [action for action in Action if action is not Action.UNKNOWN])
async def test_what_was_done_and_not_counted_is_counted_by_the_next_and_not_done_twice(
    idle_runtime: Runtime, monkeypatch: pytest.MonkeyPatch, action: Action
) -> None:
    state = State.PENDING if action is Action.KILL else State.FAILED
    for _ in range(10):
        await job_in(idle_runtime, state, backoff=3600)
    made = await idle_runtime.operations.create(new(action, filter={"state": {"$in": [state.value, "delayed"]}}))

    async def crash(*_: Any) -> None:
        if action is Action.REQUEUE:
            # One has failed an attempt meanwhile, and could be requeued.
            await idle_runtime.jobs.collection.update_many({"state": "pending"}, {"$set": {"attempts": 2}})
            await fail(idle_runtime, await claim(idle_runtime))
        raise DatabaseUnavailableError("gone")

    with monkeypatch.context() as broken:
        broken.setattr(idle_runtime.operations.store, "count_off", crash)
        with pytest.raises(DatabaseUnavailableError):
            await idle_runtime.operations.carry_on(made.id)
    between = await idle_runtime.operations.store.get(made.id)
    assert (between.stage, between.done, len(between.chosen)) == (Stage.RUNNING, 0, 10)
    while await idle_runtime.operations.carry_on(made.id):
        pass
    ended = await idle_runtime.operations.store.get(made.id)
    assert (ended.stage, ended.done, ended.skipped) == (Stage.FINISHED, 10, 0)
    if action is Action.REQUEUE:
        assert await requeues(idle_runtime, ended) == [1] * 10


async def test_an_operation_is_carried_on_by_one_process_at_a_time(idle_runtime: Runtime, settings: Settings) -> None:
    await insert_failed(idle_runtime, 30)
    made = await idle_runtime.operations.create(new(all=True))
    taken = await idle_runtime.operations.store.take("mine")
    assert taken is not None
    async with open_runtime(settings) as other:
        assert not await other.operations.carry_on(made.id)
        ended = {"$set": {"lease.until": operation_statements.FREE}}
        await idle_runtime.operations.store.collection.update_one({}, ended)
        await other.operations.run_once()
    assert await idle_runtime.operations.store.choose(taken, "mine", 5) is None
    assert not await idle_runtime.operations.store.renew(taken, "mine")
    assert (await idle_runtime.operations.store.get(made.id)).done == 30


async def test_several_operations_take_turns(idle_runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operations, "_SLICE_SECONDS", 0)
    monkeypatch.setattr(operations, "_AT_ONCE", 5)
    await insert_failed(idle_runtime, 40)
    made = [await idle_runtime.operations.create(new(filter={"type": f"type{number}"})) for number in range(3)]
    for _ in range(3):
        await idle_runtime.operations.run_once()
    # Without time each looks, and lets the next have its turn.
    assert [(await idle_runtime.operations.store.get(one.id)).stage for one in made] == [Stage.RUNNING] * 3


async def test_an_operation_that_is_stopped_stops(idle_runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operations, "_AT_ONCE", 5)
    await insert_failed(idle_runtime, 40)
    made = await idle_runtime.operations.create(new(all=True))
    count = idle_runtime.operations.store.count_off

    async def and_stop(*arguments: Any) -> Operation | None:
        counted = await count(*arguments)
        await idle_runtime.operations.store.stop(made.id, ANN)
        return counted

    monkeypatch.setattr(idle_runtime.operations.store, "count_off", and_stop)
    assert await idle_runtime.operations.carry_on(made.id)
    assert not await idle_runtime.operations.carry_on(made.id)
    ended = await idle_runtime.operations.store.get(made.id)
    assert (ended.stage, ended.done) == (Stage.STOPPED, 5)
    assert await states(idle_runtime) == {"pending": 5, "failed": 35}
    with pytest.raises(ConflictError):
        await idle_runtime.operations.store.stop(made.id, ANN)
    audit = idle_runtime.database.collection("audit").find({"target.name": made.id})
    assert [one["action"] async for one in audit] == ["requeue", "stop"]


async def test_jobs_that_cannot_be_changed_are_told_and_hold_up_nothing(idle_runtime: Runtime) -> None:
    failed = await job_in(idle_runtime, State.FAILED, key="k")
    await add(idle_runtime, key="k")
    await job_in(idle_runtime, State.FAILED, queue="q")
    ended = await carry_out(idle_runtime, new(all=True))
    assert (ended.stage, ended.done, ended.failed) == (Stage.FINISHED, 1, 1)
    assert [one["id"] for one in ended.failures] == [failed.id]
    assert "has the key 'k'" in ended.failures[0]["reason"]


async def test_jobs_that_changed_before_their_turn_are_skipped(
    idle_runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs: list[Job] = [await job_in(idle_runtime, State.FAILED) for _ in range(3)]
    made = await idle_runtime.operations.create(new(filter={"state": "failed"}))
    choose = idle_runtime.operations.store.choose

    async def and_change(*arguments: Any) -> Operation | None:
        chosen = await choose(*arguments)
        if chosen is not None and chosen.chosen:
            await idle_runtime.manager.requeue(jobs[0].id)
            await idle_runtime.manager.delete(jobs[1].id)
        return chosen

    monkeypatch.setattr(idle_runtime.operations.store, "choose", and_change)
    while await idle_runtime.operations.carry_on(made.id):
        pass
    ended = await idle_runtime.operations.store.get(made.id)
    assert (ended.done, ended.skipped) == (1, 2)
    assert len((await idle_runtime.jobs.get(jobs[0].id)).history) == 2


async def test_an_operation_reaches_no_further_than_the_scope_of_who_asked_for_it(idle_runtime: Runtime) -> None:
    for queue, user in (("a1", 1), ("a2", 2), ("b", 1)):
        await job_in(idle_runtime, State.FAILED, queue=queue, meta={"user": user})
    scope = Scope(queues=("a*",), meta=(("user", 1),))
    assert (await idle_runtime.operations.preview(new(all=True, scope=scope)))[0] == 1
    made = await carry_out(idle_runtime, new(all=True, scope=scope))
    assert made.done == 1
    assert (await states(idle_runtime)) == {"pending": 1, "failed": 2}
    assert (await idle_runtime.operations.store.get(made.id, scope=scope)).new.scope == scope
    assert [one.id for one in await idle_runtime.operations.store.page(scope=scope)] == [made.id]
    for other in (Scope(queues=("a*",)), Scope(queues=("b",))):
        assert await idle_runtime.operations.store.page(scope=other) == []
        for look in (
            idle_runtime.operations.store.get(made.id, scope=other),
            idle_runtime.operations.store.stop(made.id, ANN, scope=other),
        ):
            with pytest.raises(NotFoundError):
                await look


async def test_a_whole_group_of_failures_is_requeued(idle_runtime: Runtime) -> None:
    for queue in ("a", "a", "b"):
        await job_in(idle_runtime, State.FAILED, queue=queue)
    await job_in(idle_runtime, State.KILLED, queue="other", kind="other")
    mark = fingerprint("work", ERROR)
    assert (await idle_runtime.operations.preview(new(fingerprint=mark)))[0] == 3
    ended = await carry_out(idle_runtime, new(fingerprint=mark, filter={"queue": "a"}))
    assert (ended.done, await states(idle_runtime)) == (2, {"pending": 2, "failed": 1, "killed": 1})


async def test_a_preview_counts_and_shows_some_and_changes_nothing(idle_runtime: Runtime) -> None:
    await insert_failed(idle_runtime, 20)
    matched, is_exact, samples = await idle_runtime.operations.preview(new(filter={"meta.city": "c1"}))
    assert (matched, is_exact, [one.meta["city"] for one in samples]) == (3, True, ["c1"] * 3)
    assert await states(idle_runtime) == {"failed": 20}
    assert await idle_runtime.operations.store.page() == []


async def test_any_process_takes_up_what_is_begun_and_pages_show_the_newest_first(runtime: Runtime) -> None:
    await insert_failed(runtime, 5)
    made = [await runtime.operations.create(new(filter={"type": f"type{number}"})) for number in range(3)]

    async def all_ended() -> bool:
        return not await runtime.operations.store.page(state="running")

    await eventually(all_ended)
    pages = [await runtime.operations.store.page(limit=2), await runtime.operations.store.page(before=made[1].id)]
    assert [[one.id for one in page] for page in pages] == [[made[2].id, made[1].id], [made[0].id]]
    assert await states(runtime) == {"failed": 2, "pending": 3}


async def test_an_operation_that_breaks_says_why(idle_runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    await insert_failed(idle_runtime, 1)

    async def broken(*_: Any) -> None:
        await asyncio.sleep(0)
        raise ZeroDivisionError

    monkeypatch.setattr(idle_runtime.operations.store, "count_off", broken)
    ended = await carry_out(idle_runtime, new(all=True))
    assert (ended.stage, ended.error) == (Stage.FAILED, "an internal error: the server's log tells more")


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({}, {"filter"}),
        ({"filter": {"queue": "a"}, "all": True}, {"all"}),
        ({"all": True, "reason": "x"}, {"reason"}),
        ({"action": Action.KILL, "all": True, "reason": ""}, {"reason"}),
        ({"action": Action.DELETE, "all": True, "changes": {"data": {}}}, {"data"}),
    ],
)
def test_what_does_not_go_together_is_refused(fields: dict[str, Any], named: set[str]) -> None:
    with pytest.raises(InvalidInputError) as refused:
        new(**fields).check()
    assert set(refused.value.problems) == named


async def test_an_operation_whose_filter_is_not_acceptable_any_more_is_shown_and_ends(idle_runtime: Runtime) -> None:
    made = await idle_runtime.operations.create(new(all=True))
    old = {"$set": {"filter": '{"$text": 1}'}}
    await idle_runtime.operations.store.collection.update_one({"_id": ObjectId(made.id)}, old)
    assert [one.new.filter for one in await idle_runtime.operations.store.page()] == [{"$text": 1}]
    assert await idle_runtime.operations.carry_on(made.id)
    ended = await idle_runtime.operations.store.get(made.id)
    assert (ended.stage, ended.done) == (Stage.FAILED, 0)
    assert "filter.$text" in str(ended.error)


async def test_the_next_jobs_are_found_by_an_index_in_its_order(idle_runtime: Runtime) -> None:
    await insert_failed(idle_runtime, 1500, fingerprint="0" * 16)
    began = await idle_runtime.database.clock.now()
    for wanted in (
        new(all=True),
        new(filter={"state": "failed"}),
        new(filter={"queue": "default"}),
        new(filter={"type": "type3"}),
        new(filter={"queue": "default", "state": "failed"}),
        new(filter={"meta.user_id": 7}),
        new(fingerprint="0" * 16),
        new(Action.DELETE, filter={"batchId": f"{1:024x}"}),
    ):
        found = selection.selected(wanted, began)
        place = await idle_runtime.jobs.collection.find_one(found, sort=selection.ORDER, skip=3)
        assert place is not None
        part = selection.beyond(found, (place["insertAt"], str(place["_id"])))
        command = {"find": "jobs", "filter": part, "sort": dict(selection.ORDER), "limit": 10}
        hint = {} if selection.hint(wanted) is None else {"hint": selection.hint(wanted)}
        await explain(idle_runtime.database, command | hint, keys=25)
