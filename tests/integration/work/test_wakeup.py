"""Work begins at once, whichever process has added it, and without any event within the poll interval."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from pymongo import MongoClient

from jobqueue import JobQueue
from jobqueue.domain.attempts.states import State
from jobqueue.domain.jobs.job import NewJob
from jobqueue.services import application as services
from jobqueue.store import indexes
from jobqueue.store.insight import wakeup_stream
from tests.support.data.factories import add, claim, retry
from tests.support.waiting import eventually, has_nothing_to_do

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from jobqueue.services.application import Runtime
    from jobqueue.settings import Settings

SELDOM = 30.0
SOON = 15.0
"""Far less than the seconds between two polls, far more than an event takes on a busy machine."""


class Ran:
    """Which jobs a worker has begun; others wait for that."""

    def __init__(self) -> None:
        self.ids: list[str] = []

    async def __call__(self, job: Any) -> None:
        self.ids.append(job.id)

    async def soon(self, job_id: str, within: float = SOON) -> None:
        await eventually(lambda: job_id in self.ids, within=within)


@contextlib.asynccontextmanager
async def working(settings: Settings, ran: Ran, *, poll: float = SELDOM, queue: str = "default") -> AsyncIterator[Any]:
    """Run a worker that polls seldom, from when it has found nothing to do and hears of changes."""
    async with JobQueue(replace(settings, poll_interval=poll)) as worker:
        worker.handler("work", queue=queue)(ran)
        runtime = await worker.open()
        async with worker.working() as dispatcher:
            await eventually(runtime.changes.open.is_set)
            first = await worker.add("work", queue=queue)
            await ran.soon(first.id)
            await eventually(lambda: has_nothing_to_do(dispatcher))
            yield runtime


async def test_a_job_that_another_process_adds_is_begun_at_once(settings: Settings, idle_runtime: Runtime) -> None:
    ran = Ran()
    async with working(settings, ran):
        for _ in range(5):
            await ran.soon((await add(idle_runtime)).id)


async def test_jobs_that_another_process_adds_together_are_begun_at_once(
    settings: Settings, idle_runtime: Runtime
) -> None:
    ran = Ran()
    async with working(settings, ran):
        jobs = await idle_runtime.producer.add_all([NewJob(type="work") for _ in range(100)])
        await eventually(lambda: {job.id for job in jobs} <= set(ran.ids), within=SOON)
    assert len(ran.ids) == 101


async def test_a_job_that_another_process_adds_for_later_is_begun_when_it_is_due(
    settings: Settings, idle_runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(services, "REST_SECONDS", SELDOM)
    monkeypatch.setattr(services, "PULSE_SECONDS", SELDOM)
    ran = Ran()
    async with working(settings, ran):
        job = await add(idle_runtime, delay=0.5)
        assert job.delay_til is not None
        await ran.soon(job.id)
    begun = (await idle_runtime.jobs.get(job.id)).start_at
    assert begun is not None
    assert begun >= job.delay_til


@pytest.mark.parametrize("how", ["requeue", "retry", "patch", "child"])
async def test_a_job_that_another_process_brings_back_is_begun_at_once(
    settings: Settings, idle_runtime: Runtime, how: str
) -> None:
    ran = Ran()
    async with working(settings, ran):
        if how == "requeue":
            job = await add(idle_runtime, delay=600)
            await idle_runtime.manager.requeue(job.id)
        elif how == "patch":
            job = await add(idle_runtime, delay=600)
            await idle_runtime.manager.patch(job.id, {"delay_til": datetime.now(UTC) - timedelta(minutes=1)})
        elif how == "retry":
            job = await add(idle_runtime, "other", queue="hidden")
            claimed = await claim(idle_runtime, "hidden")
            moved = {"$set": {"queue": "default", "type": "work"}}
            await idle_runtime.jobs.collection.update_one({"state": "processing"}, moved)
            await retry(idle_runtime, replace(claimed, job=replace(claimed.job, queue="default")))
        else:
            parent = await add(idle_runtime, "other", queue="hidden", on_failure=NewJob(type="work"))
            await idle_runtime.manager.kill(parent.id)
            (child,) = (await idle_runtime.manager.family(parent.id)).tree.children
            job = child.job
        await ran.soon(job.id)


async def test_a_queue_that_another_process_resumes_is_worked_on_at_once(
    settings: Settings, idle_runtime: Runtime
) -> None:
    ran = Ran()
    async with working(settings, ran) as runtime:
        await idle_runtime.queues.set_paused("default", paused=True)
        await eventually(lambda: runtime.configs.of("default").paused, within=SOON)
        job = await add(idle_runtime)
        assert (await idle_runtime.jobs.get(job.id)).state is State.PENDING
        await idle_runtime.queues.set_paused("default", paused=False)
        await ran.soon(job.id)


async def test_a_job_that_another_process_kills_is_stopped_at_once(settings: Settings, idle_runtime: Runtime) -> None:
    begun, stopped = asyncio.Event(), asyncio.Event()
    async with JobQueue(replace(settings, poll_interval=SELDOM)) as worker:

        @worker.handler("work")
        async def work(_: Any) -> None:
            begun.set()
            try:
                await asyncio.Event().wait()
            finally:
                stopped.set()

        async with worker.working():
            await eventually((await worker.open()).changes.open.is_set)
            job = await add(idle_runtime, lease=3600)
            await eventually(begun.is_set, within=SOON)
            await idle_runtime.manager.kill(job.id)
            await eventually(stopped.is_set, within=SOON)


async def test_without_events_a_job_is_begun_within_the_poll_interval(
    settings: Settings, idle_runtime: Runtime
) -> None:
    ran = Ran()
    async with working(settings, ran, poll=0.5) as runtime:
        await runtime.changes.stop()
        job = await add(idle_runtime)
        await ran.soon(job.id, within=10)


async def test_without_events_nothing_is_begun_before_the_next_poll(settings: Settings, idle_runtime: Runtime) -> None:
    """Show that it is the events that make the other tests quick."""
    ran = Ran()
    async with working(settings, ran) as runtime:
        await runtime.changes.stop()
        job = await add(idle_runtime)
        with pytest.raises(TimeoutError):
            await ran.soon(job.id, within=1.5)


async def test_the_stream_is_open_before_anything_changes(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wakeup_stream, "_AWAIT_MS", 300_000)
    async with JobQueue(settings) as worker:
        runtime = await worker.open()
        await runtime.start()
        await eventually(runtime.changes.open.is_set, within=10)


def stream_cursors(mongo_url: str, db: str) -> list[dict[str, Any]]:
    """Return the cursors of change streams on a database."""
    client: MongoClient[dict[str, Any]] = MongoClient(mongo_url)
    with client:
        found = client.admin.aggregate([{"$currentOp": {"allUsers": True, "idleCursors": True}}])
        # The cursor rests for moments only: mostly a getMore waits on it, which is listed under another name.
        names = {f"{db}.$cmd.aggregate", f"{db}.$cmd"}
        return [one for one in found if one.get("ns") in names and "cursor" in one]


async def test_after_its_cursor_was_killed_events_come_again(
    settings: Settings, idle_runtime: Runtime, mongo_url: str, db_name: str
) -> None:
    ran = Ran()
    async with working(settings, ran):
        await eventually(lambda: stream_cursors(mongo_url, db_name))
        ids = [one["cursor"]["cursorId"] for one in stream_cursors(mongo_url, db_name)]
        await idle_runtime.database.raw.command("killCursors", "$cmd.aggregate", cursors=ids)
        await ran.soon((await add(idle_runtime)).id, within=10)


@pytest.mark.own_indexes
async def test_after_the_stream_was_ended_by_the_server_it_is_opened_again(
    settings: Settings, idle_runtime: Runtime
) -> None:
    ran = Ran()
    async with working(settings, ran) as runtime:
        await idle_runtime.database.raw.command("dropDatabase")
        await eventually(lambda: not runtime.changes.open.is_set(), within=10)
        await indexes.ensure(idle_runtime.database)
        await ran.soon((await add(idle_runtime)).id, within=15)
