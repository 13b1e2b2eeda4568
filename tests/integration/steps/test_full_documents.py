"""A job full of steps, log lines and history ends normally, however it ends."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from bson import BSON

from jobqueue.domain.attempts.attempt import JobError
from jobqueue.domain.attempts.states import State
from jobqueue.domain.errors import TooLargeError
from jobqueue.domain.jobs.job import LONGEST_LINE
from jobqueue.domain.steps.step import INLINE_RESULT, Wait
from jobqueue.domain.work.verdict import Death, Failure, RunAgain, Success, Suspension, Verdict
from tests.support.data.factories import LONG_AGO, claim, claimed_job, document, end_lease, patient_reaper

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from jobqueue.services.application import Runtime
    from jobqueue.services.runs.attempts import ClaimedJob

STEPS, LINES, ENTRIES = 100, 1_000, 200
LARGEST = "x" * (INLINE_RESULT - 20)
ERROR = JobError(kind="Boom", message="m" * 20_000, trace="t" * 40_000)
MIB = 1024 * 1024
COPY = {
    "$mergeObjects": [{"$first": "$steps"}, {"name": {"$concat": ["step ", {"$toString": "$$number"}]}}],
}


async def fill(runtime: Runtime) -> ClaimedJob:
    """Return a claimed job with steps, lines and entries of its history, all as large as they may be."""
    claimed = await claimed_job(runtime, attempts=ENTRIES + 5, backoff=1000)
    await runtime.work.steps.record(claimed.job, claimed.token, "step 0", LARGEST)
    copies = {"$map": {"input": {"$range": [0, STEPS]}, "as": "number", "in": COPY}}
    await runtime.jobs.collection.update_one({}, [{"$set": {"steps": copies}}])
    for start in range(0, LINES, 250):
        lines = [(f"{number} {'l' * (LONGEST_LINE - 10)}", None) for number in range(start, start + 250)]
        await runtime.work.report(claimed.job, claimed.token, lines=lines)
    error = {"kind": ERROR.kind, "message": ERROR.message, "trace": ERROR.trace}
    entry = {"attempt": 1, "worker": "w", "startAt": LONG_AGO, "endAt": LONG_AGO, "outcome": "fail", "error": error}
    earlier = [entry | {"token": f"t{number}"} for number in range(ENTRIES - 1)]
    update = [{"$set": {"history": {"$concatArrays": [{"$literal": earlier}, "$history"]}}}]
    await runtime.jobs.collection.update_one({}, update)
    assert len(BSON.encode(await document(runtime, claimed.job.id))) > 6 * MIB
    return claimed


def settled(verdict: Verdict) -> Callable[[Runtime, ClaimedJob], Awaitable[object]]:
    return lambda runtime, claimed: runtime.work.settle(claimed.job, claimed.token, verdict)


async def reap(runtime: Runtime, claimed: ClaimedJob) -> None:
    await end_lease(runtime, claimed.job)
    await patient_reaper(runtime).run_once()


async def kill(runtime: Runtime, claimed: ClaimedJob) -> None:
    await runtime.manager.kill(claimed.job.id, "no longer needed")


async def give_back(runtime: Runtime, claimed: ClaimedJob) -> None:
    await runtime.work.release(claimed.job, claimed.token)


ENDS: dict[str, tuple[Callable[[Runtime, ClaimedJob], Awaitable[Any]], State]] = {
    "success": (settled(Success(result="r" * (4 * MIB - 100))), State.SUCCESS),
    "fail": (settled(Failure(error=ERROR)), State.DELAYED),
    "timeout": (settled(Failure(error=ERROR, timed_out=True)), State.DELAYED),
    "die": (settled(Death(error=ERROR)), State.KILLED),
    "retry": (settled(RunAgain(delay=1000, error=ERROR)), State.DELAYED),
    "suspend": (settled(Suspension(delay=1000, wait=Wait(names=("rest",)))), State.DELAYED),
    "hanging": (reap, State.DELAYED),
    "kill": (kill, State.KILLED),
    "release": (give_back, State.PENDING),
}


@pytest.mark.parametrize("end", ENDS)
async def test_a_job_that_is_full_of_steps_ends_and_goes_on(idle_runtime: Runtime, end: str) -> None:
    claimed = await fill(idle_runtime)
    act, state = ENDS[end]
    await act(idle_runtime, claimed)
    job = await idle_runtime.jobs.whole(claimed.job.id)
    assert (job.state, job.history[-1].outcome, len(job.history)) == (state, end, ENTRIES)
    assert job.steps is not None
    assert len([step for step in job.steps if step.is_finished]) == STEPS

    if state is not State.PENDING:
        await idle_runtime.manager.requeue(job.id)
    again = await claim(idle_runtime)
    assert len(again.results) == (0 if end == "success" else STEPS)
    assert set(again.results.values()) <= {LARGEST}
    await idle_runtime.work.settle(again.job, again.token, Success())
    assert (await idle_runtime.jobs.get(job.id)).state is State.SUCCESS


@pytest.mark.parametrize("what", ["a signal", "a result"])
async def test_a_value_that_a_full_document_refuses_leaves_nothing(idle_runtime: Runtime, what: str) -> None:
    claimed = await claimed_job(idle_runtime)
    room = await idle_runtime.jobs.collection.find_one({}, {"room": {"$subtract": [16 * MIB, {"$bsonSize": "$$ROOT"}]}})
    assert room is not None
    filling = "x" * (room["room"] - 150)
    await idle_runtime.jobs.collection.update_one({}, {"$set": {"meta.filling": filling}})
    value = "v" * 200_000
    if what == "a signal":
        kept: Awaitable[Any] = idle_runtime.signals.send(claimed.job.id, "approved", value)
    else:
        kept = idle_runtime.work.steps.record(claimed.job, claimed.token, "fetch", value)
    with pytest.raises(TooLargeError):
        await kept
    assert await idle_runtime.jobs.collection.database["steps"].count_documents({}) == 0
