"""The database is away for everybody, or for one worker alone."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from jobqueue import JobQueue, NewJob
from jobqueue.domain.attempts.backoff import FixedBackoff
from jobqueue.domain.attempts.states import Outcome, State
from jobqueue.domain.search.query import JobQuery
from tests.support.faults.journals import overlaps
from tests.support.faults.proxy import Proxy
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from pathlib import Path

    from jobqueue import Job
    from tests.support.faults.replica_set import ReplicaSet
    from tests.support.fleet import Fleet

LEASE = 3


async def add(queue: JobQueue, count: int, go: Path) -> None:
    """Add jobs that run until a file is there."""
    data = {"n": 1, "until": str(go)}
    new = [NewJob(type="step", data=data, lease=LEASE, attempts=9, backoff=FixedBackoff(0)) for _ in range(count)]
    await queue.add_all(new)


async def jobs(queue: JobQueue) -> list[Job]:
    return list((await queue.list(JobQuery(limit=200))).items)


async def all_succeeded(queue: JobQueue) -> list[Job]:
    """Return all jobs when each has succeeded, and until then nothing."""
    found = await jobs(queue)
    return found if all(job.state is State.SUCCESS for job in found) else []


def outcomes(found: list[Job], fleet: Fleet) -> list[list[Outcome | None]]:
    """Return how the runs of each job ended, without claims that a slow machine gave back before they began."""
    begun = {run.token for run in fleet.runs()}
    return [[entry.outcome for entry in job.history if entry.token in begun] for job in found]


async def outlast(leases: float) -> None:
    """Let so many leases pass: the fault is that it lasts so long."""
    until = time.monotonic() + leases * LEASE
    await eventually(lambda: time.monotonic() > until, within=leases * LEASE + 5)


async def test_a_hundred_living_jobs_go_on_after_an_outage_longer_than_their_lease(
    one_node: ReplicaSet, frail_queue: JobQueue, frail_fleet: Fleet, tmp_path: Path
) -> None:
    frail_fleet.start(2)
    await eventually(frail_fleet.is_ready, within=30)
    await add(frail_queue, 100, tmp_path / "go")
    await eventually(lambda: len(frail_fleet.runs()) == 100)
    one_node.nodes[0].kill()
    await outlast(1.5)
    one_node.nodes[0].start()
    one_node.wait_primary()
    await outlast(1.5)
    (tmp_path / "go").touch()
    done = await eventually(lambda: all_succeeded(frail_queue))
    assert outcomes(done, frail_fleet) == [[Outcome.SUCCESS]] * 100
    assert len(frail_fleet.runs()) == 100


async def test_jobs_of_workers_that_got_no_answer_for_a_lease_are_given_back_uncounted(
    one_node: ReplicaSet, frail_queue: JobQueue, frail_fleet: Fleet, tmp_path: Path
) -> None:
    frail_fleet.start(1)
    await eventually(frail_fleet.is_ready, within=30)
    await add(frail_queue, 40, tmp_path / "go")
    await eventually(lambda: len(frail_fleet.runs()) == 40)
    with one_node.nodes[0].frozen():
        await outlast(1.5)
        frozen = time.monotonic_ns()
        assert all(run.ended < frozen for run in frail_fleet.runs())
    (tmp_path / "go").touch()
    done = await eventually(lambda: all_succeeded(frail_queue), within=40)
    assert outcomes(done, frail_fleet) == [[Outcome.RELEASE, Outcome.SUCCESS]] * 40
    assert {job.attempts_made for job in done} == {1}


async def test_a_worker_that_is_cut_off_alone_stops_before_its_jobs_run_elsewhere(
    one_node: ReplicaSet, frail_queue: JobQueue, frail_fleet: Fleet, tmp_path: Path
) -> None:
    async with Proxy(one_node.nodes[0].port) as network:
        frail_fleet.start(1, url=network.url)
        await eventually(frail_fleet.is_ready, within=30)
        await add(frail_queue, 40, tmp_path / "go")
        await eventually(lambda: len(frail_fleet.runs()) == 40)
        network.freeze()
        frail_fleet.start(1)
        await eventually(lambda: len(frail_fleet.runs()) == 80, within=30)
        (tmp_path / "go").touch()
        done = await eventually(lambda: all_succeeded(frail_queue))
        network.thaw()
        assert overlaps(frail_fleet.runs()) == 0
        assert outcomes(done, frail_fleet) == [[Outcome.CRASH, Outcome.SUCCESS]] * 40
        # What it was doing has no effect once it sees the database again, and it works on.
        await add(frail_queue, 10, tmp_path / "go")
        await eventually(lambda: all_succeeded(frail_queue))
        await eventually(lambda: len(frail_fleet.runs()) == 90)
        await asyncio.to_thread(frail_fleet.stop)
