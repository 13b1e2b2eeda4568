"""Limits with workers of different kinds on one queue."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from jobqueue import JobQueue, NewJob
from tests.support.data.factories import add, claim, open_runtime, succeed
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from jobqueue.services.application import Runtime
    from jobqueue.settings import Settings


async def test_workers_for_other_types_get_a_turn_though_one_could_always_take_the_only_slot(
    settings: Settings, queue: JobQueue
) -> None:
    order: list[str] = []

    @queue.handler("many")
    async def many(_job: Any) -> None:
        order.append("many")
        await asyncio.sleep(0.005)

    async with JobQueue(settings) as other:

        @other.handler("few")
        async def few(_job: Any) -> None:
            order.append("few")

        await (await queue.open()).queues.patch("default", {"concurrency": 1})
        await queue.add_all([NewJob(type="few") for _ in range(2)])
        await queue.add_all([NewJob(type="many") for _ in range(150)])
        async with queue.working(concurrency=4):
            await eventually(lambda: len(order) > 3)
            async with other.working(concurrency=4):
                await eventually(lambda: len(order) == 152, within=60)
    assert order.index("few") < 100


async def test_a_lane_that_is_held_back_is_woken_when_another_process_makes_room(
    settings: Settings, queue: JobQueue
) -> None:
    ran: list[str] = []
    hold = asyncio.Event()

    @queue.handler("long")
    async def long(_job: Any) -> None:
        ran.append("long")
        await hold.wait()

    async with JobQueue(settings, poll_interval="30") as other:

        @other.handler("short")
        async def short(_job: Any) -> None:
            ran.append("short")

        await (await queue.open()).queues.patch("default", {"concurrency": 1})
        async with queue.working(), other.working():
            await queue.add("long")
            await eventually(lambda: ran == ["long"])
            added = await queue.add("short")
            found = await (await queue.open()).explainer.why(added.id)
            assert [reason.kind for reason in found.reasons if reason.kind != "no-worker"] == ["concurrency"]
            hold.set()
            await eventually(lambda: ran == ["long", "short"], within=15)


async def test_jobs_that_began_while_there_was_no_limit_count_when_there_is_the_same_one_again(
    settings: Settings, idle_runtime: Runtime
) -> None:
    await idle_runtime.queues.put("default", {"concurrency": 2})
    await idle_runtime.producer.add_all([NewJob(type="a") for _ in range(9)])
    first = await claim(idle_runtime)
    # So long that all processes go by this limit, as far as this one knows.
    idle_runtime.work._limiter.slots._known.peek("default").seen_at -= 60
    await succeed(idle_runtime, first)
    assert (await claim(idle_runtime)).job.slots
    async with open_runtime(settings) as other:
        await other.queues.put("default", {})
        await other.work.claim("default", None, worker="w")
        await other.queues.put("default", {"concurrency": 2})
    await idle_runtime.configs.refresh()
    assert await idle_runtime.work.claim("default", None, worker="w") is None


async def test_a_deleted_queue_leaves_no_child_to_run_under_the_defaults(idle_runtime: Runtime) -> None:
    child = NewJob(type="b", queue="q", on_failure={"type": "c", "queue": "q"})  # type: ignore[arg-type]
    for _ in range(3):
        await idle_runtime.producer.add(NewJob(type="a", queue="q", on_failure=child))
    await idle_runtime.queues.put("q", {"paused": True})
    assert await idle_runtime.queues.delete("q", force=True) == 9
    assert await idle_runtime.figures.count_unfinished("q") == 0
    assert await idle_runtime.work.claim("q", None, worker="w") is None


@pytest.mark.parametrize("spoilt", [{"queues": 5}, {"queues": None}, {"queues": []}, {"queues": [{"q": {}}]}, {}])
async def test_a_queue_can_be_configured_though_somebody_has_spoilt_all_of_them(
    idle_runtime: Runtime, spoilt: dict[str, Any]
) -> None:
    await idle_runtime.config_store.collection.insert_one({"_id": "config", **spoilt})
    await idle_runtime.configs.refresh()
    await idle_runtime.queues.put("q", {"concurrency": 2})
    await idle_runtime.queues.patch("other", {"attempts": 9})
    assert (await idle_runtime.queues.tagged("q"))[0].concurrency == 2
    assert (await idle_runtime.queues.tagged("other"))[0].attempts == 9


async def test_a_claim_that_has_waited_its_turn_does_not_go_by_what_was_configured_before(
    idle_runtime: Runtime,
) -> None:
    queues = idle_runtime.queues
    await queues.patch("default", {"concurrency": 5})
    await idle_runtime.configs.refresh()
    await add(idle_runtime)
    turn = idle_runtime.work._limiter._locks.setdefault("default", asyncio.Lock())
    async with turn:
        claiming = asyncio.create_task(idle_runtime.work.claim("default", None, worker="w"))
        await eventually(lambda: turn._waiters)
        await queues.patch("default", {"paused": True})
        # As if it had waited for longer than a copy counts.
        idle_runtime.configs._copy = replace(idle_runtime.configs._copy, asked_at=float("-inf"))
    assert await claiming is None
