"""What a process knows of the configuration, and how late a claim may go by it."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from jobqueue.domain.jobs.job import NewJob
from jobqueue.domain.limits.limits import Rate
from jobqueue.domain.work.verdict import Success
from jobqueue.processors.commands.commands_file import Command
from jobqueue.processors.webhooks.webhook import WebhookClient
from jobqueue.services.limits.limiter import HeldBack
from jobqueue.services.server import ConfiguredLanes, LocalProcessors
from jobqueue.services.signals import config as configs
from tests.support.data.factories import add, claim, open_runtime
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from jobqueue.services.application import Runtime
    from jobqueue.settings import Settings


class HeldUp:
    """Holds the first call up, before it is made or (``answer``) when it is answered, until it is let go."""

    def __init__(self, call: Callable[..., Awaitable[Any]], *, answer: bool = False) -> None:
        self._call, self._answer = call, answer
        self.begun, self.go_on = asyncio.Event(), asyncio.Event()

    async def __call__(self, *args: Any, **kwargs: Any) -> Any:
        answer = await self._call(*args, **kwargs) if self._answer else None
        if not self.begun.is_set():
            self.begun.set()
            await self.go_on.wait()
        return answer if self._answer else await self._call(*args, **kwargs)


async def overtaken(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> tuple[HeldUp, asyncio.Task[None]]:
    """Begin to read the configuration; its answer is there and does not come before it is let go."""
    answers = HeldUp(runtime.config_store.all, answer=True)
    monkeypatch.setattr(runtime.config_store, "all", answers)
    reading = asyncio.create_task(runtime.configs.refresh())
    await answers.begun.wait()
    return answers, reading


async def test_an_answer_that_comes_late_unpauses_no_queue(
    settings: Settings, idle_runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    await add(idle_runtime)
    answers, reading = await overtaken(idle_runtime, monkeypatch)
    async with open_runtime(settings) as other:
        await other.queues.set_paused("default", paused=True)
        await idle_runtime.configs.refresh()
        assert idle_runtime.configs.of("default").paused
        answers.go_on.set()
        await reading
        assert idle_runtime.configs.of("default").paused
        assert await idle_runtime.work.claim("default", None, worker="w") is None


async def test_a_database_that_was_restored_is_believed_in_the_end(
    idle_runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    queues, collection = idle_runtime.queues, idle_runtime.config_store.collection
    await queues.set_paused("default", paused=True)
    backup = await collection.find_one({"_id": "config"})
    assert backup is not None
    for _ in range(3):
        await queues.set_paused("default", paused=False)
        await queues.set_paused("default", paused=True)
    await queues.set_paused("default", paused=False)
    answers, reading = await overtaken(idle_runtime, monkeypatch)
    await collection.replace_one({"_id": "config"}, backup)
    await idle_runtime.configs.refresh()
    answers.go_on.set()
    await reading
    # Whichever of the two was kept: the next one was asked for after both had come.
    await idle_runtime.configs.refresh()
    assert (idle_runtime.configs.of("default").paused, idle_runtime.configs.revision) == (True, backup["revision"])


async def test_every_way_to_read_the_configuration_wakes_who_waits_for_a_change(
    settings: Settings, idle_runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[str] = []
    idle_runtime.notifier.listen(lambda wake: heard.append(wake.kind))
    async with open_runtime(settings) as other:
        await other.queues.set_paused("default", paused=True)
    monkeypatch.setattr(configs, "_STALE_SECONDS", 0)
    assert await idle_runtime.work.claim("default", None, worker="w") is None
    assert heard == ["config"]
    assert await idle_runtime.work.claim("default", None, worker="w") is None
    assert heard == ["config"]


CHANGES: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({}, {"paused": True}),
    ({"concurrency": 5}, {"paused": True}),
    ({"concurrency": 5, "limitBy": "meta.user"}, {"paused": True}),
    ({"rate": {"limit": 5, "per": 3600}}, {"paused": True}),
    ({}, {"concurrency": 1}),
    ({"concurrency": 5}, {"concurrency": 1}),
    ({}, {"rate": {"limit": 1, "per": 3600}}),
]


@pytest.mark.parametrize(("before", "after"), CHANGES, ids=str)
async def test_a_claim_that_was_held_up_goes_by_the_present_configuration(
    settings: Settings,
    idle_runtime: Runtime,
    monkeypatch: pytest.MonkeyPatch,
    before: dict[str, Any],
    after: dict[str, Any],
) -> None:
    await idle_runtime.queues.put("default", before)
    await idle_runtime.producer.add_all([NewJob(type="work", meta={"user": "ann"}) for _ in range(2)])
    held_up = HeldUp(idle_runtime.claims.claim)
    monkeypatch.setattr(idle_runtime.claims, "claim", held_up)
    claiming = asyncio.create_task(idle_runtime.work.claim("default", None, worker="w"))
    await held_up.begun.wait()
    async with open_runtime(settings) as other:
        await other.queues.put("default", after)
        # The only start or slot that there is.
        taken = None if after.get("paused") else await claim(other)
        changed_at = await other.jobs.server_time()

        async def is_effective() -> bool:
            return await other.jobs.server_time() > changed_at + timedelta(seconds=configs.FRESH_SECONDS)

        await eventually(is_effective)
        held_up.go_on.set()
        assert await claiming is None
        running = [one["_id"] async for one in other.jobs.collection.find({"state": "processing"}, {"_id": 1})]
        assert [str(one) for one in running] == ([taken.job.id] if taken else [])


async def test_a_start_that_was_granted_to_a_late_claim_is_free_again(
    idle_runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    await idle_runtime.queues.put("default", {"rate": {"limit": 1, "per": 3600}})
    await add(idle_runtime)
    held_up = HeldUp(idle_runtime.claims.claim)
    monkeypatch.setattr(idle_runtime.claims, "claim", held_up)
    claiming = asyncio.create_task(claim(idle_runtime))
    await held_up.begun.wait()
    horizon = idle_runtime.configs.horizon
    await eventually(horizon.may_be_over)
    held_up.go_on.set()
    # It is claimed by the second try, for which the start has to be free.
    assert (await claiming).job.attempts_made == 1
    assert await idle_runtime.limits.wait_for_start("default", None, Rate(limit=1, per=3600)) > 0


async def test_where_every_call_takes_long_jobs_are_claimed_all_the_same(
    idle_runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = [await add(idle_runtime) for _ in range(3)]
    search = idle_runtime.claims.claim
    claims = 0

    async def slow(*args: Any) -> Any:
        nonlocal claims
        claims += 1
        await eventually(lambda: args[0].until.age() > 1.2 * configs.FRESH_SECONDS)
        return await search(*args)

    monkeypatch.setattr(idle_runtime.claims, "claim", slow)
    found: list[str] = []
    for _ in jobs:
        claimed = await idle_runtime.work.claim("default", None, worker="w")
        assert claimed is not None
        found.append(claimed.job.id)
    assert found == [job.id for job in jobs]
    # Twice too late at first, and from then on there was time enough.
    assert claims == len(jobs) + 2
    monkeypatch.undo()
    await add(idle_runtime)
    for _ in range(5):
        await idle_runtime.work.claim("default", None, worker="w")
    assert idle_runtime.configs.horizon.seconds == configs.FRESH_SECONDS


async def test_a_lane_of_an_older_configuration_claims_nothing(idle_runtime: Runtime) -> None:
    limits: dict[str, Any]
    for limits in ({}, {"concurrency": 3}):
        old, _ = await idle_runtime.queues.put("q", limits)
        await idle_runtime.queues.put("q", limits | {"attempts": 7})
        job = await add(idle_runtime, queue="q", attempts=3)
        found = await idle_runtime.work.attempt("q", None, worker="w", under=old)
        assert isinstance(found, HeldBack)
        present = idle_runtime.configs.of("q")
        claimed = await idle_runtime.work.attempt("q", None, worker="w", under=replace(present))
        assert not isinstance(claimed, HeldBack | None)
        assert claimed.job.id == job.id
        await idle_runtime.work.settle(claimed.job, claimed.token, Success(result=None))


async def test_a_job_is_run_by_the_processor_of_the_configuration_it_is_claimed_under(
    settings: Settings, idle_runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands = {
        name: Command(name=name, argv=("/bin/sh", "-c", f"echo '::result \"{name}\"'")) for name in ("old", "new")
    }
    lanes = ConfiguredLanes(idle_runtime.configs, LocalProcessors(WebhookClient(), commands, None))
    await idle_runtime.queues.put("q", {"processors": {"work": {"kind": "command", "name": "old"}}})
    held_up = HeldUp(idle_runtime.work.attempt)
    monkeypatch.setattr(idle_runtime.work, "attempt", held_up)
    job = await add(idle_runtime, queue="q")
    dispatcher = idle_runtime.dispatcher(lanes)
    running = asyncio.create_task(dispatcher.run())
    # It has chosen what to claim for, and is held up before it looks at the configuration again.
    await held_up.begun.wait()
    async with open_runtime(settings) as other:
        await other.queues.put("q", {"processors": {"work": {"kind": "command", "name": "new"}}})
    await idle_runtime.configs.refresh()
    held_up.go_on.set()

    async def result() -> Any:
        return (await idle_runtime.jobs.get(job.id)).result

    assert await eventually(result) == "new"
    await dispatcher.stop(10)
    await running
