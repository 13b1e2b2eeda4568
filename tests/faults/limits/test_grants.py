"""Starts that come too late after they were granted, and slots that two want at the same moment."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from jobqueue.domain.attempts.states import State
from jobqueue.domain.jobs.job import NewJob
from jobqueue.domain.limits.limits import Rate
from jobqueue.services.limits import slots
from tests.support.data.factories import add, open_runtime
from tests.support.faults.checker import worst_window
from tests.support.waiting import eventually

if TYPE_CHECKING:
    import pytest

    from jobqueue.services.application import Runtime
    from jobqueue.settings import Settings

LIMIT = 5
RATE = Rate(limit=LIMIT, per=1)


class Unlocked(dict[str, asyncio.Lock]):
    def setdefault(self, *_: Any) -> asyncio.Lock:
        return asyncio.Lock()


async def test_a_start_that_was_held_up_after_its_grant_does_not_happen_in_another_window(
    idle_runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    await idle_runtime.queues.patch("default", {"rate": {"limit": LIMIT, "per": 1}})
    await idle_runtime.producer.add_all([NewJob(type="work", lease=600) for _ in range(4 * LIMIT)])
    claims: Any = idle_runtime.claims
    held_up = asyncio.Event()
    search, waiting = claims.claim, 0

    async def slow(*args: Any) -> Any:
        nonlocal waiting
        waiting += 1
        await held_up.wait()
        # Only its own deadline holds it back, not that of the configuration.
        return await search(replace(args[0], until=None), *args[1:])

    async def claim() -> Any:
        return await idle_runtime.work.claim("default", None, worker="w")

    # Each as in a process of its own: they do not wait for each other.
    monkeypatch.setattr(idle_runtime.work._limiter, "_locks", Unlocked())
    monkeypatch.setattr(claims, "claim", slow)
    granted_at = await idle_runtime.limits.clock.now()
    late = [asyncio.create_task(claim()) for _ in range(LIMIT)]
    await eventually(lambda: waiting == LIMIT)
    monkeypatch.setattr(claims, "claim", search)

    async def next_window() -> bool:
        return await claim() is not None

    await eventually(next_window)
    assert (await idle_runtime.limits.clock.now() - granted_at).total_seconds() > 0.9
    held_up.set()
    await asyncio.gather(*late)
    for _ in range(2 * LIMIT):
        await claim()
    starts = [one["startAt"] async for one in idle_runtime.jobs.collection.find({"startAt": {"$ne": None}})]
    assert 1 <= worst_window(starts, 1) <= LIMIT


async def test_on_a_slow_database_jobs_start_all_the_same_and_never_too_many(
    idle_runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    await idle_runtime.queues.patch("default", {"rate": {"limit": LIMIT, "per": 1}})
    await idle_runtime.producer.add_all([NewJob(type="work", lease=600) for _ in range(2 * LIMIT)])
    grant = idle_runtime.limits.grant

    async def slow(*args: Any) -> Any:
        granted = await grant(*args)
        if granted.at is not None:
            # Six times what the rate leaves a claim, until the grant's reply is there.
            until = granted.at + 6 * RATE.leeway

            async def is_there() -> bool:
                return await idle_runtime.limits.clock.now() > until

            await eventually(is_there)
        return granted

    monkeypatch.setattr(idle_runtime.limits, "grant", slow)

    async def all_have_started() -> bool:
        await idle_runtime.work.claim("default", None, worker="w")
        return await idle_runtime.jobs.collection.count_documents({"state": "pending"}) == 0

    await eventually(all_have_started)
    starts = [one["startAt"] async for one in idle_runtime.jobs.collection.find({})]
    assert worst_window(starts, 1) <= LIMIT


async def test_a_start_that_is_given_back_is_free_whatever_its_leeway(idle_runtime: Runtime) -> None:
    rate = Rate(limit=1, per=3600)
    for leeway in (0.0207, 0.0201, 0.8036, 0.25):
        for _ in range(3):
            granted = await idle_runtime.limits.grant("default", None, rate, timedelta(seconds=leeway))
            assert granted.deadline is not None, leeway
            await idle_runtime.limits.give_back("default", None, granted)


async def test_of_two_that_want_the_same_slot_one_gets_it(
    settings: Settings, idle_runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slots, "guesses", lambda free: list(free)[:1])
    await idle_runtime.queues.patch("default", {"concurrency": 1})
    async with open_runtime(settings) as other:
        for runtime in (idle_runtime, other):
            await runtime.configs.refresh()
        for _ in range(20):
            await add(idle_runtime)
            await add(idle_runtime)
            both = [one.work.claim("default", None, worker="w") for one in (idle_runtime, other, idle_runtime, other)]
            claimed = [one for one in await asyncio.gather(*both) if one is not None]
            running = await idle_runtime.jobs.collection.count_documents({"state": State.PROCESSING.value})
            assert running == len(claimed) == 1
            await idle_runtime.work.release(claimed[0].job, claimed[0].token)
