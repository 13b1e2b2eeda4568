"""Only what needs somebody, as one command says it."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from jobqueue import NewJob
from jobqueue.domain.attempts.attempt import JobError
from jobqueue.domain.schedules.cron import Every
from jobqueue.domain.schedules.schedule import Schedule, SkippedTick
from jobqueue.services.runs.suspending import suspend_for_signal
from jobqueue.store.work.workers import Registration
from tests.support.data.factories import add, claim, claimed_job, fail, open_runtime

if TYPE_CHECKING:
    from collections.abc import Callable

    from jobqueue.services.application import Runtime
    from jobqueue.settings import Settings
    from tests.acceptance.cli.conftest import Here


def prepared(settings: Settings, work: Callable[[Runtime], Any]) -> Any:
    async def do() -> Any:
        async with open_runtime(settings) as runtime:
            return await work(runtime)

    return asyncio.run(do())


async def troubles(runtime: Runtime) -> dict[str, str]:
    """Make one trouble of each kind; return ids by name."""
    failed = await claimed_job(runtime, "import", attempts=1)
    await fail(runtime, failed, JobError(kind="KeyError", message="'vat_id'"))

    await runtime.queues.patch("media", {"concurrency": 1})
    holder = await add(runtime, "endless", queue="media")
    await claim(runtime, queue="media")
    await add(runtime, "thumb", queue="media")
    await add(runtime, "mail", queue="paused")
    await runtime.queues.set_paused("paused", paused=True)
    hours = {"$set": {"insertAt": (await runtime.database.clock.now()) - timedelta(hours=2)}}
    await runtime.jobs.collection.update_many({"state": "pending"}, hours)

    store = runtime.registry._store
    posts = {"gone:7:abc": [Registration(queue="media", types=("thumb",))]}
    await store.sign(posts, process="gone:7:abc", about={"host": "gone", "pid": 7})
    silent = {"$set": {"at": (await runtime.database.clock.now()) - timedelta(minutes=12)}}
    await store.collection.update_one({"_id": "gone:7:abc"}, silent)

    schedule = Schedule(name="nightly", job=NewJob(type="report"), recurrence=Every(seconds=3600))
    stored, _ = await runtime.schedules.put(schedule)
    now = await runtime.database.clock.now()
    await runtime.schedules.store.advance(
        stored, now + timedelta(hours=1), SkippedTick(at=now, reason="its key is taken")
    )

    asking = await claimed_job(runtime, "invoice", queue="shop")
    await suspend_for_signal(runtime.work, asking.job, asking.token, "approved", name=None, seconds=None)
    return {"holder": holder.id, "asking": asking.job.id}


def test_all_is_well_until_something_is_not(here: Here, settings: Settings) -> None:
    well = here("status")
    assert (well.code, well.out, well.err) == (0, "all is well\n", "")
    ids = prepared(settings, troubles)
    ran = here("status")
    assert (ran.code, ran.err) == (1, "")
    lines = ran.out.splitlines()
    messages, commands = lines[::2], [line.removeprefix("    jobqueue ") for line in lines[1::2]]
    expected = {
        "1 job of type import failed within the last hour": "failures show ",
        "queue media is stuck: 1 pending, the oldest for 2 h: ": "why --queue media",
        "queue paused is stuck: 1 pending, the oldest for 2 h: queue paused is paused": "queue resume paused",
        "worker gone:7:abc gave its last sign of life 12 min ago, without a good-bye": "workers --silent",
        "schedule nightly made no job at ": "schedule show nightly",
        f"job {ids['asking']} of type invoice waits for the signal approved": f"signal {ids['asking']} approved",
    }
    assert len(messages) == len(expected), ran.out
    for (message, command), told, mends in zip(expected.items(), messages, commands, strict=True):
        assert told.startswith(message)
        assert mends.startswith(command)
    assert ids["holder"] in messages[1]
    assert "KeyError: 'vat_id'" in messages[0]
    items = json.loads(here("status", "--json").out)["items"]
    assert [item["kind"] for item in items] == ["failures", "queue", "queue", "worker", "schedule", "question"]
    assert items[1]["details"]["reasons"] == ["no-worker", "concurrency"]
