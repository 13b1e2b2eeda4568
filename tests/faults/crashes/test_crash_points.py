"""Processes that die between two certain writes; another one sees to the rest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient

from jobqueue import JobQueue, Member, NewBatch, NewJob
from jobqueue.domain.attempts.backoff import FixedBackoff
from jobqueue.domain.attempts.states import Outcome, State
from tests.support.crashes.aftermath import documents, unfinished
from tests.support.crashes.crash_at import KILLED, MEMBERS
from tests.support.data.factories import claimed_job, fail
from tests.support.unmeasured import environment
from tests.support.waiting import eventually
from tests.support.zygote.process import ModuleProcess

ROOT = Path(__file__).parents[3]
COMMON: dict[str, Any] = {"lease": 0.5, "backoff": FixedBackoff(0), "attempts": 5}
CHILD = NewJob(type="after", **COMMON)


def crash(url: str, name: str, *how: str) -> None:
    """Run a process until it dies where it is told to."""
    with ModuleProcess("tests.support.crashes.crash_at", url, name, *how, cwd=ROOT, env=environment()) as process:
        assert process.wait(60) == KILLED


def end_transactions(url: str) -> None:
    """End what a dead process has begun, as the server does after a minute: until then no collection can be dropped."""
    with MongoClient[dict[str, Any]](url) as client:
        idle: list[dict[str, Any]] = [
            {"$currentOp": {"idleSessions": True}},
            {"$match": {"type": "idleSession", "transaction": {"$ne": None}}},
        ]
        sessions = [{"id": one["lsid"]["id"]} for one in client.admin.aggregate(idle)]
        if sessions:
            client.admin.command({"killSessions": sessions})


async def work_off(queue: JobQueue) -> None:
    @queue.handler("step")
    @queue.handler("after")
    async def work(_job: Any) -> int:
        return 1

    async def is_done() -> bool:
        return await unfinished(queue) == 0

    async with queue.working():
        await eventually(is_done, within=30)


@pytest.mark.parametrize(
    ("where", "outcomes"),
    [
        (("findAndModify", "succeeded"), [Outcome.HANGING, Outcome.SUCCESS]),
        (("update", "succeeded"), [Outcome.SUCCESS]),
        (("insert", "started"), [Outcome.SUCCESS]),
        (("insert", "succeeded"), [Outcome.SUCCESS]),
    ],
    ids=["after its claim", "after its end", "before its child", "after its child"],
)
async def test_a_worker_that_dies_at_a_certain_write_leaves_nothing_undone_or_done_twice(
    queue: JobQueue, mongo_url: str, db_name: str, where: tuple[str, str], outcomes: list[Outcome]
) -> None:
    job = await queue.add("step", on_success=CHILD, **COMMON)
    crash(mongo_url, db_name, "work", *where)
    await work_off(queue)
    [parent, *children] = await documents(queue, {})
    assert (str(parent["_id"]), parent["state"]) == (job.id, State.SUCCESS)
    assert [entry["outcome"] for entry in parent["history"]] == outcomes
    assert [str(child["parentId"]) for child in children] == [job.id]


@pytest.mark.parametrize("where", [("update", "succeeded"), ("findAndModify", "succeeded", "limits")], ids=str)
@pytest.mark.parametrize(
    ("fails", "attempts", "failures"), [(True, 1, 2), (True, 5, 2), (False, 1, 0)], ids=["last", "delayed", "success"]
)
async def test_an_attempt_whose_worker_dies_after_its_end_is_counted_once_by_the_breaker(
    queue: JobQueue, mongo_url: str, db_name: str, where: tuple[str, ...], *, fails: bool, attempts: int, failures: int
) -> None:
    runtime = await queue.open()
    await runtime.queues.put("default", {"breaker": {"failures": 3, "cooldown": 600}})
    await runtime.configs.refresh()
    await fail(runtime, await claimed_job(runtime, attempts=1))
    await queue.add("step", {"fails": fails}, attempts=attempts, backoff=600)
    crash(mongo_url, db_name, "work", *where)

    async def is_counted() -> bool:
        return not await documents(queue, {"outbox": {"$exists": True}})

    async with queue.working():
        await eventually(is_counted, within=30)
    [breaker] = await runtime.limits.breakers("default")
    assert breaker.failures == failures


@pytest.mark.parametrize("phase", ["started", "succeeded"])
async def test_a_batch_whose_last_worker_dies_at_its_callback_has_one(
    queue: JobQueue, mongo_url: str, db_name: str, phase: str
) -> None:
    members = [Member(job=NewJob(type="step", **COMMON))]
    view, _ = await queue.add_batch(NewBatch(members=members, on_complete=CHILD))
    crash(mongo_url, db_name, "work", "insert", phase)
    await work_off(queue)
    callbacks = await documents(queue, {"callbackOf": {"$exists": True}})
    assert [str(one["callbackOf"]["batchId"]) for one in callbacks] == [view.batch.id]
    assert (await queue.batch(view.batch.id)).batch.state == "finished"


@pytest.mark.parametrize(
    ("where", "jobs"),
    [
        (("insert", "succeeded"), 0),
        (("commitTransaction", "started"), 0),
        (("commitTransaction", "succeeded"), MEMBERS + 1),
    ],
    ids=["half-way", "before the commit", "after the commit"],
)
async def test_a_batch_whose_creator_dies_is_there_as_a_whole_or_not_at_all(
    queue: JobQueue, mongo_url: str, db_name: str, where: tuple[str, str], jobs: int
) -> None:
    crash(mongo_url, db_name, "add", *where)
    end_transactions(mongo_url)
    await work_off(queue)
    found = await documents(queue, {})
    batches = await (await queue.open()).database.collection("batches").count_documents({})
    assert (len(found), batches) == (jobs, bool(jobs))
    assert {one["state"] for one in found} <= {"success"}
