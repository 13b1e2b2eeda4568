"""A process without work asks the database seldom, and hears of work as soon as before."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from bson import ObjectId
from pymongo import monitoring

from jobqueue.domain.attempts.states import State
from jobqueue.services.application import Runtime
from jobqueue.services.jobs import edits
from jobqueue.services.signals.pulse import PULSE_SECONDS
from jobqueue.services.work.worker_registry import SIGN_SECONDS
from jobqueue.store.insight import wakeup_stream
from jobqueue.store.pulse import PARTS, PulseStore, pipeline
from tests.support.data.factories import LONG_AGO, add, claimed_job, end_lease, fail, finished_documents
from tests.support.mongo.plans import stages

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jobqueue.settings import Settings

MOST_A_SECOND = 4


class Commands(monitoring.CommandListener):
    """Counts the commands of all clients that are made meanwhile."""

    def __init__(self) -> None:
        self.seen: Counter[str] = Counter()

    def started(self, event: monitoring.CommandStartedEvent) -> None:
        """Count a command by its collection."""
        target = event.command.get(event.command_name)
        self.seen[f"{event.command_name} {event.command.get('collection', target)}"] += 1

    def succeeded(self, event: Any) -> None:
        """Count nothing."""

    def failed(self, event: Any) -> None:
        """Count nothing."""


@pytest.fixture
def commands() -> Iterator[Commands]:
    """Count the commands of clients that are made meanwhile."""
    counter = Commands()
    listeners = monitoring._LISTENERS.command_listeners
    listeners.append(counter)
    yield counter
    listeners.remove(counter)


async def quiet(settings: Settings) -> Runtime:
    """Return services that have just begun their background work and paused it."""
    runtime = await Runtime.open(settings)
    await runtime.start()
    for task in runtime._tasks:
        task.cancel()
    await asyncio.gather(*runtime._tasks, return_exceptions=True)
    await runtime.changes.stop()
    return runtime


async def test_a_process_without_work_sends_at_most_four_commands_a_second(
    settings: Settings, commands: Commands
) -> None:
    runtime = await quiet(settings)
    try:
        streams = runtime.database.collection("streams")
        # Besides the loops: the change stream, whose server answers after a while; a sign of a worker; and the position
        # of edits, which is stored at every other look and read now and then.
        rates = {"changes": 1000 / wakeup_stream._AWAIT_MS, "sign": 1 / SIGN_SECONDS}
        rates["position"] = 1 / (2 * edits.EDIT_SECONDS) + 1 / edits._OWN_SECONDS
        for loop in runtime.loops:
            for _ in range(4):
                await loop.run_once()
                # As at the next turn of the one process that does this.
                await streams.delete_many({"_id": {"$in": ["counts", "failures"]}})
                await streams.update_one({"_id": "edits"}, {"$unset": {"at": ""}})
            commands.seen.clear()
            sooner = await loop.run_once()
            rates[loop.name] = sum(commands.seen.values()) / min(loop.every, sooner or loop.every)
        assert sum(rates.values()) <= MOST_A_SECOND, rates
        assert runtime.dispatcher(list).is_idle(PULSE_SECONDS * 2)
    finally:
        await runtime.close()


async def test_one_question_tells_of_all_work(idle_runtime: Runtime) -> None:
    store = PulseStore(idle_runtime.database)
    assert (await store.look(PARTS)).due == set()
    await add(idle_runtime, delay=0.5)
    await add(idle_runtime, delay=3600)
    hanging = await claimed_job(idle_runtime, attempts=1)
    await end_lease(idle_runtime, hanging.job)
    assert (await store.look(PARTS)).due == {"delayed", "hanging"}
    assert (await store.look(["hanging"])).due == {"hanging"}
    await add(idle_runtime, start_before=LONG_AGO)
    await idle_runtime.jobs.collection.insert_many(
        [
            {"_id": ObjectId(), "state": State.FAILED.value, "queue": "q", "type": "a"},
            {"_id": ObjectId(), "state": State.SUCCESS.value, "unread": True, "outbox": ["children"], "queue": "q"},
        ]
    )
    now = datetime.now(UTC)
    held = {"state": "running", "action": "kill", "lease": {"until": now}}
    await idle_runtime.database.collection("operations").insert_one(held)
    await idle_runtime.database.collection("schedules").insert_one(
        {"_id": "s", "nextAt": now, "audit": [{"_id": ObjectId()}]}
    )
    late = {"outbox": ["adding"], "adding": [{"until": now}]}
    await idle_runtime.database.collection("batches").insert_one(late)
    await idle_runtime.database.collection("alerts").insert_one({"_id": "ops", "incarnation": "i"})
    assert (await store.look(PARTS)).due == set(PARTS)
    assert (await store.look([])).due == set()
    await idle_runtime.queues.set_paused("default", paused=True)
    assert (await store.look([])).config.queues["default"].paused


async def test_the_question_reads_no_history(idle_runtime: Runtime) -> None:
    await idle_runtime.jobs.collection.insert_many(
        [one | {"fingerprint": "f" * 16} for one in finished_documents(1_500)], ordered=False
    )
    await fail(idle_runtime, await claimed_job(idle_runtime, attempts=1))
    await idle_runtime.failures.run_once()
    command = {"aggregate": "config", "pipeline": pipeline(PARTS), "cursor": {}}
    plan = await idle_runtime.database.raw.command("explain", command, verbosity="executionStats")
    unions = [stage["$unionWith"]["pipeline"] for stage in plan["stages"] if "$unionWith" in stage]
    assert len(unions) == sum(map(len, PARTS.values()))
    on_jobs = [union for part, union in zip(_collections(), unions, strict=True) if part == "jobs"]
    assert "COLLSCAN" not in set(stages(on_jobs))
    assert all(seen <= 10 for seen in _examined(unions))


def _collections() -> Iterator[str]:
    return (collection for parts in PARTS.values() for collection, _ in parts)


def _examined(plan: Any) -> Iterator[int]:
    """Yield the numbers of keys and documents that the stages of a plan have looked at."""
    if isinstance(plan, dict):
        yield from (plan[name] for name in ("totalKeysExamined", "totalDocsExamined") if name in plan)
        for inner in plan.values():
            yield from _examined(inner)
    elif isinstance(plan, list):
        for inner in plan:
            yield from _examined(inner)
