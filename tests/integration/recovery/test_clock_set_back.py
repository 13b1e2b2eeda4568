"""Leases and turns that a dead process has left end soon, also after the server's clock was set back by an hour.

In these tests the stored dates are moved ahead by an hour, which is the same for whoever compares them.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from bson import ObjectId

from jobqueue.domain.attempts.states import Outcome, State
from jobqueue.domain.bulk.operation import Action
from jobqueue.domain.jobs.job import INLINE_LOGS, NewJob
from jobqueue.domain.limits.limits import Rate
from jobqueue.domain.work.logs import LogQuery
from jobqueue.domain.workflow.batch import Member, NewBatch
from jobqueue.store.jobs.logs import LogStore
from jobqueue.store.work.workers import Registration
from jobqueue.store.workflow.additions import AdditionStore
from tests.integration.bulk.test_operations import new
from tests.support.data.factories import claimed_job, patient_reaper, set_clock

if TYPE_CHECKING:
    from jobqueue.services.application import Runtime

NOW = datetime(2026, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
HOUR_MS = 3_600_000


async def move_ahead(runtime: Runtime, collection: str, *fields: str) -> None:
    """Move dates ahead by an hour."""
    later = {field: {"$add": [f"${field}", HOUR_MS]} for field in fields}
    changed = await runtime.database.collection(collection).update_many(
        {fields[0]: {"$exists": True}}, [{"$set": later}]
    )
    assert changed.modified_count


@pytest.mark.parametrize("pause", [None, 10.0, 100.0])
async def test_the_turn_of_counting_is_free_again(idle_runtime: Runtime, pause: float | None) -> None:
    store = idle_runtime.figures.kept
    mark = await store.take_turn()
    assert mark is not None
    if pause is not None:
        await store.end_turn(mark, pause)
    assert await store.take_turn() is None
    await move_ahead(idle_runtime, "streams", "until")
    assert await store.take_turn() is not None
    assert await store.take_turn() is None


async def test_an_abandoned_job_is_taken_back(idle_runtime: Runtime) -> None:
    claimed = await claimed_job(idle_runtime, lease=20)
    await move_ahead(idle_runtime, "jobs", "resetAt", "startAt")
    await patient_reaper(idle_runtime).run_once()
    job = await idle_runtime.jobs.get(claimed.job.id)
    assert (job.state, job.history[0].outcome) == (State.DELAYED, Outcome.HANGING)


async def test_jobs_that_lost_their_worker_together_are_not_counted(idle_runtime: Runtime) -> None:
    both = [await claimed_job(idle_runtime, lease=20) for _ in range(2)]
    await idle_runtime.registry._store.sign({"worker": ()}, process="worker")
    await move_ahead(idle_runtime, "jobs", "resetAt", "startAt")
    await move_ahead(idle_runtime, "workers", "at")
    await patient_reaper(idle_runtime).run_once()
    jobs = [await idle_runtime.jobs.get(claimed.job.id) for claimed in both]
    assert [job.history[0].outcome for job in jobs] == [Outcome.CRASH] * 2


async def test_a_living_worker_has_time_to_renew_first(idle_runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    reaper = patient_reaper(idle_runtime)
    await reaper.run_once()
    claimed = await claimed_job(idle_runtime, lease=20)
    await move_ahead(idle_runtime, "jobs", "resetAt", "startAt")
    told = await idle_runtime.jobs.server_time()

    async def an_hour_ago() -> datetime:
        return told - HOUR

    monkeypatch.setattr(idle_runtime.jobs, "server_time", an_hour_ago)
    assert await reaper.run_once() == 20 / 4
    assert (await idle_runtime.jobs.get(claimed.job.id)).state is State.PROCESSING
    assert await idle_runtime.work.report(claimed.job, claimed.token)
    # The worker has renewed the lease by the present clock.
    monkeypatch.undo()
    await patient_reaper(idle_runtime).run_once()
    assert (await idle_runtime.jobs.get(claimed.job.id)).state is State.PROCESSING


async def test_an_operation_goes_on_in_another_process(idle_runtime: Runtime) -> None:
    made = await idle_runtime.operations.create(new(Action.KILL, all=True))
    assert await idle_runtime.operations.store.take("dead", made.id)
    assert await idle_runtime.operations.store.take("other", made.id) is None
    await move_ahead(idle_runtime, "operations", "lease.until")
    assert await idle_runtime.operations.store.take("other", made.id)


async def test_an_addition_to_a_batch_is_ended(idle_runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    batch, _ = await idle_runtime.batches.create(NewBatch(members=(), sealed=False))

    async def die(*_: object) -> None:
        raise SystemExit

    monkeypatch.setattr(AdditionStore, "_insert", die)
    with pytest.raises(SystemExit):
        await idle_runtime.batches.add(batch.batch.id, [Member(job=NewJob(type="a"))])
    ahead = {"$set": {"adding.$[].until": datetime.now(UTC) + HOUR}}
    batches = idle_runtime.database.collection("batches")
    assert (await batches.update_one({"adding": {"$exists": True}}, ahead)).modified_count
    await idle_runtime._batch_store.additions.run_once()
    assert not await batches.count_documents({"adding": {"$exists": True}})


async def test_a_rate_holds_from_the_present_on_and_no_longer(idle_runtime: Runtime) -> None:
    rate = Rate(limit=2, per=60)
    set_clock(idle_runtime, NOW + HOUR)
    assert [(await idle_runtime.limits.grant("default", None, rate)).at for _ in range(2)] == [NOW + HOUR] * 2
    for seconds, is_granted in ((0, False), (50, False), (71, True)):
        set_clock(idle_runtime, NOW + timedelta(seconds=seconds))
        assert (await idle_runtime.limits.wait_for_start("default", None, rate) == 0) is is_granted
        grant = await idle_runtime.limits.grant("default", None, rate)
        assert (grant.at is not None) is is_granted
        assert grant.wait <= 70


async def test_lines_that_never_came_end_no_log(idle_runtime: Runtime) -> None:
    claimed = await claimed_job(idle_runtime)
    missing = {"$set": {"logCount": INLINE_LOGS + 5, "logAt": datetime.now(UTC) + HOUR, "state": "success"}}
    await idle_runtime.jobs.collection.update_one({"_id": ObjectId(claimed.job.id)}, missing)
    assert (await LogStore(idle_runtime.database).page(claimed.job.id, LogQuery())).ended


async def test_a_request_that_a_dead_process_has_begun_can_be_repeated(idle_runtime: Runtime) -> None:
    store = idle_runtime.idempotency._store
    assert (await store.begin("key", "digest")).fresh
    assert (await store.begin("key", "digest")).busy
    await move_ahead(idle_runtime, "idempotency", "busyTil")
    assert not (await store.begin("key", "digest")).busy


async def test_a_worker_that_has_died_counts_no_more(idle_runtime: Runtime) -> None:
    store = idle_runtime.registry._store
    await store.sign({"worker": (Registration(queue="default", types=None),)})
    assert await store.alive()
    await move_ahead(idle_runtime, "workers", "at")
    assert not await store.alive()
