"""Jobs with steps and workers of version 0.3.0, which knows no steps."""

from __future__ import annotations

import asyncio
import os
import sys
from typing import TYPE_CHECKING, Any

import pytest

from jobqueue import ActiveJob, JobQueue, State
from jobqueue.domain.errors import OlderWorkersError
from jobqueue.domain.work.verdict import Suspension
from jobqueue.services.queues.queues import DEFAULT_TAG
from tests.support.data.factories import LONG_AGO, add, claim, claimed_job, document, retry_now
from tests.support.older import older_version
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from jobqueue.services.application import Runtime
    from jobqueue.settings import Settings

PROGRAM = """
import asyncio, pathlib, sys
from jobqueue import JobQueue, __file__ as place
from jobqueue.settings import Settings

given = {"mongo_url": sys.argv[1], "db": sys.argv[2]}
queue = JobQueue(Settings.load(given, environ={}, cwd=pathlib.Path(sys.argv[3])))

@queue.handler("work", queue="shop")
async def work(job):
    print("ran in shop", flush=True)

@queue.handler("work", queue="other")
async def other(job):
    print("ran", place, flush=True)

async def main():
    async with queue, queue.working():
        await asyncio.Event().wait()

asyncio.run(main())
"""


async def sign_as_older(runtime: Runtime, name: str = "old:1:aa", queue: str = "default") -> None:
    """Register a worker as version 0.3.0 does."""
    posts = [{"queue": queue, "types": ["work"], "excluded": []}]
    update = [{"$set": {"posts": {"$literal": posts}, "at": "$$NOW", "expireAt": {"$add": ["$$NOW", 86_400_000]}}}]
    await runtime.database.collection("workers").update_one({"_id": name}, update, upsert=True)


async def leave(runtime: Runtime) -> None:
    await runtime.database.collection("workers").delete_many({"abilities": {"$exists": False}})


async def seen_by_older(runtime: Runtime, queue: str = "default") -> bool:
    """Return True if version 0.3.0 claims nothing from a queue."""
    return older_version.is_paused(await runtime.config_store.collection.find_one({"_id": "config"}), queue)


async def test_no_step_runs_while_an_older_worker_serves_the_queue(queue: JobQueue) -> None:
    runtime = await queue.open()
    calls: list[str] = []

    @queue.handler("order")
    async def order(job: ActiveJob) -> None:
        await job.step("fetch", calls.append, "fetch")

    await sign_as_older(runtime)
    job = await queue.add("order", attempts=1)

    async def is_put_off() -> bool:
        return (await queue.get(job.id)).state is State.DELAYED

    async with queue.working():
        await eventually(is_put_off)
        present = await queue.get(job.id)
        assert (calls, present.attempts_made, present.steps) == ([], 0, None)
        entry = present.history[0]
        assert entry.error is not None
        assert (entry.outcome, entry.error.kind) == ("retry", "older-workers")
        assert "old:1:aa" in entry.error.message
        assert not await seen_by_older(runtime)

        await leave(runtime)
        await runtime.jobs.collection.update_one({}, {"$set": {"delayTil": LONG_AGO}})
        await _succeeded(runtime, job.id)
        done = await queue.get(job.id)
    assert (done.state, calls) == (State.SUCCESS, ["fetch"])
    assert await seen_by_older(runtime)


@pytest.mark.parametrize("queue", ["default", "other"])
async def test_only_older_workers_of_the_same_queue_matter(idle_runtime: Runtime, queue: str) -> None:
    claimed = await claimed_job(idle_runtime)
    await sign_as_older(idle_runtime, queue=queue)
    if queue == "other":
        await idle_runtime.work.steps.record(claimed.job, claimed.token, "fetch", 1)
        return
    with pytest.raises(OlderWorkersError, match="queue default takes no steps yet"):
        await idle_runtime.work.steps.record(claimed.job, claimed.token, "fetch", 1)
    with pytest.raises(OlderWorkersError):
        await idle_runtime.work.steps.begin_sleep(claimed.job, claimed.token, "rest", seconds=5)
    with pytest.raises(OlderWorkersError):
        await idle_runtime.work.settle(claimed.job, claimed.token, Suspension(delay=5))
    assert (await idle_runtime.jobs.get(claimed.job.id)).state is State.PROCESSING


async def test_an_older_worker_that_comes_later_claims_nothing_from_a_queue_with_steps(idle_runtime: Runtime) -> None:
    claimed = await claimed_job(idle_runtime)
    await idle_runtime.work.steps.record(claimed.job, claimed.token, "fetch", 1)
    assert await seen_by_older(idle_runtime)
    assert not await seen_by_older(idle_runtime, "other")
    # The worker is refused its queue, so that it does not matter any more.
    await sign_as_older(idle_runtime)
    await idle_runtime.work.steps.record(claimed.job, claimed.token, "store", 2)
    await retry_now(idle_runtime, claimed)
    assert (await claim(idle_runtime)).job.id == claimed.job.id


async def _nothing() -> None:
    pass


async def _put_and_delete(runtime: Runtime) -> None:
    await runtime.queues.put("default", {"concurrency": 5})
    await runtime.work.release((claimed := await claim(runtime)).job, claimed.token)
    await runtime.queues.delete("default", force=True)


CHANGES: dict[str, Callable[[Runtime], Any]] = {
    "nothing": lambda _: _nothing(),
    "put": lambda runtime: runtime.queues.put("default", {"concurrency": 5}),
    "patch": lambda runtime: runtime.queues.patch("default", {"attempts": 7}),
    "delete": _put_and_delete,
    "resume": lambda runtime: runtime.queues.set_paused("default", paused=False),
}


@pytest.mark.parametrize("change", CHANGES)
async def test_what_is_noted_for_older_workers_is_not_seen_and_outlives_changes(
    idle_runtime: Runtime, change: str
) -> None:
    claimed = await claimed_job(idle_runtime)
    assert await idle_runtime.queues.names() == ["default"]
    await idle_runtime.work.steps.record(claimed.job, claimed.token, "fetch", 1)
    view, tag = await idle_runtime.queues.view("default")
    assert (view["paused"], tag) == (False, DEFAULT_TAG)
    assert "default" not in idle_runtime.configs.known
    await retry_now(idle_runtime, claimed)
    await CHANGES[change](idle_runtime)
    assert await seen_by_older(idle_runtime)
    assert (await idle_runtime.queues.tagged("default"))[0].paused is False
    await add(idle_runtime)
    await claim(idle_runtime)


async def test_a_person_pauses_a_queue_with_steps(idle_runtime: Runtime) -> None:
    await idle_runtime.queues.set_paused("default", paused=True)
    await idle_runtime.work.steps.admission.check("default")
    assert (await idle_runtime.queues.tagged("default"))[0].paused is True
    await add(idle_runtime)
    assert await idle_runtime.work.claim("default", None, worker="worker") is None
    await idle_runtime.queues.set_paused("default", paused=False)
    await claim(idle_runtime)
    await idle_runtime.queues.set_paused("default", paused=True)
    await add(idle_runtime)
    assert await idle_runtime.work.claim("default", None, worker="worker") is None
    assert await seen_by_older(idle_runtime)


async def test_a_queue_whose_note_another_tool_has_removed_gets_it_again(idle_runtime: Runtime) -> None:
    await idle_runtime.work.steps.admission.check("default")
    await idle_runtime.config_store.collection.update_one({}, {"$set": {"queues.default.paused": False}})
    await idle_runtime.configs.refresh()
    await idle_runtime.work.steps.admission.check("default")
    assert await seen_by_older(idle_runtime)


async def test_this_version_claims_nothing_from_a_queue_that_needs_more(idle_runtime: Runtime) -> None:
    await idle_runtime.config_store.need("default", "telepathy")
    await idle_runtime.configs.refresh()
    await add(idle_runtime)
    assert await idle_runtime.work.claim("default", None, worker="worker") is None


async def test_a_sleep_is_over_although_an_older_process_has_promoted_the_job(idle_runtime: Runtime) -> None:
    claimed = await claimed_job(idle_runtime)
    await idle_runtime.work.steps.begin_sleep(claimed.job, claimed.token, "rest", until=LONG_AGO)
    jobs = idle_runtime.jobs.collection
    wait = {"names": ["rest"], "until": LONG_AGO}
    sleeping = {"state": "delayed", "claim": None, "delayTil": LONG_AGO, "steps.0.endAt": None, "wait": wait}
    await jobs.update_one({}, {"$set": sleeping})
    await jobs.update_one({}, older_version.promotion())
    again = await claim(idle_runtime)
    assert again.results == {"rest": None}
    stored = await document(idle_runtime, again.job.id)
    assert "wait" not in stored
    assert stored["steps"][0]["endAt"] == LONG_AGO


async def test_version_0_3_0_itself_runs_no_job_of_a_queue_with_steps(
    runtime: Runtime, settings: Settings, tmp_path: Path
) -> None:
    await runtime.work.steps.admission.check("shop")
    with_steps = await add(runtime, queue="shop")
    packed = older_version.archive()
    if packed is None:
        # A shallow clone, or no environs: what that version does is written down in `older_version`.
        assert await seen_by_older(runtime, "shop")
        return
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    environ = {**os.environ, "PYTHONPATH": str(older_version.unpack(packed, tmp_path / "old"))}
    command = [sys.executable, str(program), str(settings.mongo_url), settings.db, str(tmp_path)]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE, env=environ)
    try:
        for _ in range(3):
            await _succeeded(runtime, (await add(runtime, queue="other")).id)
    finally:
        process.kill()
    printed = (await process.communicate())[0].decode()
    assert str(tmp_path / "old") in printed
    assert "shop" not in printed
    assert (await runtime.jobs.get(with_steps.id)).state is State.PENDING


async def _succeeded(runtime: Runtime, job_id: str) -> None:
    async def has_succeeded() -> bool:
        return (await runtime.jobs.get(job_id)).state is State.SUCCESS

    await eventually(has_succeeded, within=60)
