"""A copy of the files of yesterday is put in place of those of today, and nothing that is known as done runs again."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from datetime import timedelta
from typing import TYPE_CHECKING

from jobqueue import ActiveJob, JobQueue, State
from jobqueue.cli.main import main
from jobqueue.domain.insight.audit import Actor
from jobqueue.domain.jobs.job import NewJob
from jobqueue.settings import Settings
from tests.faults.conftest import DATABASE
from tests.support.data.factories import add, claimed_job, end_lease, open_runtime, patient_reaper, succeed
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    import pytest

    from jobqueue.services.application import Runtime
    from tests.support.faults.replica_set import ReplicaSet

BY = Actor(name="test", via="python")
REASON = "restored from a backup"


def back_up(one_node: ReplicaSet, to: Path) -> None:
    """Copy the files while the server goes on: it keeps writes back meanwhile."""
    (node,) = one_node.nodes
    with node.direct() as client:
        client.admin.command("fsync", lock=True)
        try:
            shutil.copytree(node.directory, to, ignore=shutil.ignore_patterns("mongod.lock", "mongod.log*"))
        finally:
            client.admin.command("fsyncUnlock")


def restore(one_node: ReplicaSet, copy: Path) -> None:
    (node,) = one_node.nodes
    node.kill()
    shutil.rmtree(node.directory)
    shutil.copytree(copy, node.directory)
    node.start()
    one_node.wait_primary()


@contextlib.asynccontextmanager
async def worker(one_node: ReplicaSet, ran: list[str]) -> AsyncIterator[JobQueue]:
    """A process that runs each job of each queue, and tells its type."""
    async with JobQueue(mongo_url=one_node.url, db=DATABASE) as queue:

        async def run(job: ActiveJob) -> None:
            ran.append(job.type)

        for kind in ("charge", "interrupted", "due", "nightly"):
            queue.handler(kind)(run)
        queue.handler("child", queue="mail")(run)
        async with queue.working():
            yield queue


async def make_past(runtime: Runtime) -> dict[str, str]:
    """Leave a job in each condition that matters, as a backup may meet it."""
    parent = await claimed_job(runtime, "parent", queue="mail", on_success=(NewJob(type="child", queue="mail"),))
    await succeed(runtime, parent)
    left = {"$set": {"outbox": ["children"]}}
    children = await runtime.jobs.collection.delete_many({"type": "child"})
    assert children.deleted_count == 1
    await runtime.jobs.collection.update_one({"type": "parent"}, left)
    interrupted = await claimed_job(runtime, "interrupted", attempts=3)
    await end_lease(runtime, interrupted.job)
    charge = await add(runtime, "charge")
    due = await add(runtime, "due", delay=1)
    await cli("schedule", "set", "nightly", '{"every": 3600, "job": {"type": "nightly"}}')
    now = await runtime.database.clock.now()
    past = {"$set": {"nextAt": now - timedelta(hours=3)}}
    await runtime.database.collection("schedules").update_one({"_id": "nightly"}, past)
    token, text = await runtime.access.create(roles=["read"], by=BY)
    ids = {"interrupted": interrupted.job.id, "charge": charge.id, "due": due.id, "parent": parent.job.id}
    return ids | {"token": token.id, "text": text}


async def cli(*words: str) -> None:
    assert await asyncio.to_thread(main, words) == 0, words


async def test_nothing_runs_before_a_person_has_decided(
    one_node: ReplicaSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JOBQUEUE_MONGO_URL", one_node.url)
    monkeypatch.setenv("JOBQUEUE_DB", DATABASE)
    monkeypatch.setattr("jobqueue.cli.process.log_output.configure", lambda *_, **__: None)
    settings = Settings.load({"mongo_url": one_node.url, "db": DATABASE}, environ={})
    async with open_runtime(settings) as runtime:
        ids = await make_past(runtime)
        await asyncio.to_thread(back_up, one_node, tmp_path / "copy")
        await runtime.access.revoke(ids["token"], by=BY)
    before: list[str] = []
    async with worker(one_node, before) as queue:
        await eventually(lambda: _has_ended(queue, ids["charge"]))
    assert before.count("charge") == 1

    await asyncio.to_thread(restore, one_node, tmp_path / "copy")
    await cli("queue", "pause", "--all", "--reason", REASON)
    await cli("schedule", "pause", "--all")
    ran: list[str] = []
    async with worker(one_node, ran) as queue:
        runtime = await queue.open()
        await patient_reaper(runtime).run_once()

        async def has_settled() -> bool:
            states = {name: (await queue.get(ids[name])).state for name in ("interrupted", "due")}
            children = await runtime.jobs.collection.count_documents({"type": "child"})
            return states == dict.fromkeys(states, State.PENDING) and children == 1

        # A retry of the interrupted job comes later: as if that time were over.
        await runtime.manager.patch(ids["interrupted"], {"delay_til": None})
        await eventually(has_settled)
        assert (await queue.get(ids["interrupted"])).history[0].outcome == "hanging"
        assert await runtime.access.caller(ids["text"]) is not None
        await cli("token", "revoke", ids["token"])
        await cli("kill", ids["charge"], "--reason", "ran after the backup")
        assert ran == []
        await cli("queue", "resume", "--all", "--reason", REASON)
        await cli("schedule", "resume", "nightly")

        async def has_run() -> bool:
            return len(ran) >= 3

        await eventually(has_run)
        assert sorted(ran) == ["child", "due", "interrupted"]
        assert (await queue.get(ids["charge"])).state is State.KILLED
        assert await runtime.jobs.collection.count_documents({"schedule": "nightly"}) == 0


async def _has_ended(queue: JobQueue, job_id: str) -> bool:
    return (await queue.get(job_id)).end_at is not None
