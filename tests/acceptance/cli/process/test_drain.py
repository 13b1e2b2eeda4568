"""Real processes are drained: one finishes its job and exits, the other one goes on, and so does a server's drain."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from pymongo import MongoClient

from jobqueue import JobQueue
from tests.acceptance.cli.cli_process import Cli, eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from jobqueue import Job
    from tests.acceptance.cli.conftest import Here

_APP = """
import asyncio, pathlib
from jobqueue import JobQueue

queue = JobQueue()

@queue.handler("wait")
async def wait(job):
    while not pathlib.Path(job.data["go"]).exists():
        await asyncio.sleep(0.02)
    return "waited"
"""


@pytest.fixture
def cli(tmp_path: Path, mongo_url: str, db_name: str) -> Cli:
    (tmp_path / "app.py").write_text(_APP)
    return Cli(tmp_path, {"JOBQUEUE_MONGO_URL": mongo_url, "JOBQUEUE_DB": db_name})


@pytest.fixture
async def jobs(mongo_url: str, db_name: str) -> AsyncIterator[JobQueue]:
    async with JobQueue(mongo_url=mongo_url, db=db_name) as opened:
        yield opened


async def test_a_drained_worker_finishes_and_leaves_and_the_other_goes_on(cli: Cli, jobs: JobQueue) -> None:
    with (
        cli.start("worker", "app:queue", "--concurrency", "1") as one,
        cli.start("worker", "app:queue", "--concurrency", "1") as other,
        cli.start("serve", "--port", "0") as server,
    ):
        names = [process.ready().split()[1] for process in (one, other)]
        server.ready()
        first, second = [await jobs.add("wait", {"go": go}) for go in ("go-1", "go-2")]
        holders = [(await started(jobs, job.id)).history[-1].worker for job in (first, second)]
        assert set(holders) == set(names)
        leaver = one if holders[0] == names[0] else other
        drained = holders[0]
        assert drained is not None
        shown = cli.run("drain", drained, "--json")
        assert (shown.code, shown.json()["draining"]["by"] != "") == (0, True)
        # It runs its job and claims no other one, and the other worker is busy.
        await leaver.logged("drain started")
        third = await jobs.add("wait", {"go": "go-1"})
        assert "draining" in cli.run("workers").out
        (cli.cwd / "go-1").touch()
        assert leaver.ended()[0] == 0
        assert (await jobs.get(first.id)).state == "success"
        assert cli.run("drain", drained, "--undo").code == 4, "it is gone"
        (cli.cwd / "go-2").touch()
        done = await eventually(lambda: jobs.get(third.id), lambda job: job.state == "success")
        assert [done.history[-1].worker, (await jobs.get(second.id)).history[-1].worker] == [holders[1]] * 2
        # A server that runs webhooks is a worker, too.
        await jobs.configure("hooks", processors={"a": {"kind": "webhook", "url": "http://127.0.0.1:9/"}})
        seen = await eventually(jobs.workers, lambda workers: len(workers) == 2)
        [name] = [worker.name for worker in seen if worker.name != holders[1]]
        assert cli.run("drain", name.rpartition(":")[0]).code == 0, "by the beginning of its name"
        assert server.ended()[0] == 0
        assert [worker.name for worker in await jobs.workers()] == [holders[1]]


def test_the_beginning_of_a_name_cuts_no_number(here: Here, mongo_url: str, db_name: str) -> None:
    names = ["h:774:aa", "h:7741:bb", "h:7741:bc", "x/y?z", "%2F", "<img>", "-v"]
    with MongoClient[dict[str, Any]](mongo_url) as client:
        workers = client[db_name]["workers"]
        workers.insert_many([{"_id": name, "posts": [], "at": datetime.now(UTC)} for name in names])
        for given, code in {"": 2, "h:7741": 2, "h": 2, "h:77": 4, "h:7": 4, "%": 0, "x/y?z": 0, "<": 0}.items():
            ran = here.run("drain", given)
            assert (ran.code, len(ran.err.splitlines())) == (code, int(code > 0)), (given, ran)
        assert here.run("drain", "h:774").out == "h:774:aa drains, and still runs 0 jobs\n"
        assert here.run("drain", "--", "-v").code == 0
        drained = {each["_id"] for each in workers.find({"drain": {"$exists": True}})}
        assert drained == {"h:774:aa", "x/y?z", "%2F", "<img>", "-v"}
        assert here.run("drain", "x/y?z", "--undo").out == "x/y?z claims jobs again\n"


async def started(jobs: JobQueue, job_id: str) -> Job:
    def runs(job: Any) -> bool:
        return bool(job.state == "processing" and job.history)

    return await eventually(lambda: jobs.get(job_id), runs)
