"""Heartbeats that are refused, come late, or are many."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from jobqueue import JobQueue, NewJob
from jobqueue.domain.attempts.backoff import FixedBackoff
from jobqueue.domain.attempts.states import State
from jobqueue.settings import Settings
from tests.acceptance.cli.cli_process import Cli
from tests.faults.conftest import DATABASE
from tests.support.conformance.stage import WAYS, Stage, Way
from tests.support.data.factories import open_runtime
from tests.support.data.scale import sized
from tests.support.docs.readme import blocks
from tests.support.faults.journals import overlaps
from tests.support.faults.proxy import Proxy
from tests.support.fleet import Fleet
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.faults.figures import Figures
    from tests.support.faults.replica_set import ReplicaSet

LEASE = 2.0
CODES = [13, 18, 8000, 4242]
"""Refused access, refused access, the same of a hosted MongoDB, and a code that nobody knows."""


def refusing(one_node: ReplicaSet, mode: dict[str, int] | str, code: int) -> Any:
    """Refuse the heartbeats of all workers."""
    commands = ["findAndModify", "update", "find"]
    return one_node.fail_point("failCommand", mode, failCommands=commands, appName="jobqueue-leases", errorCode=code)


def documents(one_node: ReplicaSet) -> list[dict[str, Any]]:
    with one_node.client() as client:
        return list(client[DATABASE]["jobs"].find({}, {"state": 1, "resetAt": 1, "claim": 1, "history.outcome": 1}))


def outcomes(one_node: ReplicaSet) -> Counter[tuple[str, ...]]:
    """Count jobs by the outcomes of their attempts."""
    return Counter(tuple(entry["outcome"] for entry in one["history"]) for one in documents(one_node))


async def all_ended(one_node: ReplicaSet, within: float) -> None:
    def look() -> bool:
        return all(one["state"] == State.SUCCESS.value for one in documents(one_node))

    await eventually(look, within=within, every=0.2)


async def renewed(one_node: ReplicaSet, times: int) -> None:
    """Wait until the lease of each running job has been renewed, and so often."""
    for _ in range(times):
        before = {one["_id"]: one["resetAt"] for one in documents(one_node)}

        def is_renewed(before: dict[Any, Any] = before) -> bool:
            now = {one["_id"]: one["resetAt"] for one in documents(one_node)}
            return all(at is not None and now[job] is not None and now[job] > at for job, at in before.items())

        await eventually(is_renewed, within=10 * LEASE)


@pytest.mark.parametrize("code", CODES)
async def test_heartbeats_that_are_refused_for_a_moment_end_neither_the_runs_nor_the_heartbeats(
    one_node: ReplicaSet, frail_queue: JobQueue, frail_fleet: Fleet, tmp_path: Path, code: int
) -> None:
    frail_fleet.start(2)
    await eventually(frail_fleet.is_ready, within=30)
    data = {"n": 1, "until": str(tmp_path / "go")}
    await frail_queue.add_all([NewJob(type="step", data=data, lease=LEASE, backoff=FixedBackoff(0)) for _ in range(20)])
    await eventually(lambda: len(frail_fleet.runs()) == 20)
    with refusing(one_node, {"times": 3}, code):
        await renewed(one_node, 4)
    (tmp_path / "go").touch()
    await all_ended(one_node, within=20)
    assert outcomes(one_node) == {("success",): 20}
    assert len(frail_fleet.runs()) == 20


@pytest.mark.parametrize("code", [13, pytest.param(4242, marks=pytest.mark.full)])
async def test_runs_whose_heartbeats_are_refused_for_a_whole_lease_stop_before_their_jobs_run_elsewhere(
    one_node: ReplicaSet, frail_queue: JobQueue, frail_fleet: Fleet, tmp_path: Path, code: int
) -> None:
    frail_fleet.start(2)
    await eventually(frail_fleet.is_ready, within=30)
    data = {"n": 1, "until": str(tmp_path / "go")}
    new = [NewJob(type="step", data=data, lease=LEASE, attempts=9, backoff=FixedBackoff(2)) for _ in range(20)]
    await frail_queue.add_all(new)
    await eventually(lambda: len(frail_fleet.runs()) == 20)
    with refusing(one_node, "alwaysOn", code):
        await eventually(lambda: len(frail_fleet.runs()) >= 40, within=20 * LEASE)
    await eventually(lambda: all(one["claim"] for one in documents(one_node)), within=20 * LEASE)
    await renewed(one_node, 4)
    (tmp_path / "go").touch()
    await all_ended(one_node, within=20)
    assert overlaps(frail_fleet.runs()) == 0


@pytest.fixture
def stage(tmp_path_factory: pytest.TempPathFactory, one_node: ReplicaSet) -> Iterator[Stage]:
    settings = {"JOBQUEUE_MONGO_URL": one_node.url, "JOBQUEUE_DB": DATABASE, "JOBQUEUE_REAP_INTERVAL": "0.2"}
    with Stage(tmp_path_factory.mktemp("stage"), settings, copies=2, concurrency=4) as made:
        yield made


def test_each_way_of_processing_keeps_its_leases_when_heartbeats_are_refused(
    one_node: ReplicaSet, stage: Stage
) -> None:
    ways = [Way(name, stage) for name in WAYS]
    ids = [way.add(["hold"], ["result", 1], lease=LEASE, backoff=0) for way in ways]
    for way, job_id in zip(ways, ids, strict=True):
        way.held(job_id)
    commands = ["findAndModify", "update", "find"]
    for application in ("jobqueue-leases", "jobqueue"):
        names = {"failCommands": commands, "namespace": f"{DATABASE}.jobs", "appName": application}
        with one_node.fail_point("failCommand", {"times": 6}, errorCode=13, **names):
            asyncio.run(renewed(one_node, 4))
    for way, job_id in zip(ways, ids, strict=True):
        way.go(job_id)
        assert [entry["outcome"] for entry in way.ended(job_id)["history"]] == ["success"], way.name


async def test_the_shell_worker_goes_on_when_heartbeats_are_refused_and_stops_when_its_job_is_killed(
    one_node: ReplicaSet, frail_queue: JobQueue, tmp_path: Path
) -> None:
    script = tmp_path / "poll.sh"
    script.write_text(blocks("bash")[0].replace("sleep 5", "sleep 0.2"))
    cli = Cli(tmp_path, {"JOBQUEUE_MONGO_URL": one_node.url, "JOBQUEUE_DB": DATABASE})
    held, plain = tmp_path / "held", tmp_path / "plain"
    # Its reader waits until something is written.
    os.mkfifo(held)
    plain.write_bytes(b"plain")

    async def add(file: Path) -> str:
        return (await frail_queue.add("checksum", {"file": str(file)}, queue="files", lease=60, attempts=1)).id

    async def reached(job_id: str, state: State) -> None:
        async def look() -> bool:
            return (await frail_queue.get(job_id)).state is state

        await eventually(look)

    with cli.start("serve", "--port", "0") as server:
        url = server.ready().removeprefix("listening on ").strip()
        worker = await asyncio.create_subprocess_exec(
            "bash", script, url, start_new_session=True, stdout=asyncio.subprocess.DEVNULL
        )
        try:
            first = await add(held)
            await reached(first, State.PROCESSING)
            names = {"failCommands": ["findAndModify"], "namespace": f"{DATABASE}.jobs", "appName": "jobqueue"}
            with one_node.fail_point("failCommand", {"times": 3}, errorCode=13, **names):
                await renewed(one_node, 5)
            await asyncio.to_thread(held.write_bytes, b"held")
            await reached(first, State.SUCCESS)
            second = await add(held)
            await reached(second, State.PROCESSING)
            await frail_queue.kill(second)
            await reached(await add(plain), State.SUCCESS)
        finally:
            os.killpg(worker.pid, signal.SIGKILL)
            await worker.wait()


@contextlib.contextmanager
def busy(cores: int) -> Iterator[None]:
    """Keep cores busy for the time of a block."""
    running = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(cores)]
    try:
        yield
    finally:
        for one in running:
            one.kill()
            one.wait(10)


@pytest.mark.parametrize(
    ("jobs", "lease", "late", "cores"),
    [(300, 5, 0.04, 0), pytest.param(1000, 10, 0.1, 2, marks=pytest.mark.full)],
)
async def test_a_worker_with_many_jobs_keeps_all_their_leases_when_replies_come_late(
    one_node: ReplicaSet,
    frail_queue: JobQueue,
    tmp_path: Path,
    figures: Figures,
    jobs: int,
    lease: int,
    late: float,
    cores: int,
) -> None:
    (tmp_path / "journals").mkdir()
    data = {"n": 1, "seconds": sized(2, 3) * lease}
    settings = Settings.load({"mongo_url": one_node.url, "db": DATABASE, "reap_interval": "0.2"}, environ={})
    async with open_runtime(settings, started=True), Proxy(one_node.nodes[0].port) as network:
        with Fleet(tmp_path / "journals", network.url, DATABASE, places=jobs) as fleet:
            fleet.start(1)
            await eventually(fleet.is_ready, within=30)
            network.late = late
            with busy(cores):
                await frail_queue.add_all([NewJob(type="step", data=data, lease=lease) for _ in range(jobs)])
                await all_ended(one_node, within=60 + 12 * lease)
            network.late = 0.0
            runs = len(fleet.runs())
            await asyncio.to_thread(fleet.stop)
    figures.count("jobs that kept their leases", outcomes(one_node)[("success",)])
    assert outcomes(one_node) == {("success",): jobs}
    assert runs == jobs
