"""Jobs that have to start before a date: killed in time, never started late, and found at little cost."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from bson import ObjectId

from jobqueue.domain.attempts.states import State
from jobqueue.store.documents import statements
from jobqueue.store.mongo.clock import SERVER_NOW
from jobqueue.store.work import expiry, expiry_statements
from tests.support.data.factories import LONG_AGO, add, claim, document, fail, open_runtime, succeed

if TYPE_CHECKING:
    import pytest

    from jobqueue.domain.jobs.job import Job
    from jobqueue.services.application import Runtime
    from jobqueue.settings import Settings

LATER = datetime.now(UTC).replace(microsecond=0) + timedelta(days=1)
MESSAGE = "not started by 2020-01-01T00:00:00.000Z"


async def children(runtime: Runtime) -> list[str]:
    return [job.type async for job in _jobs(runtime, {"parentId": {"$ne": None}})]


async def _jobs(runtime: Runtime, query: dict[str, Any]) -> Any:
    async for stored in runtime.jobs.collection.find(query, {"_id": 1}):
        yield await runtime.jobs.get(str(stored["_id"]))


def check_expired(job: Job) -> None:
    assert (job.state, job.error and job.error.kind) == (State.KILLED, "expired")
    assert (job.attempts_made, job.history, job.start_at, job.claim, job.slots) == (0, (), None, None, ())
    assert job.end_at is not None


async def test_an_expired_job_is_killed_and_what_follows_happens_once(idle_runtime: Runtime) -> None:
    made = await add(idle_runtime, start_before=LONG_AGO, on_failure={"type": "child"}, on_success={"type": "other"})
    dependent = await add(idle_runtime, depends_on=[made.id])
    delayed = await add(idle_runtime, delay=3600, start_before=LONG_AGO)
    waiting = await add(idle_runtime, depends_on=[(await add(idle_runtime)).id], start_before=LONG_AGO)
    safe = await add(idle_runtime, start_before=LATER)
    await idle_runtime.queues.patch("default", {"paused": True})
    assert await idle_runtime.expiry.run_once() is not None
    for job_id in (made.id, delayed.id, waiting.id):
        check_expired(await idle_runtime.jobs.get(job_id))
    expired = await idle_runtime.jobs.get(made.id)
    assert (expired.error and expired.error.message, expired.outbox) == (MESSAGE, ())
    assert (await idle_runtime.jobs.get(dependent.id)).state is State.KILLED
    assert (await idle_runtime.jobs.get(safe.id)).state is State.PENDING
    await idle_runtime.expiry.run_once()
    await idle_runtime.outboxes.run_once()
    assert await children(idle_runtime) == ["child"]
    await idle_runtime.failures.run_once()
    assert (await document(idle_runtime, made.id))["fingerprint"]
    why = await idle_runtime.explainer.why(made.id)
    assert why.reasons[0].message == f"it has ended as killed: {MESSAGE}"
    assert (await idle_runtime.explainer.why(safe.id)).reasons[-1].details["at"].startswith(f"{LATER:%Y-%m-%dT%H:%M}")


async def test_a_claim_kills_an_expired_job_and_goes_on_to_the_next(
    idle_runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(expiry, "AT_ONCE", 2)
    over = [await add(idle_runtime, start_before=LONG_AGO, on_failure={"type": "child"}) for _ in range(5)]
    good = await add(idle_runtime, start_before=LATER)
    claimed = await claim(idle_runtime)
    assert claimed.job.id == good.id
    assert "startBefore" not in await document(idle_runtime, good.id)
    for job in over:
        check_expired(await idle_runtime.jobs.get(job.id))
        assert (await document(idle_runtime, job.id))["startBefore"] == LONG_AGO
    await idle_runtime.outboxes.run_once()
    assert await children(idle_runtime) == ["child"] * 5


async def test_a_job_that_has_started_never_expires_and_a_requeue_lifts_the_limit(idle_runtime: Runtime) -> None:
    job = await add(idle_runtime, start_before=LATER, backoff=3600)
    failed = await fail(idle_runtime, await claim(idle_runtime))
    assert (failed.state, failed.start_before) == (State.DELAYED, None)
    await idle_runtime.manager.patch(job.id, {"start_before": LATER})
    assert (await idle_runtime.jobs.get(job.id)).start_before == LATER
    requeued = await idle_runtime.manager.requeue(job.id)
    assert (requeued.state, requeued.start_before) == (State.PENDING, None)
    late = await add(idle_runtime, start_before=LONG_AGO)
    await idle_runtime.expiry.run_once()
    assert (await idle_runtime.manager.requeue(late.id)).start_before is None
    assert await idle_runtime.expiry.run_once() is None
    await claim(idle_runtime)
    assert (await succeed(idle_runtime, await claim(idle_runtime))).id == late.id


async def test_seconds_count_from_the_time_at_which_a_job_is_due(idle_runtime: Runtime) -> None:
    await idle_runtime.queues.patch("default", {"startBefore": 60})
    now, later, own = (
        await add(idle_runtime),
        await add(idle_runtime, delay=100),
        await add(idle_runtime, start_before=10),
    )
    limits = [job.start_before - job.insert_at for job in (now, later, own) if job.start_before is not None]
    assert [limit.total_seconds() for limit in limits] == [60, 160, 10]


async def test_of_a_claim_and_the_expiry_exactly_one_happens(settings: Settings) -> None:
    async with open_runtime(settings) as first, open_runtime(settings) as second:
        start = await first.database.clock.ask()
        jobs = [
            await add(first, start_before=start + timedelta(milliseconds=300 + 10 * n), on_failure={"type": "child"})
            for n in range(60)
        ]
        claimed: list[str] = []

        async def work(runtime: Runtime) -> None:
            while (got := await runtime.work.claim("default", ["work"], worker="w")) is not None:
                claimed.append(got.job.id)

        async def reap(runtime: Runtime) -> None:
            while await runtime.expiry.run_once() is not None:
                pass

        await asyncio.gather(work(first), reap(second), work(second), reap(first))
        states = [(await first.jobs.get(job.id)) for job in jobs]
        for job in states:
            if job.id in claimed:
                assert (job.state, job.start_before) == (State.PROCESSING, None)
            else:
                check_expired(job)
        assert len(claimed) == len(set(claimed))
        await first.outboxes.run_once()
        expired = [job for job in states if job.state is State.KILLED]
        assert len(await children(first)) == len(expired)


async def test_neither_claims_nor_sweeps_look_at_more_than_they_change(idle_runtime: Runtime) -> None:
    shape = await document(idle_runtime, (await add(idle_runtime, queue="other", start_before=LONG_AGO)).id)
    many = [shape | {"_id": ObjectId(), "queue": "default"} for _ in range(300)]
    plain = [{**shape, "_id": ObjectId(), "queue": "default", "startBefore": None} for _ in range(300)]
    await idle_runtime.jobs.collection.insert_many(many + plain)
    begin = expiry_statements.unless_expired(statements.claim("t", "w", SERVER_NOW), SERVER_NOW)
    taking = {
        "findAndModify": "jobs",
        "query": statements.claimable("default", None),
        "sort": dict(statements.CLAIM_ORDER),
        "update": begin,
        "hint": statements.CLAIM_INDEX,
    }
    over = expiry_statements.expired(SERVER_NOW)
    for command, most in (
        (taking, 2),
        ({"find": "jobs", "filter": over, "hint": expiry_statements.INDEX, "limit": 100}, 101),
        ({"find": "jobs", "filter": over}, 301),
    ):
        plan = await idle_runtime.database.raw.command("explain", command, verbosity="executionStats")
        assert plan["executionStats"]["totalKeysExamined"] <= most
        assert plan["executionStats"]["totalDocsExamined"] <= most
    counts = (await idle_runtime.database.raw.command("validate", "jobs"))["keysPerIndex"]
    assert counts[expiry_statements.INDEX] == 301
