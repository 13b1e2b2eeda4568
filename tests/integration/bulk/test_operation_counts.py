"""The counts of an operation are true whatever comes in the middle, and no job is out of its reach."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from bson import ObjectId

from jobqueue.domain.attempts.states import State
from jobqueue.domain.bulk.operation import Action, Stage
from jobqueue.domain.errors import DatabaseUnavailableError, WrongStateError
from jobqueue.services.bulk import operations
from jobqueue.store.bulk import operations as store
from jobqueue.store.documents import queue_statements
from tests.integration.bulk.test_operations import ANN, carry_out, insert_failed, new, states
from tests.support.data.factories import add, document, job_in, open_runtime

if TYPE_CHECKING:
    from collections.abc import Callable

    from jobqueue.domain.bulk.operation import Operation
    from jobqueue.domain.jobs.job import Job
    from jobqueue.services.application import Runtime
    from jobqueue.settings import Settings

VERBS = {Action.REQUEUE: "restart", Action.KILL: "kill", Action.DELETE: "delete"}
BEFORE = {Action.REQUEUE: State.FAILED, Action.KILL: State.PENDING, Action.DELETE: State.FAILED}


async def jobs_for(runtime: Runtime, action: Action, count: int = 6) -> list[Job]:
    return [await job_in(runtime, BEFORE[action], queue="here", backoff=3600) for _ in range(count)]


def break_after(
    monkeypatch: pytest.MonkeyPatch, runtime: Runtime, action: Action, error: Callable[[], Exception], *, first: int = 1
) -> None:
    """Let the changes of an operation happen and raise an error all the same, from one of them on."""
    change, count = getattr(runtime.manager, VERBS[action]), iter(range(1, 10_000))

    async def and_break(*arguments: Any, **options: Any) -> Any:
        done = await change(*arguments, **options)
        if options.get("operation") is not None and next(count) >= first:
            raise error()
        return done

    monkeypatch.setattr(runtime.manager, VERBS[action], and_break)


async def broken_off(runtime: Runtime, monkeypatch: pytest.MonkeyPatch, action: Action, **fields: Any) -> Operation:
    """Begin an operation whose process loses the database after its changes and before the count."""
    made = await runtime.operations.create(new(action, **({"filter": {"queue": "here"}} | fields)))

    async def crash(*_: Any) -> None:
        raise DatabaseUnavailableError("gone")

    with monkeypatch.context() as broken:
        broken.setattr(runtime.operations.store, "count_off", crash)
        with pytest.raises(DatabaseUnavailableError):
            await runtime.operations.carry_on(made.id)
    return made


async def carried_on(runtime: Runtime, made: Operation) -> tuple[int, int, int]:
    while await runtime.operations.carry_on(made.id):
        pass
    ended = await runtime.operations.store.get(made.id)
    assert ended.stage is not Stage.RUNNING
    return ended.done, ended.skipped, ended.failed


@pytest.mark.parametrize("action", list(VERBS))
async def test_an_error_after_the_change_does_not_hide_it(
    idle_runtime: Runtime, monkeypatch: pytest.MonkeyPatch, action: Action
) -> None:
    await jobs_for(idle_runtime, action)
    break_after(monkeypatch, idle_runtime, action, lambda: WrongStateError("1", State.KILLED, "changed"))
    ended = await carry_out(idle_runtime, new(action, filter={"queue": "here"}))
    assert (ended.stage, ended.done, ended.skipped, ended.failed) == (Stage.FINISHED, 6, 0, 0)


@pytest.mark.parametrize("action", list(VERBS))
async def test_an_unforeseen_error_of_one_job_is_told_and_hides_nothing(
    idle_runtime: Runtime, monkeypatch: pytest.MonkeyPatch, action: Action
) -> None:
    jobs = await jobs_for(idle_runtime, action)
    look = idle_runtime.operations.store.job_of

    async def and_break(operation: Operation, job_id: str) -> Job | None:
        if job_id == jobs[2].id:
            raise ZeroDivisionError
        return await look(operation, job_id)

    monkeypatch.setattr(idle_runtime.operations.store, "job_of", and_break)
    ended = await carry_out(idle_runtime, new(action, filter={"queue": "here"}))
    assert (ended.stage, ended.done, ended.failed) == (Stage.FINISHED, 5, 1)
    assert ended.failures == ({"id": jobs[2].id, "reason": operations.INTERNAL},)


@pytest.mark.parametrize("action", list(VERBS))
async def test_a_lost_reply_in_the_middle_does_not_hide_a_change(
    idle_runtime: Runtime, monkeypatch: pytest.MonkeyPatch, action: Action
) -> None:
    await jobs_for(idle_runtime, action, 20)
    made = await idle_runtime.operations.create(new(action, filter={"queue": "here"}))
    with monkeypatch.context() as broken:
        break_after(broken, idle_runtime, action, lambda: DatabaseUnavailableError("gone"), first=4)
        with pytest.raises(DatabaseUnavailableError):
            await idle_runtime.operations.carry_on(made.id)
    assert (await idle_runtime.operations.store.get(made.id)).done == 0
    assert await carried_on(idle_runtime, made) == (20, 0, 0)


async def test_killed_jobs_count_whatever_became_of_them_before_the_count(
    idle_runtime: Runtime, monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    jobs = await jobs_for(idle_runtime, Action.KILL)
    made = await broken_off(idle_runtime, monkeypatch, Action.KILL)
    await idle_runtime.manager.requeue(jobs[0].id)
    await idle_runtime.manager.delete(jobs[1].id)
    await idle_runtime.manager.requeue(jobs[2].id)
    await carry_out(idle_runtime, new(Action.KILL, filter={"id": jobs[2].id}))
    async with open_runtime(settings) as other:
        assert await carried_on(other, made) == (6, 0, 0)
    assert (await idle_runtime.jobs.get(jobs[0].id)).state is State.PENDING


async def test_requeued_jobs_count_and_are_requeued_once_wherever_their_history_is(
    idle_runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = await jobs_for(idle_runtime, Action.REQUEUE)
    states = {"state": {"$in": ["failed", "killed", "delayed"]}, "queue": "here"}
    made = await broken_off(idle_runtime, monkeypatch, Action.REQUEUE, filter=states)
    await idle_runtime.manager.delete(jobs[0].id)
    await idle_runtime.jobs.history.spill(jobs[1].id, keep=0, state=State.PENDING)
    await idle_runtime.manager.patch(jobs[1].id, {"delay_til": jobs[1].insert_at + timedelta(days=1)})
    assert await carried_on(idle_runtime, made) == (6, 0, 0)
    assert (await idle_runtime.jobs.get(jobs[1].id)).state is State.DELAYED


@pytest.mark.parametrize("action", list(VERBS))
async def test_what_a_person_did_before_is_not_counted_after_a_crash(
    idle_runtime: Runtime, monkeypatch: pytest.MonkeyPatch, action: Action
) -> None:
    jobs = await jobs_for(idle_runtime, action)
    choose = idle_runtime.operations.store.choose

    async def and_change(*arguments: Any) -> Operation | None:
        chosen = await choose(*arguments)
        if action is Action.REQUEUE:
            await idle_runtime.manager.requeue(jobs[0].id)
        else:
            await getattr(idle_runtime.manager, action.value)(jobs[0].id)
        return chosen

    with monkeypatch.context() as broken:
        broken.setattr(idle_runtime.operations.store, "choose", and_change)
        made = await broken_off(idle_runtime, broken, action)
    assert await carried_on(idle_runtime, made) == (5, 1, 0)


async def test_what_was_killed_to_be_deleted_is_deleted_by_the_next_holder(
    idle_runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = await add(idle_runtime, delay=3600)
    after = await add(idle_runtime, depends_on=[job.id])
    made = await idle_runtime.operations.create(new(Action.DELETE, filter={"id": job.id, "state": "delayed"}))
    with monkeypatch.context() as broken:
        break_after(broken, idle_runtime, Action.KILL, lambda: DatabaseUnavailableError("gone"))
        with pytest.raises(DatabaseUnavailableError):
            await idle_runtime.operations.carry_on(made.id)
    assert (await idle_runtime.jobs.get(job.id)).state is State.KILLED
    assert await carried_on(idle_runtime, made) == (1, 0, 0)
    assert await idle_runtime.jobs.find(job.id) is None
    assert (await idle_runtime.jobs.get(after.id)).state is State.KILLED


async def test_a_deleted_job_counts_when_nothing_of_it_is_left_any_more(
    idle_runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    await insert_failed(idle_runtime, 4)
    made = await broken_off(idle_runtime, monkeypatch, Action.DELETE, filter={}, all=True)
    assert await idle_runtime.jobs.collection.count_documents({"inOperations": ObjectId(made.id)}) == 4
    await idle_runtime.jobs.collection.delete_many({})
    monkeypatch.setattr(queue_statements, "STONE_MS", -60_000)
    assert await carried_on(idle_runtime, made) == (4, 0, 0)


@pytest.mark.parametrize("crashes", [False, True])
async def test_a_stopped_operation_counts_what_it_was_changing(
    idle_runtime: Runtime, monkeypatch: pytest.MonkeyPatch, *, crashes: bool
) -> None:
    monkeypatch.setattr(operations, "_AT_ONCE", 5)
    await insert_failed(idle_runtime, 40)
    made = await idle_runtime.operations.create(new(all=True))
    restart, count = idle_runtime.manager.restart, iter(range(10_000))

    async def and_stop(*arguments: Any, **options: Any) -> Any:
        done = await restart(*arguments, **options)
        if next(count) == 2:
            stopped = await idle_runtime.operations.store.stop(made.id, ANN)
            assert stopped.stage is Stage.STOPPED
            if crashes:
                raise DatabaseUnavailableError("gone")
        return done

    with monkeypatch.context() as stopping:
        stopping.setattr(idle_runtime.manager, "restart", and_stop)
        if crashes:
            with pytest.raises(DatabaseUnavailableError):
                await idle_runtime.operations.carry_on(made.id)
    if not crashes:
        monkeypatch.setattr(idle_runtime.manager, "restart", and_stop)
    done, skipped, failed = await carried_on(idle_runtime, made)
    assert (done, skipped, failed) == (5, 0, 0)
    assert await states(idle_runtime) == {"failed": 35, "pending": 5}
    ended = await idle_runtime.operations.store.get(made.id)
    assert (ended.stage, ended.chosen, ended.end_at is not None) == (Stage.STOPPED, (), True)


async def test_an_operation_that_breaks_counts_what_it_has_changed(
    idle_runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    await insert_failed(idle_runtime, 7)
    made = await idle_runtime.operations.create(new(all=True))

    async def broken(*_: Any) -> None:
        raise ZeroDivisionError

    with monkeypatch.context() as breaking:
        breaking.setattr(idle_runtime.operations.store, "count_off", broken)
        await idle_runtime.operations.carry_on(made.id)
    assert await carried_on(idle_runtime, made) == (7, 0, 0)
    ended = await idle_runtime.operations.store.get(made.id)
    assert (ended.stage, ended.error) == (Stage.FAILED, operations.INTERNAL)


async def test_an_operation_of_an_older_version_is_carried_on(
    idle_runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    await jobs_for(idle_runtime, Action.KILL)
    made = await broken_off(idle_runtime, monkeypatch, Action.KILL)
    collection = idle_runtime.operations.store.collection
    await collection.update_one({"_id": ObjectId(made.id)}, {"$unset": {"ahead": "", "soon": ""}})
    await idle_runtime.jobs.collection.update_many({}, {"$unset": {"inOperations": ""}})
    assert await carried_on(idle_runtime, made) == (6, 0, 0)


async def test_a_field_that_another_tool_has_spoilt_keeps_no_job_alive(idle_runtime: Runtime) -> None:
    running = await job_in(idle_runtime, State.PROCESSING)
    waiting = await add(idle_runtime)
    await idle_runtime.jobs.collection.update_many({}, {"$set": {"inOperations": "spoilt"}})
    assert (await carry_out(idle_runtime, new(Action.KILL, all=True))).done == 2
    for job in (running, waiting):
        found = await document(idle_runtime, job.id)
        assert (found["state"], len(found["inOperations"])) == ("killed", 1)


@pytest.mark.parametrize("action", list(VERBS))
@pytest.mark.parametrize("slow", [False, True])
async def test_jobs_dated_ahead_of_the_present_are_reached_too(
    idle_runtime: Runtime, monkeypatch: pytest.MonkeyPatch, action: Action, *, slow: bool
) -> None:
    monkeypatch.setattr(operations, "_AT_ONCE", 7)
    if slow:
        monkeypatch.setattr(store, "WINDOW", 10)
        monkeypatch.setattr(store, "SELECT_SECONDS", 1e-6)
    now = await idle_runtime.database.clock.now()
    state = {"state": "pending", "endAt": None} if action is Action.KILL else {"state": "failed"}
    await insert_failed(idle_runtime, 20, **state)
    for number in range(30):
        ahead = now + timedelta(days=1, seconds=number // 10)
        ended = {} if action is Action.KILL else {"endAt": ahead}
        await insert_failed(idle_runtime, 1, **(state | {"insertAt": ahead} | ended))
    matched, is_exact, samples = await idle_runtime.operations.preview(new(action, all=True))
    assert (matched, is_exact, len(samples)) == (50, True, 5)
    ended_operation = await carry_out(idle_runtime, new(action, all=True))
    assert (ended_operation.matched, ended_operation.is_exact) == (50, True)
    assert (ended_operation.done, ended_operation.skipped) == (50, 0)


async def test_jobs_that_are_added_while_those_ahead_are_changed_are_left_alone(
    idle_runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(operations, "_AT_ONCE", 2)
    now = await idle_runtime.database.clock.now()
    for _ in range(3):
        job = await add(idle_runtime)
        await idle_runtime.jobs.collection.update_one(
            {"_id": ObjectId(job.id)}, {"$set": {"insertAt": now + timedelta(hours=1)}}
        )
        await add(idle_runtime)
    made = await idle_runtime.operations.create(new(Action.KILL, all=True))
    choose = idle_runtime.operations.store.choose

    async def and_add(*arguments: Any) -> Operation | None:
        await add(idle_runtime)
        return await choose(*arguments)

    monkeypatch.setattr(idle_runtime.operations.store, "choose", and_add)
    assert await carried_on(idle_runtime, made) == (6, 0, 0)
    assert (await states(idle_runtime))["pending"] >= 4
