"""Scenes of processes that write more than once, and die meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from jobqueue.domain.bulk.operation import Action, NewOperation
from jobqueue.domain.errors import NotFoundError
from jobqueue.domain.insight.audit import Actor
from jobqueue.domain.jobs.job import NewJob
from jobqueue.domain.schedules.cron import Every
from jobqueue.domain.schedules.schedule import Schedule
from jobqueue.domain.work.verdict import Success
from jobqueue.domain.workflow.batch import Member, NewBatch
from jobqueue.services.jobs.retention import Pruner
from jobqueue.services.work.several import SeveralAttempts
from jobqueue.services.workflow.idempotency import KeyedRequest
from jobqueue.store.work.several_claims import SeveralClaims
from tests.support.crashes.crash_recovery import let_time_pass, work_off
from tests.support.data.factories import LONG_AGO, add, claim, fail, lane, succeed

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from jobqueue.services.application import Runtime

BY = Actor(name="a person", via="test")
CALLBACKS: dict[str, Any] = {f"on_{event}": NewJob(type=event) for event in ("complete", "success", "failure")}
ONCE = KeyedRequest(key="key", digest="digest")


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """The work of a process that dies meanwhile.

    Attributes:
        act: the work.
        before: the number of jobs of each type in the end, if the work was not begun.
        after: the number if it was.
        then: work after the crash, besides the loops.
        settled: only ``after`` may be the end, as another process goes on with the work.
        counted: the numbers are known; otherwise they depend on the write at which the process died.
    """

    act: Callable[[Runtime], Awaitable[object]]
    before: dict[str, int]
    after: dict[str, int]
    then: Callable[[Runtime], Awaitable[object]] | None = None
    settled: bool = False
    counted: bool = True


def job(kind: str, **fields: Any) -> NewJob:
    return NewJob(type=kind, **({"attempts": 1} | fields))


def member(ref: str, *after: str, **fields: Any) -> Member:
    return Member(job=job(ref, **fields), ref=ref, after=after)


async def batch(runtime: Runtime, *members: Member, **fields: Any) -> tuple[str, dict[str, str]]:
    """Create a batch with callbacks; return its id and those of its jobs by their refs."""
    view, added = await runtime.batches.create(NewBatch(members=members, **(CALLBACKS | fields)))
    return view.batch.id, {entry.ref: entry.id for entry in added if entry.ref}


async def fallen(runtime: Runtime) -> tuple[str, dict[str, str]]:
    """Create a batch whose first job has failed, so that the others fell."""
    made = await batch(runtime, member("a"), member("b", "a"), member("c", "b"), member("d"))
    await work_off(runtime, {"a"})
    return made


MEMBERS = {"a": 1, "b": 1, "c": 1, "d": 1}
FAILED = MEMBERS | {"complete": 1, "failure": 1}
REPAIRED = MEMBERS | {"complete": 2, "failure": 1, "success": 1}


async def adding(_: Runtime) -> Scene:
    new = job("a", on_complete=job("kid"), on_success_delete=True)
    return Scene(act=lambda victim: victim.producer.add(new), before={}, after={"kid": 1})


async def adding_what_depends_on_a_failure(runtime: Runtime) -> Scene:
    bad = await fail(runtime, await _running(runtime, "bad"))
    new = job("a", depends_on=(bad.id,), on_failure=job("kid"))
    return Scene(act=lambda victim: victim.producer.add(new), before={"bad": 1}, after={"bad": 1, "a": 1, "kid": 1})


async def adding_many(runtime: Runtime) -> Scene:
    done = await succeed(runtime, await _running(runtime, "done"))
    new = [job("a"), job("b", depends_on=(done.id,)), job("c", key="k")]
    after = {"done": 1, "a": 1, "b": 1, "c": 1}
    return Scene(act=lambda victim: victim.producer.add_all(new), before={"done": 1}, after=after)


async def adding_once(runtime: Runtime) -> Scene:
    done = await succeed(runtime, await _running(runtime, "done"))
    new = job("a", depends_on=(done.id,))

    async def again(survivor: Runtime) -> None:
        await survivor.database.collection("idempotency").update_many({}, {"$set": {"busyTil": LONG_AGO}})
        await survivor.idempotency.add(ONCE, new)

    after = {"done": 1, "a": 1}
    return Scene(act=lambda victim: victim.idempotency.add(ONCE, new), before={}, after=after, then=again, settled=True)


async def creating_a_batch_once(_: Runtime) -> Scene:
    new = NewBatch(members=[member("a"), member("b", "a")], **CALLBACKS)

    async def again(survivor: Runtime) -> None:
        await survivor.database.collection("idempotency").update_many({}, {"$set": {"busyTil": LONG_AGO}})
        await survivor.idempotency.create_batch(ONCE, new)

    after = {"a": 1, "b": 1, "complete": 1, "success": 1}
    act = lambda victim: victim.idempotency.create_batch(ONCE, new)  # noqa: E731 - as in the other scenes
    return Scene(act=act, before={}, after=after, then=again, settled=True)


async def creating_a_batch(runtime: Runtime) -> Scene:
    done = await succeed(runtime, await _running(runtime, "done"))
    members = [member("a", depends_on=(done.id,)), member("b", "a")]
    new = NewBatch(members=members, **CALLBACKS)
    after = {"done": 1, "a": 1, "b": 1, "complete": 1, "success": 1}
    return Scene(act=lambda victim: victim.batches.create(new), before={"done": 1}, after=after)


async def creating_an_empty_batch(_: Runtime) -> Scene:
    return Scene(
        act=lambda victim: victim.batches.create(NewBatch(**CALLBACKS)), before={}, after={"complete": 1, "success": 1}
    )


async def adding_to_a_batch(runtime: Runtime) -> Scene:
    batch_id, ids = await batch(runtime, member("a"), member("b", "a"))

    async def act(victim: Runtime) -> None:
        running = await claim(victim)
        more = [Member(job=job("n"), ref="n", blocks=(ids["b"],))]
        await victim.batches.add(batch_id, more, token=running.token)
        await succeed(victim, running)

    # Whoever runs a job and dies has used an attempt up: there is only one.
    fell = {"a": 1, "b": 1, "complete": 1, "failure": 1}
    return Scene(act=act, before={"a": 1, "b": 1, "complete": 1, "success": 1}, after=fell | {"n": 1}, counted=False)


async def sealing(runtime: Runtime) -> Scene:
    batch_id, _ = await batch(runtime, member("a"), sealed=False)
    await work_off(runtime)
    return Scene(
        act=lambda victim: victim.batches.seal(batch_id), before={"a": 1}, after={"a": 1, "complete": 1, "success": 1}
    )


async def requeuing_a_batch(runtime: Runtime) -> Scene:
    batch_id, _ = await fallen(runtime)
    return Scene(act=lambda victim: victim.batches.requeue(batch_id), before=FAILED, after=REPAIRED)


async def requeuing_a_batch_whose_job_ends_meanwhile(runtime: Runtime) -> Scene:
    batch_id, _ = await batch(runtime, member("a"))
    await work_off(runtime, {"a"})

    async def act(victim: Runtime) -> None:
        store = victim.outboxes._restarts._store
        real = store.waiting

        async def waiting(started: Any) -> list[str]:
            ids = await real(started)
            await work_off(runtime)
            return ids

        store.waiting = waiting  # type: ignore[assignment,method-assign]
        await victim.batches.requeue(batch_id)

    before = {"a": 1, "complete": 1, "failure": 1}
    return Scene(act=act, before=before, after=before | {"complete": 2, "success": 1})


async def requeuing_a_batch_that_is_well_with_callbacks(runtime: Runtime) -> Scene:
    batch_id, _ = await batch(runtime, member("a"))
    await work_off(runtime)
    before = {"a": 1, "complete": 1, "success": 1}
    return Scene(
        act=lambda victim: victim.batches.requeue(batch_id, callbacks=True),
        before=before,
        after=before | {"complete": 2, "success": 2},
    )


async def requeuing_one_job_of_a_batch(runtime: Runtime) -> Scene:
    _, ids = await fallen(runtime)
    return Scene(act=lambda victim: victim.manager.requeue(ids["a"]), before=FAILED, after=REPAIRED)


async def requeuing_one_job_of_a_batch_and_running_it(runtime: Runtime) -> Scene:
    _, ids = await batch(runtime, member("a"), member("b", "a", on_failure=job("kid")))
    await work_off(runtime, {"a"})

    async def act(victim: Runtime) -> None:
        await victim.manager.requeue(ids["a"])
        await work_off(victim)

    before = {"a": 1, "b": 1, "kid": 1, "complete": 1, "failure": 1}
    return Scene(act=act, before=before, after={}, counted=False)


async def requeuing_a_job_that_others_outside_fell_with(runtime: Runtime) -> Scene:
    bad = await add(runtime, "bad", attempts=1)
    other = await add(runtime, "other", attempts=1, depends_on=[bad.id])
    await batch(runtime, member("a", depends_on=(other.id,)), member("b", "a"))
    await work_off(runtime, {"bad"})
    before = {"bad": 1, "other": 1, "a": 1, "b": 1, "complete": 1, "failure": 1}
    return Scene(
        act=lambda victim: victim.manager.requeue(bad.id), before=before, after=before | {"complete": 2, "success": 1}
    )


async def an_operation_that_requeues(runtime: Runtime) -> Scene:
    await batch(runtime, member("a"), member("b"), member("c", "b"), member("d"))
    await work_off(runtime, {"a", "b"})
    new = NewOperation(action=Action.REQUEUE, by=BY, filter={"type": {"$in": ["a", "b"]}})
    return Scene(act=lambda victim: _operate(victim, new), before=FAILED, after=REPAIRED)


async def an_operation_that_kills(runtime: Runtime) -> Scene:
    await batch(runtime, member("a"), member("b", "a"), member("c"))
    new = NewOperation(action=Action.KILL, by=BY, filter={"type": {"$in": ["a", "c"]}})
    members = {"a": 1, "b": 1, "c": 1}
    return Scene(
        act=lambda victim: _operate(victim, new),
        before=members | {"complete": 1, "success": 1},
        after=members | {"complete": 1, "failure": 1},
    )


async def an_operation_that_deletes(runtime: Runtime) -> Scene:
    await batch(runtime, member("a"), member("b", "a"), member("c"))
    new = NewOperation(action=Action.DELETE, by=BY, filter={"type": "a"})
    return Scene(act=lambda victim: _operate(victim, new), before={}, after={}, counted=False)


async def killing_a_job(runtime: Runtime) -> Scene:
    _, ids = await batch(runtime, member("a", on_failure=job("kid")), member("b", "a"), member("c", "b"))
    members = {"a": 1, "b": 1, "c": 1}
    return Scene(
        act=lambda victim: victim.manager.kill(ids["a"]),
        before=members | {"complete": 1, "success": 1},
        after=members | {"kid": 1, "complete": 1, "failure": 1},
    )


async def killing_a_batch(runtime: Runtime) -> Scene:
    batch_id, _ = await batch(runtime, member("a"), member("b", "a"), member("c"))
    return Scene(act=lambda victim: victim.batches.kill_all(batch_id), before={}, after={}, counted=False)


async def deleting_a_job(runtime: Runtime) -> Scene:
    _, ids = await batch(runtime, member("a", delay=3600), member("b", "a"))
    return Scene(act=lambda victim: victim.manager.delete(ids["a"]), before={}, after={}, counted=False)


async def deleting_a_queue(runtime: Runtime) -> Scene:
    await batch(runtime, member("a", on_failure=job("kid", queue="other")), member("b", "a"), member("c"))
    await claim(runtime)

    async def act(victim: Runtime) -> None:
        await victim.queues.delete("default", force=True)

    async def again(survivor: Runtime) -> None:
        with contextlib.suppress(NotFoundError):
            await act(survivor)

    # It stays paused until somebody deletes it again.
    return Scene(act=act, before={}, after={}, then=again, counted=False)


async def failing(runtime: Runtime) -> Scene:
    await batch(runtime, member("a", on_failure=job("kid")), member("b", "a"), member("c", "b"))

    async def act(victim: Runtime) -> None:
        await fail(victim, await claim(victim))

    fell = {"a": 1, "b": 1, "c": 1, "kid": 1, "complete": 1, "failure": 1}
    return Scene(act=act, before={"a": 1, "b": 1, "c": 1, "complete": 1, "success": 1}, after=fell)


async def succeeding(runtime: Runtime) -> Scene:
    runs = {"attempts": 2, "backoff": 0}
    await batch(runtime, member("a", on_complete=job("kid"), on_success_delete=True, **runs), member("b", "a"))
    await runtime.queues.patch("default", {"concurrency": 1})

    async def act(victim: Runtime) -> None:
        await victim.configs.refresh()
        running = await claim(victim)
        await victim.work.report(running.job, running.token, lines=[("line", None)] * 250)
        await victim.work.settle(running.job, running.token, Success())

    after = {"b": 1, "kid": 1, "complete": 1, "success": 1}
    return Scene(act=act, before=after, after=after)


async def a_tick_of_a_schedule(runtime: Runtime) -> Scene:
    schedule = Schedule(name="s", job=job("tick"), recurrence=Every(seconds=86_400), missed="one")
    await runtime.schedules.put(schedule)
    await runtime.database.collection("schedules").update_one({"_id": "s"}, {"$set": {"nextAt": LONG_AGO}})
    return Scene(act=lambda victim: victim.scheduler.run_once(), before={}, after={"tick": 1}, settled=True)


async def adopting(runtime: Runtime) -> Scene:
    done = await succeed(runtime, await _running(runtime, "done"))
    documents: list[dict[str, Any]] = [
        {"type": "a"},
        {"type": "b", "_id": "an id of its own"},
        {"type": "c", "dependsOn": [done.id], "onSuccess": {"type": "kid"}},
        {"type": "d", "attempts": "many"},
    ]
    await runtime.jobs.collection.insert_many(documents)
    after = {"done": 1, "a": 1, "b": 1, "c": 1, "d": 1, "kid": 1}
    return Scene(act=lambda victim: victim.adopter.run_once(), before={}, after=after, settled=True)


async def pruning(runtime: Runtime) -> Scene:
    await runtime.queues.patch("default", {"retention": {"success": 1}})
    for kind in ("a", "b"):
        running = await _running(runtime, kind)
        await runtime.work.report(running.job, running.token, lines=[("line", None)] * 250)
        await let_time_pass(runtime, (await succeed(runtime, running)).id)

    async def act(victim: Runtime) -> None:
        await victim.configs.refresh()
        await Pruner(victim.configs, victim.pruning).run_once()

    return Scene(act=act, before={}, after={}, settled=True)


async def _running(runtime: Runtime, kind: str) -> Any:
    await add(runtime, kind, attempts=1)
    return await claim(runtime)


async def _operate(runtime: Runtime, new: NewOperation) -> None:
    operation = await runtime.operations.create(new)
    while await runtime.operations.carry_on(operation.id):
        pass


async def claiming_and_ending_several(runtime: Runtime) -> Scene:
    for _ in range(5):
        await add(runtime, "a", on_success=job("kid"))
        await add(runtime, "b")

    async def work(victim: Runtime) -> None:
        several = SeveralAttempts(SeveralClaims(victim.database, victim.claims), victim.configs, victim.work)
        claimed = await several.claim(lane(), 10, worker="victim", margin=2, version=None)
        await asyncio.gather(*(victim.work.settle(one.job, one.token, Success()) for one in claimed))

    return Scene(act=work, before={}, after={"a": 5, "b": 5, "kid": 5}, settled=True)


QUICK = [
    claiming_and_ending_several,
    adding_once,
    creating_a_batch_once,
    creating_an_empty_batch,
    adding_to_a_batch,
    sealing,
    requeuing_a_batch_whose_job_ends_meanwhile,
    requeuing_one_job_of_a_batch,
    killing_a_job,
    a_tick_of_a_schedule,
    adopting,
    pruning,
]
REST = [
    adding,
    adding_what_depends_on_a_failure,
    adding_many,
    creating_a_batch,
    requeuing_a_batch,
    requeuing_a_batch_that_is_well_with_callbacks,
    requeuing_one_job_of_a_batch_and_running_it,
    requeuing_a_job_that_others_outside_fell_with,
    an_operation_that_requeues,
    an_operation_that_kills,
    an_operation_that_deletes,
    killing_a_batch,
    deleting_a_job,
    deleting_a_queue,
    failing,
    succeeding,
]
