"""Workers that are stopped, killed while they stop, have a wrong clock, or die of their jobs."""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING, Any

import pytest

from jobqueue import JobQueue, NewJob
from jobqueue.domain.attempts.backoff import FixedBackoff
from jobqueue.domain.attempts.states import UNFINISHED, Outcome, State
from jobqueue.domain.search.query import JobQuery
from tests.support.data.factories import patient_reaper
from tests.support.faults.journals import most_at_a_time
from tests.support.fleet import Fleet
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from jobqueue import Job

COMMON: dict[str, Any] = {"lease": 1, "backoff": FixedBackoff(0), "attempts": 3}


@pytest.fixture
def fleet(tmp_path: Path, mongo_url: str, db_name: str) -> Iterator[Fleet]:
    with Fleet(tmp_path, mongo_url, db_name, places=10) as made:
        yield made


async def ended(queue: JobQueue) -> list[Job]:
    """Return all jobs when each has ended, and until then nothing."""
    found = list((await queue.list(JobQuery(limit=200))).items)
    return [] if any(job.state in UNFINISHED for job in found) else found


def outcomes(found: list[Job]) -> list[list[Outcome | None]]:
    return [[entry.outcome for entry in job.history] for job in found]


async def is_idle(queue: JobQueue) -> bool:
    """Take back what was left by workers that died; tell whether nothing runs any more."""
    runtime = await queue.open()
    await patient_reaper(runtime).run_once()
    return not (await queue.list(JobQuery(states=(State.PROCESSING,)))).items


async def until_dead(fleet: Fleet, number: int, together: int, bang: Path) -> None:
    """End a worker by its poisonous job as soon as so many jobs run there."""
    await eventually(lambda: len(fleet.runs_of(number)) == together, within=60)
    bang.touch()  # noqa: ASYNC240 - another process waits for it
    await eventually(lambda: fleet.has_died(number))
    bang.unlink()  # noqa: ASYNC240 - as above


async def running(queue: JobQueue, fleet: Fleet, count: int, go: Path) -> None:
    """Start a worker and so many jobs that run until a file is there."""
    fleet.start(1)
    await eventually(fleet.is_ready, within=30)
    await queue.add_all([NewJob(type="step", data={"n": 1, "until": str(go)}, **COMMON) for _ in range(count)])
    await eventually(lambda: len(fleet.runs()) == count)


async def test_a_worker_that_was_frozen_for_longer_than_its_lease_changes_nothing_any_more(
    queue: JobQueue, fleet: Fleet, tmp_path: Path
) -> None:
    await running(queue, fleet, 10, tmp_path / "go")
    fleet.send(0, signal.SIGSTOP)
    fleet.start(1)
    await eventually(lambda: len(fleet.runs()) == 20, within=30)
    (tmp_path / "go").touch()
    done = await eventually(lambda: ended(queue))
    fleet.send(0, signal.SIGCONT)
    await asyncio.to_thread(fleet.stop)
    after = await ended(queue)
    assert outcomes(done) == outcomes(after) == [[Outcome.CRASH, Outcome.SUCCESS]] * 10
    assert [job.end_at for job in after] == [job.end_at for job in done]
    assert {entry.worker for job in after for entry in job.history[1:]} == {done[0].history[1].worker}


async def test_a_worker_that_is_killed_while_it_waits_for_its_jobs_loses_none(
    queue: JobQueue, fleet: Fleet, tmp_path: Path
) -> None:
    await running(queue, fleet, 10, tmp_path / "go")
    fleet.send(0, signal.SIGTERM)
    late = await queue.add("step", {"n": 1}, **COMMON)
    fleet.start(1)
    await eventually(lambda: any(run.job_id == late.id for run in fleet.runs_of(1)), within=30)
    assert not any(run.job_id == late.id for run in fleet.runs_of(0))
    fleet.kill(0)
    (tmp_path / "go").touch()
    done = {job.id: job for job in await eventually(lambda: ended(queue), within=30)}
    assert outcomes([done.pop(late.id)]) == [[Outcome.SUCCESS]]
    assert outcomes(list(done.values())) == [[Outcome.CRASH, Outcome.SUCCESS]] * 10


async def test_a_job_that_kills_its_worker_each_time_ends_and_the_others_go_on(queue: JobQueue, fleet: Fleet) -> None:
    poison = await queue.add("step", {"n": 1, "poison": True}, **COMMON)
    others = [NewJob(type="step", data={"n": 1, "seconds": 0.02}, **(COMMON | {"attempts": 9})) for _ in range(60)]
    await queue.add_all(others)
    fleet.start(1)

    async def look() -> list[Job]:
        fleet.replace_dead()
        return await ended(queue)

    done = {job.id: job for job in await eventually(look, within=60, every=0.1)}
    dead = done.pop(poison.id)
    assert (dead.state, dead.attempts_made, dead.error and dead.error.kind) == (State.FAILED, 3, "hanging")
    (ends,) = outcomes([dead])
    assert ends.count(Outcome.HANGING) == 3
    assert ends.count(Outcome.CRASH) == (dead.crashes or 0) <= 2
    assert {job.state for job in done.values()} == {State.SUCCESS}


async def test_a_job_that_kills_its_worker_each_time_fails_alone(queue: JobQueue, fleet: Fleet, tmp_path: Path) -> None:
    bang, go = tmp_path / "bang", tmp_path / "go"
    poison = await queue.add("step", {"n": 1, "until": str(bang), "poison": True}, **COMMON)
    healthy = [NewJob(type="step", data={"n": 1, "until": str(go)}, **COMMON) for _ in range(4)]
    others = [job.id for job in await queue.add_all(healthy)]
    for death, together in enumerate([5, 5, 1, 1, 1]):
        fleet.start(1)
        await until_dead(fleet, death, together, bang)
        # All that ran waits again before the next worker comes.
        await eventually(lambda: is_idle(queue), within=60)
    go.touch()
    fleet.start(1)
    done = {job.id: job for job in await eventually(lambda: ended(queue), within=60)}
    dead = done[poison.id]
    assert (dead.state, dead.attempts_made, dead.crashes, dead.error and dead.error.kind) == (
        State.FAILED,
        3,
        2,
        "hanging",
    )
    assert outcomes([dead]) == [[Outcome.CRASH] * 2 + [Outcome.HANGING] * 3]
    assert outcomes([done[job_id] for job_id in others]) == [[Outcome.CRASH] * 2 + [Outcome.SUCCESS]] * 4
    assert {done[job_id].attempts_made for job_id in others} == {1}
    assert most_at_a_time(fleet.runs_of(5)) == 1


@pytest.mark.parametrize("offset", [3600, -3600])
async def test_a_wrong_clock_of_a_worker_neither_starts_nor_ends_anything_too_early_or_too_late(
    queue: JobQueue, fleet: Fleet, offset: int
) -> None:
    await (await queue.open()).queues.patch("default", {"rate": {"limit": 10, "per": 1}})
    fleet.start(1, program="tests.support.workers.skewed_worker", first=[str(offset)])
    await eventually(fleet.is_ready, within=30)
    await queue.add_all([NewJob(type="step", data={"n": 1, "seconds": 0.5}, **COMMON) for _ in range(20)])
    later = await queue.add("step", {"n": 1}, delay=1.5, **COMMON)
    done = {job.id: job for job in await eventually(lambda: ended(queue), within=30)}
    assert outcomes(list(done.values())) == [[Outcome.SUCCESS]] * 21
    begun = done[later.id].start_at
    assert begun is not None
    assert 1.5 <= (begun - later.insert_at).total_seconds() < 60
    starts = sorted(job.start_at for job in done.values() if job.start_at)
    assert all((starts[place + 10] - starts[place]).total_seconds() >= 1 for place in range(len(starts) - 10))
