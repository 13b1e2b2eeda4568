"""Loops that run for ever survive errors nobody foresaw: they say so, count them, and go on."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import pytest

from jobqueue import JobQueue, loop_errors
from jobqueue.cli.process import process
from jobqueue.domain.errors import DatabaseUnavailableError
from jobqueue.domain.insight.event import EventFilter, Gap, JobEvent
from jobqueue.services.application import Runtime
from jobqueue.services.bulk.failures import Failures
from jobqueue.services.bulk.operations import Operations
from jobqueue.services.insight.events import Events
from jobqueue.services.insight.rollups import Roller
from jobqueue.services.jobs.adopt import Adopter
from jobqueue.services.jobs.retention import Pruner
from jobqueue.services.limits.group_keys import LimitKeys
from jobqueue.services.outbox.outbox import Outboxes
from jobqueue.services.runs.execution import Execution
from jobqueue.services.schedules.schedules import Scheduler
from jobqueue.services.server import EmbeddedRestarter
from jobqueue.services.signals.config import QueueConfigs
from jobqueue.services.signals.notifier import Wakeup
from jobqueue.services.work.dispatcher import Dispatcher
from jobqueue.services.work.loops import Promoter, Reaper
from jobqueue.services.work.worker_registry import WorkerRegistry
from jobqueue.store.documents.claim_search import ClaimSearch
from jobqueue.store.insight.wakeup_stream import WakeupEvent, WakeupStream
from jobqueue.store.work.claims import ClaimStore
from tests.support.data.factories import add, open_runtime
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jobqueue.settings import Settings

LOST: Final = ClaimSearch(queue="default", types=None, token="no such claim", worker="w")  # noqa: S106 - no secret
LOOPS: list[tuple[str, type, str]] = [
    ("promoter", Promoter, "run_once"),
    ("operations", Operations, "run_once"),
    ("config", QueueConfigs, "refresh"),
    ("adopter", Adopter, "run_once"),
    ("reaper", Reaper, "run_once"),
    ("completer", Outboxes, "run_once"),
    ("scheduler", Scheduler, "run_once"),
    ("presence", WorkerRegistry, "run_once"),
    ("limit keys", LimitKeys, "run_once"),
    ("failures", Failures, "run_once"),
    ("statistics", Roller, "run_once"),
    ("pruner", Pruner, "run_once"),
    ("embedded MongoDB", EmbeddedRestarter, "run_once"),
    ("changes", WakeupStream, "_watch"),
    ("events", Events, "_read"),
    ("claiming", Dispatcher, "_fill"),
    ("runs", Execution, "run"),
    ("give-backs", ClaimStore, "held"),
]


class Fault:
    """Makes one call of a method raise, and counts the others."""

    def __init__(self, owner: type, method: str, error: BaseException) -> None:
        self._owner, self._method = owner, method
        self._call: Any = getattr(owner, method)
        self._error = error
        self.armed = False
        self.others = 0

    @contextlib.contextmanager
    def installed(self) -> Iterator[None]:
        def broken(*args: Any, **kwargs: Any) -> Any:
            if self.armed:
                self.armed = False
                raise self._error
            self.others += 1
            return self._call(*args, **kwargs)

        setattr(self._owner, self._method, broken)
        try:
            yield
        finally:
            setattr(self._owner, self._method, self._call)


def errors(runtime: Runtime, loop: str) -> float:
    return runtime.metrics.registry.get_sample_value("jobqueue_loop_errors_total", {"loop": loop}) or 0


@pytest.mark.parametrize(
    ("loop", "owner", "method", "error"),
    [
        *(pytest.param(*one, RuntimeError("unforeseen"), id=one[0]) for one in LOOPS),
        # A call inside of the loop is cancelled, and not the loop.
        *(pytest.param(*one, asyncio.CancelledError(), id=f"{one[0]}, cancelled") for one in LOOPS[::6]),
    ],
)
async def test_a_loop_goes_on_after_an_error_nobody_foresaw(
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    loop: str,
    owner: type,
    method: str,
    error: BaseException,
) -> None:
    monkeypatch.setattr(loop_errors, "FIRST_PAUSE", 0.01)
    ran: list[str] = []
    fault = Fault(owner, method, error)
    async with JobQueue(replace(settings, reap_interval=0.2)) as worker:

        @worker.handler("work")
        async def work(job: Any) -> None:
            ran.append(job.id)

        runtime = await worker.open()
        await runtime.configs.refresh()
        with fault.installed():
            # The configuration is read before there is any loop, too.
            fault.armed = loop != "config"
            async with process.background(runtime), worker.working(concurrency=2):
                fault.armed |= loop == "config"
                if loop == "give-backs":
                    runtime.work.give_backs.look_for(LOST, DatabaseUnavailableError("away"))
                async with runtime.events.reading(EventFilter()):
                    added = [await worker.add("work") for _ in range(3)]
                    await eventually(lambda: errors(runtime, loop) == 1, within=60)
                    await eventually(lambda: fault.others > 0, within=60)
                    await eventually(lambda: {job.id for job in added} <= set(ran), within=60)


async def test_readers_of_events_hear_of_a_gap_when_the_stream_has_broken_off(
    settings: Settings, idle_runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop_errors, "FIRST_PAUSE", 0.01)
    fault = Fault(JobEvent, "__init__", RuntimeError("cannot be read"))
    async with idle_runtime.events.reading(EventFilter()) as reader:
        with fault.installed():
            fault.armed = True
            async with open_runtime(settings) as other:
                await add(other)
                assert isinstance(await reader.take(60), Gap)
                await eventually(idle_runtime.events._opened.is_set)
                job = await add(other)
                told = await reader.take(60)
                assert isinstance(told, JobEvent)
                assert told.job_id == job.id


async def test_a_listener_that_fails_keeps_no_other_from_hearing(idle_runtime: Runtime) -> None:
    heard: list[str] = []

    def broken(_: Any) -> None:
        raise RuntimeError("unforeseen")

    idle_runtime.notifier.listen(broken)
    idle_runtime.notifier.listen(lambda wake: heard.append(wake.kind))
    idle_runtime.notifier.tell(Wakeup(kind="all"))
    assert heard == ["all"]
    idle_runtime.changes.listen(broken)
    idle_runtime.changes.listen(lambda event: heard.append(event.kind))
    idle_runtime.changes._tell(WakeupEvent(kind="gap"))
    assert heard == ["all", "gap"]


async def test_a_runtime_that_is_started_twice_at_once_has_each_loop_once(settings: Settings) -> None:
    def background() -> list[str]:
        tasks = [task for task in asyncio.all_tasks() if task.get_name() == "changes" or "Loop.run" in repr(task)]
        return [task.get_name() for task in tasks]

    runtime = await Runtime.open(settings)
    try:
        await asyncio.gather(runtime.start(), runtime.start(), runtime.start())
        assert len(background()) == len(runtime._tasks) + 1
        assert background().count("changes") == 1
    finally:
        await runtime.close()
    assert background() == []


async def test_a_runtime_that_is_closed_while_it_starts_has_no_loops(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime = await Runtime.open(settings)
    read, go_on = runtime.configs.refresh, asyncio.Event()

    async def slow() -> None:
        await read()
        await go_on.wait()

    monkeypatch.setattr(runtime.configs, "refresh", slow)
    starting = asyncio.create_task(runtime.start())
    await eventually(runtime._starting.locked)
    await runtime.close()
    go_on.set()
    await asyncio.gather(starting, return_exceptions=True)
    assert runtime._tasks == []
