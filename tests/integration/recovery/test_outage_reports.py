"""What running jobs report while the database is away."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from jobqueue.domain.attempts.states import Outcome, State
from jobqueue.domain.errors import DatabaseUnavailableError, JobCancelledError
from jobqueue.services.runs.reporter import JobReporter
from tests.support.data.factories import claimed_job
from tests.support.waiting import eventually

if TYPE_CHECKING:
    import pytest

    from jobqueue import JobQueue
    from jobqueue.services.application import Runtime


async def test_a_line_is_stored_when_the_database_is_back_and_so_long_the_job_waits(
    idle_runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    claimed = await claimed_job(idle_runtime)
    reporter = JobReporter(idle_runtime.work, claimed.job, claimed.token, lambda _: None)
    renew, refusals = idle_runtime.claims.renew, [DatabaseUnavailableError("away")] * 2

    async def sometimes(*args: Any, **kwargs: Any) -> Any:
        if refusals:
            raise refusals.pop()
        return await renew(*args, **kwargs)

    monkeypatch.setattr(idle_runtime.claims, "renew", sometimes)
    await reporter.log("hello")
    assert [line.m for line in (await idle_runtime.jobs.get(claimed.job.id)).logs] == ["hello"]
    assert refusals == []


async def test_a_plain_handler_that_waits_for_the_database_can_be_stopped(
    queue: JobQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    raised: list[BaseException] = []
    calling, ended = threading.Event(), threading.Event()

    @queue.handler("work")
    def work(job: Any) -> None:
        calling.set()
        try:
            job.log("into the void")
        except JobCancelledError as error:
            raised.append(error)
            raise
        finally:
            ended.set()

    async def away(*_: Any, **__: Any) -> None:
        raise DatabaseUnavailableError("away")

    runtime = await queue.open()
    monkeypatch.setattr(runtime.claims, "renew", away)
    async with queue.working():
        job = await queue.add("work")
        await eventually(calling.is_set)
        await queue.kill(job.id)
        await eventually(ended.is_set)
    assert len(raised) == 1
    after = await runtime.jobs.get(job.id)
    assert (after.state, [entry.outcome for entry in after.history]) == (State.KILLED, [Outcome.KILL])
