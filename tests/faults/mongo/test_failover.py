"""Three nodes and processes of every kind under load, while primaries die, step down or freeze."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import time
from statistics import median
from typing import TYPE_CHECKING

import aiohttp
import pytest

from jobqueue import JobQueue
from tests.support.crashes.aftermath import unfinished
from tests.support.faults import checker
from tests.support.faults.journals import most_at_a_time
from tests.support.faults.replica_set import ReplicaSet
from tests.support.faults.site import DATABASE, Site
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from tests.support.faults.figures import Figures
    from tests.support.faults.site import Vital

KINDS = ("worker", "poller", "receiver", "command")
PROCESSES = ("server0", "server1", "worker0", "worker1", "poller", "receiver")
CONCURRENCY = 5
RATE = 200
RECOVERY_SECONDS = 5


@pytest.fixture
def three_nodes() -> Iterator[ReplicaSet]:
    with ReplicaSet(3) as made:
        yield made


@pytest.fixture
async def queue(three_nodes: ReplicaSet) -> AsyncIterator[JobQueue]:
    async with JobQueue(mongo_url=three_nodes.url, db=DATABASE) as opened:
        yield opened


@pytest.fixture
async def site(three_nodes: ReplicaSet, queue: JobQueue, tmp_path: Path) -> AsyncIterator[Site]:
    """Give all processes, with jobs being added."""
    with Site(tmp_path / "site", three_nodes.url) as made:
        for name, config in made.configuration.items():
            await (await queue.open()).queues.patch(name, config)
        for name in PROCESSES:
            made.start(name)
        await eventually(lambda: _serve(made), within=60, every=0.2)
        made.add(100_000, 0.05)
        await eventually(lambda: all(made.runs(kind) for kind in KINDS), within=60, every=0.2)
        yield made


async def _serve(site: Site) -> bool:
    async with aiohttp.ClientSession() as session:
        for url in site.urls:
            try:
                async with session.get(f"{url}/readyz") as reply:
                    if reply.status != 200:
                        return False
            except aiohttp.ClientError:
                return False
    return True


async def works_again(site: Site, within: float = 60) -> float:
    """Wait until a job of every kind has begun and ended from now on; return how many seconds that took."""
    began = time.monotonic_ns()

    def ends() -> list[int]:
        return [min((run.ended for run in site.runs(kind) if run.began > began), default=0) for kind in KINDS]

    found = await eventually(lambda: ends() if all(ends()) else [], within=within, every=0.1)
    return (max(found) - began) / 1e9


async def settle(site: Site, queue: JobQueue, figures: Figures) -> None:
    """Stop adding, let everything end, and compare the journals with the database."""
    site.send("adder", signal.SIGTERM)

    async def is_done() -> bool:
        return await unfinished(queue) == 0

    await eventually(is_done, within=150, every=0.5)
    assert site.dead() == []
    jobs = (await queue.open()).jobs.collection.delegate
    found = await asyncio.to_thread(checker.examine, jobs, site.journals)
    found.report(figures)
    assert found.violations() == {}
    overlap = most_at_a_time(site.runs("receiver"))
    starts = [entry["startAt"] for one in jobs.find({"queue": "default"}) for entry in one["history"]]
    window = checker.worst_window((start for start in starts if start), 1)
    figures.most("overshoot of concurrency", max(0, overlap - CONCURRENCY))
    figures.most("starts in the worst window, of 200 allowed", window)
    assert overlap <= CONCURRENCY
    assert window <= RATE


@pytest.mark.timeout(400)
@pytest.mark.parametrize("kills", [1, pytest.param(6, marks=pytest.mark.full)])
async def test_primaries_that_are_killed_lose_and_double_nothing_and_the_service_works_again_by_itself(
    three_nodes: ReplicaSet, site: Site, queue: JobQueue, figures: Figures, kills: int
) -> None:
    worst = 0.0
    for _ in range(kills):
        victim = three_nodes.wait_primary()
        victim.kill()
        three_nodes.wait_primary()
        seconds = await works_again(site)
        worst = max(worst, seconds)
        figures.recovered(seconds)
        figures.fault("primary killed")
        victim.start()
        if kills > 1:
            three_nodes.wait_all()
    await settle(site, queue, figures)
    # What is promised; looked at only where nothing else keeps the machine busy.
    assert kills == 1 or worst <= RECOVERY_SECONDS


@pytest.mark.full
@pytest.mark.timeout(400)
async def test_primaries_that_step_down_again_and_again_lose_and_double_nothing(
    three_nodes: ReplicaSet, site: Site, queue: JobQueue, figures: Figures
) -> None:
    for _ in range(10):
        three_nodes.step_down()
        figures.fault("primary stepped down")
        three_nodes.wait_primary()
        await works_again(site)
    await settle(site, queue, figures)


@pytest.mark.full
@pytest.mark.timeout(400)
async def test_all_nodes_killed_at_once_lose_nothing_that_was_acknowledged(
    three_nodes: ReplicaSet, site: Site, queue: JobQueue, figures: Figures
) -> None:
    for node in three_nodes.nodes:
        node.kill()
    figures.fault("all nodes killed")
    for node in three_nodes.nodes:
        node.start()
    three_nodes.wait_primary()
    figures.recovered(await works_again(site))
    await settle(site, queue, figures)


@pytest.mark.full
@pytest.mark.timeout(400)
async def test_a_primary_that_freezes_and_goes_on_changes_nothing_that_the_next_one_has_done(
    three_nodes: ReplicaSet, site: Site, queue: JobQueue, figures: Figures
) -> None:
    frozen = three_nodes.wait_primary()
    with frozen.frozen():
        three_nodes.wait_primary()
        figures.fault("primary frozen")
        figures.most("seconds until work after a frozen primary", await works_again(site))
        until = time.monotonic() + 10
        await eventually(lambda: time.monotonic() > until)
    three_nodes.wait_all()
    await settle(site, queue, figures)


@pytest.mark.full
@pytest.mark.timeout(400)
async def test_what_no_majority_has_confirmed_is_neither_lost_nor_doubled(
    three_nodes: ReplicaSet, site: Site, queue: JobQueue, figures: Figures
) -> None:
    with contextlib.ExitStack() as stack:
        for node in three_nodes.secondaries():
            stack.enter_context(node.frozen())
        figures.fault("both secondaries frozen")
        until = time.monotonic() + 5
        await eventually(lambda: time.monotonic() > until)
    three_nodes.wait_all()
    await works_again(site)
    await settle(site, queue, figures)


class Nemesis:
    """Does at random what may happen to a site; two servers and a worker are spared being killed."""

    def __init__(self, nodes: ReplicaSet, site: Site, figures: Figures, seed: int) -> None:
        self._nodes = nodes
        self._site = site
        self._figures = figures
        self._rng = random.Random(seed)  # noqa: S311 - no secret

    async def act(self) -> None:
        name, what = self._rng.choice(
            [
                ("worker killed", self._kill),
                ("worker killed", self._kill),
                ("process frozen", self._freeze),
                ("primary killed", self._kill_primary),
                ("primary stepped down", self._step_down),
            ]
        )
        await what()
        self._figures.fault(name)

    async def _kill(self) -> None:
        victim = self._rng.choice(["worker1", "poller", "receiver"])
        self._site.kill(victim)
        self._site.start(victim)

    async def _freeze(self) -> None:
        victim = self._rng.choice(["worker0", "worker1", "server0", "poller"])
        self._site.send(victim, signal.SIGSTOP)
        until = time.monotonic() + self._rng.uniform(0.5, 6)
        await eventually(lambda: time.monotonic() > until)
        self._site.send(victim, signal.SIGCONT)

    async def _kill_primary(self) -> None:
        victim = self._nodes.wait_primary()
        victim.kill()
        self._nodes.wait_primary()
        self._figures.recovered(await works_again(self._site))
        victim.start()
        self._nodes.wait_all()

    async def _step_down(self) -> None:
        self._nodes.step_down()
        self._nodes.wait_primary()


@pytest.mark.full
@pytest.mark.timeout(3600)
async def test_hours_of_random_faults_leave_every_promise_kept_and_no_process_grown(
    three_nodes: ReplicaSet, site: Site, queue: JobQueue, figures: Figures, seed: int
) -> None:
    spared = ("server0", "server1", "worker0")
    minutes = float(os.environ.get("FAULTS_MINUTES", "10"))
    nemesis = Nemesis(three_nodes, site, figures, seed)
    until = time.monotonic() + minutes * 60
    samples: dict[str, list[Vital]] = {name: [] for name in spared}
    while time.monotonic() < until:
        await nemesis.act()
        await works_again(site)
        for name in spared:
            samples[name].append(site.vital(name))
    await settle(site, queue, figures)
    for name, seen in samples.items():
        early, late = seen[len(seen) // 4 : len(seen) // 2], seen[len(seen) * 3 // 4 :]
        for what, room in (("memory", 32 << 20), ("files", 20), ("sockets", 20), ("threads", 12), ("tasks", 30)):
            grown = median(getattr(one, what) for one in late) - median(getattr(one, what) for one in early)
            figures.most(f"{what} grown in a soak ({'bytes' if what == 'memory' else 'number'})", grown)
            assert grown <= room, (name, what, [getattr(one, what) for one in seen])
