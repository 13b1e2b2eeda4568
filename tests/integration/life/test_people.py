"""What people do with jobs: requeue, patch, search and delete them."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from bson import ObjectId

from jobqueue.domain.attempts.attempt import JobError
from jobqueue.domain.attempts.states import Outcome, State
from jobqueue.domain.errors import (
    InvalidInputError,
    KeyConflictError,
    NotFoundError,
    StaleTokenError,
    TooLargeError,
    WrongStateError,
)
from jobqueue.domain.search.query import JobQuery
from tests.support.data.factories import add, claim, claimed_job, document, fail, job_in, retry, succeed

if TYPE_CHECKING:
    from jobqueue.services.application import Runtime

REQUEUEABLE = [State.SUCCESS, State.FAILED, State.KILLED, State.DELAYED]


async def found(runtime: Runtime, **meta: str) -> list[str]:
    page = await runtime.listing.page(JobQuery(meta=tuple(meta.items())))
    return [job.id for job in page.items]


@pytest.mark.parametrize("state", REQUEUEABLE)
async def test_a_requeued_job_starts_anew_with_its_history(idle_runtime: Runtime, state: State) -> None:
    before = await job_in(idle_runtime, state)
    job = await idle_runtime.manager.requeue(before.id)
    assert (job.state, job.attempts_made, job.run, job.progress) == (State.PENDING, 0, before.run + 1, 0)
    assert (job.result, job.error, job.claim) == (None, None, None)
    assert (job.start_at, job.end_at, job.delay_til, job.reset_at) == (None, None, None, None)
    assert job.insert_at == before.insert_at
    assert job.history[:-1] == before.history
    entry = job.history[-1]
    assert (entry.outcome, entry.attempt, entry.token) == (Outcome.REQUEUE, before.attempts_made, None)
    assert entry.was == ({"result": {"n": 1}} if state is State.SUCCESS else None)
    claimed = await claim(idle_runtime)
    assert (claimed.job.id, claimed.job.attempts_made) == (job.id, 1)


@pytest.mark.parametrize("state", REQUEUEABLE)
async def test_values_that_a_requeue_replaces_are_kept_in_the_history(idle_runtime: Runtime, state: State) -> None:
    before = await job_in(
        idle_runtime, state, data={"src": "a.png", "x": {"y": [1]}}, attempts=1, backoff=[1, 2], priority=3
    )
    changes = {"data": {"src": "b.png"}, "attempts": 7, "backoff": 60, "priority": 9}
    job = await idle_runtime.manager.requeue(before.id, changes)
    assert (job.data, job.attempts, job.backoff.wire(), job.priority) == ({"src": "b.png"}, 7, 60, 9)
    was = job.history[-1].was
    assert was is not None
    assert {**was, "result": None} == {
        "data": {"src": "a.png", "x": {"y": [1]}},
        "attempts": 1,
        "backoff": [1, 2],
        "priority": 3,
        "result": None,
    }
    assert was.get("result") == before.result


@pytest.mark.parametrize("state", [State.PENDING, State.PROCESSING])
async def test_a_job_that_waits_or_runs_cannot_be_requeued(idle_runtime: Runtime, state: State) -> None:
    job = await job_in(idle_runtime, state)
    before = await document(idle_runtime, job.id)
    with pytest.raises(WrongStateError, match=f"is {state}: it cannot be requeued"):
        await idle_runtime.manager.requeue(job.id)
    assert await document(idle_runtime, job.id) == before


async def test_of_many_requeues_at_once_one_happens(idle_runtime: Runtime) -> None:
    job = await job_in(idle_runtime, State.FAILED)
    outcomes = await asyncio.gather(*(idle_runtime.manager.requeue(job.id) for _ in range(10)), return_exceptions=True)
    assert [type(one) for one in outcomes if isinstance(one, Exception)] == [WrongStateError] * 9
    after = await idle_runtime.jobs.get(job.id)
    assert (after.run, len(after.history)) == (1, 2)


async def test_a_requeued_job_gets_all_its_attempts_again(idle_runtime: Runtime) -> None:
    job = await job_in(idle_runtime, State.FAILED, attempts=2, backoff=0)
    job = await fail(idle_runtime, await claim(idle_runtime))
    assert job.state is State.FAILED
    await idle_runtime.manager.requeue(job.id)
    assert (await fail(idle_runtime, await claim(idle_runtime))).state is State.PENDING
    assert (await fail(idle_runtime, await claim(idle_runtime))).state is State.FAILED


async def test_a_worker_of_the_run_before_a_requeue_changes_nothing(idle_runtime: Runtime) -> None:
    claimed = await claimed_job(idle_runtime)
    await idle_runtime.manager.kill(claimed.job.id)
    await idle_runtime.manager.requeue(claimed.job.id)
    with pytest.raises(StaleTokenError):
        await succeed(idle_runtime, claimed)
    job = await idle_runtime.jobs.get(claimed.job.id)
    assert (job.state, job.result) == (State.PENDING, None)
    assert job.history[0].late is not None


@pytest.mark.parametrize(
    "changes",
    [{"type": "x"}, {"state": "success"}, {"attempts": 0}, {"backoff": "soon"}, {"data": []}, {"priority": 1.5}],
)
async def test_unacceptable_changes_of_a_requeue_are_refused_by_name(
    idle_runtime: Runtime, changes: dict[str, object]
) -> None:
    job = await job_in(idle_runtime, State.FAILED)
    with pytest.raises(InvalidInputError, match=next(iter(changes))):
        await idle_runtime.manager.requeue(job.id, changes)
    assert (await idle_runtime.jobs.get(job.id)).state is State.FAILED


async def test_a_requeue_is_refused_when_its_key_has_been_taken(idle_runtime: Runtime) -> None:
    job = await job_in(idle_runtime, State.FAILED, key="k")
    holder = await add(idle_runtime, key="k")
    with pytest.raises(KeyConflictError) as caught:
        await idle_runtime.manager.requeue(job.id)
    assert caught.value.job_id == holder.id
    assert (await idle_runtime.jobs.get(job.id)).state is State.FAILED
    await idle_runtime.manager.kill(holder.id)
    assert (await idle_runtime.manager.requeue(job.id)).state is State.PENDING


@pytest.mark.parametrize("state", [state for state in State if state is not State.PROCESSING])
async def test_a_job_that_does_not_run_can_be_changed(idle_runtime: Runtime, state: State) -> None:
    job = await job_in(idle_runtime, state)
    changes = {"data": {"n": 5}, "priority": 7, "attempts": 9, "backoff": [1, 5], "lease": 30, "timeout": 90}
    changed = await idle_runtime.manager.patch(job.id, changes)
    assert (changed.data, changed.priority, changed.attempts) == ({"n": 5}, 7, 9)
    assert (changed.backoff.wire(), changed.lease, changed.timeout) == ([1, 5], 30, 90)
    assert (changed.state, changed.history) == (state, job.history)
    assert (await idle_runtime.manager.patch(job.id, {"timeout": None})).timeout is None


async def test_a_running_job_cannot_be_changed(idle_runtime: Runtime) -> None:
    job = await job_in(idle_runtime, State.PROCESSING)
    before = await document(idle_runtime, job.id)
    with pytest.raises(WrongStateError, match="is processing: it cannot be changed"):
        await idle_runtime.manager.patch(job.id, {"priority": 1})
    assert await document(idle_runtime, job.id) == before


async def test_a_changed_due_time_moves_a_waiting_job_between_pending_and_delayed(idle_runtime: Runtime) -> None:
    job = await add(idle_runtime)
    later = datetime.now(UTC) + timedelta(hours=1)
    changed = await idle_runtime.manager.patch(job.id, {"delay_til": later})
    assert changed.state is State.DELAYED
    assert await idle_runtime.work.claim("default", None, worker="w") is None
    changed = await idle_runtime.manager.patch(job.id, {"delay_til": later - timedelta(hours=2)})
    assert changed.state is State.PENDING
    await idle_runtime.manager.patch(job.id, {"delay_til": later})
    assert (await idle_runtime.manager.patch(job.id, {"delay_til": None})).state is State.PENDING
    assert (await claim(idle_runtime)).job.id == job.id


async def test_an_ended_job_cannot_be_given_a_due_time(idle_runtime: Runtime) -> None:
    job = await job_in(idle_runtime, State.FAILED)
    with pytest.raises(WrongStateError, match="is failed"):
        await idle_runtime.manager.patch(job.id, {"delay_til": datetime.now(UTC)})


async def test_a_changed_priority_counts_at_the_next_claim(idle_runtime: Runtime) -> None:
    first, second = await add(idle_runtime), await add(idle_runtime)
    await idle_runtime.manager.patch(second.id, {"priority": 1})
    assert [(await claim(idle_runtime)).job.id for _ in range(2)] == [second.id, first.id]


async def test_changed_meta_is_what_is_found(idle_runtime: Runtime) -> None:
    job = await add(idle_runtime, meta={"user_id": 42, "tags": ["a", "b"]})
    assert await found(idle_runtime, user_id="42") == await found(idle_runtime, tags="b") == [job.id]
    await idle_runtime.manager.patch(job.id, {"meta": {"user_id": 43, "address": {"city": "Köln"}}})
    assert await found(idle_runtime, user_id="42") == await found(idle_runtime, tags="b") == []
    assert await found(idle_runtime, user_id="43") == [job.id]
    assert await found(idle_runtime, **{"address.city": "Köln"}) == [job.id]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (42, "42"),
        ("42", "42"),
        (4.5, "4.5"),
        (True, "true"),
        (None, "null"),
        ("x" * 500, "x" * 500),
        ("a b=c", "a b=c"),
    ],
)
async def test_meta_of_any_kind_is_found_by_its_text(idle_runtime: Runtime, value: object, text: str) -> None:
    await add(idle_runtime, meta={"other": value})
    job = await add(idle_runtime, meta={"it": value})
    assert await found(idle_runtime, it=text) == [job.id]
    assert await found(idle_runtime, it=text + "x") == []


async def test_data_and_meta_together_stay_within_their_limit_when_one_is_changed(idle_runtime: Runtime) -> None:
    job = await add(idle_runtime, data={"text": "x" * 600_000})
    with pytest.raises(TooLargeError, match="data and meta"):
        await idle_runtime.manager.patch(job.id, {"meta": {"text": "x" * 600_000}})
    both = {"data": {}, "meta": {"text": "x" * 600_000}}
    assert (await idle_runtime.manager.patch(job.id, both)).data == {}


async def test_a_deleted_job_is_gone_with_its_logs(idle_runtime: Runtime) -> None:
    claimed = await claimed_job(idle_runtime)
    await idle_runtime.work.report(claimed.job, claimed.token, lines=[(str(n), None) for n in range(250)])
    with pytest.raises(WrongStateError, match="is processing: it cannot be deleted"):
        await idle_runtime.manager.delete(claimed.job.id)
    await succeed(idle_runtime, claimed)
    await idle_runtime.manager.delete(claimed.job.id)
    for look in (
        idle_runtime.jobs.whole,
        idle_runtime.logs.lines,
        idle_runtime.manager.family,
        idle_runtime.manager.delete,
    ):
        with pytest.raises(NotFoundError):
            await look(claimed.job.id)
    of_job = {"jobId": ObjectId(claimed.job.id)}
    assert await idle_runtime.database.collection("logs").count_documents(of_job) == 0
    assert await idle_runtime.jobs.collection.count_documents({"state": {"$exists": True}}) == 0


@pytest.mark.parametrize("state", [state for state in State if state is not State.PROCESSING])
async def test_a_job_that_does_not_run_can_be_deleted(idle_runtime: Runtime, state: State) -> None:
    job = await job_in(idle_runtime, state)
    await idle_runtime.manager.delete(job.id)
    with pytest.raises(NotFoundError):
        await idle_runtime.jobs.whole(job.id)


async def test_a_deleted_child_is_seen_nowhere_and_its_trace_expires(idle_runtime: Runtime) -> None:
    parent = await succeed(idle_runtime, await claimed_job(idle_runtime, on_success={"type": "child"}))
    (child,) = (await idle_runtime.manager.family(parent.id)).tree.children
    await idle_runtime.manager.delete(child.job.id)
    with pytest.raises(NotFoundError):
        await idle_runtime.jobs.whole(child.job.id)
    for query in (
        JobQuery(),
        JobQuery(queue="default"),
        JobQuery(parent_id=parent.id),
        JobQuery(type="child"),
        JobQuery(states=tuple(State)),
        JobQuery(oldest_first=True),
    ):
        assert child.job.id not in {one.id for one in (await idle_runtime.listing.page(query)).items}
    assert (await idle_runtime.manager.family(parent.id)).tree.children == ()
    for change in (
        idle_runtime.manager.kill(child.job.id),
        idle_runtime.manager.requeue(child.job.id),
        idle_runtime.manager.patch(child.job.id, {"priority": 1}),
        idle_runtime.manager.delete(child.job.id),
    ):
        with pytest.raises(NotFoundError):
            await change
    assert await idle_runtime.work.claim("default", None, worker="w") is None
    stone = await document(idle_runtime, child.job.id)
    assert set(stone) == {"_id", "queue", "run", "expireAt", "gone"}
    assert not {"data", "meta", "attrs", "result", "logs"} & set(stone["gone"])
    assert timedelta(minutes=59) < stone["expireAt"] - datetime.now(UTC) < timedelta(minutes=61)


async def test_the_error_of_a_delayed_job_goes_with_a_requeue_but_stays_in_its_history(idle_runtime: Runtime) -> None:
    job = await retry(idle_runtime, await claimed_job(idle_runtime), delay=600)
    assert job.error == JobError(kind="Boom", message="it broke")
    job = await idle_runtime.manager.requeue(job.id)
    assert job.error is None
    assert job.history[0].error == JobError(kind="Boom", message="it broke")


async def test_a_requeue_that_comes_too_late_does_not_disturb_the_run_it_finds(idle_runtime: Runtime) -> None:
    seen = await job_in(idle_runtime, State.FAILED)
    await idle_runtime.manager.requeue(seen.id)
    claimed = await claim(idle_runtime)
    before = await document(idle_runtime, seen.id)
    with pytest.raises(WrongStateError, match="is processing"):
        await idle_runtime.requeues.requeue(seen, {})
    assert await document(idle_runtime, seen.id) == before
    assert (await succeed(idle_runtime, claimed)).state is State.SUCCESS
