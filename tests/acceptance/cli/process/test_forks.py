"""A real worker whose handlers fork, and raise interrupts: it goes on, and its own signals still stop it."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest

from jobqueue import JobQueue, State
from jobqueue.domain.attempts.states import FINAL
from tests.acceptance.cli.cli_process import Cli, Service, eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from jobqueue import Job

_APP = """
import asyncio, multiprocessing, os, signal, sys, time
from jobqueue import JobQueue

if {standard}:
    sys.modules["uvloop"] = None
# A shell that starts this test in the background may have made it ignore the signal.
signal.signal(signal.SIGINT, signal.SIG_DFL)
queue = JobQueue()
fork = multiprocessing.get_context("fork")

def sleep(ready):
    os.write(ready, b"x")
    time.sleep(600)

@queue.handler("process")
def process(job):
    reader, writer = os.pipe()
    child = fork.Process(target=sleep, args=(writer,))
    child.start()
    os.read(reader, 1)
    child.terminate()
    child.join()
    return child.exitcode

@queue.handler("process-async")
async def process_async(job):
    return process(job)

@queue.handler("pool")
def pool(job):
    with fork.Pool(2) as workers:
        return workers.map(abs, [-1, -2])

@queue.handler("at once")
def at_once(job):
    codes = []
    for number in [signal.SIGTERM, signal.SIGINT] * 30:
        child = os.fork()
        if child == 0:
            try:
                time.sleep(600)
            finally:
                os._exit(0)
        os.kill(child, number)
        os.waitpid(child, 0)
        codes.append(number)
    return len(codes)

@queue.handler("awaits")
async def awaits(job):
    child = os.fork()
    if child == 0:
        while True:
            await asyncio.sleep(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

def add(job_id):
    return asyncio.run(queue.add("added", meta={{"by": job_id}})).id

@queue.handler("adds")
def adds(job):
    with fork.Pool(1) as workers:
        return workers.apply(add, (job.id,))

@queue.handler("interrupt")
async def interrupt(job):
    raise KeyboardInterrupt

async def exit_soon():
    await asyncio.sleep(0)
    raise SystemExit("usage: tool FILE")

@queue.handler("exit in task")
async def exit_in_task(job):
    await asyncio.gather(exit_soon(), asyncio.sleep(600))

@queue.handler("interrupt in task")
async def interrupt_in_task(job):
    async with asyncio.TaskGroup() as group:
        group.create_task(interrupt(job))

@queue.handler("good")
async def good(job):
    return "done"
"""


@pytest.fixture(params=["uvloop", "standard"])
def cli(request: pytest.FixtureRequest, tmp_path: Path, mongo_url: str, db_name: str) -> Cli:
    (tmp_path / "app.py").write_text(_APP.format(standard=request.param == "standard"))
    return Cli(tmp_path, {"JOBQUEUE_MONGO_URL": mongo_url, "JOBQUEUE_DB": db_name})


@pytest.fixture
async def jobs(mongo_url: str, db_name: str) -> AsyncIterator[JobQueue]:
    async with JobQueue(mongo_url=mongo_url, db=db_name) as opened:
        yield opened


async def run(jobs: JobQueue, worker: Service, kind: str) -> Job:
    """Return a job when it has ended, as long as its worker lives."""
    added = await jobs.add(kind, attempts=1)

    async def look() -> Job:
        assert worker.process.poll() is None, worker.log
        return await jobs.get(added.id)

    return await eventually(look, lambda job: job.state in FINAL)


async def test_processes_that_handlers_fork_and_end_leave_their_worker_alone(cli: Cli, jobs: JobQueue) -> None:
    with cli.start("worker", "app:queue") as worker:
        worker.ready()
        for kind, result in [
            ("process", -signal.SIGTERM),
            ("process-async", -signal.SIGTERM),
            ("pool", [1, 2]),
            ("at once", 60),
            ("awaits", 1),
            ("good", "done"),
        ]:
            job = await run(jobs, worker, kind)
            assert (job.state, job.result, len(job.history)) == (State.SUCCESS, result, 1), (job.error, worker.log)
        assert '"shutdown started"' not in worker.log
        worker.send()
        assert worker.ended() == (0, "")


async def test_a_forked_process_opens_a_queue_of_the_module_anew(cli: Cli, jobs: JobQueue) -> None:
    with cli.start("worker", "app:queue") as worker:
        worker.ready()
        job = await run(jobs, worker, "adds")
        assert job.state is State.SUCCESS, job.error
        assert (await jobs.get(job.result)).meta == {"by": job.id}
        assert (await run(jobs, worker, "good")).result == "done"


async def test_interrupts_of_handlers_and_of_their_tasks_do_not_end_the_worker(cli: Cli, jobs: JobQueue) -> None:
    with cli.start("worker", "app:queue") as worker:
        worker.ready()
        for kind, error in [
            ("interrupt", ("KeyboardInterrupt", "KeyboardInterrupt")),
            ("exit in task", ("SystemExit", "usage: tool FILE")),
            ("interrupt in task", ("KeyboardInterrupt", "KeyboardInterrupt")),
        ]:
            job = await run(jobs, worker, kind)
            assert job.error is not None
            assert (job.state, (job.error.kind, job.error.message), len(job.history)) == (State.FAILED, error, 1)
        assert (await run(jobs, worker, "good")).result == "done"
        assert '"shutdown started"' not in worker.log
        worker.send(signal.SIGINT)
        assert worker.ended() == (0, "")
