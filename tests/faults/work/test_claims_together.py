"""Workers with many places, which claim several jobs at once, under deaths, changes of the queue and lost replies."""

from __future__ import annotations

import signal
import time
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from jobqueue import JobQueue, NewJob
from jobqueue.domain.attempts.backoff import FixedBackoff
from jobqueue.domain.attempts.states import UNFINISHED, Outcome, State
from jobqueue.services.work.several import FEWEST
from tests.support.faults.journals import most_at_a_time, overlaps
from tests.support.fleet import Fleet
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.faults.replica_set import ReplicaSet

Document = dict[str, Any]
STATEMENTS = ("look", "update", "read")
LOST = (
    {"failCommands": ["find"], "closeConnection": True},
    {"failCommands": ["update"], "closeConnection": True},
    # The server carries the update out, and reports an error.
    {"failCommands": ["update"], "writeConcernError": {"code": 91, "errmsg": "as told"}},
)


@pytest.fixture
def fleet(tmp_path: Path, mongo_url: str, db_name: str) -> Iterator[Fleet]:
    with Fleet(tmp_path, mongo_url, db_name, places=20) as made:
        yield made


async def add(queue: JobQueue, count: int, **fields: Any) -> None:
    common: Any = {"backoff": FixedBackoff(0), "lease": 2} | fields
    await queue.add_all([NewJob(type="step", data={"n": n, "seconds": 0.02}, **common) for n in range(count)])


async def jobs(queue: JobQueue) -> list[Document]:
    collection = (await queue.open()).jobs.collection
    return [document async for document in collection.find({}, {"state": 1, "history": 1, "attemptsMade": 1})]


async def all_ended(queue: JobQueue) -> list[Document]:
    """Return all jobs when each has ended, and until then nothing."""
    found = await jobs(queue)
    return [] if any(State(job["state"]) in UNFINISHED for job in found) else found


def outcomes(job: Document) -> list[str]:
    return [entry["outcome"] for entry in job["history"]]


def check(found: list[Document], fleet: Fleet) -> None:
    """Compare jobs that have succeeded with the journals: none lost or doubled, no attempt counted that never ran."""
    ran = {run.token for run in fleet.runs()}
    for job in found:
        assert (job["state"], outcomes(job)[-1]) == ("success", Outcome.SUCCESS)
        assert set(outcomes(job)[:-1]) <= {Outcome.CRASH, Outcome.HANGING, Outcome.RELEASE}
        assert {entry["token"] for entry in job["history"] if entry["outcome"] == Outcome.HANGING} <= ran
        assert job["attemptsMade"] == 1 + outcomes(job).count(Outcome.HANGING)
    assert overlaps(fleet.runs()) == 0
    assert {entry["token"] for job in found for entry in job["history"] if entry["outcome"] == Outcome.SUCCESS} <= ran
    # Jobs of one update begin at the same moment of the server.
    starts = Counter((entry["worker"], entry["startAt"]) for job in found for entry in job["history"])
    assert max(starts.values()) >= FEWEST


async def test_a_worker_that_dies_at_any_statement_of_a_claim_of_several_loses_and_burns_none(
    queue: JobQueue, fleet: Fleet
) -> None:
    await add(queue, 200, attempts=2)
    for number, statement in enumerate(STATEMENTS):
        fleet.start(1, program="tests.support.workers.dying_claimer", first=[statement])
        await eventually(partial(fleet.has_died, number), within=60)
    ran = {run.token for run in fleet.runs()}
    # The next worker may have taken jobs of the dead back.
    entries = [entry for job in await jobs(queue) for entry in job["history"] if entry["token"] not in ran]
    never_begun = Counter(entry["worker"] for entry in entries if entry["outcome"] in {None, Outcome.CRASH})
    # Those that died after their update and after their read.
    assert sum(count >= FEWEST for count in never_begun.values()) == 2
    fleet.start(1)
    check(await eventually(lambda: all_ended(queue), within=100), fleet)


async def test_two_workers_with_one_backlog_obey_a_pause_a_limit_a_kill_and_a_stop(
    queue: JobQueue, fleet: Fleet
) -> None:
    runtime = await queue.open()
    await add(queue, 500, attempts=2)
    fleet.start(2)
    await eventually(lambda: len(fleet.runs()) > 60, within=60)

    await runtime.queues.patch("default", {"paused": True})
    await eventually(lambda: _is_quiet(queue, fleet), within=60)
    waiting = [job for job in await jobs(queue) if job["state"] == "pending"]
    killed = str(waiting[0]["_id"])
    await runtime.manager.kill(killed)

    before, since = len(fleet.runs()), time.monotonic_ns()
    await runtime.queues.patch("default", {"paused": False, "concurrency": 3})
    await eventually(lambda: most_at_a_time(fleet.runs(), since=since) >= 3, within=60)
    await eventually(lambda: len(fleet.runs()) > before + 20, within=60)
    assert most_at_a_time(fleet.runs(), since=since) == 3

    before = len(fleet.runs())
    await runtime.queues.patch("default", {"concurrency": None})
    await eventually(lambda: len(fleet.runs()) > before + 60, within=60)
    fleet.kill(0)
    fleet.send(1, signal.SIGTERM)
    fleet.start(1)
    found = await eventually(lambda: all_ended(queue), within=100)
    assert [str(job["_id"]) for job in found if job["state"] == "killed"] == [killed]
    assert not [run for run in fleet.runs() if run.job_id == killed]
    check([job for job in found if job["state"] != "killed"], fleet)


async def _is_quiet(queue: JobQueue, fleet: Fleet) -> bool:
    """Tell whether no job runs, and none has begun for more than the second in which a pause takes effect."""
    last = max(run.began for run in fleet.runs())
    return time.monotonic_ns() - last > 1_500_000_000 and not any(
        job["state"] == "processing" for job in await jobs(queue)
    )


async def test_lost_replies_and_a_killed_primary_lose_double_and_burn_none(
    frail_queue: JobQueue, one_node: ReplicaSet, frail_fleet: Fleet
) -> None:
    await add(frail_queue, 900, attempts=1, lease=60)
    frail_fleet.start(2)
    for lost in LOST:
        before = len(frail_fleet.runs())
        with one_node.fail_point("failCommand", {"times": 8}, appName="jobqueue", **lost):
            await eventually(lambda before=before: len(frail_fleet.runs()) > before + 100, within=60)  # type: ignore[misc]
    assert await count(frail_queue) > 0
    (node,) = one_node.nodes
    node.kill()
    node.start()
    check(await eventually(lambda: all_ended(frail_queue), within=100), frail_fleet)


async def count(queue: JobQueue) -> int:
    return sum(job["state"] == "pending" for job in await jobs(queue))
