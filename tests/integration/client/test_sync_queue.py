"""`SyncJobQueue`: transactions of PyMongo, forks, workflows and tasks; and a `JobQueue` in several event loops."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from motor.motor_asyncio import AsyncIOMotorClient
from pymongo import MongoClient

from jobqueue import InvalidInputError, JobQueue, KeyConflictError, NewJob, State, SyncJobQueue, Workflow

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jobqueue.settings import Settings

ROOT = Path(__file__).parents[3]
LONG = 60


@pytest.fixture
def sync(settings: Settings) -> Iterator[SyncJobQueue]:
    with SyncJobQueue(settings) as queue:
        yield queue


@pytest.fixture
def client(mongo_url: str) -> Iterator[MongoClient[dict[str, Any]]]:
    with MongoClient[dict[str, Any]](mongo_url) as client:
        yield client


def test_a_job_exists_exactly_if_the_transaction_commits(
    sync: SyncJobQueue, client: MongoClient[dict[str, Any]], db_name: str
) -> None:
    def types() -> list[str]:
        return sorted(job.type for job in sync.jobs())

    with client.start_session() as session:
        with session.start_transaction():
            job = sync.add("kept", {"n": 1}, session=session, meta={"user_id": 42}, key="k")
            client[db_name]["orders"].insert_one({"job": job.id}, session=session)
            assert types() == []
        assert types() == ["kept"]
        assert (job.state, job.attempts, sync.get(job.id).meta) == (State.PENDING, 3, {"user_id": 42})
        session.start_transaction()
        sync.add("lost", session=session)
        session.abort_transaction()
        with pytest.raises(KeyConflictError), session.start_transaction():
            sync.add("other", session=session, key="k")
        with pytest.raises(InvalidInputError, match="together with depends_on"):
            sync.add("later", session=session, depends_on=[job.id])
    assert types() == ["kept"]

    @sync.task("task")
    def task(n: int) -> int:
        return n

    with client.start_session() as session, session.start_transaction():
        task.options(session=session).using(sync).add(7)
    assert types() == ["kept", "task"]
    client[db_name].drop_collection("orders")
    with pytest.raises(InvalidInputError, match="session of PyMongo's MongoClient, not str"):
        sync.add("kept", session="session")


async def test_a_session_of_motor_is_refused(settings: Settings, mongo_url: str) -> None:
    motor: Any = AsyncIOMotorClient(mongo_url)
    sync = SyncJobQueue(settings)
    async with await motor.start_session() as session:
        with pytest.raises(InvalidInputError, match="session of PyMongo's MongoClient"):
            await asyncio.to_thread(sync.add_job, NewJob(type="a"), session=session)
    motor.close()
    await asyncio.to_thread(sync.close)


def test_threads_and_forks_share_a_queue(mongo_url: str, db_name: str) -> None:
    program = [sys.executable, "-W", "error", "-m", "tests.support.http.forking_queue", mongo_url, db_name]
    ran = subprocess.run(program, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stderr) == (0, "")
    told = json.loads(ran.stdout)
    assert (len(told["ids"]), told["codes"]) == (4 * 3 * 5, [0, 0])
    assert told["ids"] == told["found"]


def test_tasks_and_workflows_are_used_in_plain_code(sync: SyncJobQueue, settings: Settings) -> None:
    @sync.task("double")
    def double(n: int) -> int:
        return 2 * n

    @sync.handler("plain")
    def plain(job: Any) -> int:
        return int(job.data["n"])

    stop = threading.Event()

    async def work() -> None:
        async with JobQueue(settings) as queue:
            queue.handlers = sync.calls.handlers
            async with queue.working():
                await asyncio.to_thread(stop.wait)

    worker = threading.Thread(target=asyncio.run, args=(work(),))
    worker.start()
    try:
        assert double.using(sync).add(4).result(timeout=LONG) == 8
        flow = Workflow()
        first = flow.add(double.new(1))
        flow.add(NewJob(type="plain", data={"n": 7}), after=first)
        batch = sync.start(flow)
        assert batch.wait(LONG).verdict == "success"
        assert (batch.result(first), list(batch.results("plain")), list(batch.results(double))) == (2, [7], [2])
        assert (batch.counts["success"], batch.view().total) == (2, 2)
    finally:
        stop.set()
        worker.join()


def test_a_queue_opens_anew_in_the_next_event_loop(settings: Settings) -> None:
    queue = JobQueue(settings)
    ids = [asyncio.run(queue.add("a", {"n": n})).id for n in range(2)]

    async def end() -> list[str]:
        found = [job.id async for job in queue.jobs(oldest_first=True)]
        await queue.close()
        return found

    assert asyncio.run(end()) == ids


def test_a_queue_that_is_open_in_another_event_loop_says_what_to_use(settings: Settings) -> None:
    async def call() -> str:
        async with JobQueue(settings) as queue:
            with pytest.raises(RuntimeError, match=r"open in another event loop: .* use SyncJobQueue") as refused:
                await asyncio.to_thread(asyncio.run, queue.add("a"))
            return str(refused.value)

    assert "SyncJobQueue" in asyncio.run(call())
