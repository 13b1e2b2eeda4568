"""What happened to jobs is counted exactly, once, whoever counts and whatever is deleted."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import TYPE_CHECKING, Any

import pytest
from bson import ObjectId

from jobqueue.domain.access.access import EVERYTHING
from jobqueue.domain.attempts.attempt import JobError
from jobqueue.domain.attempts.states import State
from jobqueue.domain.insight.activity import Activity, Tally, total
from jobqueue.domain.insight.histogram import RELATIVE_ERROR
from jobqueue.domain.jobs.job import NewJob
from jobqueue.domain.work.verdict import Success
from jobqueue.services.insight.rollups import RollupWriter
from jobqueue.services.insight.stats import WINDOWS, Stats, StatsRequest
from jobqueue.store.insight import activity_statements, rollups
from jobqueue.store.insight.rollups import HOUR, MINUTE, RollupStore, minute_of
from tests.support.data.factories import (
    LONG_AGO,
    add,
    claim,
    claimed_job,
    die,
    fail,
    finished_documents,
    retry,
    retry_now,
    succeed,
)
from tests.support.mongo.plans import explain
from tests.support.older.pasts import FixedClock, count, nearest_rank, outcomes, past, seeded, times
from tests.support.waiting import eventually

if TYPE_CHECKING:
    import random

    from jobqueue.services.application import Runtime

NOW = datetime(2026, 3, 5, 12, 34, 20, tzinfo=UTC)


async def caught_up(roller: RollupWriter) -> None:
    while await roller.run_once() is not None:
        pass


async def kept(store: RollupStore, since: datetime, until: datetime) -> dict[datetime, Tally]:
    minutes = {}
    while since < until:
        if tally := await store.tally(since, since + MINUTE):
            minutes[since] = tally
        since += MINUTE
    return minutes


def make_stats(runtime: Runtime, now: datetime) -> tuple[RollupStore, RollupWriter, Stats, FixedClock]:
    clock = FixedClock(now)
    store = RollupStore(runtime.database)
    roller = RollupWriter(store, clock)
    return store, roller, Stats(store, roller, runtime.job_counts, clock), clock


def pasts(chance: random.Random, number: int, ago: timedelta) -> list[dict[str, Any]]:
    """Return jobs of which nothing lies in the future."""
    made = (past(chance, NOW - ago, ago.total_seconds()) for _ in iter(int, 1))
    return list(islice((one for one in made if one["latest"] < NOW), number))


@pytest.mark.parametrize("seed", range(3))
async def test_minutes_hours_and_windows_are_as_counted_one_by_one(idle_runtime: Runtime, seed: int) -> None:
    chance = seeded(seed)
    jobs = pasts(chance, 150, timedelta(hours=30)) + pasts(chance, 250, timedelta(minutes=80))
    await idle_runtime.jobs.collection.insert_many(jobs)
    store, roller, stats, _ = make_stats(idle_runtime, NOW)
    await asyncio.gather(caught_up(roller), caught_up(RollupWriter(store, roller._clock)))
    edge = minute_of(NOW - timedelta(seconds=60))
    first = minute_of(min(job["insertAt"] for job in jobs))
    assert await kept(store, first, edge) == count(jobs, first, edge)
    (last_hour,) = [one["_id"] async for one in store.hours.find(sort=[("_id", -1)], limit=1)]
    assert last_hour == datetime(2026, 3, 5, 11, tzinfo=UTC)
    hours = await store.tally(first.replace(minute=0), last_hour + HOUR, hours=True)
    by_minute = await store.tally(first, last_hour + HOUR)
    assert {key: one.attempts for key, one in hours.items()} == {key: one.attempts for key, one in by_minute.items()}
    view = await stats.view(StatsRequest(), EVERYTHING)
    for name in WINDOWS:
        check_window(view["windows"][name], jobs)


def check_window(window: dict[str, Any], jobs: list[dict[str, Any]]) -> None:
    since, until = datetime.fromisoformat(window["from"]), datetime.fromisoformat(window["to"])
    waits, runs = times(jobs, since, until)
    everything = total(count(jobs, since, until).values())
    assert window["added"] == sum(one.added for one in everything.values())
    assert window["started"] == window["wait"]["count"] == len(waits)
    assert window["run"]["count"] == len(runs)
    assert {name: n for name, n in window["attempts"].items() if n} == outcomes(jobs, since, until)
    ended = [sum(one.ended[state] for one in everything.values()) for state in ("success", "failed", "killed")]
    assert [window[name] for name in ("succeeded", "failed", "killed")] == ended
    for name, part in (("p50", 0.5), ("p90", 0.9), ("p99", 0.99)):
        assert window["wait"][name] == pytest.approx(nearest_rank(waits, part), rel=RELATIVE_ERROR + 1e-3)
        assert window["run"][name] == pytest.approx(nearest_rank(runs, part), rel=RELATIVE_ERROR + 1e-3)


async def today(runtime: Runtime, **asked: Any) -> dict[str, Any]:
    """Return what happened within the last day, counted now."""
    stats = Stats(RollupStore(runtime.database), runtime.roller, runtime.job_counts, runtime.database.clock)
    shown = (await stats.view(StatsRequest(windows=("24h",), **asked), EVERYTHING))["windows"]["24h"]
    return dict(shown)


def gist(window: dict[str, Any]) -> dict[str, int]:
    names = ("added", "started", "succeeded", "failed", "killed")
    return {name: window[name] for name in names} | {name: n for name, n in window["attempts"].items() if n}


async def test_every_way_an_attempt_or_a_job_can_end_is_counted(idle_runtime: Runtime) -> None:
    await succeed(idle_runtime, await claimed_job(idle_runtime))
    await fail(idle_runtime, await claimed_job(idle_runtime, attempts=1))
    await fail(idle_runtime, await claimed_job(idle_runtime, attempts=2, backoff=1000))
    await die(idle_runtime, await claimed_job(idle_runtime))
    await retry(idle_runtime, await claimed_job(idle_runtime), 1000)
    given_back = await claimed_job(idle_runtime)
    await idle_runtime.work.release(given_back.job, given_back.token)
    await idle_runtime.manager.kill((await claim(idle_runtime)).job.id)
    await idle_runtime.manager.kill((await add(idle_runtime, delay=100)).id)
    await add(idle_runtime, queue="other")
    await idle_runtime.figures.kill_waiting("other", "over")
    await claimed_job(idle_runtime)
    window = await today(idle_runtime)
    assert gist(window) == {
        "added": 9,
        "started": 8,
        "succeeded": 1,
        "failed": 1,
        "killed": 4,
        "success": 1,
        "fail": 2,
        "die": 1,
        "retry": 1,
        "release": 1,
        "kill": 1,
    }
    assert [one["queue"] for one in window["queues"]] == ["default", "other"]
    assert gist(await today(idle_runtime, queue="other")) == {
        "added": 1,
        "started": 0,
        "succeeded": 0,
        "failed": 0,
        "killed": 1,
    }
    assert gist(await today(idle_runtime, type="nothing"))["added"] == 0


async def test_what_a_job_has_been_through_counts_also_after_it_is_requeued_or_deleted(idle_runtime: Runtime) -> None:
    failed = await fail(idle_runtime, await claimed_job(idle_runtime, attempts=1))
    await idle_runtime.manager.requeue(failed.id)
    await idle_runtime.manager.kill(failed.id)
    await idle_runtime.manager.requeue(failed.id)
    await succeed(idle_runtime, await claim(idle_runtime))
    before = gist(await today(idle_runtime))
    assert before == {"added": 1, "started": 2, "succeeded": 1, "failed": 1, "killed": 1, "success": 1, "fail": 1}
    await idle_runtime.manager.delete(failed.id)
    assert await idle_runtime.jobs.find(failed.id) is None
    assert gist(await today(idle_runtime)) == before
    fleeting = await claimed_job(idle_runtime, on_success_delete=True)
    await idle_runtime.work.settle(fleeting.job, fleeting.token, Success())
    assert await idle_runtime.jobs.find(fleeting.job.id) is None
    await add(idle_runtime, queue="kept")
    short = await succeed(idle_runtime, await claimed_job(idle_runtime, queue="short"))
    assert await idle_runtime.pruning.prune("short", State.SUCCESS, -60, 10) == (1, 1)
    assert await idle_runtime.jobs.find(short.id) is None
    after = gist(await today(idle_runtime))
    assert after == before | {"added": 4, "started": 4, "succeeded": 3, "success": 3}


async def test_attempts_that_were_moved_out_of_the_document_count_once(idle_runtime: Runtime) -> None:
    claimed = await claimed_job(idle_runtime, attempts=1)
    for _ in range(4):
        await retry_now(idle_runtime, claimed)
        claimed = await claim(idle_runtime)
    attempts = idle_runtime.database.collection("attempts")
    await idle_runtime.jobs.history.spill(claimed.job.id, keep=2, state=State.PROCESSING)
    assert await attempts.count_documents({}) == 3
    # Somebody died after he had copied one more, before the document let go of it.
    entry = (await idle_runtime.jobs.get(claimed.job.id)).history[0]
    copy = {"jobId": ObjectId(claimed.job.id), "seq": 3, "entry": {"endAt": entry.end_at, "token": "t"}}
    await attempts.insert_one(copy)
    window = await today(idle_runtime)
    assert (window["attempts"]["retry"], window["started"], window["wait"]["count"]) == (4, 5, 5)


async def test_the_wait_counts_from_when_a_job_could_have_been_claimed(idle_runtime: Runtime) -> None:
    first = await claimed_job(idle_runtime, "first")
    second = await idle_runtime.producer.add(NewJob(type="second", depends_on=(first.job.id,)))
    hour_ago = first.job.insert_at - timedelta(hours=1)
    await idle_runtime.jobs.collection.update_many({}, {"$set": {"insertAt": hour_ago}})
    await succeed(idle_runtime, first)
    claimed = await claim(idle_runtime)
    assert claimed.job.id == second.id
    await retry_now(idle_runtime, claimed)
    await claim(idle_runtime)
    window = await today(idle_runtime, type="second")
    assert window["wait"]["count"] == 2
    assert window["wait"]["p99"] < 60
    late = await add(idle_runtime, queue="late")
    await idle_runtime.jobs.collection.update_many({"queue": "late"}, {"$set": {"insertAt": hour_ago}})
    assert (await claim(idle_runtime, "late")).job.id == late.id
    (queue,) = (await today(idle_runtime, queue="late"))["queues"]
    assert queue["wait"]["p50"] == pytest.approx(3600, rel=0.03)


async def test_a_minute_is_counted_again_for_what_came_late_and_a_second_time_only_then(idle_runtime: Runtime) -> None:
    chance = seeded(5)
    jobs = [past(chance, NOW - timedelta(minutes=5), 60) for _ in range(20)]
    await idle_runtime.jobs.collection.insert_many(jobs[:10])
    store, roller, _, clock = make_stats(idle_runtime, NOW)
    await caught_up(roller)
    await idle_runtime.jobs.collection.insert_many(jobs[10:])
    first = minute_of(min(job["insertAt"] for job in jobs))
    edge = minute_of(NOW - timedelta(minutes=1))
    await caught_up(roller)
    early = await kept(store, first, edge)
    assert early == count(jobs[:10], first, edge)
    clock.moment = NOW + timedelta(minutes=20)
    await caught_up(roller)
    assert await kept(store, first, edge) == count(jobs, first, edge)
    # Someone who was stopped all the time writes what he found at first.
    await store.keep(first, edge, early, checked=False)
    assert await kept(store, first, edge) == count(jobs, first, edge)


async def test_old_minutes_and_hours_are_deleted_and_none_that_is_not_in_an_hour_yet(idle_runtime: Runtime) -> None:
    await idle_runtime.jobs.collection.insert_many([past(seeded(1), NOW - timedelta(hours=3), 60)])
    store, roller, _, clock = make_stats(idle_runtime, NOW)
    await caught_up(roller)
    clock.moment = NOW + timedelta(days=3)
    await caught_up(roller)
    oldest = await store.oldest()
    assert oldest is not None
    assert oldest >= minute_of(clock.moment - timedelta(days=2))
    assert await store.hours.count_documents({}) > 70


async def test_odd_documents_do_not_stop_the_counting(idle_runtime: Runtime) -> None:
    good = past(seeded(2), NOW - timedelta(minutes=30), 60)
    moment = NOW - timedelta(minutes=10)
    odd = [
        {"queue": "x", "type": 5, "state": "failed", "history": [{"token": 1, "endAt": moment, "startAt": moment}]},
        {"queue": None, "type": "a", "state": "success", "insertAt": moment, "history": "none"},
        {"queue": "x", "type": "a", "state": "success", "insertAt": "then", "history": [{"endAt": moment}, 5]},
        {"queue": "x", "type": "a", "state": "processing", "resetAt": None, "history": []},
        {"queue": "x", "type": "a", "state": "pending", "killedAt": [moment, "x", None]},
    ]
    await idle_runtime.jobs.collection.insert_many([good, *odd])
    store, roller, stats, _ = make_stats(idle_runtime, NOW)
    await caught_up(roller)
    assert (await stats.view(StatsRequest(), EVERYTHING))["windows"]["1h"]["killed"] >= 1
    assert await store.newest() == minute_of(NOW - timedelta(minutes=2))


async def test_an_index_serves_all_that_is_read(idle_runtime: Runtime) -> None:
    await idle_runtime.jobs.collection.insert_many(finished_documents(1000))
    await idle_runtime.jobs.collection.insert_many([past(seeded(4), LONG_AGO, 86_400) for _ in range(300)])
    await idle_runtime.jobs.collection.insert_many([past(seeded(3), NOW, 60) for _ in range(10)])
    await idle_runtime.manager.kill((await add(idle_runtime)).id)
    since, until = NOW, NOW + timedelta(minutes=1)
    sources = activity_statements.sources(since, until, with_running=True)
    pipelines = [source.pipeline for source in sources if source.collection == "jobs"]
    running = await idle_runtime.jobs.collection.count_documents({"state": "processing"})
    for pipeline in pipelines:
        # What follows the first stage works on what that has found.
        matched = pipeline[0]["$match"]
        keys = running if matched.get("state") == "processing" else 60
        await explain(idle_runtime.database, {"find": "jobs", "filter": matched}, keys=keys)


async def test_a_kill_while_waiting_is_remembered_through_a_requeue(idle_runtime: Runtime) -> None:
    job = await add(idle_runtime)
    change = idle_runtime.manager
    await change.kill(job.id, "one")
    await change.requeue(job.id)
    killed = await change.kill(job.id, "$two")
    assert (killed.state, killed.error) == (State.KILLED, JobError(kind="killed", message="$two"))
    assert gist(await today(idle_runtime))["killed"] == 2


async def test_what_is_deleted_after_an_outage_and_before_it_is_counted_again_is_still_counted(
    idle_runtime: Runtime,
) -> None:
    # In the future: what is deleted is not forgotten before the test ends.
    now = NOW.replace(year=2126)
    ended = now - timedelta(hours=2)
    store, roller, _, clock = make_stats(idle_runtime, ended + timedelta(minutes=3))
    jobs = [await succeed(idle_runtime, await claimed_job(idle_runtime)) for _ in range(3)]
    history = {"history.0.startAt": ended, "history.0.endAt": ended}
    moments = {"insertAt": ended, "startAt": ended, "endAt": ended, **history}
    await idle_runtime.jobs.collection.update_many({}, {"$set": moments})
    await caught_up(roller)
    before = await kept(store, minute_of(ended), minute_of(ended) + MINUTE)
    assert before
    clock.moment = idle_runtime.database.clock.present = now
    assert await idle_runtime.pruning.prune("default", State.SUCCESS, 3600, 100) == (len(jobs), len(jobs))
    await caught_up(roller)
    assert await store.unchecked(minute_of(ended) - HOUR, now - timedelta(minutes=30)) is None
    # Nor does it matter that another process is late and finds nothing any more.
    await store.keep(minute_of(ended), minute_of(ended) + MINUTE, {}, checked=True)
    assert await kept(store, minute_of(ended), minute_of(ended) + MINUTE) == before


async def test_hours_of_one_page_are_read_once(idle_runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rollups, "_RECENT_SECONDS", 600.0)
    store, first = RollupStore(idle_runtime.database), NOW.replace(minute=0, second=0)
    for number in range(4):
        await store.keep_hour(first + number * HOUR, {("mail", "send"): Activity(added=number + 1)})
    last_three = await store.tally(first + HOUR, first + 4 * HOUR, hours=True)
    assert last_three["mail", "send"].added == 9
    await store.hours.delete_many({"_id": {"$gt": first}})
    # Only the hour that no read has met is read, and a sum of shared hours changes none of them.
    for _ in range(2):
        parts = await store.parts(first, first + 4 * HOUR, hours=True)
        assert [(at, tally["mail", "send"].added) for at, tally in parts] == [
            (first + number * HOUR, number + 1) for number in range(4)
        ]
        assert (await store.tally(first, first + 4 * HOUR, hours=True))["mail", "send"].added == 10
    await store.forget_ahead()
    assert [at for at, _ in await store.parts(first, first + 4 * HOUR, hours=True)] == [first]


async def test_few_hours_are_kept_for_long_and_many_are_soon_forgotten(
    idle_runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rollups, "FEW", 2)
    monkeypatch.setattr(rollups, "_RECENT_SECONDS", 0.0)
    store, first = RollupStore(idle_runtime.database), NOW.replace(minute=0, second=0)
    for number in range(3):
        await store.keep_hour(first + number * HOUR, {("mail", "send"): Activity(added=1)})
    await store.tally(first, first + 2 * HOUR, hours=True)
    few = store._forgetting
    assert few is not None
    assert few.when() - asyncio.get_running_loop().time() > rollups._LONG_SECONDS / 2
    # The third hour is one too many: the long pause is over, and nothing of the sums stays either.
    await store.tally(first, first + 3 * HOUR, hours=True)
    assert few.cancelled()
    await eventually(lambda: not store._recent and not len(store._totals))
    await store.hours.delete_many({})
    assert await store.tally(first, first + 3 * HOUR, hours=True) == {}
