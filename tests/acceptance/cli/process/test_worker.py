"""A real worker process: it runs jobs, and stops as it should."""

from __future__ import annotations

import json
import signal
from typing import TYPE_CHECKING

import pytest

from jobqueue import JobQueue, State
from jobqueue.domain.attempts.states import Outcome
from tests.acceptance.cli.cli_process import Cli, eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from jobqueue import Job

_APP = """
import asyncio, pathlib, time
from jobqueue import JobQueue

queue = JobQueue()

@queue.handler("double", queue="sums")
async def double(job):
    await job.log("doubling \\x1b[31m")
    await job.progress(50)
    return job.data["n"] * 2

@queue.handler("explode")
def explode(job):
    raise ValueError("boom")

@queue.handler("wait")
async def wait(job):
    pathlib.Path("begun").touch()
    while not pathlib.Path("go").exists():
        await asyncio.sleep(0.02)
    return "waited"

@queue.task("shrink", queue="sums")
def shrink(src: str, width: int = 320) -> str:
    return f"{src} {width}"

@queue.handler("stuck")
def stuck(job):
    time.sleep(600)
"""


@pytest.fixture
def cli(tmp_path: Path, mongo_url: str, db_name: str) -> Cli:
    (tmp_path / "app.py").write_text(_APP)
    return Cli(tmp_path, {"JOBQUEUE_MONGO_URL": mongo_url, "JOBQUEUE_DB": db_name})


@pytest.fixture
async def jobs(mongo_url: str, db_name: str) -> AsyncIterator[JobQueue]:
    async with JobQueue(mongo_url=mongo_url, db=db_name) as opened:
        yield opened


async def reached(jobs: JobQueue, job_id: str, state: State) -> Job:
    return await eventually(lambda: jobs.get(job_id), lambda job: job.state is state)


async def has_begun(cli: Cli) -> None:
    """Wait until the handler runs: that a job is processing is known a moment before its worker knows it."""

    async def look() -> bool:
        return (cli.cwd / "begun").exists()

    await eventually(look, bool)


async def test_a_worker_runs_what_is_added(cli: Cli) -> None:
    job_id = cli.run("add", "double", '{"n": 21}', "--queue", "sums").out.strip()
    with cli.start("show", job_id, "--follow") as follower:
        assert follower.ready().split() == ["id", job_id]
        with cli.start("worker", "app:queue") as worker:
            ready = worker.ready()
            assert ready.startswith("worker ")
            assert ready.endswith(" ready: default/explode, default/stuck, default/wait, sums/double, sums/shrink")
            code, printed = follower.ended()
            assert code == 0
            assert "doubling \\x1b[31m" in printed
            assert "\x1b" not in printed
            assert printed.splitlines()[-1] == "state success"
            shown = cli.run("show", job_id, "--json").json()
            assert (shown["state"], shown["result"]) == ("success", 42)
            assert [line["m"] for line in shown["logs"]] == ["doubling \x1b[31m"]
            worker.send()
            assert worker.ended() == (0, "")


async def test_schedules_of_the_code_are_stored_and_reported_when_they_have_left_it(cli: Cli, jobs: JobQueue) -> None:
    code = """
from jobqueue import SyncJobQueue

queue = SyncJobQueue()

@queue.cron("30 2 * * 1-5", timezone="Europe/Berlin")
@queue.task()
def report(): ...
"""
    more = """
@queue.cron(every=3600, name="tidying")
@queue.handler("tidy")
def tidy(job): ...
"""
    (cli.cwd / "shop.py").write_text(code + more)
    with cli.start("worker", "shop:queue") as worker:
        await eventually(lambda: declared(jobs, "report", "tidying"), all)
        worker.send()
        assert worker.ended()[0] == 0
    await jobs.pause_schedule("report")
    (cli.cwd / "shop.py").write_text(code.replace("30 2", "45 2"))
    with cli.start("worker", "shop:queue") as worker:
        await worker.logged("schedule not in the code")
        assert '"schedule": "tidying"' in worker.log
    listed = {line.split()[0]: line for line in cli.run("schedule", "list").out.splitlines()}
    assert listed["report"].split()[1:8] == ["45", "2", "*", "*", "1-5", "Europe/Berlin", "report"]
    assert " paused " in listed["report"]
    assert listed["report"].rstrip().endswith("shop")
    assert listed["tidying"].rstrip().endswith("shop (no longer in the code)")


async def declared(jobs: JobQueue, *names: str) -> list[bool]:
    store = (await jobs.open()).schedules.store
    return [await store.find(name) is not None for name in names]


async def test_who_follows_a_job_learns_how_it_ended(cli: Cli, jobs: JobQueue) -> None:
    with cli.start("worker", "app:queue", "--concurrency", "2") as worker:
        worker.ready()
        failing = await jobs.add("explode", attempts=1)
        followed = cli.run("show", failing.id, "--follow", "--json")
        assert followed.code == 6
        last = json.loads(followed.out.splitlines()[-1])
        assert last["job"]["error"]["message"] == "boom"
        assert 'raise ValueError("boom")' in cli.run("show", failing.id).out
        deleted = await jobs.add("wait", on_success_delete=True)
        with cli.start("show", deleted.id, "--follow") as follower:
            assert follower.ready().split() == ["id", deleted.id]
            (cli.cwd / "go").touch()
            assert follower.ended()[0] == 0
            assert follower.log == f"job {deleted.id} has succeeded and is deleted\n"


async def test_a_job_that_runs_when_the_worker_is_stopped_is_finished(cli: Cli, jobs: JobQueue) -> None:
    with cli.start("worker", "app:queue") as worker:
        worker.ready()
        running = await jobs.add("wait")
        await has_begun(cli)
        worker.send()
        await worker.logged("shutdown awaited")
        later = await jobs.add("wait")
        (cli.cwd / "go").touch()
        assert worker.ended() == (0, "")
    done = await jobs.get(running.id)
    assert (done.state, done.result, done.attempts_made) == (State.SUCCESS, "waited", 1)
    assert (await jobs.get(later.id)).state is State.PENDING


async def test_jobs_that_do_not_end_in_time_are_given_back_uncounted(cli: Cli, jobs: JobQueue) -> None:
    with cli.start("worker", "app:queue", "--drain-timeout", "0.2") as worker:
        worker.ready()
        running = [await jobs.add("wait"), await jobs.add("stuck")]
        for job in running:
            await reached(jobs, job.id, State.PROCESSING)
        worker.send(signal.SIGINT)
        assert worker.ended() == (0, "")
    for job in running:
        back = await jobs.get(job.id)
        assert (back.state, back.attempts_made, back.history[0].outcome) == (State.PENDING, 0, Outcome.RELEASE)


async def test_a_second_signal_gives_jobs_back_at_once(cli: Cli, jobs: JobQueue) -> None:
    with cli.start("worker", "app:queue", "--drain-timeout", "600") as worker:
        worker.ready()
        running = await jobs.add("wait")
        await has_begun(cli)
        worker.send()
        await worker.logged("shutdown awaited")
        assert (await jobs.get(running.id)).state is State.PROCESSING
        worker.send()
        assert worker.ended() == (0, "")
    back = await jobs.get(running.id)
    assert (back.state, back.attempts_made) == (State.PENDING, 0)


async def test_a_job_is_added_by_the_arguments_of_its_task(cli: Cli, jobs: JobQueue) -> None:
    with cli.start("worker", "app:queue") as service:
        name = service.ready()
        types = await eventually(lambda: listed(cli, "types"), lambda out: "shrink" in out)
        added = cli.run("add", "shrink", "--queue", "sums", "--src", "a.png", "--width=64")
        assert added.code == 0, added.err
        job = await reached(jobs, added.out.strip(), State.SUCCESS)
        workers = await listed(cli, "workers")
        wrong = cli.run("add", "shrink", "--queue", "sums", "--widht", "64")
        both = cli.run("add", "shrink", "{}", "--widht", "64")
        service.send()
    assert job.result == "a.png 64"
    assert "src: string, width: integer = 320" in types
    assert "sums: double, shrink" in workers
    assert name
    assert (wrong.code, both.code) == (2, 2)
    assert wrong.err.startswith("error: --widht is no option of add, and no argument of shrink: it has --src, --width")
    assert "DATA is there already" in both.err


async def listed(cli: Cli, command: str) -> str:
    ran = cli.run(command)
    assert ran.code == 0, ran.err
    return ran.out
