"""Children are created exactly once, whatever is cut off in between and however many see to it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from jobqueue.domain.attempts.states import State
from jobqueue.domain.errors import DatabaseUnavailableError, NotFoundError
from jobqueue.domain.jobs import transitions
from jobqueue.domain.jobs.job import NewJob
from jobqueue.domain.search.query import JobQuery
from jobqueue.domain.work.verdict import Success
from jobqueue.services.jobs.retention import UnreadJobs
from jobqueue.store.documents.documents import child_id
from tests.support.data.factories import (
    ERROR,
    add,
    claim,
    claimed_job,
    die,
    document,
    fail,
    open_runtime,
    retry_now,
    succeed,
)
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Callable

    from jobqueue.domain.jobs.job import Job
    from jobqueue.domain.jobs.transitions import Transition
    from jobqueue.services.application import Runtime
    from jobqueue.services.runs.attempts import ClaimedJob
    from jobqueue.settings import Settings

SLOTS: dict[str, Any] = {
    "on_complete": NewJob(type="complete"),
    "on_success": (NewJob(type="success-0"), NewJob(type="success-1")),
    "on_failure": NewJob(type="failure", data={"n": 5}, priority=3, queue="other"),
}
SUCCEEDED = ["complete", "success-0", "success-1"]
ENDED_BADLY = ["complete", "failure"]


async def born(runtime: Runtime, parent: Job) -> list[Job]:
    return list((await runtime.listing.page(JobQuery(parent_id=parent.id, oldest_first=True))).items)


async def types(runtime: Runtime, parent: Job) -> list[str]:
    return sorted(child.type for child in await born(runtime, parent))


async def ended(runtime: Runtime, change: Callable[[ClaimedJob], Transition] | None = None, **fields: Any) -> Job:
    """Return a job that ended in a process that died right then, before it saw to anything that follows."""
    claimed = await claimed_job(runtime, **fields)
    made = change(claimed) if change else transitions.succeed(claimed.job, claimed.token, None)
    assert await runtime.jobs.apply(claimed.job.id, claimed.job.queue, made)
    job = await runtime.jobs.find(claimed.job.id)
    assert job is not None
    assert job.outbox
    return job


async def test_success_creates_the_children_of_success_and_of_completion(idle_runtime: Runtime) -> None:
    parent = await succeed(idle_runtime, await claimed_job(idle_runtime, **SLOTS))
    assert await types(idle_runtime, parent) == SUCCEEDED
    assert parent.outbox == ()
    assert "outbox" not in await document(idle_runtime, parent.id)


@pytest.mark.parametrize("how", ["fail", "die", "kill"])
async def test_failing_dying_and_being_killed_create_those_of_failure_and_of_completion(
    idle_runtime: Runtime, how: str
) -> None:
    claimed = await claimed_job(idle_runtime, attempts=1, **SLOTS)
    match how:
        case "fail":
            await fail(idle_runtime, claimed)
        case "die":
            await die(idle_runtime, claimed)
        case _:
            await idle_runtime.manager.kill(claimed.job.id)
    assert await types(idle_runtime, claimed.job) == ENDED_BADLY
    (child,) = [one for one in await born(idle_runtime, claimed.job) if one.type == "failure"]
    assert (child.data, child.priority, child.queue, child.parent_id) == ({"n": 5}, 3, "other", claimed.job.id)


@pytest.mark.parametrize("delay", [None, 3600])
async def test_a_job_that_was_killed_while_it_waited_has_the_children_of_failure(
    idle_runtime: Runtime, delay: float | None
) -> None:
    job = await add(idle_runtime, delay=delay, **SLOTS)
    await idle_runtime.manager.kill(job.id)
    assert await types(idle_runtime, job) == ENDED_BADLY


async def test_an_attempt_that_is_not_the_last_creates_nothing(idle_runtime: Runtime) -> None:
    job = await add(idle_runtime, attempts=3, backoff=0, **SLOTS)
    await fail(idle_runtime, await claim(idle_runtime))
    await retry_now(idle_runtime, await claim(idle_runtime))
    released = await claim(idle_runtime)
    await idle_runtime.work.release(released.job, released.token)
    await idle_runtime.outboxes.run_once()
    assert await born(idle_runtime, job) == []


@pytest.mark.parametrize("kind", ["success", "fail", "die"])
async def test_children_are_created_once_by_whoever_finds_a_job_that_ended_just_before_a_crash(
    settings: Settings, idle_runtime: Runtime, kind: str
) -> None:
    def change(claimed: ClaimedJob) -> Transition:
        if kind == "success":
            return transitions.succeed(claimed.job, claimed.token, None)
        if kind == "fail":
            return transitions.fail(claimed.job, claimed.token, ERROR, chance=0)
        return transitions.die(claimed.job, claimed.token, ERROR)

    parents = [await ended(idle_runtime, change, attempts=1, **SLOTS) for _ in range(10)]
    async with open_runtime(settings) as other, open_runtime(settings) as third:
        completers = [one.outboxes for one in (idle_runtime, other, third, other)]
        await asyncio.gather(*(one.run_once() for one in completers))
        await asyncio.gather(*(one.fire(parent) for one in completers for parent in parents[:3]))
    for parent in parents:
        assert await types(idle_runtime, parent) == (SUCCEEDED if kind == "success" else ENDED_BADLY)
        assert (await idle_runtime.jobs.get(parent.id)).outbox == ()


@pytest.mark.parametrize("made", [0, 1, 2, 3])
async def test_after_a_crash_between_two_children_the_missing_ones_are_created(
    idle_runtime: Runtime, monkeypatch: pytest.MonkeyPatch, made: int
) -> None:
    parent = await ended(idle_runtime, **SLOTS)
    insert, left = idle_runtime.jobs.insert, [None] * made

    async def crash(*args: Any, **kwargs: Any) -> Job:
        if not left:
            raise DatabaseUnavailableError("gone")
        left.pop()
        return await insert(*args, **kwargs)

    async def no_note(job: Job) -> None:
        raise DatabaseUnavailableError(f"gone before {job.id} was noted")

    monkeypatch.setattr(idle_runtime.jobs, "insert", crash)
    monkeypatch.setattr(idle_runtime.jobs, "fired", no_note)
    with pytest.raises(DatabaseUnavailableError):
        await idle_runtime.outboxes.run_once()
    monkeypatch.undo()
    assert len(await born(idle_runtime, parent)) == made
    assert (await idle_runtime.jobs.get(parent.id)).outbox == ("children",)
    await idle_runtime.outboxes.run_once()
    assert await types(idle_runtime, parent) == SUCCEEDED


async def test_children_that_have_run_meanwhile_are_not_created_again(idle_runtime: Runtime) -> None:
    parent = await ended(idle_runtime, **SLOTS)
    for slot, child in (("onComplete.0", SLOTS["on_complete"]), ("onSuccess.0", SLOTS["on_success"][0])):
        await idle_runtime.producer.add(child, job_id=child_id(parent, slot))
    for _ in range(2):
        await succeed(idle_runtime, await claim(idle_runtime))
    await idle_runtime.outboxes.run_once()
    assert (await claim(idle_runtime)).job.type == "success-1"
    assert await idle_runtime.work.claim("default", None, worker="w") is None


async def test_a_slow_process_does_not_create_a_child_that_was_deleted_meanwhile(idle_runtime: Runtime) -> None:
    parent = await ended(idle_runtime, on_success=NewJob(type="child"))
    await idle_runtime.outboxes.run_once()
    (child,) = await born(idle_runtime, parent)
    await idle_runtime.manager.delete(child.id)
    await idle_runtime.outboxes.fire(parent)
    assert await born(idle_runtime, parent) == []
    assert await idle_runtime.work.claim("default", None, worker="w") is None


async def test_a_slow_process_does_not_create_a_child_that_succeeded_and_went_meanwhile(idle_runtime: Runtime) -> None:
    parent = await ended(idle_runtime, on_success=NewJob(type="child", on_success_delete=True))
    await idle_runtime.outboxes.run_once()
    claimed = await claim(idle_runtime)
    await idle_runtime.work.settle(claimed.job, claimed.token, Success())
    with pytest.raises(NotFoundError):
        await idle_runtime.jobs.whole(claimed.job.id)
    await idle_runtime.outboxes.fire(parent)
    assert await idle_runtime.work.claim("default", None, worker="w") is None


async def test_children_have_children_of_their_own(idle_runtime: Runtime) -> None:
    grandchild = NewJob(type="grandchild", on_complete=(NewJob(type="leaf", data={"n": 1}),))
    first = await add(idle_runtime, on_success=NewJob(type="child", on_failure=grandchild, attempts=1))
    await succeed(idle_runtime, await claim(idle_runtime))
    await fail(idle_runtime, await claim(idle_runtime))
    await succeed(idle_runtime, await claim(idle_runtime))
    leaf = (await claim(idle_runtime)).job
    assert (leaf.type, leaf.data) == ("leaf", {"n": 1})
    family = await idle_runtime.manager.family(leaf.id)
    assert [one.type for one in family.ancestors] == ["work", "child", "grandchild"]
    tree = (await idle_runtime.manager.family(first.id)).tree
    path = []
    while tree.children:
        (tree,) = tree.children
        path.append(tree.job.type)
    assert path == ["child", "grandchild", "leaf"]


async def test_each_run_of_a_requeued_job_has_children_of_its_own(idle_runtime: Runtime) -> None:
    parent = await succeed(idle_runtime, await claimed_job(idle_runtime, **SLOTS))
    for run in range(2):
        for child in await born(idle_runtime, parent):
            if child.state is State.PENDING:
                await idle_runtime.manager.kill(child.id)
        await idle_runtime.manager.requeue(parent.id)
        await idle_runtime.outboxes.run_once()
        assert len(await born(idle_runtime, parent)) == 3 * (run + 1)
        await succeed(idle_runtime, await claim(idle_runtime))
        assert len(await born(idle_runtime, parent)) == 3 * (run + 2)


async def test_a_requeue_waits_for_the_children_of_the_run_before(idle_runtime: Runtime) -> None:
    parent = await ended(idle_runtime, on_success=NewJob(type="child", queue="q"))
    requeued = await idle_runtime.manager.requeue(parent.id)
    assert (requeued.run, requeued.outbox) == (1, ())
    assert len(await born(idle_runtime, parent)) == 1


async def test_a_process_that_saw_the_run_before_does_not_disturb_the_next(idle_runtime: Runtime) -> None:
    seen = await ended(idle_runtime, on_success=NewJob(type="child", queue="q"))
    await idle_runtime.manager.requeue(seen.id)
    claimed = await claim(idle_runtime)
    change = transitions.succeed(claimed.job, claimed.token, None)
    assert await idle_runtime.jobs.apply(claimed.job.id, "default", change)
    await idle_runtime.outboxes.fire(seen)
    assert (await idle_runtime.jobs.get(seen.id)).outbox == ("children",)
    await idle_runtime.outboxes.run_once()
    assert len(await born(idle_runtime, seen)) == 2


async def read_by_children(runtime: Runtime) -> None:
    """Run all children to success, in whatever queue, and delete what they have read."""
    while child := await runtime.jobs.collection.find_one({"state": "pending", "parentId": {"$ne": None}}):
        await succeed(runtime, await claim(runtime, child["queue"]))
    await UnreadJobs(runtime.jobs).run_once()


@pytest.mark.parametrize("children", [{}, SLOTS])
async def test_a_job_to_be_deleted_on_success_is_gone_after_its_children_are_there(
    idle_runtime: Runtime, children: dict[str, Any]
) -> None:
    claimed = await claimed_job(idle_runtime, on_success_delete=True, **children)
    await idle_runtime.work.report(claimed.job, claimed.token, lines=[(str(n), None) for n in range(210)])
    await idle_runtime.work.settle(claimed.job, claimed.token, Success())
    assert await types(idle_runtime, claimed.job) == (SUCCEEDED if children else [])
    await read_by_children(idle_runtime)
    with pytest.raises(NotFoundError):
        await idle_runtime.jobs.whole(claimed.job.id)
    assert await idle_runtime.database.collection("logs").count_documents({}) == 0


async def test_a_job_to_be_deleted_whose_process_died_is_deleted_by_another_after_its_children_are_there(
    settings: Settings, idle_runtime: Runtime
) -> None:
    parent = await ended(idle_runtime, on_success_delete=True, **SLOTS)
    assert parent.outbox == ("children", "delete")
    async with open_runtime(settings) as other:
        await asyncio.gather(*(one.outboxes.run_once() for one in (other, idle_runtime, other)))
    assert await types(idle_runtime, parent) == SUCCEEDED
    await read_by_children(idle_runtime)
    with pytest.raises(NotFoundError):
        await idle_runtime.jobs.whole(parent.id)


@pytest.mark.parametrize("how", ["fail", "kill"])
async def test_a_job_to_be_deleted_on_success_stays_when_it_does_not_succeed(idle_runtime: Runtime, how: str) -> None:
    claimed = await claimed_job(idle_runtime, on_success_delete=True, attempts=1)
    if how == "fail":
        await fail(idle_runtime, claimed)
    else:
        await idle_runtime.manager.kill(claimed.job.id)
    await idle_runtime.outboxes.run_once()
    assert (await idle_runtime.jobs.get(claimed.job.id)).state in {State.FAILED, State.KILLED}


async def test_a_child_whose_key_is_taken_is_noted_in_the_log_of_its_parent_once(idle_runtime: Runtime) -> None:
    holder = await add(idle_runtime, queue="q", key="k")
    slots: dict[str, Any] = {
        "on_complete": NewJob(type="child", queue="q", key="k"),
        "on_success": NewJob(type="other", queue="q"),
    }
    parent = await ended(idle_runtime, **slots)
    await idle_runtime.outboxes.fire(parent)
    await idle_runtime.outboxes.fire(parent)
    after = await idle_runtime.jobs.get(parent.id)
    (line,) = after.logs
    assert line.level == "warning"
    assert line.m == f"onComplete.0 was not created: job {holder.id} of queue q is unfinished and has the key 'k'"
    assert await types(idle_runtime, parent) == ["other"]
    assert (after.state, after.outbox) == (State.SUCCESS, ())


async def test_a_started_process_sees_to_what_a_crashed_one_has_left(settings: Settings, idle_runtime: Runtime) -> None:
    parent = await ended(idle_runtime, **SLOTS)
    async with open_runtime(settings, started=True):
        await eventually(lambda: fired(idle_runtime, parent), within=10)
    assert await types(idle_runtime, parent) == SUCCEEDED


async def fired(runtime: Runtime, parent: Job) -> bool:
    return not (await runtime.jobs.get(parent.id)).outbox


async def test_a_child_with_a_delay_waits_from_the_end_of_its_parent(idle_runtime: Runtime) -> None:
    parent = await succeed(idle_runtime, await claimed_job(idle_runtime, on_success=NewJob(type="later", delay=60)))
    (child,) = await born(idle_runtime, parent)
    assert child.state is State.DELAYED
    assert child.delay_til is not None
    assert parent.end_at is not None
    # The moment is known to some milliseconds.
    assert 59 < (child.delay_til - parent.end_at).total_seconds() < 90


async def test_jobs_that_cannot_be_finished_hold_up_no_others(
    idle_runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    new = [NewJob(type="odd", on_complete=NewJob(type="child")) for _ in range(120)]
    odd = {job.id for job in await idle_runtime.producer.add_all(new)}
    fire, finish = idle_runtime.outboxes.fire, idle_runtime.outboxes.finish

    async def broken(job: Job) -> list[str]:
        if job.id in odd:
            raise RuntimeError("no")
        return await fire(job)

    async def nothing(_job_id: str) -> None:
        """Leave it to whoever comes after the crash."""

    monkeypatch.setattr(idle_runtime.outboxes, "fire", broken)
    monkeypatch.setattr(idle_runtime.outboxes, "finish", nothing)
    for _ in odd:
        await succeed(idle_runtime, await claim(idle_runtime))
    await add(idle_runtime, on_complete=NewJob(type="child"))
    last = await succeed(idle_runtime, await claim(idle_runtime))
    monkeypatch.setattr(idle_runtime.outboxes, "finish", finish)
    # At most a hundred are looked at in one sweep.
    for _ in range(2):
        await idle_runtime.outboxes.run_once()
    assert [job.parent_id for job in (await idle_runtime.listing.page(JobQuery(type="child"))).items] == [last.id]
