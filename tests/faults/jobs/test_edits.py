"""Changes of `meta` by a tool are followed by processes of which one after the other is killed."""

from __future__ import annotations

import asyncio
import random
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from bson import ObjectId
from pymongo import UpdateOne

from jobqueue.domain.jobs.job import NewJob
from jobqueue.services.jobs.edits import EditFollower
from jobqueue.settings import Settings
from jobqueue.store.documents import attributes
from tests.support.data.factories import add, open_runtime
from tests.support.data.scale import sized
from tests.support.unmeasured import environment
from tests.support.waiting import eventually
from tests.support.zygote.process import ModuleProcess

if TYPE_CHECKING:
    from jobqueue.services.application import Runtime
    from tests.support.faults.replica_set import ReplicaSet

ROOT = Path(__file__).parents[3]
HISTORY_LOST, NOT_PRIMARY = 286, 10107
JOBS = 200
KILLS = sized(2, 4)


async def test_no_edit_is_lost_when_processes_that_follow_them_are_killed(
    idle_runtime: Runtime, mongo_url: str, db_name: str, seed: int
) -> None:
    chance = random.Random(seed)  # noqa: S311 - no secret
    collection = idle_runtime.jobs.collection
    jobs = await idle_runtime.producer.add_all([NewJob(type="a", meta={"user": 0}) for _ in range(JOBS)])
    turn = 0

    async def edit() -> None:
        nonlocal turn
        turn += 1
        updates = [
            UpdateOne({"_id": ObjectId(job.id)}, {"$set": {"meta.user": [turn, chance.randrange(1000)]}})
            for job in jobs
        ]
        await collection.bulk_write(updates, ordered=False)

    async def start() -> ModuleProcess:
        words = ("tests.support.workers.edit_worker", mongo_url, db_name)
        process = ModuleProcess(*words, cwd=ROOT, env=environment(), stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        with process.stdout:
            assert await asyncio.to_thread(process.stdout.readline) == "ready\n"
        return process

    async def is_followed() -> bool:
        metas: dict[Any, Any] = {one["_id"]: one async for one in collection.find({}, {"meta": 1, "attrs": 1})}
        return all(one["attrs"] == attributes.derived(one["meta"]) for one in metas.values())

    async def is_at_work() -> bool:
        """Look whether some of the edits of this turn are followed, and not all."""
        done = await collection.count_documents({"attrs": f"user={turn}"})
        return done > 0

    running = [await start(), await start()]
    try:
        for number in range(KILLS):
            await edit()
            await eventually(is_at_work, within=60)
            victim = running.pop(0)
            victim.kill()
            assert await asyncio.to_thread(victim.wait) == -9
            if number % 2:
                # For a while nobody is there.
                running[0].kill()
                await asyncio.to_thread(running.pop().wait)
                await edit()
                running.append(await start())
            running.append(await start())
        await edit()
        await eventually(is_followed, within=60)
    finally:
        for one in running:
            one.terminate()
        codes = [await asyncio.to_thread(one.wait) for one in running]
    assert codes == [0, 0]


@pytest.mark.parametrize("code", [HISTORY_LOST, NOT_PRIMARY])
async def test_only_where_the_history_is_lost_all_jobs_are_walked_over(
    one_node: ReplicaSet, tmp_path: Path, code: int
) -> None:
    settings = Settings.load({"mongo_url": one_node.url, "db": "faults"}, environ={}, cwd=tmp_path)
    async with open_runtime(settings) as runtime:
        follower = EditFollower(runtime.edits, runtime.configs, runtime.limit_keys, runtime.notifier)
        job = await add(runtime, meta={"user": 1})
        await runtime.edits.begin(None)
        streams = runtime.database.collection("streams")
        await streams.update_one({}, {"$unset": {"walk": "", "at": ""}})
        await runtime.jobs.collection.update_one({"_id": ObjectId(job.id)}, {"$set": {"meta.user": 2}})
        fault = {"failCommands": ["aggregate"], "errorCode": code, "appName": "jobqueue-edits"}
        with one_node.fail_point("failCommand", {"times": 1}, **fault):
            await follower.run_once()
        stored: Any = await streams.find_one({})
        assert ("walk" in stored) == (code == HISTORY_LOST)
        await streams.update_one({}, {"$unset": {"at": ""}})
        while await follower.run_once() is not None:
            await streams.update_one({}, {"$unset": {"at": ""}})
        found: Any = await runtime.jobs.collection.find_one({"_id": ObjectId(job.id)})
        assert found["attrs"] == ["user=2"]
