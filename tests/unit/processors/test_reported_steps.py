"""The job as webhooks and commands get it."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from jobqueue.domain.attempts.attempt import JobError
from jobqueue.domain.errors import StepError
from jobqueue.domain.jobs import json_form
from jobqueue.domain.jobs.job import NewJob
from jobqueue.domain.steps.call import Call
from jobqueue.domain.steps.step import Step, StepKind
from jobqueue.processors.reported_steps import job_with_results, new_call
from tests.support.memory_steps import MemorySteps
from tests.unit.jobs.domain_strategies import LONG_AGO, make_job


def test_a_job_has_results_by_name_and_the_names_of_those_without_room() -> None:
    job = make_job(
        steps=(
            Step(name="fetch", end_at=LONG_AGO, result={"rows": 3}),
            Step(name="large", end_at=LONG_AGO, stored=True, has_result=False),
            Step(name="rest", kind=StepKind.SLEEP, until=LONG_AGO, has_result=False),
        )
    )
    steps = MemorySteps()
    steps.results = {"fetch": {"rows": 3}}
    more = {"steps": {"fetch": {"rows": 3}}, "omittedSteps": ["large"]}
    assert job_with_results(job, steps) == json_form.job(job) | more
    assert job_with_results(make_job(), MemorySteps()) == json_form.job(make_job()) | {"steps": {}}


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (5, "jobs: must be a job or a list of jobs"),
        ({"jobs": [5]}, r"jobs\.0: must be a job"),
        ({"jobs": [], "colour": 1}, "colour: is not a known field"),
        ({"jobs": [], "failures": "ignore"}, "failures: must be one of raise, return, hold"),
        ({"jobs": [], "failures": [1]}, "failures: must be one of raise, return, hold"),
        ({"queue": "q"}, r"job\.type: is required"),
        ({"type": "a", "delayTil": "tomorrow"}, "job: is not a job: must be an ISO 8601 date"),
        ({"type": "a", "data": 5}, r"job\.data: must be an object"),
        ([{"type": "a"}] * 5001, "jobs: takes at most 5,000 jobs"),
    ],
)
def test_children_in_a_wrong_form_are_refused_by_the_name_of_the_field(value: object, problem: str) -> None:
    with pytest.raises(StepError, match=f"children of step 'many' cannot be created: {problem}"):
        new_call("many", value)


def test_children_nested_too_deep_are_refused() -> None:
    job: dict[str, object] = {"type": "a"}
    for _ in range(5_000):
        job = {"type": "a", "onSuccess": job}
    with pytest.raises(StepError, match="children of step 'many' cannot be created"):
        new_call("many", job)


def test_a_job_has_a_date_and_children_of_its_own() -> None:
    call = new_call("one", {"type": "a", "delayTil": "2030-01-31T12:00:00Z", "onSuccess": {"type": "b"}})
    assert call.single
    assert call.jobs[0].delay_til == datetime(2030, 1, 31, 12, tzinfo=UTC)
    assert call.jobs[0].on_success == NewJob(type="b")


async def test_a_claim_names_the_steps_whose_children_have_failed() -> None:
    error = JobError(kind="child", message="no paper", step="many")
    step = Step(name="many", kind=StepKind.MAP, error=error, call=Call(id="0" * 24))
    shown = job_with_results(make_job(steps=(step,)), MemorySteps())
    assert shown["stepErrors"] == {"many": {"kind": "child", "message": "no paper", "step": "many"}}
