"""The whole product from Python: searches, queues, schedules, failures, operations, statistics and events."""

from __future__ import annotations

import asyncio
import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from jobqueue import InvalidInputError, Member, NewBatch, NewJob, NotFoundError, State, SteppedBackoff, SyncJobQueue
from jobqueue.domain.bulk.operation import Stage
from jobqueue.domain.insight.audit import AuditQuery
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from jobqueue import JobQueue
    from jobqueue.settings import Settings

LONG = 60


async def test_jobs_are_found_counted_and_changed_together(queue: JobQueue) -> None:
    @queue.handler("import")
    async def run(job: Any) -> int:
        if job.data["n"] < 0:
            raise ValueError(f"row {job.data['n']}")
        return int(job.data["n"])

    jobs = [await queue.add("import", {"n": n}, attempts=1, meta={"user_id": 42}) for n in (-2, -1, 1)]
    async with queue.working():
        ended = [await queue.wait(job.id, LONG) for job in jobs]
        assert [job.state for job in ended] == [State.FAILED, State.FAILED, State.SUCCESS]
        recent = {"insertAt": {"$gt": datetime.now(UTC) - timedelta(hours=1)}, "state": "failed"}
        found = [job.id async for job in queue.search(recent, sort={"insertAt": 1}, limit=1)]
        assert found == [jobs[0].id, jobs[1].id]
        rows = await queue.aggregate([{"$group": {"_id": "$state", "count": {"$count": {}}}}, {"$sort": {"_id": 1}}])
        assert rows == [{"_id": "failed", "count": 2}, {"_id": "success", "count": 1}]
        [group] = [group async for group in queue.failures(queue="default")]
        assert (group.count, [job.id for job in (await queue.failure(group.fingerprint)).jobs]) == (2, found[::-1])
        with pytest.raises(InvalidInputError):
            await queue.requeue_many({})
        began = await queue.requeue_many({"id": {"$in": found}}, data={"n": 7})
        done = await queue.wait_operation(began.id, LONG)
        assert (done.stage, done.done) == (Stage.FINISHED, 2)
        assert [(await queue.wait(job_id, LONG)).result for job_id in found] == [7, 7]
        with pytest.raises(NotFoundError):
            await queue.failure(group.fingerprint)
    stats = await queue.stats(queue="default", windows=["1h"])
    assert stats["windows"]["1h"]["succeeded"] == 3
    assert sum(point["failed"] for point in (await queue.series(step="1m"))["points"]) == 2
    assert (await queue.why(jobs[0].id)).reasons[0].kind == "state"


async def test_queues_and_schedules_are_configured(queue: JobQueue) -> None:
    config = await queue.configure("media", concurrency=5, limit_by="meta.user_id", backoff=SteppedBackoff((1, 2)))
    assert (config.concurrency, config.limit_by, config.backoff) == (5, "meta.user_id", SteppedBackoff((1, 2)))
    assert await queue.config("media") == config
    with pytest.raises(InvalidInputError, match="concurency: is not a known option"):
        await queue.configure("media", concurency=5)  # type: ignore[call-arg]
    assert [reason.kind for reason in (await queue.queue_why("media")).reasons] == ["empty"]

    made = await queue.put_schedule("nightly", NewJob(type="report"), cron="@daily", timezone="Europe/Berlin")
    assert (made["cron"], made["timezone"], len(made["nextRuns"])) == ("@daily", "Europe/Berlin", 5)
    job = await queue.run_schedule("nightly")
    await queue.pause_schedule("nightly")
    shown = await queue.schedule("nightly")
    assert ([run["id"] for run in shown["lastRuns"]], shown["paused"]) == ([job.id], True)
    await queue.delete_schedule("nightly")
    with pytest.raises(NotFoundError):
        await queue.schedule("nightly")
    with pytest.raises(InvalidInputError, match="cron"):
        await queue.put_schedule("nightly", NewJob(type="report"), cron="nonsense")


async def test_events_and_workers_are_seen(queue: JobQueue) -> None:
    @queue.task("double")
    async def double(n: int) -> int:
        return 2 * n

    kinds: list[str] = []
    reading = asyncio.Event()

    async def read() -> None:
        async for event in queue.events(type="double"):
            kinds.append(getattr(event, "kind", "gap"))
            if kinds[-1] == "ended":
                return

    async def begin() -> None:
        # The first event shows that the stream is open.
        while not kinds:
            await queue.add("double", {"n": 0}, delay=3600)
            await asyncio.sleep(0.05)
        reading.set()

    reader = asyncio.create_task(read())
    await asyncio.wait_for(begin(), LONG)
    async with queue.working():
        assert await (await double.add(4)).result(timeout=LONG) == 8
        await asyncio.wait_for(reader, LONG)
        [worker] = await eventually(queue.workers, within=LONG)
        [served] = await eventually(queue.types, within=LONG)
        assert (worker.alive, served.type) == (True, "double")
    assert kinds[-2:] == ["started", "ended"]


def test_plain_programs_have_the_same(settings: Settings) -> None:
    with SyncJobQueue(settings) as sync:
        sync.configure("media", concurrency=2)
        job = sync.add("a", queue="media", meta={"user_id": 42})
        assert [found.id for found in sync.search({"meta.user_id": 42})] == [job.id]
        assert (sync.config("media").concurrency, sync.why(job.id).reasons[0].kind) == (2, "no-worker")
        assert list(sync.failures()) == []
        with pytest.raises(NotFoundError):
            sync.operation("0" * 24)


async def test_a_mistake_in_a_change_of_many_jobs_or_a_schedule_is_named(queue: JobQueue) -> None:
    with pytest.raises(InvalidInputError, match="fromStep: must be 1 to 100"):
        await queue.requeue_many({"type": "a"}, from_step=5)  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError, match="reason: must be text"):
        await queue.kill_many({"type": "a"}, reason=5)  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError, match="job: must be a NewJob"):
        await queue.put_schedule("nightly", None, every=60)  # type: ignore[arg-type]


async def test_a_value_that_json_does_not_have_finds_nothing_instead_of_other_jobs(queue: JobQueue) -> None:
    job = await queue.add("import", meta={"user_id": 42})
    for wrong in (re.compile("x"), Decimal(1), object(), b"1", datetime(2030, 1, 1)):  # noqa: DTZ001 - a naive date
        for call in (queue.kill_many, queue.delete_many, queue.requeue_many):
            with pytest.raises(InvalidInputError, match=r"filter\.type\.\$ne: "):
                await call({"type": {"$ne": wrong}})
        with pytest.raises(InvalidInputError, match=r"filter\.type\.\$ne: "):
            [found async for found in queue.search({"type": {"$ne": wrong}})]
        with pytest.raises(InvalidInputError, match=r"pipeline\.0\.\$match\.type: "):
            await queue.aggregate([{"$match": {"type": wrong}}])
    assert [found.id async for found in queue.search({"meta.user_id": 42})] == [job.id]


@pytest.mark.parametrize(
    ("name", "arguments", "told"),
    [
        ("stats", {"windows": ["bogus"]}, "windows: must be a list of some of"),
        ("stats", {"windows": "5m"}, "windows: must be a list of some of"),
        ("series", {"step": "bogus"}, "step: must be one of 1m"),
        ("series", {"since": datetime(2030, 1, 1)}, "since: must have a time zone"),  # noqa: DTZ001 - a naive date
        ("series", {"until": datetime(1, 1, 1, tzinfo=UTC)}, "to: is too early"),
    ],
)
async def test_wrong_arguments_of_statistics_are_named(
    queue: JobQueue, name: str, arguments: dict[str, Any], told: str
) -> None:
    with pytest.raises(InvalidInputError, match=told):
        await getattr(queue, name)(**arguments)


@pytest.mark.parametrize("arguments", [{"states": ["bogus"]}, {"states": "failed"}, {"job": "nope"}, {"batch": "nope"}])
async def test_events_of_what_cannot_be_are_refused_at_once(queue: JobQueue, arguments: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError):
        await anext(queue.events(**arguments))


async def test_each_change_from_python_is_in_the_audit(queue: JobQueue) -> None:
    made = [await queue.add("work", key=f"k{number}") for number in range(3)]
    batch, _ = await queue.add_batch(NewBatch(members=[Member(job=NewJob(type="work"))] * 2, sealed=False))
    await queue.patch(made[0].id, priority=3)
    await queue.kill(made[0].id, "no longer needed")
    await queue.requeue(made[0].id)
    await queue.signal(made[1].id, "go")
    await queue.signal_by_key("default", "k1", "go")
    await queue.delete(made[2].id)
    await queue.pause()
    await queue.pause(paused=False)
    await queue.seal_batch(batch.batch.id)
    assert await queue.kill_batch(batch.batch.id, "all of them") == 2
    await queue.requeue_batch(batch.batch.id)

    entries = await (await queue.open()).audit.store.find(AuditQuery())
    told = [(entry.target["kind"], entry.action, entry.by["via"]) for entry in reversed(entries)]
    jobs, batches = ["patch", "kill", "requeue", "signal", "signal", "delete"], ["seal", "kill", "requeue"]
    expected = [("job", action) for action in jobs] + [("queue", "pause"), ("queue", "resume")]
    assert told == [(*one, "python") for one in [*expected, *(("batch", action) for action in batches)]]
    assert not any(entry.unconfirmed for entry in entries)
