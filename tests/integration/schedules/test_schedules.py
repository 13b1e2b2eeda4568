"""Schedules: one job for each tick, whatever happens."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp.test_utils import TestClient, TestServer

from jobqueue.api.app import make_app
from jobqueue.domain.attempts.states import State
from jobqueue.domain.jobs.job import NewJob
from jobqueue.domain.schedules.cron import Cron, Every
from jobqueue.domain.schedules.schedule import Schedule
from jobqueue.domain.search.query import JobQuery
from jobqueue.domain.work.verdict import Success
from jobqueue.services.schedules.schedules import Scheduler, Schedules
from jobqueue.store.schedules.schedules import ScheduleStore
from tests.support.data.factories import add, claim, finished_documents, open_runtime, succeed
from tests.support.mongo.plans import listing
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aiohttp import web

    from jobqueue.domain.jobs.job import Job
    from jobqueue.domain.schedules.schedule import StoredSchedule
    from jobqueue.services.application import Runtime
    from jobqueue.settings import Settings

    Client = TestClient[web.Request, web.Application]

START = datetime(2026, 7, 1, 12, 0, 30, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
JOB = {"type": "report", "queue": "media", "data": {"n": 1}}
DAILY = {"cron": "30 2 * * *", "timezone": "Europe/Berlin", "job": JOB}


class Bench:
    """Schedules at a time that the test sets."""

    def __init__(self, runtime: Runtime, now: datetime = START) -> None:
        self.runtime = runtime
        self.store = ScheduleStore(runtime.database, now)
        self.schedules = Schedules(self.store)
        self.scheduler = Scheduler(self.store, runtime.producer)

    def move(self, **by: float) -> None:
        assert self.store.present is not None
        self.store.present += timedelta(**by)

    async def put(self, **fields: Any) -> StoredSchedule:
        job = NewJob(**{"type": "tick"} | fields.pop("job", {}))
        recurrence = fields.pop("recurrence", Every(seconds=60))
        made, _ = await self.schedules.put(Schedule(name="s", job=job, recurrence=recurrence, **fields))
        return made

    async def jobs(self) -> list[Job]:
        page = await self.runtime.listing.page(JobQuery(schedule="s", oldest_first=True, limit=200))
        return list(page.items)

    async def ticks(self) -> list[float]:
        """Return for how many minutes after the start there are jobs."""
        # Two processes at once make them in any order.
        return sorted((job.scheduled_at - START) / MINUTE for job in await self.jobs() if job.scheduled_at)

    async def document(self) -> dict[str, Any]:
        found = await self.store.collection.find_one({"_id": "s"})
        assert found is not None
        return dict(found)


@pytest.fixture
def bench(idle_runtime: Runtime) -> Bench:
    return Bench(idle_runtime)


@pytest.fixture
async def client(idle_runtime: Runtime) -> AsyncIterator[Client]:
    async with TestClient(TestServer(make_app(idle_runtime))) as one:
        yield one


async def test_only_other_times_move_the_next_tick(bench: Bench) -> None:
    made = await bench.put()
    bench.move(seconds=10)
    other_job = await bench.put(job={"data": {"a": 1}})
    assert other_job.next_at == made.next_at == START + MINUTE
    assert (await bench.put(job={"data": {"a": True}})).revision == other_job.revision + 1
    other_time = await bench.put(recurrence=Every(seconds=7))
    assert other_time.next_at == START + timedelta(seconds=14)
    in_zone = await bench.put(recurrence=Cron(text="0 9 * * *", timezone="America/New_York"))
    assert in_zone.next_at == datetime(2026, 7, 1, 13, tzinfo=UTC)
    assert in_zone.created_at == made.created_at


async def test_a_change_of_times_keeps_the_tick_that_is_due(bench: Bench) -> None:
    await bench.put()
    bench.move(seconds=60.4)
    changed = await bench.put(recurrence=Cron(text="0 9 * * *", timezone="America/New_York"))
    assert changed.next_at == START + MINUTE
    await bench.scheduler.run_once()
    assert await bench.ticks() == [1]
    assert (await bench.document())["nextAt"] == datetime(2026, 7, 1, 13, tzinfo=UTC)
    # A tick of long ago does not come back with other times.
    bench.move(hours=2)
    later = await bench.put(recurrence=Every(seconds=3600))
    assert later.next_at == START + timedelta(hours=3)


async def test_a_definition_comes_back_as_it_was_given(bench: Bench) -> None:
    job: dict[str, Any] = {
        "data": {"a.b": 1, "": None},
        "meta": {"user": {"id": 4}},
        "backoff": [1, 2],
        "delay": 5,
        "on_failure": NewJob(type="tell", delay_til=START, on_complete=NewJob(type="more")),
    }
    made = await bench.put(job=job, recurrence=Cron(text="*/5 * * * * *", timezone="Asia/Kathmandu"), missed="all")
    found = await bench.schedules.get("s")
    assert found == made
    assert found.schedule is not None
    assert found.schedule.job == NewJob(type="tick", **job)


async def test_a_job_is_made_for_each_tick_with_the_defaults_of_its_queue(bench: Bench) -> None:
    runtime = bench.runtime
    await runtime.queues.put("media", {"attempts": 7, "limitBy": "meta.user", "concurrency": 1})
    await bench.put(job={"queue": "media", "meta": {"user": 4}, "priority": 2})
    assert await bench.scheduler.run_once() == 60
    bench.move(seconds=60)
    assert await bench.scheduler.run_once() == 60
    bench.move(seconds=30)
    assert await bench.scheduler.run_once() == 30
    [job] = await bench.jobs()
    assert (job.queue, job.type, job.attempts, job.priority, job.meta) == ("media", "tick", 7, 2, {"user": 4})
    assert (job.schedule, job.scheduled_at, job.state) == ("s", START + MINUTE, State.PENDING)
    assert job.limit_key is not None
    shown = await bench.schedules.view(await bench.schedules.get("s"))
    assert shown["lastRuns"] == [{"id": job.id, "at": "2026-07-01T12:01:30.000Z", "state": "pending"}]
    assert shown["nextRuns"][:2] == ["2026-07-01T12:02:30.000Z", "2026-07-01T12:03:30.000Z"]


async def test_only_jobs_of_schedules_name_one(bench: Bench, client: Client) -> None:
    await bench.put()
    bench.move(minutes=1)
    await bench.scheduler.run_once()
    other = await add(bench.runtime)
    listed = (await (await client.get("/v1/jobs", params={"schedule": "s"})).json())["items"]
    assert [(one["schedule"], one["scheduledAt"]) for one in listed] == [("s", "2026-07-01T12:01:30.000Z")]
    shown = await (await client.get(f"/v1/jobs/{other.id}")).json()
    assert not {"schedule", "scheduledAt"} & set(shown)


async def test_a_crash_between_the_job_and_the_next_tick_makes_no_second_job(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    await bench.put()
    bench.move(minutes=1)

    async def crash(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(bench.store, "advance", crash)
        with pytest.raises(KeyboardInterrupt):
            await bench.scheduler.run_once()
    assert await bench.ticks() == [1]
    assert (await bench.document())["nextAt"] == START + MINUTE
    await Bench(bench.runtime, START + MINUTE).scheduler.run_once()
    assert await bench.ticks() == [1]
    assert (await bench.document())["nextAt"] == START + 2 * MINUTE


@pytest.mark.parametrize("way", ["on success", "by a person", "by retention"])
async def test_a_job_that_was_deleted_is_not_made_again_by_a_slow_process(bench: Bench, way: str) -> None:
    runtime = bench.runtime
    await runtime.queues.put("default", {"retention": {"success": 1}})
    await bench.put(job={"on_success_delete": way == "on success"})
    bench.move(minutes=1)
    assert bench.store.present is not None
    [seen] = await bench.store.due(bench.store.present, 10)
    await bench.scheduler.run_once()
    [job] = await bench.jobs()
    if way == "by a person":
        await runtime.manager.delete(job.id)
    else:
        claimed = await claim(runtime)
        await runtime.work.settle(claimed.job, claimed.token, Success(result=None))
        await runtime.outboxes.run_once()
    if way == "by retention":
        runtime.database.clock.present = datetime.now(UTC) + timedelta(minutes=1)
        assert await runtime.pruning.prune("default", State.SUCCESS, 1, 100) == (1, 1)
    assert await bench.jobs() == []
    await bench.scheduler._run(seen, bench.store.present)
    assert await bench.jobs() == []
    [left] = [one async for one in runtime.jobs.collection.find()]
    assert set(left) == {"_id", "queue", "run", "expireAt", "gone"}


@pytest.mark.parametrize(
    ("missed", "late", "expected"),
    [
        ("skip", 10, [5]),
        ("skip", 40, []),
        ("one", 10, [5]),
        ("one", 40, [5]),
        ("all", 40, [1, 2, 3, 4, 5]),
    ],
)
async def test_what_nobody_was_there_for_is_made_up_for_as_wished(
    bench: Bench, missed: Any, late: float, expected: list[float]
) -> None:
    await bench.put(missed=missed)
    bench.move(minutes=5, seconds=late)
    assert await bench.scheduler.run_once() == 60 - late
    assert await bench.ticks() == expected
    assert await bench.scheduler.run_once() == 60 - late
    assert await bench.ticks() == expected
    skipped = (await bench.schedules.get("s")).last_skipped
    assert (skipped and skipped.at) == (None if expected else START + 5 * MINUTE)


async def test_more_than_a_thousand_are_made_in_several_passes(bench: Bench) -> None:
    await bench.put(missed="all")
    bench.move(minutes=1100)
    assert await bench.scheduler.run_once() == -99 * 60
    assert await bench.runtime.jobs.collection.count_documents({"schedule": "s"}) == 1000
    assert await bench.scheduler.run_once() == 60
    assert await bench.runtime.jobs.collection.count_documents({"schedule": "s"}) == 1100


async def test_a_process_that_was_suspended_does_not_go_on_with_what_it_has_seen(bench: Bench) -> None:
    await bench.put(missed="all")
    bench.move(minutes=3)
    assert bench.store.present is not None
    [seen] = await bench.store.due(bench.store.present, 10)
    began = bench.store.present
    bench.move(seconds=61)
    await bench.scheduler._run(seen, began)
    assert await bench.ticks() == []
    await bench.scheduler.run_once()
    assert await bench.ticks() == [1, 2, 3, 4]


async def test_two_processes_at_once_make_each_job_once(settings: Settings, bench: Bench) -> None:
    await bench.put(missed="all")
    async with open_runtime(settings) as other:
        for _ in range(5):
            bench.move(minutes=20)
            benches = [bench, *(Bench(one, bench.store.present or START) for one in (other, bench.runtime, other))]
            await asyncio.gather(*(one.scheduler.run_once() for one in benches))
    assert await bench.ticks() == list(range(1, 101))
    assert (await bench.document())["nextAt"] == START + 101 * MINUTE


async def test_a_change_meanwhile_is_not_undone_by_who_has_not_seen_it(bench: Bench) -> None:
    await bench.put()
    bench.move(minutes=1)
    assert bench.store.present is not None
    [seen] = await bench.store.due(bench.store.present, 10)
    changed = await bench.put(recurrence=Every(seconds=3600))
    await bench.scheduler._run(seen, bench.store.present)
    assert await bench.schedules.get("s") == changed
    # Its time had come under the old definition.
    assert await bench.ticks() == [1]
    await bench.scheduler._run(seen, bench.store.present)
    assert await bench.ticks() == [1]


async def test_a_schedule_of_the_same_name_is_another_one(bench: Bench) -> None:
    await bench.put()
    bench.move(minutes=1)
    await bench.scheduler.run_once()
    await bench.schedules.delete("s")
    assert await bench.scheduler.run_once() is None
    await Bench(bench.runtime).put()
    await bench.scheduler.run_once()
    assert await bench.ticks() == [1, 1]


async def test_while_paused_nothing_is_made_nor_made_up_for(bench: Bench) -> None:
    await bench.put(missed="all")
    bench.move(seconds=70)
    paused = await bench.schedules.set_paused("s", paused=True)
    assert (paused.next_at, (await bench.schedules.view(paused))["nextRuns"]) == (None, [])
    assert (await bench.schedules.set_paused("s", paused=True)).revision == paused.revision
    bench.move(minutes=10)
    assert await bench.scheduler.run_once() is None
    resumed = await bench.schedules.set_paused("s", paused=False)
    assert resumed.next_at == START + 12 * MINUTE
    bench.move(minutes=1)
    await bench.scheduler.run_once()
    assert await bench.ticks() == [12]


async def test_a_tick_is_skipped_while_the_job_before_is_unfinished_if_it_has_a_key(bench: Bench) -> None:
    await bench.put(job={"key": "only"})
    for _ in range(2):
        bench.move(minutes=1)
        await bench.scheduler.run_once()
    assert await bench.ticks() == [1]
    skipped = (await bench.schedules.view(await bench.schedules.get("s")))["lastSkipped"]
    [job] = await bench.jobs()
    assert skipped["at"] == "2026-07-01T12:02:30.000Z"
    assert job.id in skipped["reason"]
    await succeed(bench.runtime, await claim(bench.runtime))
    bench.move(minutes=1)
    await bench.scheduler.run_once()
    assert await bench.ticks() == [1, 3]


async def test_a_job_that_cannot_be_stored_is_skipped_and_told(bench: Bench) -> None:
    large = NewJob(type="more", data={"text": "x" * 900_000})
    await bench.put(job={"on_success": (large, large)})
    bench.move(minutes=1)
    assert await bench.scheduler.run_once() == 60
    skipped = (await bench.schedules.get("s")).last_skipped
    assert skipped is not None
    assert skipped.reason.startswith("onSuccess takes ")
    assert await bench.jobs() == []


async def test_a_job_that_depends_on_one_that_is_gone_is_skipped_and_told(idle_runtime: Runtime) -> None:
    bench, gone = Bench(idle_runtime), await add(idle_runtime, "gone")
    await bench.put(job={"depends_on": [gone.id]})
    await idle_runtime.manager.delete(gone.id)
    bench.move(minutes=1)
    await bench.scheduler.run_once()
    found = await bench.schedules.get("s")
    assert found.last_skipped is not None
    assert "dependsOn" in found.last_skipped.reason
    assert found.next_at == START + 2 * MINUTE


async def test_one_that_cannot_be_followed_holds_up_no_other(bench: Bench, client: Client) -> None:
    await bench.put()
    for name, change in (("a", {"cron": "x"}), ("b", {"job": 5}), ("c", {"revision": "x", "every": "x"})):
        document = await bench.document() | {"_id": name} | change
        await bench.store.collection.insert_one(document)
    bench.move(minutes=1)
    assert await bench.scheduler.run_once() is None
    assert await bench.ticks() == [1]
    assert (await client.get("/v1/schedules/a")).status == 404
    listed = (await (await client.get("/v1/schedules")).json())["items"]
    assert [(one["name"], "job" in one) for one in listed] == [("a", False), ("b", False), ("c", False), ("s", True)]
    assert (await client.delete("/v1/schedules/a")).status == 204
    assert (await client.put("/v1/schedules/b", json=DAILY)).status == 200
    assert (await client.delete("/v1/schedules/c")).status == 204


async def test_the_loop_of_a_process_makes_the_jobs_and_wakes_who_waits(runtime: Runtime) -> None:
    schedule = Schedule(name="s", job=NewJob(type="tick"), recurrence=Every(seconds=1), missed="all")
    made, _ = await runtime.schedules.put(schedule)
    claimed = await eventually(lambda: runtime.work.claim("default", None, worker="w"))
    assert claimed is not None
    assert claimed.job.scheduled_at == made.created_at + timedelta(seconds=1)
    await runtime.schedules.put(replace(schedule, paused=True))


async def explain(bench: Bench, collection: str, command: dict[str, Any]) -> tuple[str, int]:
    plan = await bench.runtime.database.raw.command(
        "explain", {"find": collection, **command}, verbosity="executionStats"
    )
    text = str(plan["queryPlanner"]["winningPlan"])
    assert "COLLSCAN" not in text
    assert "'SORT'" not in text
    return text, int(plan["executionStats"]["totalKeysExamined"])


async def test_what_is_due_and_the_jobs_of_a_schedule_are_found_by_index(bench: Bench) -> None:
    await bench.put(missed="all")
    document = await bench.document()
    later = [document | {"_id": f"s{n}", "nextAt": START + timedelta(days=n)} for n in range(1, 500)]
    await bench.store.collection.insert_many(later)
    search = {"filter": {"nextAt": {"$lte": START + 2 * MINUTE}}, "sort": {"nextAt": 1}, "limit": 200}
    plan, keys = await explain(bench, "schedules", search)
    assert ("'due'" in plan, keys <= 2) == (True, True)

    bench.move(minutes=300)
    await bench.scheduler.run_once()
    await bench.runtime.jobs.collection.insert_many(finished_documents(500))
    for _ in range(20):
        await add(bench.runtime)
    for query in (JobQuery(schedule="s", limit=10), JobQuery(schedule="s", limit=10, oldest_first=True)):
        search = listing(query.search())
        plan, keys = await explain(bench, "jobs", search)
        assert ("'newestOfSchedule'" in plan, keys <= 11) == (True, True)
    made = {"filter": {"schedule": "s"}, "sort": {"insertAt": -1, "_id": -1}, "limit": 10}
    plan, keys = await explain(bench, "jobs", made)
    assert ("'newestOfSchedule'" in plan, keys <= 10) == (True, True)
