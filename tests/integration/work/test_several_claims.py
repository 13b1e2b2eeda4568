"""Claims of several jobs at once: the same claims as one by one, in the same order, each under a token of its own."""

from __future__ import annotations

import asyncio
import statistics
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from bson import ObjectId
from pymongo.errors import AutoReconnect, WriteError

from jobqueue import JobQueue, NewJob
from jobqueue.domain.attempts.states import Outcome, State
from jobqueue.domain.errors import DatabaseUnavailableError, TooLargeError
from jobqueue.services.work.several import SeveralAttempts
from jobqueue.store.work import claim_cursor
from jobqueue.store.work.several_claims import SeveralClaims
from tests.support.data.factories import add, claim, lane, succeed
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from jobqueue.services.application import Runtime
    from jobqueue.services.runs.attempts import ClaimedJob
    from jobqueue.settings import Settings

UNLIKE = {"_id", "insertAt", "startAt", "resetAt", "attrs"}


def several(runtime: Runtime) -> SeveralAttempts:
    return SeveralAttempts(SeveralClaims(runtime.database, runtime.claims), runtime.configs, runtime.work)


async def take(runtime: Runtime, count: int, **fields: Any) -> Sequence[ClaimedJob]:
    """Claim jobs of the default queue at once."""
    return await several(runtime).claim(lane(**fields), count, worker="worker", margin=2, version="v")


async def all_wait(runtime: Runtime) -> None:
    """Wait until all jobs are waiting, and no attempt of theirs counts."""

    async def wait() -> bool:
        return not await runtime.jobs.collection.count_documents({"state": {"$ne": "pending"}})

    await eventually(wait)
    async for document in runtime.jobs.collection.find({}):
        assert (document["attemptsMade"], document["claim"]) == (0, None)
        assert {entry["outcome"] for entry in document["history"]} <= {Outcome.RELEASE.value}


async def test_the_first_jobs_are_claimed_in_order_each_under_a_token_of_its_own(idle_runtime: Runtime) -> None:
    added = [await add(idle_runtime, priority=number % 3) for number in range(9)]
    order = sorted(added, key=lambda job: -job.priority)
    claimed = await take(idle_runtime, 7)
    assert [one.job.id for one in claimed] == [job.id for job in order[:7]]
    assert len({one.token for one in claimed}) == 7
    for one in claimed:
        job = await idle_runtime.jobs.get(one.job.id)
        assert job.claim is not None
        assert (job.claim.token, job.history[-1].token, one.job.claim) == (one.token, one.token, job.claim)
        # A neighbour's token opens no other job.
        assert await idle_runtime.work.report(one.job, claimed[one is claimed[0]].token) is None or one is claimed[0]
        assert (await succeed(idle_runtime, one)).state is State.SUCCESS
    assert [one.job.id for one in await take(idle_runtime, 7)] == [job.id for job in order[7:]]


async def test_a_job_looks_as_if_it_were_claimed_alone(idle_runtime: Runtime) -> None:
    await add(idle_runtime, timeout=5, meta={"a": 1})
    await add(idle_runtime, timeout=5, meta={"a": 1})
    alone = await idle_runtime.work.claim("default", None, worker="worker", margin=2, version="v")
    (together,) = await take(idle_runtime, 4)
    assert alone is not None
    documents: list[Any] = [
        await idle_runtime.jobs.collection.find_one({"_id": ObjectId(one.job.id)}) for one in (alone, together)
    ]
    spans = []
    for document, one in zip(documents, (alone, together), strict=True):
        assert document["claim"].pop("token") == document["history"][0].pop("token") == one.token
        assert document["history"][0]["startAt"] == document["startAt"]
        assert document["history"][0]["readyAt"] == document["insertAt"]
        spans.append((document["resetAt"] - document["startAt"]).total_seconds())
        document["history"][0] |= {"startAt": None, "readyAt": None}
    assert spans == [7.0, 7.0]
    first, second = ({name: value for name, value in one.items() if name not in UNLIKE} for one in documents)
    assert first == second


@pytest.mark.parametrize(
    "config",
    [
        {"concurrency": 3},
        {"rate": {"limit": 100, "per": 1}},
        {"limitBy": "meta.user", "concurrency": 3},
        {"limitBy": "meta.user"},
        {"breaker": {"failures": 3, "cooldown": 5}},
        {"paused": True},
    ],
    ids="+".join,
)
async def test_queues_with_limits_or_a_pause_claim_one_by_one(idle_runtime: Runtime, config: dict[str, Any]) -> None:
    for _ in range(5):
        await add(idle_runtime, meta={"user": "a"})
    await idle_runtime.queues.patch("default", config)
    assert await take(idle_runtime, 5) == []
    assert await idle_runtime.jobs.collection.count_documents({"state": "processing"}) == 0


async def test_a_late_reply_hides_no_job_of_higher_priority(
    idle_runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("_LOOK_SECONDS", "_CHEAP_SECONDS"):
        monkeypatch.setattr(claim_cursor, name, 1e9)
    monkeypatch.setattr(claim_cursor, "_WARM", 0)
    for _ in range(6):
        await add(idle_runtime)
    await claim(idle_runtime)
    read, urgent, begun = SeveralClaims._read, [], []

    async def late(store: SeveralClaims, tokens: dict[Any, str]) -> dict[Any, Any]:
        claimed = await read(store, tokens)
        urgent.extend([(await add(idle_runtime, priority=5)).id for _ in range(2)])
        begun.append((await claim(idle_runtime)).job.id)
        return claimed

    monkeypatch.setattr(SeveralClaims, "_read", late)
    assert len(await take(idle_runtime, 2)) == 2
    begun.append((await claim(idle_runtime)).job.id)
    assert begun == urgent


async def test_a_claim_under_a_former_configuration_takes_nothing(idle_runtime: Runtime) -> None:
    await add(idle_runtime)
    former = idle_runtime.configs.of("default")
    await idle_runtime.queues.patch("default", {"attempts": 7})
    assert await take(idle_runtime, 5, config=former) == []
    assert len(await take(idle_runtime, 5, config=idle_runtime.configs.of("default"))) == 1


async def test_a_claim_after_its_horizon_takes_nothing(idle_runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    await add(idle_runtime)
    await idle_runtime.configs.refresh()
    monkeypatch.setattr(type(idle_runtime.configs), "_is_stale", lambda *_: False)
    copy = idle_runtime.configs._copy
    monkeypatch.setattr(
        idle_runtime.configs,
        "_copy",
        type(copy)(queues=copy.queues, at=copy.at - timedelta(seconds=60), asked_at=copy.asked_at),
    )
    assert await take(idle_runtime, 5) == []
    assert await idle_runtime.jobs.collection.count_documents({"state": "processing"}) == 0


@pytest.mark.parametrize("fields", [{"startBefore": datetime(2090, 1, 1, tzinfo=UTC)}, {"crashes": 2}], ids=str)
async def test_no_job_goes_before_one_that_only_a_claim_of_its_own_may_take(
    idle_runtime: Runtime, fields: dict[str, Any]
) -> None:
    added = [await add(idle_runtime) for _ in range(4)]
    await idle_runtime.jobs.collection.update_one({"_id": ObjectId(added[2].id)}, {"$set": fields})
    assert [one.job.id for one in await take(idle_runtime, 4)] == [added[0].id, added[1].id]
    assert await take(idle_runtime, 4) == []
    assert (await claim(idle_runtime)).job.id == added[2].id
    assert [one.job.id for one in await take(idle_runtime, 4)] == [added[3].id]


async def test_jobs_that_another_claim_takes_after_the_look_stay_with_it(
    idle_runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    added = [await add(idle_runtime) for _ in range(5)]
    real: Any = SeveralClaims._look
    others = []

    async def look(self: Any, *args: Any) -> Any:
        found = await real(self, *args)
        others.extend([await claim(idle_runtime), await claim(idle_runtime)])
        return found

    monkeypatch.setattr(SeveralClaims, "_look", look)
    claimed = await take(idle_runtime, 5)
    assert [one.job.id for one in [*others, *claimed]] == [job.id for job in added]
    for one in [*others, *claimed]:
        assert (await succeed(idle_runtime, one)).attempts_made == 1


async def fault(
    monkeypatch: pytest.MonkeyPatch, name: str, place: int, error: Exception, *, after: bool
) -> Callable[[], int]:
    """Make the call of a number fail, before or after the server has carried it out."""
    real: Any = getattr(SeveralClaims, name)
    calls = 0

    async def call(self: Any, *args: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls != place:
            return await real(self, *args)
        if after:
            await real(self, *args)
        raise error

    monkeypatch.setattr(SeveralClaims, name, call)
    return lambda: calls


@pytest.mark.parametrize(("name", "after"), [("_look", True), ("_take", False), ("_take", True), ("_read", True)])
@pytest.mark.parametrize(
    "error", [AutoReconnect("connection closed"), WriteError("no room", 17419)], ids=["lost", "refused"]
)
async def test_after_a_lost_reply_or_a_refusal_all_jobs_wait_uncounted(
    idle_runtime: Runtime, monkeypatch: pytest.MonkeyPatch, name: str, error: Exception, *, after: bool
) -> None:
    for _ in range(6):
        await add(idle_runtime, attempts=1)
    await fault(monkeypatch, name, 1, error, after=after)
    with pytest.raises((DatabaseUnavailableError, TooLargeError)):
        await take(idle_runtime, 6)
    await all_wait(idle_runtime)
    assert len(await take(idle_runtime, 6)) == 6
    await idle_runtime.work.give_backs.drain()


async def test_a_cancelled_claim_gives_all_its_jobs_back(
    idle_runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(6):
        await add(idle_runtime, attempts=1)
    real: Any = SeveralClaims._take
    under_way, go_on = asyncio.Event(), asyncio.Event()

    async def slow(self: Any, *args: Any) -> Any:
        under_way.set()
        await go_on.wait()
        return await real(self, *args)

    monkeypatch.setattr(SeveralClaims, "_take", slow)
    call = asyncio.create_task(take(idle_runtime, 6))
    await under_way.wait()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    go_on.set()

    async def were_back() -> bool:
        return await idle_runtime.jobs.collection.count_documents({"history.outcome": "release"}) == 6

    await eventually(were_back)
    await all_wait(idle_runtime)


@pytest.mark.parametrize("name", ["_look", "_take", "_read"])
async def test_a_worker_whose_shared_claims_fail_runs_every_job_once(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    ran: list[str] = []
    count = await fault(monkeypatch, name, 2, AutoReconnect("connection closed"), after=True)
    async with JobQueue(settings) as queue:

        @queue.handler("work")
        async def work(job: Any) -> int:
            ran.append(job.id)
            return 1

        await queue.add_all([NewJob(type="work", attempts=1) for _ in range(150)])
        jobs = (await queue.open()).jobs.collection

        async def all_done() -> bool:
            return await jobs.count_documents({"state": "success"}) == 150

        async with queue.working(concurrency=10):
            await eventually(all_done)
        assert count() >= 2
        assert sorted(ran) == sorted(set(ran))
        assert len(ran) == 150
        async for document in jobs.find({}):
            counted = [entry for entry in document["history"] if entry["outcome"] != "release"]
            assert (document["attemptsMade"], len(counted)) == (1, 1)


async def test_two_workers_with_one_backlog_and_a_pause_run_every_job_once(settings: Settings) -> None:
    ran: list[str] = []
    async with JobQueue(settings) as first, JobQueue(settings) as second:

        async def work(job: Any) -> None:
            ran.append(job.id)

        for queue in (first, second):
            queue.handler("work")(work)
        await first.add_all([NewJob(type="work", attempts=1) for _ in range(400)])
        runtime = await first.open()

        async def done(count: int) -> bool:
            return await runtime.jobs.collection.count_documents({"state": "success"}) >= count

        async with first.working(concurrency=10), second.working(concurrency=10):
            await eventually(lambda: done(60))
            await runtime.queues.patch("default", {"paused": True})

            async def rests() -> bool:
                return not await runtime.jobs.collection.count_documents({"state": "processing"})

            await eventually(rests)
            await runtime.queues.patch("default", {"paused": False})
            await eventually(lambda: done(400))
    assert sorted(ran) == sorted(set(ran))
    assert len(ran) == 400


async def test_all_places_of_a_worker_share_a_claim_while_its_jobs_do_nothing(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim_several, counts = SeveralAttempts.claim, []

    async def counted(claims: SeveralAttempts, its_lane: Any, count: int, **how: Any) -> Any:
        counts.append(count)
        return await claim_several(claims, its_lane, count, **how)

    monkeypatch.setattr(SeveralAttempts, "claim", counted)
    async with JobQueue(settings) as queue:
        runs: list[str] = []

        @queue.handler("work")
        async def work(job: Any) -> None:
            runs.append(job.id)

        await queue.add_all([NewJob(type="work") for _ in range(300)])
        async with queue.working(concurrency=12):
            await eventually(lambda: len(runs) == 300, within=60)
    # Otherwise they claim in two halves, of four and eight.
    assert statistics.median(counts) >= 11
