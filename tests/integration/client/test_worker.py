"""A worker over HTTP runs handlers and tasks as a worker on the database does."""

from __future__ import annotations

import asyncio
import functools
import json
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest

from jobqueue import (
    AsyncClient,
    ChildFailedError,
    Die,
    InvalidInputError,
    JobQueue,
    Member,
    NewBatch,
    NewJob,
    Retry,
    SignalTimeoutError,
    State,
)
from jobqueue.domain.errors import JobCancelledError
from jobqueue.domain.work.verdict import Failure
from tests.support.data.factories import ERROR
from tests.support.docs.readme import ROOT
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from jobqueue import ActiveJob, BlockingJob, Job
    from jobqueue.client.work.worker import Worker
    from jobqueue.services.application import Runtime

LONG = 100


@pytest.fixture
async def worker(client: AsyncClient) -> Worker:
    """Give a worker that does not work yet."""
    return client.worker("q", drain=0, poll=0.1)


async def done(client: AsyncClient, kind: str, data: dict[str, Any] | None = None, **fields: Any) -> Job:
    """Add a job, and return it when it has ended."""
    defaults: dict[str, Any] = {"queue": "q", "attempts": 1}
    job = await client.add(kind, data, **defaults | fields)
    return await client.wait(job.id, LONG)


def outcomes(job: Job) -> list[str]:
    return [str(entry.outcome) for entry in job.history]


async def test_results_logs_and_progress_are_kept(client: AsyncClient, worker: Worker) -> None:
    @worker.handler("async")
    async def in_loop(job: ActiveJob) -> Any:
        await asyncio.gather(*(job.log(f"line {n}") for n in range(3)), job.log("careful", "warning"))
        await job.progress(250)
        return {"attempt": job.attempt, "data": dict(job.data)}

    @worker.handler("plain")
    def in_thread(job: BlockingJob) -> str:
        job.log("here")
        return threading.current_thread().name

    @worker.task()
    def double(n: int) -> int:
        return 2 * n

    async with worker.working():
        job = await done(client, "async", {"n": 1})
        assert (job.state, job.result, job.progress) == (State.SUCCESS, {"attempt": 1, "data": {"n": 1}}, 100)
        assert sorted((line.m, line.level) for line in job.logs) == [
            ("careful", "warning"),
            ("line 0", None),
            ("line 1", None),
            ("line 2", None),
        ]
        plain = await done(client, "plain")
        assert plain.result == f"job-{plain.id}"
        assert await (await double.add(4)).result(LONG) == 8


async def test_the_history_names_the_version_of_the_program(
    client: AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JOBQUEUE_VERSION", "2.4.1")
    worker = client.worker("q", poll=0.2)
    worker.handler("plain")(lambda _job: None)
    async with worker.working():
        job = await done(client, "plain")
    assert [entry.version for entry in job.history] == ["2.4.1"]
    monkeypatch.setenv("JOBQUEUE_VERSION", "a\tb")
    with pytest.raises(InvalidInputError, match="JOBQUEUE_VERSION: must be 1 to 100 printable"):
        client.worker("q")


async def test_every_end_of_a_handler_is_reported(client: AsyncClient, worker: Worker) -> None:
    @worker.handler("fail")
    async def fail(_job: ActiveJob) -> None:
        raise ValueError("no width")

    @worker.handler("die")
    async def die(_job: ActiveJob) -> None:
        raise Die("no such customer")

    @worker.handler("again")
    async def again(job: ActiveJob) -> str:
        if len(job.job.history) == 1:
            raise Retry("not yet", delay=0)
        return "in the end"

    @worker.handler("long")
    async def long(_job: ActiveJob) -> None:
        await asyncio.Event().wait()

    @worker.handler("odd")
    async def odd(_job: ActiveJob) -> Any:
        return {"n": 2**70}

    @worker.handler("object")
    async def some_object(_job: ActiveJob) -> Any:
        return object()

    async with worker.working():
        ends = await asyncio.gather(
            *(done(client, kind) for kind in ("fail", "die", "again")),
            done(client, "long", timeout=0.2, lease=0.5),
            *(done(client, kind) for kind in ("odd", "object")),
        )
    failed, dead, repeated, late, text, nothing = ends
    assert failed.error is not None
    assert (failed.state, failed.error.message) == (State.FAILED, "ValueError: no width")
    assert "raise ValueError" in (failed.error.trace or "")
    assert dead.error is not None
    assert (dead.state, dead.error.kind, dead.error.message) == (State.KILLED, "die", "no such customer")
    assert (repeated.result, outcomes(repeated), repeated.attempts_made) == ("in the end", ["retry", "success"], 1)
    assert late.error is not None
    assert (late.error.kind, outcomes(late)) == ("timeout", ["timeout"])
    assert (text.state, text.result) == (State.SUCCESS, f'{{"n": {2**70}}}')
    assert [line.level for line in text.logs] == ["warning"]
    assert nothing.error is not None
    assert "cannot be stored" in nothing.error.message


async def test_a_killed_job_is_cancelled_and_a_lost_one_too(
    runtime: Runtime, client: AsyncClient, worker: Worker
) -> None:
    stopped: list[str] = []

    @worker.handler("loop")
    async def in_loop(job: ActiveJob) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            stopped.append(job.id)

    @worker.handler("thread")
    def in_thread(job: BlockingJob) -> None:
        try:
            while True:
                job.progress(10)
        except JobCancelledError:
            stopped.append(job.id)
            raise

    async with worker.working():
        jobs = [await client.add(kind, queue="q", lease=0.6, attempts=1) for kind in ("loop", "thread", "loop")]
        for job in jobs:
            await eventually(functools.partial(is_running, client, job.id))
        for job in jobs[:2]:
            await client.kill(job.id)
        lost = await client.get(jobs[2].id)
        assert lost.claim is not None
        await runtime.work.settle(lost, lost.claim.token, Failure(error=ERROR))
        await eventually(lambda: set(stopped) == {job.id for job in jobs})
        assert outcomes(await client.get(jobs[0].id)) == ["kill"]


async def is_running(client: AsyncClient, job_id: str) -> bool:
    return (await client.get(job_id)).state is State.PROCESSING


async def test_a_worker_that_stops_gives_its_jobs_back_uncounted(client: AsyncClient, worker: Worker) -> None:
    @worker.handler("a")
    async def forever(_job: ActiveJob) -> None:
        await asyncio.Event().wait()

    async with worker.working():
        job = await client.add("a", queue="q")
        await eventually(lambda: is_running(client, job.id))
    back = await client.get(job.id)
    assert (back.state in {State.PENDING, State.DELAYED}, back.attempts_made, outcomes(back)) == (True, 0, ["retry"])


async def test_a_heartbeat_outlives_a_handler_that_blocks_the_event_loop(client: AsyncClient, worker: Worker) -> None:
    release = threading.Event()

    @worker.handler("a")
    async def blocking(_job: ActiveJob) -> str:
        release.wait(LONG)
        return "done"

    # The server has to answer meanwhile, so the worker gets a loop of its own.
    thread = threading.Thread(target=lambda: asyncio.run(worker.work()))
    thread.start()
    job = await client.add("a", queue="q", lease=0.6, attempts=1)
    await eventually(lambda: is_running(client, job.id))
    first = (await client.get(job.id)).reset_at
    assert first is not None
    await eventually(lambda: has_moved(client, job.id, first.timestamp() + 1))
    release.set()
    assert (await client.wait(job.id, LONG)).result == "done"
    worker.stop()
    await asyncio.to_thread(thread.join)


async def has_moved(client: AsyncClient, job_id: str, since: float) -> bool:
    reset_at = (await client.get(job_id)).reset_at
    return reset_at is not None and reset_at.timestamp() > since


async def test_steps_sleeps_and_signals_go_on_where_they_were(client: AsyncClient, worker: Worker) -> None:
    ran: list[str] = []

    def note(name: str) -> str:
        ran.append(name)
        return name

    @worker.handler("steps")
    async def steps(job: ActiveJob) -> Any:
        first = await job.step("first", note, "first")
        await job.sleep("rest", 0.1)
        second = await job.step("second", note, "second", once=True)
        answer = await job.signal("approved")
        with pytest.raises(SignalTimeoutError):
            await job.signal("never", timeout=0)
        return [first, second, answer, sorted(job.steps)]

    @worker.handler("plain")
    def plain(job: BlockingJob) -> Any:
        first = job.step("first", note, "plain", attempts=3, backoff=0)
        job.sleep("rest", 0)
        return [first, job.signal("approved")]

    @worker.handler("flaky")
    async def flaky(job: ActiveJob) -> int:
        tries: list[int] = []

        def fail_once() -> int:
            tries.append(1)
            if len(tries) == 1:
                raise ValueError("not yet")
            return len(tries)

        return await job.step("flaky", fail_once, attempts=2, backoff=0.01)

    async with worker.working():
        assert (await done(client, "flaky")).result == 2
        jobs = [await client.add(kind, queue="q", attempts=1) for kind in ("steps", "plain")]
        for job in jobs:
            await eventually(functools.partial(waits, client, job.id))
            await client.signal(job.id, "approved", {"by": "ann"})
        long, short = [await client.wait(job.id, LONG) for job in jobs]
    assert long.result == ["first", "second", {"by": "ann"}, ["approved", "first", "never", "rest", "second"]]
    assert short.result == ["plain", {"by": "ann"}]
    assert ran == ["first", "plain", "second"] or sorted(ran) == ["first", "plain", "second"]


async def waits(client: AsyncClient, job_id: str) -> bool:
    job = await client.get(job_id)
    return job.wait is not None and job.wait.signals == ("approved",)


async def test_children_are_awaited(client: AsyncClient, worker: Worker) -> None:
    @worker.handler("square")
    async def square(job: ActiveJob) -> int:
        if job.data["n"] < 0:
            raise Die("negative")
        return int(job.data["n"]) ** 2

    @worker.handler("sum")
    async def total(job: ActiveJob) -> Any:
        squares = await job.map("squares", "square", [{"n": n} for n in range(3)], queue="q")
        each = [result async for result in job.results_of("squares")]
        one = await job.call("one", "square", {"n": 5}, queue="q")
        with pytest.raises(ChildFailedError, match="negative"):
            await job.call("bad", "square", {"n": -1}, queue="q")
        return [squares, each, one, len(await job.children())]

    @worker.handler("plain")
    def plain(job: BlockingJob) -> Any:
        return job.map("squares", "square", [{"n": 3}], queue="q")

    async with worker.working():
        summed, threaded = await asyncio.gather(done(client, "sum"), done(client, "plain"))
    assert summed.result == [[0, 1, 4], [0, 1, 4], 25, 5]
    assert threaded.result == [9]


async def test_relatives_and_results_of_others_are_at_hand(client: AsyncClient, worker: Worker) -> None:
    @worker.handler("first")
    async def first(job: ActiveJob) -> str:
        await job.add("more", {"n": 7}, ref="more")
        return "result of the first"

    @worker.handler("more")
    async def more(_job: ActiveJob) -> None: ...

    @worker.handler("then")
    async def then(job: ActiveJob) -> Any:
        page = await job.batch_jobs()
        return [job.results["first"], await job.results_of("first"), sorted(one.type for one in page.items)]

    @worker.handler("child")
    async def child(job: ActiveJob) -> Any:
        parent = await job.parent()
        return None if parent is None else parent.result

    members = [
        Member(job=NewJob(type="first", queue="q", on_success=NewJob(type="child", queue="q")), ref="first"),
        Member(job=NewJob(type="then", queue="q"), ref="then", after=["first"]),
    ]
    async with worker.working():
        _, (first_job, then_job) = await client.add_batch(NewBatch(members=members))
        then_ended = await client.wait(then_job.id, LONG)
        [born] = await eventually(lambda: ended_children(client, first_job.id))
    assert then_ended.result == [
        "result of the first",
        {"first": "result of the first"},
        ["first", "more", "then"],
    ]
    assert born.result == "result of the first"


async def ended_children(client: AsyncClient, job_id: str) -> list[Job]:
    return [job async for job in client.jobs(parent_id=job_id, state="success")]


async def test_handlers_of_a_queue_object_run_within_their_concurrency(client: AsyncClient) -> None:
    queue = JobQueue()
    running: list[int] = []
    most: list[int] = []

    @queue.handler("narrow", queue="q", concurrency=1)
    async def narrow(_job: ActiveJob) -> None:
        running.append(1)
        most.append(len(running))
        await asyncio.sleep(0)
        running.pop()

    @queue.handler("elsewhere", queue="other")
    async def elsewhere(_job: ActiveJob) -> None: ...

    await client.add_all([NewJob(type="narrow", queue="q")] * 5)
    async with client.worker("q", handlers=queue, poll=0.1).working():
        await eventually(lambda: all_ended(client))
    assert most == [1] * 5
    with pytest.raises(InvalidInputError, match="there are none for the queue empty"):
        await client.worker("empty", handlers=queue).work()
    for wrong in ({"concurrency": 0}, {"lease": 0}, {"poll": 0}):
        with pytest.raises(InvalidInputError):
            client.worker("q", **wrong)  # type: ignore[arg-type]


async def all_ended(client: AsyncClient) -> bool:
    return len([job async for job in client.jobs(queue="q", state="success")]) == 5


async def test_a_program_that_is_told_to_end_gives_its_jobs_back(server: str, client: AsyncClient) -> None:
    arguments = ("-W", "error", "-m", "tests.support.http.http_worker", server)
    program = await asyncio.create_subprocess_exec(
        sys.executable, *arguments, cwd=ROOT, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    assert (await done(client, "double", {"n": 4})).result == 8
    job = await client.add("forever", queue="q")
    await eventually(lambda: is_running(client, job.id))
    program.terminate()
    said, errors = await program.communicate()
    assert (program.returncode, errors.decode(), json.loads(said)) == (0, "", [])
    back = await client.get(job.id)
    assert (back.attempts_made, outcomes(back)) == (0, ["retry"])
