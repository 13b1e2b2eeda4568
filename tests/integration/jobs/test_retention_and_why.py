"""Ended jobs are deleted when their time is over and no others; a job can say why it is not running."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp.test_utils import TestClient, TestServer
from bson import ObjectId

from jobqueue.api.app import make_app
from jobqueue.domain.attempts.states import FINAL, State
from jobqueue.domain.errors import NotFoundError
from jobqueue.domain.jobs import json_form, transitions
from jobqueue.domain.jobs.job import INLINE_LOGS, NewJob
from jobqueue.domain.limits.limits import Breaker, Rate
from jobqueue.services.jobs.retention import Pruner
from jobqueue.store.documents import queue_statements
from jobqueue.store.limits.limits import AttemptEnd
from jobqueue.store.mongo.clock import SERVER_NOW
from tests.support.data.factories import (
    LONG_AGO,
    add,
    claim,
    claimed_job,
    document,
    fail,
    finished_documents,
    job_in,
    open_runtime,
    retry_now,
    succeed,
)
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aiohttp import web

    from jobqueue.domain.jobs.job import Job
    from jobqueue.services.application import Runtime
    from jobqueue.services.queue import JobQueue
    from jobqueue.settings import Settings

    Client = TestClient[web.Request, web.Application]

DAY = 86_400.0
EDGE = timedelta(milliseconds=1)


def later(job: Job, seconds: float) -> datetime:
    assert job.end_at is not None
    return job.end_at + timedelta(seconds=seconds)


async def ids(runtime: Runtime, collection: str = "jobs", field: str = "_id") -> set[str]:
    return {str(one[field]) async for one in runtime.database.collection(collection).find()}


async def wordy(runtime: Runtime, **fields: Any) -> Job:
    """Return a failed job some of whose log lines and attempts lie outside of its document."""
    claimed = await claimed_job(runtime, attempts=1, **fields)
    for _ in range(3):
        await retry_now(runtime, claimed)
        claimed = await claim(runtime, claimed.job.queue)
    lines = [(f"line {number}", None) for number in range(INLINE_LOGS + 5)]
    await runtime.work.report(claimed.job, claimed.token, lines=lines)
    await runtime.jobs.history.spill(claimed.job.id, keep=1, state=State.PROCESSING)
    return await fail(runtime, claimed)


@pytest.mark.parametrize("ended", sorted(FINAL))
async def test_only_jobs_of_the_state_and_queue_are_deleted_and_only_when_it_is_time(
    idle_runtime: Runtime, ended: State
) -> None:
    job = await job_in(idle_runtime, ended)
    await job_in(idle_runtime, ended, queue="other")
    for other in sorted(set(State) - {ended}, key=State.PENDING.__eq__):
        await job_in(idle_runtime, other)
    everything = await ids(idle_runtime)
    idle_runtime.database.clock.present = later(job, DAY) - EDGE
    assert await idle_runtime.pruning.prune("default", ended, DAY, 100) == (0, 0)
    idle_runtime.database.clock.present = later(job, DAY)
    assert await idle_runtime.pruning.prune("default", ended, DAY, 100) == (1, 1)
    assert await ids(idle_runtime) == everything - {job.id}


async def test_an_unfinished_job_is_never_deleted_whatever_its_document_says(idle_runtime: Runtime) -> None:
    jobs = [await job_in(idle_runtime, one) for one in (State.DELAYED, State.PROCESSING, State.PENDING)]
    await idle_runtime.jobs.collection.update_many({}, {"$set": {"endAt": LONG_AGO}})
    for ended in FINAL:
        assert await idle_runtime.pruning.prune("default", ended, 1, 100) == (0, 0)
    assert await ids(idle_runtime) == {job.id for job in jobs}


@pytest.mark.parametrize("end", [None, "2020-01-01", datetime.fromtimestamp(0, UTC)])
async def test_a_job_that_does_not_know_when_it_ended_is_kept(idle_runtime: Runtime, end: Any) -> None:
    await job_in(idle_runtime, State.FAILED)
    await idle_runtime.jobs.collection.update_many({}, {"$set": {"endAt": end}})
    assert await idle_runtime.pruning.prune("default", State.FAILED, 1, 100) == (0, 0)


async def test_a_job_whose_children_are_still_to_be_created_is_kept_until_they_are(idle_runtime: Runtime) -> None:
    claimed = await claimed_job(idle_runtime, on_success=NewJob(type="child"))
    change = transitions.succeed(claimed.job, claimed.token, None)
    assert await idle_runtime.jobs.apply(claimed.job.id, "default", change)
    clock, in_two_days = idle_runtime.database.clock, datetime.now(UTC) + timedelta(days=2)
    clock.present = in_two_days
    assert await idle_runtime.pruning.prune("default", State.SUCCESS, DAY, 100) == (0, 0)
    clock.present = SERVER_NOW
    await idle_runtime.outboxes.run_once()
    clock.present = in_two_days
    # The child may read the result of its parent.
    assert await idle_runtime.pruning.prune("default", State.SUCCESS, DAY, 100) == (0, 1)
    clock.present = SERVER_NOW
    child = await claim(idle_runtime)
    assert child.job.type == "child"
    await succeed(idle_runtime, child)
    clock.present = in_two_days
    assert await idle_runtime.pruning.prune("default", State.SUCCESS, DAY, 100) == (2, 2)


async def test_a_child_leaves_a_tombstone_so_that_it_is_not_created_twice(idle_runtime: Runtime) -> None:
    claimed = await claimed_job(idle_runtime, on_success=NewJob(type="child"))
    await succeed(idle_runtime, claimed)
    child = await succeed(idle_runtime, await claim(idle_runtime))
    idle_runtime.database.clock.present = now = later(child, DAY)
    assert await idle_runtime.pruning.prune("default", State.SUCCESS, DAY, 100) == (2, 2)
    stone = {"_id": ObjectId(child.id), "queue": "default", "run": 0, "expireAt": now + timedelta(hours=1)}
    assert await document(idle_runtime, child.id) == stone
    with pytest.raises(NotFoundError):
        await idle_runtime.jobs.get(child.id)
    # A slow process may have seen the parent before it was deleted, with its children still to be created.
    await idle_runtime.outboxes.fire(replace(claimed.job, state=State.SUCCESS, outbox=("children",)))
    assert await document(idle_runtime, child.id) == stone
    assert await idle_runtime.pruning.prune("default", State.SUCCESS, 0.001, 100) == (0, 0)


async def test_logs_and_attempts_of_exactly_the_deleted_jobs_go_too(idle_runtime: Runtime) -> None:
    await wordy(idle_runtime)
    child, kept, other = await wordy(idle_runtime), await wordy(idle_runtime), await wordy(idle_runtime, queue="other")
    of_a_child = {"$set": {"parentId": ObjectId(other.id)}}
    await idle_runtime.jobs.collection.update_one({"_id": ObjectId(child.id)}, of_a_child)
    young = {"$set": {"endAt": later(kept, 1000)}}
    await idle_runtime.jobs.collection.update_one({"_id": ObjectId(kept.id)}, young)
    idle_runtime.database.clock.present = later(kept, DAY)
    assert len(await ids(idle_runtime, "logs")) == 4 * 5
    assert await idle_runtime.pruning.prune("default", State.FAILED, DAY, 100) == (2, 2)
    for collection in ("logs", "attempts"):
        assert await ids(idle_runtime, collection, "jobId") == {kept.id, other.id}
    assert len(await idle_runtime.logs.lines(kept.id)) == INLINE_LOGS + 5
    assert len((await idle_runtime.jobs.whole(kept.id)).history) == 4


async def test_a_job_that_is_requeued_at_the_same_moment_is_deleted_or_whole(
    settings: Settings, idle_runtime: Runtime
) -> None:
    jobs = [await wordy(idle_runtime) for _ in range(20)]
    idle_runtime.database.clock.present = now = later(jobs[-1], DAY)

    async def requeue(job: Job) -> str | None:
        with contextlib.suppress(NotFoundError):
            return (await idle_runtime.manager.requeue(job.id)).id
        return None

    async with open_runtime(settings) as other:
        other.database.clock.present = now
        prunings = [one.pruning.prune("default", State.FAILED, DAY, 100) for one in (idle_runtime, other)]
        requeued = {job_id for job_id in (await asyncio.gather(*map(requeue, jobs), *prunings))[:20] if job_id}
    assert await ids(idle_runtime) == requeued
    for collection in ("logs", "attempts"):
        assert await ids(idle_runtime, collection, "jobId") == requeued


async def test_a_process_deletes_what_its_queues_do_not_keep_a_part_at_a_time(
    settings: Settings, idle_runtime: Runtime
) -> None:
    ended = finished_documents(1503)
    await idle_runtime.jobs.collection.insert_many(ended)
    await job_in(idle_runtime, State.SUCCESS)
    await idle_runtime.queues.put("default", {"retention": {"success": DAY, "killed": None}})
    pruner = Pruner(idle_runtime.configs, idle_runtime.pruning)
    assert [await pruner.run_once() is None for _ in range(2)] == [False, True]
    counts = {one: await idle_runtime.jobs.collection.count_documents({"state": one.value}) for one in FINAL}
    assert counts == {State.SUCCESS: 1, State.FAILED: 501, State.KILLED: 501}
    await idle_runtime.queues.patch("default", {"retention": {"killed": 0.001}})
    async with open_runtime(settings, started=True) as other:
        await eventually(lambda: settled(other), within=10)
    assert await idle_runtime.jobs.collection.count_documents({"state": "failed"}) == 501


async def settled(runtime: Runtime) -> bool:
    return await runtime.jobs.collection.count_documents({"state": "killed"}) == 0


async def test_what_is_over_is_found_by_its_index_in_its_order(idle_runtime: Runtime) -> None:
    await idle_runtime.jobs.collection.insert_many(finished_documents(600))
    over = queue_statements.over("default", State.SUCCESS, datetime.fromtimestamp(0, UTC), datetime.now(UTC))
    find = {"find": "jobs", "filter": over, "sort": {"endAt": 1}, "limit": 50}
    for command in (find, find | {"hint": "ended"}):
        plan = await idle_runtime.database.raw.command("explain", command, verbosity="executionStats")
        text = str(plan["queryPlanner"]["winningPlan"])
        assert ("'ended'" in text, "COLLSCAN" in text, "'SORT'" in text) == (True, False, False)
        assert plan["executionStats"]["totalKeysExamined"] <= 51


@pytest.fixture
async def client(idle_runtime: Runtime) -> AsyncIterator[Client]:
    async with TestClient(TestServer(make_app(idle_runtime))) as one:
        yield one


async def why(client: Client, job: Job) -> tuple[list[Any], str | None]:
    """Return the reasons and when the job may start."""
    answer = await client.get(f"/v1/jobs/{job.id}/why")
    body = await answer.json()
    assert answer.status == 200, body
    assert (body["id"], all(one["message"] for one in body["reasons"])) == (job.id, True)
    return body["reasons"], body["nextStartAt"]


def is_near(text: str | None, moment: Any) -> bool:
    """Tell whether a shown date is another one, but for the time that a request takes."""
    assert text is not None
    other = datetime.fromisoformat(moment) if isinstance(moment, str) else moment
    return abs(datetime.fromisoformat(text) - other) < timedelta(seconds=30)


async def kinds(client: Client, job: Job) -> list[str]:
    return [one["kind"] for one in (await why(client, job))[0]]


async def attend(runtime: Runtime, queue: str = "default") -> None:
    """Let there be a worker that takes everything."""
    runtime.registry.heard("somebody", queue, None)
    await runtime.registry.run_once()


@pytest.mark.parametrize("ended", [*sorted(FINAL), State.PROCESSING])
async def test_a_job_that_runs_or_has_ended_says_just_that(client: Client, idle_runtime: Runtime, ended: State) -> None:
    await idle_runtime.queues.put("default", {"concurrency": 1, "rate": {"limit": 1, "per": 60}})
    job = await job_in(idle_runtime, ended)
    await idle_runtime.queues.set_paused("default", paused=True)
    ((reason,), start) = await why(client, job)
    assert (reason["kind"], reason["state"], start) == ("state", ended.value, None)
    word = {State.PROCESSING: "worker", State.SUCCESS: "success"}.get(ended, "it broke")
    assert word in reason["message"]


async def test_a_job_that_may_be_claimed_at_any_moment_has_no_reason(client: Client, idle_runtime: Runtime) -> None:
    job = await add(idle_runtime)
    await attend(idle_runtime)
    await idle_runtime.queues.set_paused("default", paused=True)
    assert await kinds(client, job) == ["paused"]
    await idle_runtime.queues.set_paused("default", paused=False)
    assert await why(client, job) == ([], None)
    assert (await client.get(f"/v1/jobs/{'0' * 24}/why")).status == 404


async def test_a_delayed_job_says_when_it_is_due(client: Client, idle_runtime: Runtime) -> None:
    await attend(idle_runtime)
    job = await add(idle_runtime, delay=3600)
    failed = await fail(idle_runtime, await claimed_job(idle_runtime, backoff=500))
    for one, word in ((job, "delayed"), (failed, "attempt 1 of 3 failed")):
        ((reason,), start) = await why(client, one)
        assert one.delay_til is not None
        assert (reason["kind"], reason["at"]) == ("due", json_form.date(one.delay_til))
        assert word in reason["message"]
        assert is_near(start, one.delay_til)


async def depend(runtime: Runtime, job: Job, *others: Job) -> None:
    ids = [ObjectId(one.id) for one in others]
    wanted = {"state": "delayed", "dependsOn": ids, "waitsFor": ids}
    await runtime.jobs.collection.update_one({"_id": ObjectId(job.id)}, {"$set": wanted})


async def test_a_job_that_depends_on_others_names_those_that_have_not_succeeded(
    client: Client, idle_runtime: Runtime
) -> None:
    await attend(idle_runtime)
    others = [await job_in(idle_runtime, one) for one in (State.SUCCESS, State.FAILED, State.DELAYED)]
    job = await add(idle_runtime)
    await depend(idle_runtime, job, *others)
    ((reason,), start) = await why(client, job)
    assert (reason["kind"], start) == ("dependency", None)
    states = [{"id": one.id, "state": one.state.value} for one in others[1:]]
    assert sorted(reason["jobs"], key=str) == sorted(states, key=str)


async def test_a_worker_that_polls_counts_for_what_it_asks_for_and_for_half_a_minute(
    client: Client, idle_runtime: Runtime
) -> None:
    mine, other, elsewhere = (
        await add(idle_runtime, "a"),
        await add(idle_runtime, "b"),
        await add(idle_runtime, queue="q"),
    )
    await idle_runtime.queues.set_paused("default", paused=True)
    assert await kinds(client, mine) == ["paused", "no-worker"]
    asked = await client.post("/v1/queues/default/claim", json={"worker": "poller", "types": ["a", "c"]})
    assert asked.status == 204
    assert await idle_runtime.registry.run_once() is None
    assert await kinds(client, mine) == ["paused"]
    assert (await kinds(client, other), await kinds(client, elsewhere)) == (["paused", "no-worker"], ["no-worker"])
    workers = idle_runtime.database.collection("workers")
    for seconds, there in ((25, True), (31, False)):
        await workers.update_one({"_id": "poller"}, {"$set": {"at": datetime.now(UTC) - timedelta(seconds=seconds)}})
        assert ("no-worker" not in await kinds(client, mine)) == there


async def test_a_process_with_handlers_counts_while_it_works(
    client: Client, idle_runtime: Runtime, queue: JobQueue
) -> None:
    queue.handler("a")(lambda _job: None)
    await idle_runtime.queues.set_paused("default", paused=True)
    mine, other = await add(idle_runtime, "a"), await add(idle_runtime, "b")
    async with queue.working():

        async def is_seen() -> bool:
            return await kinds(client, mine) == ["paused"]

        await eventually(is_seen, within=15)
        assert await kinds(client, other) == ["paused", "no-worker"]
    await queue.close()
    assert await kinds(client, mine) == ["paused", "no-worker"]


async def test_whoever_runs_a_job_of_the_type_counts_as_a_worker(client: Client, idle_runtime: Runtime) -> None:
    await claimed_job(idle_runtime, "a")
    assert await kinds(client, await add(idle_runtime, "a")) == []
    assert await kinds(client, await add(idle_runtime, "b")) == ["no-worker"]
    await idle_runtime.queues.put("default", {"processors": {"b": {"kind": "command", "name": "x"}}})
    ((reason,), _) = await why(client, await add(idle_runtime, "b"))
    assert "command" in reason["message"]


async def test_an_open_breaker_says_until_when_and_a_half_open_one_that_a_job_is_on_trial(
    client: Client, idle_runtime: Runtime
) -> None:
    await attend(idle_runtime)
    await idle_runtime.queues.put("default", {"breaker": {"failures": 2, "cooldown": 500, "per": "type"}})
    for _ in range(2):
        await fail(idle_runtime, await claimed_job(idle_runtime, "a", attempts=1))
    job, other = await add(idle_runtime, "a"), await add(idle_runtime, "b", priority=1)
    ((reason,), start) = await why(client, job)
    assert (reason["kind"], reason["state"], reason["failures"]) == ("breaker", "open", 2)
    assert is_near(start, reason["until"])
    assert is_near(start, datetime.now(UTC) + timedelta(seconds=500))
    assert await kinds(client, other) == []
    await idle_runtime.limits.collection.update_many({"failures": 2}, {"$set": {"openUntil": LONG_AGO}})
    ((reason,), start) = await why(client, job)
    assert (reason["kind"], reason["state"], "until" in reason, start) == ("breaker", "half-open", False, None)


async def test_a_full_queue_names_the_jobs_that_hold_its_slots(client: Client, idle_runtime: Runtime) -> None:
    await attend(idle_runtime)
    await idle_runtime.queues.put("default", {"concurrency": 2, "limitBy": "meta.user"})
    held = [await claimed_job(idle_runtime, meta={"user": 1}) for _ in range(2)]
    await claimed_job(idle_runtime, meta={"user": 2})
    ((reason,), start) = await why(client, await add(idle_runtime, meta={"user": 1.0}))
    assert (reason["kind"], reason["limit"], reason["running"], start) == ("concurrency", 2, 2, None)
    assert {one["id"] for one in reason["holders"]} == {one.job.id for one in held}
    assert all((one["worker"], one["type"]) == ("worker", "work") and one["startAt"] for one in reason["holders"])
    assert "meta.user=1" in reason["message"]
    assert "concurrency" not in await kinds(client, await add(idle_runtime, meta={"user": 2}))


async def test_a_used_up_rate_says_when_the_next_job_may_start(client: Client, idle_runtime: Runtime) -> None:
    await attend(idle_runtime)
    await idle_runtime.queues.put("default", {"rate": {"limit": 1, "per": 300}})
    await claimed_job(idle_runtime)
    ((reason,), start) = await why(client, await add(idle_runtime))
    assert (reason["kind"], reason["limit"], reason["per"], reason["nextStartAt"]) == ("rate", 1, 300, start)
    assert is_near(start, datetime.now(UTC) + timedelta(seconds=300))


async def test_a_job_says_how_many_come_first(client: Client, idle_runtime: Runtime) -> None:
    await attend(idle_runtime)
    await add(idle_runtime)
    job = await add(idle_runtime)
    await add(idle_runtime)
    await add(idle_runtime, priority=5)
    await add(idle_runtime, queue="other", priority=5)
    ((reason,), start) = await why(client, job)
    assert (reason["kind"], reason["ahead"], reason["exact"], start) == ("turn", 2, True, None)


async def test_all_reasons_come_in_the_order_in_which_they_stand_in_the_way(
    client: Client, idle_runtime: Runtime
) -> None:
    limits: Any = {"concurrency": 1, "rate": {"limit": 1, "per": 300}, "breaker": {"failures": 1, "cooldown": 100}}
    await claimed_job(idle_runtime, "other")
    await idle_runtime.queues.put("default", limits)
    await idle_runtime.limits.grant("default", None, Rate(limit=1, per=300))
    end = AttemptEnd(token="t", at=await idle_runtime.jobs.server_time())  # noqa: S106 - no secret
    await idle_runtime.limits.attempt_failed("default", None, Breaker(failures=1, cooldown=100), end)
    await idle_runtime.queues.set_paused("default", paused=True)
    job = await add(idle_runtime, delay=50)
    rest = ["paused", "no-worker", "breaker", "concurrency", "rate"]
    (reasons, start) = await why(client, job)
    assert [one["kind"] for one in reasons] == ["due", *rest]
    assert is_near(start, reasons[-1]["nextStartAt"])
    await depend(idle_runtime, job, await add(idle_runtime))
    assert await kinds(client, job) == ["due", "dependency", *rest]
