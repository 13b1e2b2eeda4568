"""Names of queues, types, workers and tokens that come and go make no process grow."""

from __future__ import annotations

import asyncio
import random
from collections import deque
from typing import TYPE_CHECKING, Any, Final

from jobqueue.api.work.long_poll import ClaimRequest, LongPoll
from jobqueue.domain.insight.audit import Actor
from jobqueue.domain.jobs.job import NewJob
from jobqueue.domain.work.verdict import Success
from jobqueue.services.jobs.retention import Pruner
from jobqueue.services.limits.group_keys import LimitKeys
from jobqueue.services.signals.notifier import Wakeup
from jobqueue.services.work.lanes import Lane
from jobqueue.store.work import claim_cursor
from jobqueue.store.work.claim_cursor import ClaimCursor, ClaimCursors
from tests.support.data.factories import add, claim, open_runtime
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pytest

    from jobqueue.domain.jobs.job import Job
    from jobqueue.domain.work.verdict import Reporter, Verdict
    from jobqueue.services.application import Runtime
    from jobqueue.settings import Settings

NAMES: Final = 60
MOST: Final = 10
BOUNDS: Final = (
    "jobqueue.store.work.claim_cursor.MOST",
    "jobqueue.store.work.claims._MOST_REMEMBERED",
    "jobqueue.store.retention.pruning._MOST_REMEMBERED",
    "jobqueue.services.limits.limiter.MOST_REMEMBERED",
    "jobqueue.services.limits.slots.MOST_REMEMBERED",
    "jobqueue.services.access.access._MOST_KNOWN",
    "jobqueue.services.work.worker_registry._MOST_REMEMBERED",
    "jobqueue.services.signals.relay._MOST_ANNOUNCED",
    "jobqueue.services.insight.metrics.MOST_QUEUES",
)
"""What is bounded by a number; everything else is to shrink by itself."""
LIMITS: Final[tuple[dict[str, Any], ...]] = (
    {"concurrency": 2, "retention": {"success": 3600}},
    {"rate": {"limit": 100, "per": 60}},
    {"concurrency": 2, "limitBy": "meta.user"},
    {"breaker": {"failures": 3}},
)


def containers(root: object) -> Iterator[tuple[str, int]]:
    """Yield the path and the size of each container that objects of this package hold, beginning with one object."""
    seen: set[int] = set()
    left: deque[tuple[str, object]] = deque([(type(root).__name__, root)])
    while left:
        path, value = left.popleft()
        if id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, dict):
            yield path, len(value)
            left.extend((f"{path}[]", inner) for inner in value.values())
        elif isinstance(value, list | tuple | set | frozenset | deque):
            yield path, len(value)
            left.extend((f"{path}[]", inner) for inner in value)
        elif type(value).__module__.startswith("jobqueue"):
            slots = [name for kind in type(value).__mro__ for name in getattr(kind, "__slots__", ())]
            inner = {name: getattr(value, name, None) for name in slots} | getattr(value, "__dict__", {})
            left.extend((f"{path}.{name}", one) for name, one in inner.items())


class Process:
    """What a server process has in memory, with the parts of its background work that remember something."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self.keys = LimitKeys(runtime.configs, runtime.limit_keys, runtime.notifier)
        self.pruner = Pruner(runtime.configs, runtime.pruning)
        self.desk = LongPoll(runtime)

    async def use(self, name: str, limits: dict[str, Any]) -> None:
        """Do with a name whatever leaves a trace in memory."""
        runtime = self.runtime
        await runtime.queues.patch(name, limits)
        await runtime.configs.refresh()
        await runtime.producer.add_all([NewJob(type=name, queue=name, meta={"user": name}) for _ in range(2)])
        await self.keys.run_once()
        for types in ((name,), None):
            wanted = ClaimRequest(queue=name, types=types, worker=name, lease=None, wait=1)
            claimed = await self.desk.claim(wanted, lambda: False)
            assert claimed is not None
            await runtime.work.settle(claimed.job, claimed.token, Success())
        await runtime.work.claim(f"no-{name}", (name,), worker=name)
        await self.pruner.run_once()
        await runtime.registry.run_once()
        _, token = await runtime.access.create(roles=("work",), by=Actor(name="tester", via="python"))
        await runtime.access.caller(token)
        await runtime.queues.delete(name)

    def sizes(self) -> dict[str, int]:
        """Return the sizes of all containers, the largest of each path."""
        found: dict[str, int] = {}
        for part in (self.runtime, self.keys, self.pruner, self.desk):
            for path, size in containers(part):
                found[path] = max(size, found.get(path, 0))
        return found


async def test_no_memory_of_a_process_grows_with_the_names_it_has_heard(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    for bound in BOUNDS:
        monkeypatch.setattr(bound, MOST)
    async with open_runtime(settings) as runtime:
        process = Process(runtime)
        for number in range(NAMES):
            await process.use(f"q{number}", LIMITS[number % len(LIMITS)])
            if number == MOST:
                before = process.sizes()
        await runtime.access.drain()
        await runtime.configs.refresh()
        grown = {path: size for path, size in process.sizes().items() if size > max(MOST, before.get(path, 0)) + 2}
    assert not grown


async def test_searches_that_find_nothing_are_not_remembered(idle_runtime: Runtime) -> None:
    for number in range(20):
        assert await idle_runtime.work.claim(f"q{number}", (f"t{number}",), worker="w") is None
    assert len(idle_runtime.claims._cursors) == 0


async def test_a_wake_up_looks_at_the_searches_of_its_queue_only(
    idle_runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(20):
        await add(idle_runtime, queue=f"q{number}")
        await claim(idle_runtime, f"q{number}")
    looks: list[ClaimCursor] = []
    monkeypatch.setattr(ClaimCursor, "unsettle", lambda position, _priority: looks.append(position))
    idle_runtime.claims.unsettle("q7")
    assert len(looks) == 1
    idle_runtime.claims.unsettle(None)
    assert len(looks) == 21


async def test_jobs_come_in_order_though_positions_are_forgotten(
    idle_runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claim_cursor, "MOST", 2)
    monkeypatch.setattr(claim_cursor, "_WARM", 0)
    monkeypatch.setattr(claim_cursor, "_LOOK_SECONDS", 1e9)
    monkeypatch.setattr(claim_cursor, "_CHEAP_SECONDS", 1e9)
    idle_runtime.claims._cursors = ClaimCursors()
    chance = random.Random(3)  # noqa: S311 - no secret
    waiting: dict[str, list[Job]] = {f"q{number}": [] for number in range(4)}
    for _ in range(150):
        name = chance.choice(list(waiting))
        if chance.random() < 0.5 or not waiting[name]:
            waiting[name].append(await add(idle_runtime, queue=name, priority=chance.choice([0, 0, 1, 2])))
        else:
            first = min(waiting[name], key=lambda job: (-job.priority, job.insert_at, job.id))
            waiting[name].remove(first)
            assert (await claim(idle_runtime, name)).job.id == first.id
    assert len(idle_runtime.claims._cursors) == 2


class Gated:
    """Runs jobs until they may end."""

    def __init__(self) -> None:
        self.may_end = asyncio.Event()
        self.began: list[str] = []

    stop_seconds = 0.0

    async def run(self, job: Job, reporter: Reporter) -> Verdict:
        del reporter
        self.began.append(job.id)
        await self.may_end.wait()
        return Success()


async def test_lanes_that_come_and_go_leave_nothing_behind_but_running_jobs(idle_runtime: Runtime) -> None:
    gated = Gated()
    mine = Lane(queue="mine", types=None, processor=lambda _job: gated, limit=1)
    lanes = [mine]
    dispatcher = idle_runtime.dispatcher(lambda: lanes, concurrency=5)
    first, second = [await add(idle_runtime, queue="mine") for _ in range(2)]
    running = asyncio.create_task(dispatcher.run())
    await eventually(lambda: gated.began == [first.id])
    for number in range(20):
        lanes[:] = [Lane(queue=f"q{number}", types=None, processor=lambda _job: gated)]
        idle_runtime.notifier.tell(Wakeup(kind="config"))
        await eventually(lambda: {key[0] for key in dispatcher._demands} == {"mine", lanes[0].queue})
    # The job that runs still has the one place of its lane.
    other = await add(idle_runtime, queue="q19")
    lanes[:] = [mine, *lanes]
    idle_runtime.notifier.tell(Wakeup(kind="config"))
    await eventually(lambda: gated.began == [first.id, other.id])
    gated.may_end.set()
    await eventually(lambda: second.id in gated.began)
    await dispatcher.stop(5)
    await running
