"""Suspended jobs say for what they wait."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from jobqueue.api.jobs.schemas import WhyResponse
from jobqueue.domain.attempts.attempt import JobError
from jobqueue.domain.attempts.states import State
from jobqueue.domain.jobs import json_form
from jobqueue.domain.steps.step import Wait
from jobqueue.domain.work.verdict import Suspension
from tests.support.data.factories import claimed_job

if TYPE_CHECKING:
    from jobqueue.services.application import Runtime

UNTIL = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=1)
AT = json_form.date(UNTIL)


async def why(runtime: Runtime, job_id: str) -> dict[str, object]:
    """Return the first reason why a job does not run."""
    shown = WhyResponse.of(await runtime.explainer.why(job_id))
    assert shown["state"] == State.DELAYED
    assert shown["nextStartAt"] == AT
    reason: dict[str, object] = shown["reasons"][0]
    return reason


async def test_a_job_that_sleeps_names_the_sleep(idle_runtime: Runtime) -> None:
    claimed = await claimed_job(idle_runtime)
    await idle_runtime.work.steps.begin_sleep(claimed.job, claimed.token, "rest", until=UNTIL)
    await idle_runtime.work.settle(claimed.job, claimed.token, Suspension(until=UNTIL, wait=Wait(names=("rest",))))
    message = f"suspended until {AT}, by sleep rest"
    assert await why(idle_runtime, claimed.job.id) == {"kind": "due", "message": message, "at": AT, "steps": ["rest"]}


async def test_a_job_that_waits_for_the_next_try_of_a_step_tells_its_error(idle_runtime: Runtime) -> None:
    claimed = await claimed_job(idle_runtime)
    error = JobError(kind="OSError", message="no answer")
    await idle_runtime.work.steps.failed(claimed.job, claimed.token, "fetch", tries=1, error=error, wait=60)
    await idle_runtime.work.settle(claimed.job, claimed.token, Suspension(until=UNTIL, wait=Wait(names=("fetch",))))
    message = f"suspended until {AT}, by step fetch, which failed: OSError: no answer"
    assert (await why(idle_runtime, claimed.job.id))["message"] == message


async def test_a_suspension_without_a_name_tells_its_end(idle_runtime: Runtime) -> None:
    claimed = await claimed_job(idle_runtime)
    await idle_runtime.work.settle(claimed.job, claimed.token, Suspension(until=UNTIL))
    reason = await why(idle_runtime, claimed.job.id)
    assert (reason["message"], "steps" in reason) == (f"suspended until {AT}", False)
