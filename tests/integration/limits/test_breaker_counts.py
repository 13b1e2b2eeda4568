"""Each end of an attempt counts once for the circuit breaker and in the figures, whenever and how often it is told."""

from __future__ import annotations

import asyncio
import random
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp.test_utils import TestClient, TestServer
from bson import ObjectId
from pymongo.errors import AutoReconnect

from jobqueue.api.app import make_app
from jobqueue.domain.attempts.states import State
from jobqueue.domain.errors import DatabaseUnavailableError
from jobqueue.domain.jobs.job import NewJob
from jobqueue.domain.limits.limits import Breaker
from jobqueue.domain.work.verdict import Failure, Success
from jobqueue.services.application import Runtime
from jobqueue.services.limits.limiter import HeldBack
from jobqueue.store.limits import limit_statements
from jobqueue.store.limits.limits import AttemptEnd, BreakerState
from tests.support.data.factories import (
    ERROR,
    add,
    claim,
    claimed_job,
    document,
    end_lease,
    fail,
    patient_reaper,
    succeed,
)

if TYPE_CHECKING:
    from jobqueue.services.runs.attempts import ClaimedJob
    from jobqueue.settings import Settings

NOW = datetime(2026, 1, 1, tzinfo=UTC)


async def configure(runtime: Runtime, failures: int = 3, **more: Any) -> None:
    await runtime.queues.put("default", {"breaker": {"failures": failures, "cooldown": 300, **more}})


async def state(runtime: Runtime) -> tuple[int, bool]:
    """Return how many failures the queue's breaker has counted, and whether it was opened."""
    found = await runtime.limits.breakers("default")
    return (found[0].failures, found[0].open_until is not None) if found else (0, False)


async def again(runtime: Runtime, claimed: ClaimedJob, verdict: Any) -> None:
    """Report a verdict once more, as a worker does that has not heard the answer."""
    await runtime.work.settle(await runtime.jobs.lean(claimed.job.id), claimed.token, verdict)


def attempts_counted(runtime: Runtime) -> float:
    samples = [one for family in runtime.metrics.registry.collect() for one in family.samples]
    return sum(one.value for one in samples if one.name == "jobqueue_attempts_total")


async def test_a_failure_that_is_reported_again_over_http_counts_once(idle_runtime: Runtime) -> None:
    await configure(idle_runtime)
    for _ in range(2):
        await add(idle_runtime, attempts=1)
    async with TestClient(TestServer(make_app(idle_runtime))) as client:
        got = await (await client.post("/v1/queues/default/claim", json={"worker": "w"})).json()
        path, body = f"/v1/jobs/{got['job']['id']}/fail", {"token": got["token"], "reason": "no"}
        assert [(await client.post(path, json=body)).status for _ in range(4)] == [200] * 4
        assert (await client.post("/v1/queues/default/claim", json={"worker": "w"})).status == 200
    assert await state(idle_runtime) == (1, False)
    assert attempts_counted(idle_runtime) == 1


async def test_an_old_success_that_is_reported_again_closes_nothing(idle_runtime: Runtime) -> None:
    await configure(idle_runtime, 2)
    good = await claimed_job(idle_runtime)
    await succeed(idle_runtime, good)
    for _ in range(2):
        await fail(idle_runtime, await claimed_job(idle_runtime, attempts=1))
    await again(idle_runtime, good, Success(result=None))
    assert await state(idle_runtime) == (2, True)
    assert attempts_counted(idle_runtime) == 3


async def test_repeats_that_are_written_together_with_others_count_once_too(idle_runtime: Runtime) -> None:
    await configure(idle_runtime, 100)
    running = [await claimed_job(idle_runtime, attempts=1) for _ in range(9)]
    for one in running[:4]:
        await fail(idle_runtime, one)
    reports = [again(idle_runtime, one, Failure(error=ERROR)) for one in running * 2]
    await asyncio.gather(*reports)
    assert await state(idle_runtime) == (9, False)
    assert attempts_counted(idle_runtime) == 9


@pytest.mark.parametrize("fields", [{"attempts": 1}, {"attempts": 5, "backoff": 600}, {"attempts": 5, "backoff": 0}])
async def test_a_failure_whose_counting_was_cut_off_is_counted_by_the_sweep_once(
    idle_runtime: Runtime, monkeypatch: pytest.MonkeyPatch, fields: dict[str, Any]
) -> None:
    await configure(idle_runtime, 1)
    claimed = await claimed_job(idle_runtime, **fields)

    async def cut_off(*_: Any, **__: Any) -> None:
        raise AutoReconnect("lost")

    monkeypatch.setattr(idle_runtime.limits.collection, "find_one_and_update", cut_off)
    with pytest.raises(DatabaseUnavailableError):
        await fail(idle_runtime, claimed)
    monkeypatch.undo()
    assert await state(idle_runtime) == (0, False)
    for _ in range(2):
        await idle_runtime.outboxes.run_once()
        assert await state(idle_runtime) == (1, True)
    assert "outbox" not in await document(idle_runtime, claimed.job.id)
    await again(idle_runtime, claimed, Failure(error=ERROR))
    assert await state(idle_runtime) == (1, True)


async def test_an_attempt_whose_counting_was_cut_off_counts_also_after_the_next_one_of_its_job(
    idle_runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    await configure(idle_runtime)
    await add(idle_runtime, attempts=9, backoff=0, on_failure=NewJob(type="child"))
    monkeypatch.setattr(idle_runtime.outboxes, "finish", _nothing)
    for _ in range(2):
        claimed = await claim(idle_runtime)
        await fail(idle_runtime, claimed)
    await idle_runtime.manager.kill(claimed.job.id)
    monkeypatch.undo()
    assert len((await document(idle_runtime, claimed.job.id))["outbox"]) == 3
    await idle_runtime.outboxes.run_once()
    assert await state(idle_runtime) == (2, False)
    assert await idle_runtime.jobs.collection.count_documents({"type": "child"}) == 1


async def _nothing(*_: Any) -> None:
    """Do nothing, as a process that has died."""


async def test_a_hanging_attempt_counts_though_its_reaper_was_cut_off(
    idle_runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    await configure(idle_runtime)
    claimed = await claimed_job(idle_runtime)
    await end_lease(idle_runtime, claimed.job)
    monkeypatch.setattr(idle_runtime.outboxes, "finish", _nothing)
    await patient_reaper(idle_runtime).run_once()
    monkeypatch.undo()
    assert await state(idle_runtime) == (0, False)
    await idle_runtime.outboxes.run_once()
    assert await state(idle_runtime) == (1, False)


async def test_a_success_that_ended_before_later_failures_does_not_close_when_it_is_counted_late(
    idle_runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    await configure(idle_runtime, 2)
    first, good, *others = [await claimed_job(idle_runtime, attempts=1, on_success_delete=True) for _ in range(4)]
    await fail(idle_runtime, first)
    monkeypatch.setattr(idle_runtime.outboxes, "finish", _nothing)
    await succeed(idle_runtime, good)
    monkeypatch.undo()
    for one in others:
        await fail(idle_runtime, one)
    assert await state(idle_runtime) == (3, True)
    await idle_runtime.outboxes.run_once()
    assert await state(idle_runtime) == (2, True)


async def test_a_resumed_queue_forgets_failures_that_are_counted_only_then(
    idle_runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    await configure(idle_runtime, 2)
    await fail(idle_runtime, await claimed_job(idle_runtime, attempts=1))
    monkeypatch.setattr(idle_runtime.outboxes, "finish", _nothing)
    await fail(idle_runtime, await claimed_job(idle_runtime, attempts=1))
    monkeypatch.undo()
    await idle_runtime.queues.set_paused("default", paused=False)
    await idle_runtime.outboxes.run_once()
    assert await state(idle_runtime) == (0, False)
    await fail(idle_runtime, await claimed_job(idle_runtime, attempts=1))
    assert await state(idle_runtime) == (1, False)


async def test_the_trial_of_a_breaker_that_version_0_3_0_has_counted_decides(idle_runtime: Runtime) -> None:
    await configure(idle_runtime)
    old = {"queue": "default", "type": None, "at": NOW, "failures": 3, "openUntil": NOW + timedelta(seconds=300)}
    await idle_runtime.limits.collection.insert_one({"_id": "breaker|default", **old})
    await fail(idle_runtime, await claimed_job(idle_runtime, attempts=1))
    assert await state(idle_runtime) == (4, True)
    assert isinstance(await idle_runtime.work.attempt("default", None, worker="w"), HeldBack)
    await idle_runtime.limits.collection.update_many({}, {"$set": {"openUntil": NOW}})
    await succeed(idle_runtime, await claimed_job(idle_runtime))
    assert await state(idle_runtime) == (0, False)


async def test_an_outbox_that_another_tool_has_spoilt_keeps_no_attempt_from_ending(idle_runtime: Runtime) -> None:
    await configure(idle_runtime)
    running = [await claimed_job(idle_runtime, attempts=1) for _ in range(3)]
    ids = [ObjectId(one.job.id) for one in running]
    await idle_runtime.jobs.collection.update_many({"_id": {"$in": ids}}, {"$set": {"outbox": "x"}})
    ended = await asyncio.gather(*(fail(idle_runtime, one) for one in running))
    assert [one.state for one in ended] == [State.FAILED] * 3
    assert await state(idle_runtime) == (3, True)


async def test_a_queue_without_a_breaker_has_no_notes_for_it(idle_runtime: Runtime) -> None:
    claimed = await claimed_job(idle_runtime, attempts=1)
    await fail(idle_runtime, claimed)
    assert "outbox" not in await document(idle_runtime, claimed.job.id)


BREAKER = Breaker(failures=4, cooldown=10)


def expected(ends: list[tuple[str, bool, datetime]]) -> tuple[int, bool]:
    """Return how many failures there are in a row, whatever order they were told in, and whether that is too many."""
    last = max((at for _, good, at in ends if good), default=datetime.min.replace(tzinfo=UTC))
    failures = sum(not good and at > last for _, good, at in ends)
    return failures, failures >= BREAKER.failures


@pytest.mark.parametrize("seed", range(12))
async def test_only_when_attempts_ended_matters_not_when_or_how_often_they_are_told(
    idle_runtime: Runtime, seed: int
) -> None:
    rng = random.Random(seed)  # noqa: S311 - no secret
    ends = [(f"{number:024x}", rng.random() < 0.2, NOW + timedelta(seconds=number)) for number in range(14)]
    # The first is told first: a breaker that has counted nothing yet does not remember successes.
    told = [ends[0], *rng.choices(ends, k=20), *rng.sample(ends, len(ends))]
    ends[0] = told[0] = (ends[0][0], False, ends[0][2])
    for token, good, at in told:
        end = AttemptEnd(token=token, at=at)
        if good:
            await idle_runtime.limits.attempt_succeeded("default", None, BREAKER, end)
        else:
            await idle_runtime.limits.attempt_failed("default", None, BREAKER, end)
    assert await state(idle_runtime) == expected(ends)


async def test_a_breaker_stays_small_however_many_failures_it_counts(
    idle_runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limit_statements, "MOST_COUNTED", 5)
    found: BreakerState | None = None
    for number in range(20):
        end = AttemptEnd(token=f"{number:024x}", at=NOW + timedelta(seconds=number))
        for _ in range(2):
            found = await idle_runtime.limits.attempt_failed("default", None, BREAKER, end)
    assert found is not None
    assert (found.failures, found.open_until) == (20, NOW + timedelta(seconds=13 + 10))
    first = AttemptEnd(token=f"{0:024x}", at=NOW)
    assert (await idle_runtime.limits.attempt_failed("default", None, BREAKER, first)).failures == 20
    stored = await idle_runtime.limits.collection.find_one({"_id": "breaker|default"})
    assert len((stored or {})["failed"]) == 5
    late = AttemptEnd(token="s", at=NOW + timedelta(seconds=2))  # noqa: S106 - no secret
    assert not await idle_runtime.limits.attempt_succeeded("default", None, BREAKER, late)
    last = AttemptEnd(token="s", at=NOW + timedelta(seconds=17))  # noqa: S106 - no secret
    assert await idle_runtime.limits.attempt_succeeded("default", None, BREAKER, last)
    assert await state(idle_runtime) == (2, False)


@pytest.mark.parametrize("call", ["requeue", "delete"])
async def test_a_failure_is_counted_also_by_a_process_that_has_read_no_configuration(
    settings: Settings, idle_runtime: Runtime, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    await configure(idle_runtime, 1)
    claimed = await claimed_job(idle_runtime, attempts=1)

    async def cut_off(*_: Any, **__: Any) -> None:
        raise AutoReconnect("lost")

    monkeypatch.setattr(idle_runtime.limits.collection, "find_one_and_update", cut_off)
    with pytest.raises(DatabaseUnavailableError):
        await fail(idle_runtime, claimed)
    monkeypatch.undo()
    other = await Runtime.open(settings)
    try:
        await getattr(other.manager, call)(claimed.job.id)
    finally:
        await other.close()
    assert await state(idle_runtime) == (1, True)
