"""Jobs for tests, and the calls every test of their life makes."""

from __future__ import annotations

import contextlib
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, cast

from bson import ObjectId

from jobqueue.domain.attempts.attempt import JobError
from jobqueue.domain.attempts.states import State
from jobqueue.domain.jobs.job import NewJob
from jobqueue.domain.work.verdict import Death, Failure, RunAgain, Success
from jobqueue.services.application import Runtime
from jobqueue.services.work.lanes import Lane
from jobqueue.services.work.loops import LeaseGrace, Reaper
from jobqueue.store.documents import documents

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from jobqueue.domain.jobs.job import Job
    from jobqueue.services.runs.attempts import ClaimedJob
    from jobqueue.settings import Settings

ERROR: Final = JobError(kind="Boom", message="it broke")
PATIENCE: Final = 60.0
"""Seconds that calls wait for the end of a cascade, so that a test sees all of it on a slow machine too."""
LONG_AGO: Final = datetime(2020, 1, 1, tzinfo=UTC)


@contextlib.asynccontextmanager
async def open_runtime(settings: Settings, *, started: bool = False) -> AsyncIterator[Runtime]:
    """Open services of their own, with their own connections, as another process would have."""
    runtime = await Runtime.open(settings)
    runtime.outboxes.patience = PATIENCE
    try:
        await runtime.configs.refresh()
        if started:
            await runtime.start()
        yield runtime
    finally:
        await runtime.close()


async def add(runtime: Runtime, kind: str = "work", **fields: Any) -> Job:
    """Add a job."""
    return await runtime.producer.add(NewJob(type=kind, **fields))


async def claim(runtime: Runtime, queue: str = "default", worker: str = "worker") -> ClaimedJob:
    """Claim the next job of a queue, which must exist."""
    claimed = await runtime.work.claim(queue, None, worker=worker)
    assert claimed is not None, f"nothing to claim in {queue}"
    return claimed


async def claimed_job(runtime: Runtime, kind: str = "work", **fields: Any) -> ClaimedJob:
    """Add a job and claim it."""
    added = await add(runtime, kind, **fields)
    claimed = await claim(runtime, added.queue)
    assert claimed.job.id == added.id
    return claimed


def lane(queue: str = "default", types: tuple[str, ...] | None = None, **fields: Any) -> Lane:
    """Return a lane whose jobs may be claimed together, and do nothing."""
    return Lane(queue=queue, types=types, processor=lambda _: cast("Any", None), together=True, **fields)


async def succeed(runtime: Runtime, claimed: ClaimedJob, result: Any = None) -> Job:
    """Report success; return the job as it is then."""
    await runtime.work.settle(claimed.job, claimed.token, Success(result=result))
    return await runtime.jobs.get(claimed.job.id)


async def fail(runtime: Runtime, claimed: ClaimedJob, error: JobError = ERROR) -> Job:
    """Report a failure; return the job as it is then."""
    await runtime.work.settle(claimed.job, claimed.token, Failure(error=error))
    return await runtime.jobs.get(claimed.job.id)


async def die(runtime: Runtime, claimed: ClaimedJob, error: JobError = ERROR) -> Job:
    """Report that the job can never succeed; return the job as it is then."""
    await runtime.work.settle(claimed.job, claimed.token, Death(error=error))
    return await runtime.jobs.get(claimed.job.id)


async def retry(runtime: Runtime, claimed: ClaimedJob, delay: float | None = None) -> Job:
    """Ask for another, uncounted run; return the job as it is then."""
    await runtime.work.settle(claimed.job, claimed.token, RunAgain(delay=delay, error=ERROR))
    return await runtime.jobs.get(claimed.job.id)


async def retry_now(runtime: Runtime, claimed: ClaimedJob) -> Job:
    """Ask for another, uncounted run, and make it due at once as a person may; return the job as it is then."""
    await retry(runtime, claimed)
    return await runtime.manager.patch(claimed.job.id, {"delay_til": None})


async def job_in(runtime: Runtime, state: State, **fields: Any) -> Job:
    """Return a job that has reached a state by the usual way."""
    if state is State.DELAYED:
        return await add(runtime, delay=3600, **fields)
    if state is State.PENDING:
        return await add(runtime, **fields)
    claimed = await claimed_job(runtime, **{"attempts": 1} | fields)
    match state:
        case State.SUCCESS:
            return await succeed(runtime, claimed, {"n": 1})
        case State.FAILED:
            return await fail(runtime, claimed)
        case State.KILLED:
            return await die(runtime, claimed)
        case _:
            return claimed.job


async def end_lease(runtime: Runtime, job: Job) -> None:
    """Move the end of a lease to long ago."""
    running = {"_id": ObjectId(job.id), "state": State.PROCESSING.value}
    await runtime.jobs.collection.update_one(running, {"$set": {"resetAt": LONG_AGO}})


def set_clock(runtime: Runtime, now: datetime) -> None:
    """Make these services take a fixed date for the present."""
    runtime.database.clock.present = now


def patient_reaper(runtime: Runtime) -> Reaper:
    """Return a reaper that has reached the database for long."""
    reaper = Reaper(runtime.jobs, runtime.outboxes, runtime.breakers, runtime.notifier, runtime.crashes)
    reaper._grace = LeaseGrace(time.monotonic() - 1e6)
    reaper._grace._last = time.monotonic()
    return reaper


async def document(runtime: Runtime, job_id: str) -> dict[str, Any]:
    """Return a job's document as it is stored."""
    stored = await runtime.jobs.collection.find_one({"_id": ObjectId(job_id)})
    assert stored is not None
    return dict(stored)


def finished_documents(count: int, *, queue: str = "default") -> list[dict[str, Any]]:
    """Return documents of jobs that ended long ago, a second after each other, of many types, owners and parents."""
    made = []
    for number in range(count):
        ended = LONG_AGO + timedelta(seconds=number)
        new = documents.new_document(
            NewJob(
                type=f"type{number % 10}",
                queue=queue,
                meta={"user_id": number % 50, "city": f"c{number % 7}"},
                priority=0,
                attempts=3,
                lease=60,
                key=f"key{number % 100}" if number % 3 == 0 else None,
            ),
            job_id=str(ObjectId()),
            now=ended,
            parent_id=f"{number % 500:024x}" if number % 2 else None,
            batch_id=f"{number % 25 + 1:024x}" if number % 5 == 0 else None,
        )
        state = (State.SUCCESS, State.FAILED, State.KILLED)[number % 3]
        made.append(new | {"state": state.value, "endAt": ended, "attemptsMade": 1})
    return made
