"""Tasks on a real database: what is stored, what comes back, and jobs of other producers."""

from __future__ import annotations

import asyncio
import functools
import threading
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, ParamSpec, TypeVar

import pytest
from bson import ObjectId
from motor.motor_asyncio import AsyncIOMotorClient

from jobqueue import (
    Die,
    InvalidInputError,
    JobFailedError,
    JobQueue,
    KeyConflictError,
    Member,
    NewBatch,
    NewJob,
    NotFoundError,
    ResultUnavailableError,
    State,
)
from jobqueue.domain.errors import NotReadyError
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from jobqueue import ActiveJob, BlockingJob, Job, Task
    from jobqueue.settings import Settings

P = ParamSpec("P")
R = TypeVar("R")
LONG: Final = 100


@dataclass
class Size:
    width: int
    height: int


async def shrink(job: ActiveJob, src: str, width: int = 320, at: datetime | None = None) -> Size:
    await job.log(f"shrinking {src} at {at}")
    return Size(width, width // 2)


def shrink_in_thread(job: BlockingJob, src: str, width: int = 320) -> list[Size]:
    job.log(f"shrinking {src} in {threading.current_thread().name}")
    return [Size(width, width // 2)]


def double(n: int) -> int:
    return 2 * n


async def ended(queue: JobQueue, job: Job) -> Job:
    return await queue.wait(job.id, LONG)


async def stored(queue: JobQueue, job_id: str) -> dict[str, Any]:
    document: dict[str, Any] | None = await (await queue.open()).jobs.collection.find_one({"_id": ObjectId(job_id)})
    assert document is not None
    return document


async def test_the_stored_job_does_not_differ_from_that_of_a_handler(queue: JobQueue) -> None:
    task = queue.task("shrink", queue="media", attempts=5, backoff=[1, 2])(shrink)
    moment = datetime(2030, 1, 1, tzinfo=UTC)
    ref = await task.options(meta={"user_id": 42}, key="a").add("a.png", at=moment)
    data = {"src": "a.png", "at": moment}
    job = await queue.add("shrink", data, queue="media", attempts=5, backoff=[1, 2], meta={"user_id": 42}, key="b")
    by_task, by_queue = await stored(queue, ref.id), await stored(queue, job.id)
    different = {name for name in by_queue if by_task[name] != by_queue[name]}
    assert by_task.keys() == by_queue.keys()
    assert different <= {"_id", "key", "insertAt", "readyAt", "edition"}
    assert by_task["data"] == data


async def test_a_result_comes_back_in_its_type(queue: JobQueue) -> None:
    task = queue.task()(shrink)
    in_thread = queue.task("thread", concurrency=1)(shrink_in_thread)
    async with queue.working():
        ref, other = await task.add("a.png", width=64), await in_thread.add("b.png")
        assert await ref.result(LONG) == Size(64, 32)
        assert await other.result(LONG) == [Size(320, 160)]
        assert await task.ref(ref.id).result() == Size(64, 32)
    job = await ref.job()
    assert (job.result, [line.m for line in job.logs]) == (
        {"width": 64, "height": 32},
        ["shrinking a.png at None"],
    )
    assert (await other.job()).logs[0].m == f"shrinking b.png in job-{other.id}"


async def test_results_are_waited_for_in_a_process_that_runs_nothing(queue: JobQueue, settings: Settings) -> None:
    task = queue.task()(double)
    refs = await task.add_all([task.new(n) for n in range(20)])
    async with JobQueue(settings) as elsewhere:
        waiting = asyncio.gather(*(elsewhere_task(elsewhere).ref(ref.id).result(LONG) for ref in refs))
        await eventually(lambda: readers_of(elsewhere) == len(refs))
        async with queue.working():
            assert await waiting == [2 * n for n in range(20)]


def elsewhere_task(elsewhere: JobQueue) -> Task[[int], int]:
    known = elsewhere.handlers.pop(("default", "double"), None)
    del known
    return elsewhere.task()(double)


def readers_of(queue: JobQueue) -> int:
    return queue._runtime.events.readers if queue._runtime is not None else 0


async def test_a_wait_follows_the_changes_and_does_not_ask_again_and_again(
    queue: JobQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobqueue.services.jobs.watch._LOOK_SECONDS", 1000.0)
    task = queue.task()(double)
    runtime = await queue.open()
    ref = await task.add(4)
    looks = 0
    whole = runtime.jobs.whole

    async def counted(job_id: str) -> Job:
        nonlocal looks
        looks += 1
        return await whole(job_id)

    monkeypatch.setattr(runtime.jobs, "whole", counted)
    waiting = asyncio.create_task(ref.result(LONG))
    await eventually(lambda: looks == 2)
    async with queue.working():
        assert await waiting == 8
    assert looks == 3


def logged(function: Callable[P, R]) -> Callable[P, R]:
    @functools.wraps(function)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        return function(*args, **kwargs)

    return wrapper


async def test_a_plain_wrapper_of_an_async_function_is_a_task(queue: JobQueue) -> None:
    task = queue.task()(logged(shrink))
    partly = queue.task("partly")(functools.partial(shrink_in_thread, width=6))
    async with queue.working():
        ref, other = await task.add("a.png"), await partly.add("b.png")
        assert await ref.result(LONG) == Size(320, 160)
        assert await other.result(LONG) == [Size(6, 3)]
    assert await task.run("a.png", width=2) == Size(2, 1)


async def fails(job: ActiveJob, how: str) -> None:
    if how == "die":
        raise Die("no source")
    await job.progress(3)
    raise LookupError(how)


async def test_a_failed_job_has_no_result(queue: JobQueue) -> None:
    task = queue.task(attempts=1)(fails)
    async with queue.working():
        failed, dead = await task.add("gone"), await task.add("die")
        with pytest.raises(JobFailedError, match=f"job {failed.id} failed: LookupError: gone") as caught:
            await failed.result(LONG)
        error = caught.value
        assert (error.job_id, error.state, error.kind, error.message) == (failed.id, "failed", "LookupError", "gone")
        assert error.trace is not None
        assert error.trace.count("\n  File ") == 1
        assert "in fails" in error.trace
        with pytest.raises(JobFailedError, match=f"job {dead.id} was killed: die: no source"):
            await dead.result(LONG)
        assert (await dead.wait()).state is State.KILLED


async def test_a_job_that_a_person_kills_has_no_result(queue: JobQueue) -> None:
    task = queue.task()(double)
    ref = await task.add(4)
    waiting = asyncio.create_task(ref.result(LONG))
    await eventually(lambda: readers_of(queue) == 1)
    await queue.kill(ref.id, "not needed")
    with pytest.raises(JobFailedError, match=r"was killed: .*not needed"):
        await waiting


async def test_a_wait_ends_with_its_time_and_the_job_goes_on(queue: JobQueue) -> None:
    task = queue.task()(double)
    ref = await task.add(4)
    for timeout in (0, 0.01):
        with pytest.raises(TimeoutError, match=f"job {ref.id} has not ended within {timeout} seconds; it is pending"):
            await ref.result(timeout)
    async with queue.working():
        assert await ref.result(LONG) == 8
    assert await ref.result(0) == 8


async def test_a_deleted_job_has_no_result(queue: JobQueue, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jobqueue.services.jobs.watch._LOOK_SECONDS", 0.05)
    task = queue.task()(double)
    ref = await task.add(4)
    waiting = asyncio.create_task(ref.result(LONG))
    await eventually(lambda: readers_of(queue) == 1)
    await queue.delete(ref.id)
    with pytest.raises(NotFoundError):
        await waiting
    with pytest.raises(NotFoundError):
        await ref.job()
    with pytest.raises(InvalidInputError):
        await task.ref("nonsense").result()


async def test_a_wait_ends_when_the_queue_is_closed(queue: JobQueue) -> None:
    ref = await queue.task()(double).add(4)
    waiting = asyncio.create_task(ref.result())
    await eventually(lambda: readers_of(queue) == 1)
    await queue.close()
    with pytest.raises(NotReadyError):
        await asyncio.wait_for(waiting, LONG)


async def test_a_result_of_another_version_is_told(queue: JobQueue) -> None:
    task = queue.task()(shrink)
    old = await queue.add("old", {})
    queue.handler("old")(lambda _job: {"size": "64x32"})
    async with queue.working():
        await ended(queue, old)
    with pytest.raises(ResultUnavailableError, match=r"result: object missing required field width"):
        await task.ref(old.id).result()


async def test_nothing_is_stored_when_an_argument_is_wrong(queue: JobQueue) -> None:
    task: Any = queue.task()(shrink)
    with pytest.raises(InvalidInputError) as refused:
        await task.add("a.png", width="64", at=datetime(2030, 1, 1))  # noqa: DTZ001 - that is the point
    assert list(refused.value.problems) == ["data.width"]
    with pytest.raises(InvalidInputError, match=r"data\.at: is a date without a time zone"):
        await task.add("a.png", at=datetime(2030, 1, 1))  # noqa: DTZ001 - as above
    with pytest.raises(TypeError):
        await task.add()
    with pytest.raises(InvalidInputError):
        await task.add_all([])
    assert (await queue.list()).items == ()


async def test_many_are_added_all_or_none(queue: JobQueue) -> None:
    task = queue.task()(double)
    unique = task.options(key="one")
    await unique.add(1)
    with pytest.raises(KeyConflictError):
        await task.add_all([task.new(2), unique.new(3)])
    assert len((await queue.list()).items) == 1
    wrong: Any = [task.new(2), NewJob(type="double", data={"n": 3})]
    with pytest.raises(TypeError, match=r"takes jobs of new\(\), not NewJob"):
        await task.add_all(wrong)
    assert len((await queue.list()).items) == 1
    refs = await task.add_all(one.new(n) for n, one in ((2, task), (3, task.options(priority=9))))
    jobs = [await ref.job() for ref in refs]
    assert [(job.data, job.priority) for job in jobs] == [({"n": 2}, 0), ({"n": 3}, 9)]


async def test_a_task_joins_a_transaction(queue: JobQueue, mongo_url: str) -> None:
    task = queue.task()(double)
    client: AsyncIOMotorClient[Any] = AsyncIOMotorClient(mongo_url)
    async with await client.start_session() as session:
        session.start_transaction()
        ref = await task.options(session=session).add(4)
        await session.abort_transaction()
        with pytest.raises(NotFoundError):
            await ref.job()
        session.start_transaction()
        ref = await task.options(session=session).add(4)
        await session.commit_transaction()
    client.close()
    assert (await ref.job()).data == {"n": 4}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"src": 3}, "data.src: expected str, got int"),
        ({"src": "a.png", "widht": 3}, "data.widht: is no argument of shrink; did you mean width?"),
        ({}, "data.src: is required"),
        ({"src": "a.png", "width": "64", "at": "now"}, "data.width: expected int, got str; data.at: invalid RFC3339"),
    ],
)
async def test_wrong_data_of_another_producer_ends_the_job(queue: JobQueue, data: Any, message: str) -> None:
    queue.task(attempts=5)(shrink)
    async with queue.working():
        job = await ended(queue, await queue.add("shrink", data, attempts=5))
    assert (job.state, job.attempts_made) == (State.KILLED, 1)
    assert job.error is not None
    assert job.error.kind == "die"
    assert job.error.message.startswith(message)


async def test_data_of_another_producer_is_read(queue: JobQueue) -> None:
    queue.task()(shrink)
    async with queue.working():
        job = await ended(queue, await queue.add("shrink", {"src": "a.png", "at": "2030-01-01T00:00:00Z"}))
    assert (job.result, job.logs[0].m) == (
        {"width": 320, "height": 160},
        "shrinking a.png at 2030-01-01 00:00:00+00:00",
    )


def from_size(data: dict[str, Any]) -> Mapping[str, Any]:
    if "size" not in data:
        return data
    width = data.pop("size")["width"]
    return {**data, "width": int(width)}


async def test_jobs_of_former_names_and_of_former_arguments_run(queue: JobQueue) -> None:
    task = queue.task("image.shrink", aliases=["thumb", "shrink"], upgrade=from_size)(shrink)
    old = await queue.add("thumb", {"src": "a.png", "size": {"width": "64"}})
    wrong = await queue.add("shrink", {"src": "a.png", "height": 3})
    broken = await queue.add("shrink", {"src": "a.png", "size": 3}, attempts=1)
    async with queue.working():
        new = await task.add("a.png", width=8)
        assert await new.result(LONG) == Size(8, 4)
        assert await task.ref(old.id).result(LONG) == Size(64, 32)
        dead, failed = await ended(queue, wrong), await ended(queue, broken)
    assert (await new.job()).type == "image.shrink"
    assert (await queue.get(old.id)).data == {"src": "a.png", "size": {"width": "64"}}
    assert dead.error is not None
    assert (dead.state, dead.error.message) == (
        State.KILLED,
        "after the upgrade: data.height: is no argument of image.shrink",
    )
    assert failed.error is not None
    assert (failed.state, failed.error.kind) == (State.FAILED, "TypeError")


async def test_an_upgrade_gets_its_own_copy_of_the_data(queue: JobQueue) -> None:
    def without_depth(data: dict[str, Any]) -> dict[str, Any]:
        return {"n": data["deep"].pop("n")}

    @queue.task(upgrade=without_depth)
    async def work(job: ActiveJob, n: int) -> Any:
        return [n, job.data]

    async with queue.working():
        job = await ended(queue, await queue.add("work", {"deep": {"n": 3}}))
    assert job.result == [3, {"deep": {"n": 3}}]


async def test_an_upgrade_that_returns_no_data_is_a_failed_attempt(queue: JobQueue) -> None:
    upgrade: Any = list
    queue.task(upgrade=upgrade)(double)
    async with queue.working():
        job = await ended(queue, await queue.add("double", {"m": 3}, attempts=1))
    assert job.error is not None
    assert job.error.message == "upgrade has to return the data of a job, not list"


async def test_a_task_and_its_former_names_share_their_concurrency(queue: JobQueue) -> None:
    running: list[str] = []
    most = 0
    go_on = asyncio.Event()

    @queue.task("new", aliases=["old"], concurrency=1)
    async def work(job: ActiveJob) -> None:
        nonlocal most
        running.append(job.id)
        most = max(most, len(running))
        await go_on.wait()
        running.remove(job.id)

    runtime = await queue.open()
    assert [lane.types for lane in queue.lanes(runtime)()] == [("new", "old")]
    jobs = [await queue.add(kind) for kind in ("new", "old", "new", "old")]
    async with queue.working(concurrency=4):
        await eventually(lambda: len(running) == 1)
        go_on.set()
        for job in jobs:
            await ended(queue, job)
    assert most == 1


async def test_an_annotation_that_cannot_be_read_is_a_failed_attempt_and_no_dead_job(queue: JobQueue) -> None:
    def work(at: Nowhere) -> None:  # type: ignore[name-defined] # noqa: F821 - that is the point
        raise NotImplementedError(at)

    queue.task()(work)
    async with queue.working():
        job = await ended(queue, await queue.add("work", {"at": 3}, attempts=1))
    assert job.error is not None
    assert (job.state, job.error.kind) == (State.FAILED, "AnnotationError")
    assert "import it outside of" in job.error.message


async def test_tasks_are_the_members_of_a_batch_and_read_what_came_before(queue: JobQueue) -> None:
    first = queue.task("first")(shrink)

    @queue.task()
    async def second(job: ActiveJob, name: str) -> str:
        return f"{name} {first.decode(job.results['first']).width}"

    members = [
        Member(job=first.new("a.png", width=64), ref="first"),
        Member(job=second.new("wide:"), after=["first"]),
    ]
    async with queue.working():
        _, jobs = await queue.add_batch(NewBatch(members=members))
        assert await second.ref(jobs[1].id).result(LONG) == "wide: 64"


async def test_a_job_that_is_started_anew_is_waited_for_again(queue: JobQueue) -> None:
    calls: list[int] = []

    @queue.task(attempts=1)
    async def sometimes() -> int:
        calls.append(1)
        if len(calls) == 1:
            raise OSError("busy")
        return len(calls)

    async with queue.working():
        ref = await sometimes.add()
        with pytest.raises(JobFailedError):
            await ref.result(LONG)
        await queue.requeue(ref.id)
        assert await ref.result(LONG) == 2
